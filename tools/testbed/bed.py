"""Bed: all the engines together, which `up` makes and `down` removes."""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from testbed import host
from testbed.account import ensure_user, find_user, remove_user
from testbed.dockerd import Docker
from testbed.failure import TestbedError, run
from testbed.gvisor import Gvisor
from testbed.images import RECIPES, ImageStore
from testbed.leftovers import end_helpers, note_shared, remove_shared, remove_tree, unmount
from testbed.network import ensure_network, remove_network
from testbed.packages import ensure_packages
from testbed.podman import Podman
from testbed.process import boot_id
from testbed.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from testbed.images import Recipe
    from testbed.layout import Layout

FOR_OTHERS = 0o005
"""The mode bits by which others may read and pass through a directory."""


@dataclass(frozen=True)
class Reach:
    """Whether one engine can be used: a line of the table that `up` and `status` print."""

    engine: str
    url: str
    usable: bool
    """Whether the engine answers and has all the images."""
    version: str
    detail: str
    """The facts that matter about the engine on this host; or why the engine is not usable."""


class Bed:
    """Every engine of this machine that is for the tests alone.

    Args:
        layout: The bed's paths and names.
        say: Called with a line for each step.

    Raises:
        TestbedError: The state file cannot be read.
    """

    recipes: Sequence[Recipe] = RECIPES
    """The images that the bed's engines have."""
    exports: Mapping[str, str] = {"docker": "docker", "podman": "oci"}
    """The engines that write an archive of the first image, each with the kind of its archive."""

    def __init__(self, layout: Layout, say: Callable[[str], None]) -> None:
        self.layout = layout
        self.state = State(layout.state_file)
        self._say = say
        self._images = ImageStore(layout.images)

    def engines(self, user: tuple[int, int] | None) -> Sequence[Docker | Podman]:
        """Return every engine of the bed, whether it is up or not.

        Args:
            user: The ordinary user; None if there is none yet.
        """
        rootless = Podman(self.layout, self.state, user or (0, 0))
        docker = Docker(self.layout, self.state, gvisor=Gvisor(self.layout.state / "gvisor"))
        return docker, Podman(self.layout, self.state), rootless

    def environment(self) -> dict[str, str]:
        """Return the environment variables that the tests read."""
        images = {f"SAMEBOX_TEST_IMAGE_{recipe.name.upper()}": recipe.tags[0] for recipe in RECIPES}
        return {
            "SAMEBOX_TEST_DOCKER_URL": Docker(self.layout, self.state).url,
            "SAMEBOX_TEST_PODMAN_URL": Podman(self.layout, self.state).url,
            "SAMEBOX_TEST_PODMAN_ROOTLESS_URL": Podman(self.layout, self.state, (0, 0)).url,
            "SAMEBOX_TEST_USER": self.layout.user,
            "SAMEBOX_TEST_IMAGE_DIR": str(self.layout.images),
            "SAMEBOX_TEST_RUNSC": str(Gvisor(self.layout.state / "gvisor").program),
            **images,
        }

    def up(self) -> list[Reach]:
        """Make every engine reachable, and repair what is missing.

        Returns:
            The table, where an engine that could not be made has a line with the reason.

        Raises:
            TestbedError: The packages, the user, the network or the images can't be made, without which no engine is of
                use.
        """
        _require_root("make the engines")
        installed = ensure_packages()
        if installed:
            self._say(f"installed {' '.join(installed)}")
        self._make_directories()
        note_shared(self.state)
        host.open_devices(self.state)
        ensure_network(self.layout, self.state)
        self._ensure_programs()
        engines = self.engines(ensure_user(self.layout))
        with ThreadPoolExecutor() as pool:
            builds = [pool.submit(self._images.ensure, recipe) for recipe in self.recipes]

            def make(engine: Docker | Podman) -> None:
                engine.ensure()
                for recipe, build in zip(self.recipes, builds, strict=True):
                    build.result()
                    if self._images.load(recipe, engine):
                        self._say(f"{engine.name} has {recipe.name}")

            made = {engine.name: pool.submit(make, engine) for engine in engines}
            failed = {name: str(future.exception()) for name, future in made.items() if future.exception() is not None}
            for build in builds:
                build.result()
        for engine in engines:
            if engine.name in self.exports and engine.name not in failed:
                self._images.export(RECIPES[0], engine, self.exports[engine.name])
        table = self.reach(failed)
        self.state.set(engines=[asdict(line) for line in table], environment=self.environment())
        return table

    def _make_directories(self) -> None:
        """Make the directories, and check that everyone can reach them.

        Raises:
            TestbedError: An ordinary user cannot pass through a directory above.
        """
        if self.state.get("boot") not in {None, boot_id()}:
            # Files that a former boot left there tell Podman that its containers still run.
            remove_tree(self.layout.run)
        for path in (self.layout.state, self.layout.run, self.layout.images, self.layout.logs):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        self.state.set(boot=boot_id())
        for path in (*self.layout.state.parents, *self.layout.run.parents):
            mode = path.stat().st_mode & 0o7777
            if mode & FOR_OTHERS != FOR_OTHERS:
                remedy = f"`chmod o+rx {path}`, or set SAMEBOX_TESTBED_DIR and SAMEBOX_TESTBED_RUN_DIR."
                found = f"its mode is {mode:04o}, so an ordinary user cannot pass"
                raise TestbedError(tried=f"use {path}", found=found, remedy=remedy)

    def reach(self, failed: dict[str, str] | None = None) -> list[Reach]:
        """Find out which engines are usable now.

        Args:
            failed: The engines that are known not to be usable, each with the reason.

        Returns:
            A line for each engine, bubblewrap as root and as the ordinary user among them.
        """
        user = find_user(self.layout)
        table = []
        for engine in self.engines(user):
            reason = (failed or {}).get(engine.name)
            version, detail = "-", reason or ""
            if reason is None:
                try:
                    version, detail = engine.describe()
                except TestbedError as error:
                    reason = detail = error.found
            table.append(Reach(self.label(engine), engine.url, reason is None, version, detail))
        return table + self._without_daemon(user)

    def label(self, engine: Docker | Podman) -> str:
        """Return an engine's name in the table."""
        return engine.name

    def _ensure_programs(self) -> None:
        """Make the engines' programs available; the ordinary bed uses the machine's own."""

    def _without_daemon(self, user: tuple[int, int] | None) -> list[Reach]:
        """Return the table's lines of the engines that need no daemon."""
        table = [_bubblewrap("bubblewrap", "as root", None)]
        if user is not None:
            table.append(_bubblewrap("bubblewrap-user", f"as {self.layout.user}", user))
        return table

    def down(self, *, keep_images: bool = False) -> None:
        """Remove everything that `up` made but packages; nothing happens if there is nothing to remove.

        Args:
            keep_images: Leave the image directory in place, which saves the next `up` a minute.

        Raises:
            TestbedError: Something can't be removed. The state file still records it, so that `down` can be run again.
        """
        _require_root("remove the engines")
        user = find_user(self.layout)
        engines = [engine for engine in self.engines(user) if user is not None or "rootless" not in engine.name]
        with ThreadPoolExecutor() as pool:
            list(pool.map(_end, engines))
        remove_user(self.layout)
        end_helpers(self.layout)
        if shutil.which("nft") is not None and shutil.which("ip") is not None:
            remove_network(self.layout, self.state)
        host.restore_devices(self.state)
        remove_shared(self.layout, self.state)
        remove_tree(self.layout.run)
        unmount(self.layout.state)
        spared = {self.layout.state_file, *([self.layout.images] if keep_images else [])}
        with ThreadPoolExecutor() as pool:
            list(pool.map(remove_tree, set(self.layout.state.glob("*")) - spared))
        self.layout.state_file.unlink(missing_ok=True)
        if not keep_images:
            remove_tree(self.layout.state)


def _require_root(tried: str) -> None:
    if os.geteuid() != 0:
        raise TestbedError(tried=tried, found="this is not root", remedy="Run it as root.")


def _end(engine: Docker | Podman) -> None:
    """Remove an engine's containers, then end it."""
    if engine.died:
        # Only the engine knows all that belongs to its containers: processes, mounts, network namespaces, rules.
        with contextlib.suppress(TestbedError):
            engine.ensure()
    if engine.api.answers():
        engine.clean()
    engine.stop()


def _bubblewrap(name: str, whose: str, user: tuple[int, int] | None) -> Reach:
    """Return the table's line of bubblewrap, by making a sandbox with the real bwrap."""
    try:
        version = run(["bwrap", "--version"]).split()[-1]
        run(["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true"], user=user, timeout=20)
    except TestbedError as error:
        return Reach(name, "-", usable=False, version="-", detail=error.found)
    return Reach(name, shutil.which("bwrap") or "-", usable=True, version=version, detail=whose)
