"""Mutant: an engine with one defect, and the tests of the suite that have to catch it."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fakes import Point, plugin
from samebox.capabilities import Capability
from samebox.conformance.suite import DIRECTORY
from samebox.engine import ImageStatus, local
from samebox.engine.images import find_image, in_use
from samebox.engine.local import LocalEngine
from samebox.engine.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pytest

    from samebox.config.model import SandboxConfig

    Defect = Callable[[type[LocalEngine], pytest.MonkeyPatch], None]

PATIENCE = 20.0
"""What takes longer hangs, in seconds; as in the suite itself."""
STILL_WORKS = "exec/no-output-is-empty"
"""What a mutant passes all the same: one that can do nothing at all would prove nothing."""

MUTANTS: dict[str, Mutant] = {}
"""Every mutant by its name, in the order of the modules that make them."""


class Subject(LocalEngine):
    """The engine that is broken; it keeps account of what it has made, so that nothing stays of what a mutant leaks."""

    name = "subject"
    made: ClassVar[list[tuple[LocalEngine, local._Local]]] = []

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """See `Engine.create`."""
        made = super().create(config, image=image, name=name, labels=labels)
        Subject.made.append((self, self._sandboxes[made]))
        return made

    @staticmethod
    def clean() -> None:
        """End and remove whatever was made, whoever has forgotten it."""
        while Subject.made:
            _, sandbox = Subject.made.pop()
            local._end(sandbox)
            shutil.rmtree(sandbox.directory, ignore_errors=True)


class KeptSubject(Subject):
    """One whose sandboxes other engine objects of this process find by their names, as those of a daemon."""

    capabilities = LocalEngine.capabilities | {Capability.PERSISTENT}
    shared: ClassVar[dict[str, local._Local]] = {}

    def __init__(self, options: Mapping[str, object] | None = None) -> None:
        super().__init__(options)
        self._sandboxes = self.shared

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """See `Engine.create`."""
        with _SHARED:
            return super().create(config, image=image, name=name, labels=labels)

    def close(self) -> None:
        """Leave the sandboxes alone."""


class ImageSubject(Subject):
    """One that makes snapshots of the files in a sandbox's directory, which all of its objects know."""

    capabilities = LocalEngine.capabilities | {Capability.SNAPSHOT}
    shared: ClassVar[dict[str, _Image]] = {}
    users: ClassVar[dict[str, str]] = {}
    """The ids of the images that sandboxes have, by the sandboxes' names."""

    def image_capability(self, image: str | None) -> Capability | None:
        """See `Engine.image_capability`."""
        return Capability.SNAPSHOT if self._named(image) else super().image_capability(image)

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """See `Engine.ensure_image`."""
        if (image := self._named(config.image)) is None:
            return super().ensure_image(config, progress)
        self.note_use(image)
        return image.id

    @staticmethod
    def note_use(image: _Image) -> None:
        """Note the time."""
        image.used = time.time()

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """See `Engine.create`."""
        made = super().create(config, image=image, name=name, labels=labels)
        if image in self.shared:
            self.users[made] = image
            for file, data in self.shared[image].files.items():
                (self._sandboxes[made].directory / file).write_bytes(data)
        return made

    def remove(self, sandbox_id: str) -> None:
        """See `Engine.remove`."""
        super().remove(sandbox_id)
        self.users.pop(sandbox_id, None)
        self.clean_images()

    def commit(self, sandbox_id: str, image: str) -> str:
        """See `Engine.commit`."""
        files = {path.name: path.read_bytes() for path in self._sandboxes[sandbox_id].directory.iterdir()}
        if (before := self._named(image)) is not None:
            before.name = None
        made = _Image(f"id-{len(self.shared)}-{time.time()}", image, files, time.time())
        self.shared[made.id] = made
        self.clean_images()
        return image

    def clean_images(self) -> None:
        """Remove those without a name that no sandbox has."""
        for image in [*self.shared.values()]:
            if image.name is None and image.id not in self.users.values():
                del self.shared[image.id]

    def images(self) -> list[ImageStatus]:
        """See `Engine.images`."""
        return [
            ImageStatus(
                image.id,
                "snapshot",
                (image.name,) if image.name else (),
                sum(map(len, image.files.values())),
                image.created,
                image.used,
                tuple(name for name, used in self.users.items() if used == image.id),
            )
            for image in self.shared.values()
        ]

    def remove_image(self, name: str) -> None:
        """See `Engine.remove_image`."""
        image = find_image(self.images(), name, self.name)
        if image.used_by:
            raise in_use(name, self.name, image.used_by)
        del self.shared[image.id]

    def _named(self, name: str | None) -> _Image | None:
        return next((image for image in self.shared.values() if image.name == name), None) if name else None


@dataclass
class _Image:
    id: str
    name: str | None
    files: dict[str, bytes]
    created: float
    used: float | None = None


_SHARED = threading.Lock()


@dataclass(frozen=True)
class Mutant:
    """An engine with one defect."""

    name: str
    group: str
    """The module that has it."""
    broken: str
    """What is broken, in a sentence."""
    caught_by: tuple[str, ...]
    """Ids of tests of the suite; each of them has to catch it."""
    defect: Defect
    base: type[Subject] = Subject
    patience: float = PATIENCE
    """How long the suite waits for what hangs, in seconds."""

    @property
    def engine(self) -> str:
        """Its name as an engine."""
        return f"mutant-{self.name}"

    def register(self, patch: pytest.MonkeyPatch) -> None:
        """Install the engine by its own entry point, with the defect for as long as the patch lasts."""
        register(self.engine, self.base, lambda engine: self.defect(engine, patch))


def register(name: str, base: type[Subject], change: Callable[[type[LocalEngine]], None] | None = None) -> None:
    """Install an engine by an entry point of its own.

    Args:
        name: What it is called.
        base: What it is made of.
        change: Told the new class, before it is registered.
    """
    engine = type(name, (base,), {"name": name, "shared": {}, "users": {}})
    if change is not None:
        change(engine)
    known = registry()
    known._load(Point(name, plugin(engine)))
    assert known.engines.get(name) is engine, known.failures


def mutant(*caught_by: str, base: type[Subject] = Subject, patience: float = PATIENCE) -> Callable[[Defect], Defect]:
    """Make a mutant of a function that breaks an engine's class, or the core beneath it.

    Its name is the mutant's, its docstring says what is broken.

    Args:
        caught_by: Ids of the tests that have to catch it.
        base: What it is a mutant of.
        patience: How long the suite waits for what hangs, in seconds.
    """

    def keep(defect: Defect) -> Defect:
        name = defect.__name__.replace("_", "-")
        assert name not in MUTANTS, name
        MUTANTS[name] = Mutant(name, defect.__module__, defect.__doc__ or "", caught_by, defect, base, patience)
        return defect

    return keep


def nodes(ids: Sequence[str]) -> list[str]:
    """Return the arguments with which pytest runs those tests of the suite."""
    return [f"{_module(test)}::test_{_function(test)}" for test in ids]


def _module(test: str) -> Path:
    return DIRECTORY / f"test_{test.partition('/')[0].replace('-', '_')}.py"


def _function(test: str) -> str:
    function, bracket, parameters = test.partition("/")[2].partition("[")
    return function.replace("-", "_") + bracket + parameters
