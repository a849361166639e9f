"""Layout: the paths where the test bed keeps its files, and the names that it takes on this machine."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

STATE_DIR = "/var/lib/samebox-testbed"
RUN_DIR = "/run/samebox-testbed"


@dataclass(frozen=True)
class Layout:
    """The paths and names of a bed. Two beds with different state directories share none of them."""

    state: Path
    """The directory of what survives a restart of the machine: storage, images, logs, the state file."""
    run: Path
    """The directory of sockets, pid files, and other files that daemons keep at run time."""
    user: str
    """The ordinary user who owns the rootless engine."""
    suffix: str
    """The suffix that tells this bed's machine-wide names from another bed's."""

    @classmethod
    def from_environment(cls) -> Layout:
        """Read SAMEBOX_TESTBED_DIR, SAMEBOX_TESTBED_RUN_DIR and SAMEBOX_TESTBED_USER.

        Returns:
            The layout; another state directory gives another bed, beside the default bed.
        """
        state = Path(os.environ.get("SAMEBOX_TESTBED_DIR") or STATE_DIR).absolute()
        suffix = "" if state == Path(STATE_DIR) else _suffix(state)
        run = Path(os.environ.get("SAMEBOX_TESTBED_RUN_DIR") or RUN_DIR + suffix).absolute()
        user = os.environ.get("SAMEBOX_TESTBED_USER") or f"samebox-test{suffix}"
        return cls(state=state, run=run, user=user, suffix=suffix)

    @property
    def editions(self) -> Path:
        """The parent of versioned engines' state directories, beside this bed's, so that each can go alone."""
        return self.state.with_name(f"{self.state.name}-versions")

    @property
    def editions_lock_file(self) -> Path:
        """The lock that is held while a versioned engine is made or removed."""
        return self.editions.with_name(self.editions.name + ".lock")

    def edition(self, name: str) -> EditionLayout:
        """Return the layout of a versioned engine, named as in "docker=28"."""
        state = self.editions / name.replace("=", "-")
        run = self.run.with_name(f"{self.run.name}-versions") / state.name
        suffix = _suffix(state)
        return EditionLayout(state=state, run=run, user=f"samebox-test{suffix}", suffix=suffix)

    @property
    def state_file(self) -> Path:
        """The record of what was made, for `down`, and of what is reachable, for other programs."""
        return self.state / "state.json"

    @property
    def lock_file(self) -> Path:
        """The lock that is held while the bed is changed; beside the state directory, as `down` removes the latter."""
        return self.state.with_name(self.state.name + ".lock")

    @property
    def users_file(self) -> Path:
        """The lock that every `run` shares, so that the first `run` to end leaves the engines to the others."""
        return self.state.with_name(self.state.name + ".users")

    @property
    def logs(self) -> Path:
        """The directory of logs, one for each daemon."""
        return self.state / "logs"

    @property
    def images(self) -> Path:
        """The directory of images: root file systems as directories and tar files, and image archives."""
        return self.state / "images"

    @property
    def home(self) -> Path:
        """The ordinary user's home; a user with this home was made by the bed."""
        return self.state / "home"

    @property
    def first_subnet(self) -> int:
        """The number where the search for a free subnet begins, as not every taken subnet has a route yet."""
        return int(self.suffix or "0", 16) % 256

    @property
    def docker_bridge(self) -> str:
        """The name of Docker's bridge. `--bridge none` would make dockerd delete another dockerd's docker0."""
        return f"sbxdocker{self.suffix}"

    @property
    def podman_bridge(self) -> str:
        """The name of the bridge of rootful Podman's default network, which is not the machine's own podman0."""
        return f"sbxpodman{self.suffix}"

    @property
    def podman_network(self) -> str:
        """The name of rootful Podman's default network, by which a file of the whole machine notes its addresses."""
        return f"samebox{self.suffix}"

    @property
    def firewall_table(self) -> str:
        """The name of the nft table with the way out of Docker's bridge, and the comment of each of Docker's rules."""
        return f"samebox-testbed{self.suffix}"

    @property
    def docker_chains(self) -> str:
        """The beginning of the names of Docker's chains in the firewall, in place of DOCKER."""
        return f"SBX{self.suffix}"

    @property
    def cgroup(self) -> str:
        """The cgroup above Docker's containers, where systemd does not manage cgroups."""
        return f"samebox-testbed{self.suffix}"


class EditionLayout(Layout):
    """The paths and names of a versioned engine's bed; versioned engines share downloads and images."""

    @property
    def images(self) -> Path:
        """The image directory of all editions."""
        return self.state.with_name("images")

    @property
    def downloads(self) -> Path:
        """The directory of downloaded packages of all editions."""
        return self.state.with_name("downloads")

    @property
    def programs(self) -> Path:
        """The root directory with the engine's programs."""
        return self.state / "root"

    @property
    def packages(self) -> Path:
        """The list of the packages that the programs are from, with versions and digests."""
        return self.state / "packages.json"


def _suffix(state: Path) -> str:
    """Return a suffix that tells a state directory from others, short enough for a network interface's name."""
    return f"{zlib.crc32(os.fsencode(state)) & 0xFFFF:04x}"
