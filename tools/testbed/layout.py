"""Layout: where the test bed keeps everything, and the names it takes on this machine."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

STATE_DIR = "/var/lib/samebox-testbed"
RUN_DIR = "/run/samebox-testbed"


@dataclass(frozen=True)
class Layout:
    """Paths and names. Two beds with different state directories have none of them in common."""

    state: Path
    """What survives a restart of the machine: storage, images, logs, the state file."""
    run: Path
    """Sockets, pid files, and what daemons keep at run time."""
    user: str
    """The ordinary user who owns the rootless engine."""
    suffix: str
    """Tells this bed's machine-wide names from another's."""

    @classmethod
    def from_environment(cls) -> Layout:
        """Read SAMEBOX_TESTBED_DIR, SAMEBOX_TESTBED_RUN_DIR and SAMEBOX_TESTBED_USER.

        Returns:
            The layout; a state directory of one's own gives a bed of one's own, beside the default one.
        """
        state = Path(os.environ.get("SAMEBOX_TESTBED_DIR") or STATE_DIR).absolute()
        suffix = "" if state == Path(STATE_DIR) else f"{zlib.crc32(os.fsencode(state)) & 0xFFFF:04x}"
        run = Path(os.environ.get("SAMEBOX_TESTBED_RUN_DIR") or RUN_DIR + suffix).absolute()
        user = os.environ.get("SAMEBOX_TESTBED_USER") or f"samebox-test{suffix}"
        return cls(state=state, run=run, user=user, suffix=suffix)

    @property
    def state_file(self) -> Path:
        """What was made, for `down`, and what is reachable, for everyone else."""
        return self.state / "state.json"

    @property
    def lock_file(self) -> Path:
        """Held while the bed is changed; beside the state directory, because `down` removes that."""
        return self.state.with_name(self.state.name + ".lock")

    @property
    def users_file(self) -> Path:
        """Held, shared, by every `run`, so that the first to end does not take the engines from the others."""
        return self.state.with_name(self.state.name + ".users")

    @property
    def logs(self) -> Path:
        """One log per daemon."""
        return self.state / "logs"

    @property
    def images(self) -> Path:
        """Root file systems as directories and tar files, and image archives."""
        return self.state / "images"

    @property
    def home(self) -> Path:
        """The ordinary user's home. That it is this one proves that the bed made the user."""
        return self.state / "home"

    @property
    def docker_bridge(self) -> str:
        """Docker's bridge. It has to be a named one: `--bridge none` makes dockerd delete another dockerd's docker0."""
        return f"sbxdocker{self.suffix}"

    @property
    def podman_bridge(self) -> str:
        """The bridge of rootful Podman's default network, so that it is not the machine's own podman0."""
        return f"sbxpodman{self.suffix}"

    @property
    def podman_network(self) -> str:
        """Rootful Podman's default network; by this name it notes its addresses in a file of the whole machine."""
        return f"samebox{self.suffix}"

    @property
    def firewall_table(self) -> str:
        """The nft table with the way out of Docker's bridge."""
        return f"samebox-testbed{self.suffix}"

    @property
    def cgroup(self) -> str:
        """The cgroup above Docker's containers, where systemd does not manage them."""
        return f"samebox-testbed{self.suffix}"
