"""The whole bed: what `up` makes and `down` removes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import host
from testbed.account import ensure_user, find_user, remove_user
from testbed.dockerd import Docker
from testbed.failure import TestbedError, run
from testbed.images import RECIPES, ImageStore
from testbed.network import ensure_network, remove_network
from testbed.packages import ensure_packages
from testbed.podman import Podman
from testbed.process import boot_id, end_processes, processes
from testbed.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.layout import Layout

__all__ = ["Bed", "Reach"]

#: What engines leave running beside their daemons, and nobody else runs with a path of the bed on its command line.
HELPERS = {"conmon", "rootlessport", "slirp4netns", "pasta", "pasta.avx2", "fuse-overlayfs", "aardvark-dns", "catatonit"}
HELPERS |= {"containerd-shim-runc-v2", "containerd-shim", "docker-proxy", "runc", "crun"}


@dataclass(frozen=True)
class Reach:
    """One line of the table.

    :ivar engine: its name
    :ivar url: where it is
    :ivar usable: whether it answered, and has all the images
    :ivar version: its own
    :ivar detail: what matters about it on this host; why not, where it is not usable
    """

    engine: str
    url: str
    usable: bool
    version: str
    detail: str


class Bed:
    """Every engine on this machine that is for the tests alone.

    :param layout: where it lives
    :param say: is told what happens, a line at a time

    :raises TestbedError: when the state file cannot be read
    """

    def __init__(self, layout: Layout, say: Callable[[str], None]) -> None:
        self.layout = layout
        self.state = State(layout.state_file)
        self._say = say
        self._images = ImageStore(layout.images)

    def environment(self) -> dict[str, str]:
        """:returns: what the tests read"""
        layout = self.layout
        images = {f"SAMEBOX_TEST_IMAGE_{recipe.name.upper()}": recipe.tags[0] for recipe in RECIPES}
        return {
            "SAMEBOX_TEST_DOCKER_URL": Docker(layout, self.state).url,
            "SAMEBOX_TEST_PODMAN_URL": Podman(layout, self.state).url,
            "SAMEBOX_TEST_PODMAN_ROOTLESS_URL": Podman(layout, self.state, (0, 0)).url,
            "SAMEBOX_TEST_USER": layout.user,
            "SAMEBOX_TEST_IMAGE_DIR": str(layout.images),
            **images,
        }

    def up(self) -> list[Reach]:
        """Make every engine reachable, and repair what is missing.

        :returns: the table; an engine that could not be made stands in it with the reason

        :raises TestbedError: when packages, the user or the images cannot be had: then no engine is of use
        """
        if os.geteuid() != 0:
            raise TestbedError("make the engines", "this is not root", "Run it as root.")
        installed = ensure_packages()
        if installed:
            self._say(f"installed {' '.join(installed)}")
        for path in (self.layout.state, self.layout.run, self.layout.images, self.layout.logs):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        self._check_reachable_by_all()
        if self.state.get("boot") not in {None, boot_id()}:
            # Podman takes what a former boot left at run time for containers that still run.
            _remove(self.layout.run)
            self.layout.run.mkdir(mode=0o755)
        self.state.set(boot=boot_id(), layout={"state": str(self.layout.state), "run": str(self.layout.run)})
        host.open_devices(self.state)
        ensure_network(self.layout, self.state)
        user = ensure_user(self.layout)
        engines = [Docker(self.layout, self.state), Podman(self.layout, self.state), Podman(self.layout, self.state, user)]
        with ThreadPoolExecutor() as pool:
            built = {recipe: pool.submit(self._images.ensure, recipe) for recipe in RECIPES}

            def make(engine: Docker | Podman) -> None:
                engine.ensure()
                for recipe in RECIPES:
                    built[recipe].result()
                    self._images.load(recipe, engine)
                    self._say(f"{engine.name} has {recipe.name}")

            made = {engine.name: pool.submit(make, engine) for engine in engines}
            failed = {name: str(future.exception()) for name, future in made.items() if future.exception() is not None}
            for future in built.values():
                future.result()
        docker, podman, _ = engines
        if not failed:
            self._images.export(RECIPES[0], docker, "docker")
            self._images.export(RECIPES[0], podman, "oci")
        table = self.reach(failed)
        self.state.set(engines=[asdict(line) for line in table], environment=self.environment())
        return table

    def reach(self, failed: dict[str, str] | None = None) -> list[Reach]:
        """Find out what is usable now.

        :param failed: engines that are known not to be, and why

        :returns: a line for each engine, bubblewrap as root and as the ordinary user among them
        """
        user = find_user(self.layout)
        table = []
        for engine in (
            Docker(self.layout, self.state),
            Podman(self.layout, self.state),
            Podman(self.layout, self.state, user or (0, 0)),
        ):
            reason = (failed or {}).get(engine.name)
            try:
                version, detail = engine.describe() if reason is None else ("-", reason)
            except TestbedError as error:
                version, reason, detail = "-", error.found, error.found
            table.append(Reach(engine.name, engine.url, reason is None, version, detail))
        table.append(self._bubblewrap("bubblewrap", None))
        if user is not None:
            table.append(self._bubblewrap("bubblewrap-user", user))
        return table

    def _bubblewrap(self, name: str, user: tuple[int, int] | None) -> Reach:
        """:returns: whether a real bwrap makes a sandbox"""
        uid, gid = user if user is not None else (None, None)
        try:
            version = run(["bwrap", "--version"]).split()[-1]
            argv = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true"]
            run(argv, user=uid, group=gid, timeout=20)
        except TestbedError as error:
            return Reach(name, "-", usable=False, version="-", detail=error.found)
        whose = "as root" if user is None else f"as {self.layout.user}"
        return Reach(name, shutil.which("bwrap") or "-", usable=True, version=version, detail=whose)

    def _check_reachable_by_all(self) -> None:
        """:raises TestbedError: when an ordinary user cannot come to the state directory"""
        for base in (self.layout.state, self.layout.run):
            for path in (base, *base.parents):
                mode = path.stat().st_mode
                if mode & 0o005 != 0o005:  # noqa: PLR2004 - read and search for others
                    found = f"its mode is {mode & 0o7777:04o}, so an ordinary user cannot pass"
                    raise TestbedError(f"use {path}", found, f"chmod o+rx {path}, or set SAMEBOX_TESTBED_DIR.")

    def down(self, *, keep_images: bool = False) -> None:
        """Remove everything that `up` made, except for packages. Nothing there is no error.

        :param keep_images: leave the image directory, which saves the next `up` a minute

        :raises TestbedError: when something stays; what is left is still recorded, so that `down` can be run again
        """
        if os.geteuid() != 0:
            raise TestbedError("remove the engines", "this is not root", "Run it as root.")
        user = find_user(self.layout)
        docker = Docker(self.layout, self.state)
        podmans = [Podman(self.layout, self.state)] + ([Podman(self.layout, self.state, user)] if user else [])
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._end, [docker, *podmans]))
        remove_user(self.layout)
        self._end_helpers()
        remove_network(self.layout, self.state)
        host.restore_devices(self.state)
        _remove_cgroups({self.layout.cgroup, f"{self.layout.cgroup}.slice", "libpod_parent"})
        _remove(self.layout.run)
        _unmount(self.layout.state)
        for path in list(self.layout.state.iterdir()) if self.layout.state.exists() else []:
            if path != self.layout.state_file and not (keep_images and path == self.layout.images):
                _remove(path)
        self.layout.state_file.unlink(missing_ok=True)
        if not keep_images:
            _remove(self.layout.state)

    def _end(self, engine: Docker | Podman) -> None:
        """Take an engine's containers away, then the engine."""
        if engine.answers():
            engine.clean()
        engine.stop()

    def _end_helpers(self) -> None:
        """End what an engine that died left running: known programs with a path of this bed on their command line."""
        ours = (f"{self.layout.state}/", f"{self.layout.run}/")
        left = []
        for record in processes().values():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{record.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                program = os.path.basename(os.readlink(f"/proc/{record.pid}/exe"))  # noqa: PTH115, PTH119 - may be deleted
                if program in HELPERS and any(word.startswith(ours) for word in words):
                    left.append(record)
        end_processes(left)


def _mounts_below(path: Path) -> list[str]:
    """:returns: mount points at and below a directory, the deepest first"""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if point == str(path) or point.startswith(f"{path}/"):
            found.append(point)
    return found[::-1]


def _unmount(path: Path) -> None:
    """:raises TestbedError: when something below a directory stays mounted"""
    for point in _mounts_below(path):
        run(["umount", point], remedy="End what uses it; `fuser -vm` says who does.")


def _remove(path: Path) -> None:
    """Remove a tree, and never what is mounted in it."""
    _unmount(path)
    run(["rm", "--recursive", "--force", "--one-file-system", path])


def _remove_cgroups(names: set[str]) -> None:
    """Remove the cgroups above containers that are gone. One that is not empty stays: the kernel sees to that."""
    for directory, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if names & set(Path(directory).parts):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
