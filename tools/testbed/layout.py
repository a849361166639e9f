"""Where the test bed keeps everything, and the names it takes on this machine."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Layout"]

STATE_DIR = "/var/lib/samebox-testbed"
RUN_DIR = "/run/samebox-testbed"


@dataclass(frozen=True)
class Layout:
    """Paths and names; two beds with different state directories share none of them.

    :ivar state: what survives a restart of the machine: storage, images, logs, the state file
    :ivar run: sockets, pid files and what daemons keep at run time
    :ivar user: the ordinary user that owns the rootless engine
    :ivar suffix: what tells this bed's machine-wide names from another's
    """

    state: Path
    run: Path
    user: str
    suffix: str

    @classmethod
    def from_environment(cls) -> Layout:
        """Read `SAMEBOX_TESTBED_DIR`, `SAMEBOX_TESTBED_RUN_DIR` and `SAMEBOX_TESTBED_USER`.

        :returns: the layout; a state directory of your own gives a bed of your own, which can stand beside the default
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
        """Held while the bed is being changed; beside the state directory, because `down` removes that."""
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
        """The ordinary user's home; that a user's home is this one proves that the bed made the user."""
        return self.state / "home"

    @property
    def docker_bridge(self) -> str:
        """Docker's bridge. It has to be named: with `--bridge none` dockerd deletes the `docker0` of another dockerd."""
        return f"sbxdocker{self.suffix}"

    @property
    def podman_bridge(self) -> str:
        """The bridge of rootful Podman's default network, so that it is not the machine's own `podman0`."""
        return f"sbxpodman{self.suffix}"

    @property
    def firewall_table(self) -> str:
        """The nft table with the way out of Docker's bridge."""
        return f"samebox-testbed{self.suffix}"

    @property
    def cgroup(self) -> str:
        """The cgroup above Docker's containers, so that `down` can tell them from another dockerd's."""
        return f"samebox-testbed{self.suffix}"
