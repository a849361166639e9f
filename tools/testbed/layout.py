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
        suffix = "" if state == Path(STATE_DIR) else _suffix(state)
        run = Path(os.environ.get("SAMEBOX_TESTBED_RUN_DIR") or RUN_DIR + suffix).absolute()
        user = os.environ.get("SAMEBOX_TESTBED_USER") or f"samebox-test{suffix}"
        return cls(state=state, run=run, user=user, suffix=suffix)

    @property
    def editions(self) -> Path:
        """The parent of the state directories of versioned engines; beside this one, so that each can go alone."""
        return self.state.with_name(f"{self.state.name}-versions")

    @property
    def editions_lock_file(self) -> Path:
        """Held while a versioned engine is made or removed."""
        return self.editions.with_name(self.editions.name + ".lock")

    def edition(self, name: str) -> EditionLayout:
        """Return the layout of a versioned engine, named as in "docker=28"."""
        state = self.editions / name.replace("=", "-")
        run = self.run.with_name(f"{self.run.name}-versions") / state.name
        suffix = _suffix(state)
        return EditionLayout(state=state, run=run, user=f"samebox-test{suffix}", suffix=suffix)

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
    def first_subnet(self) -> int:
        """Where to begin to look for a free subnet: not every bed's is to be seen before its first container."""
        return int(self.suffix or "0", 16) % 256

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


class EditionLayout(Layout):
    """Paths and names of a versioned engine: a bed of its own, but for what is downloaded or built."""

    @property
    def images(self) -> Path:
        """One image directory for all editions."""
        return self.state.with_name("images")

    @property
    def downloads(self) -> Path:
        """Packages that were downloaded."""
        return self.state.with_name("downloads")

    @property
    def programs(self) -> Path:
        """The root with the engine's programs."""
        return self.state / "root"

    @property
    def packages(self) -> Path:
        """Which packages those are, with versions and digests."""
        return self.state / "packages.json"


def _suffix(state: Path) -> str:
    """Return what tells a state directory from others, short enough for the name of a network interface."""
    return f"{zlib.crc32(os.fsencode(state)) & 0xFFFF:04x}"
