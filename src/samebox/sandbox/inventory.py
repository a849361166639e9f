"""Inventory: the sandboxes, volumes and images that samebox has made on every engine, and who owns or uses them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from samebox.capabilities import Capability
from samebox.engine import ImageStatus, SandboxStatus, VolumeStatus
from samebox.engine.labels import KEEP, MANAGED, OWNER
from samebox.engine.registry import Registry, registry
from samebox.errors import EngineError, ImageNotFoundError, SandboxError, SandboxNotFoundError
from samebox.sandbox.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from samebox.engine import Engine

_Status = TypeVar("_Status", SandboxStatus, VolumeStatus, ImageStatus)


@dataclass(frozen=True, slots=True)
class Entry:
    """One sandbox on one engine."""

    engine: str
    status: SandboxStatus

    def __str__(self) -> str:
        return f"{self.engine} {self.status.name}"

    @property
    def owner(self) -> Owner | None:
        """The process that made the sandbox; None if the sandbox's label names none."""
        return Owner.parse(self.status.labels.get(OWNER, ""))

    @property
    def kept(self) -> bool:
        """Whether the sandbox is to outlive its owner."""
        return self.status.labels.get(KEEP) == "1"

    @property
    def abandoned(self) -> bool:
        """Whether the sandbox's owner is known to be dead, and the sandbox is not to be kept."""
        return not self.kept and self.owner is not None and self.owner.alive is False

    @property
    def owner_text(self) -> str:
        """The owner in words."""
        if self.owner is None:
            return "unknown"
        alive = {True: "alive", False: "dead", None: "of another host"}[self.owner.alive]
        return f"pid {self.owner.pid} on {self.owner.host.partition('@')[0]} ({alive})"

    def as_dict(self) -> dict[str, object]:
        """Return what JSON output has."""
        return {
            "engine": self.engine,
            "id": self.status.id,
            "name": self.status.name,
            "state": self.status.state,
            "image": self.status.image,
            "created": self.status.created,
            "labels": dict(self.status.labels),
            "owner": str(self.owner) if self.owner else None,
            "owner_alive": self.owner.alive if self.owner else None,
            "kept": self.kept,
        }


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """One named volume on one engine."""

    engine: str
    status: VolumeStatus

    def __str__(self) -> str:
        return f"{self.engine} {self.status.name}"

    def as_dict(self) -> dict[str, object]:
        """Return what JSON output has."""
        return {
            "engine": self.engine,
            "name": self.status.name,
            "created": self.status.created,
            "labels": dict(self.status.labels),
        }


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image on one engine."""

    engine: str
    status: ImageStatus

    def __str__(self) -> str:
        return f"{self.engine} {', '.join(self.status.names) or self.status.id}"

    def as_dict(self) -> dict[str, object]:
        """Return what JSON output has."""
        return {
            "engine": self.engine,
            "id": self.status.id,
            "names": list(self.status.names),
            "kind": self.status.kind,
            "size": self.status.size,
            "created": self.status.created,
            "used": self.status.used,
            "used_by": list(self.status.used_by),
        }


_Entry = TypeVar("_Entry", Entry, VolumeEntry, ImageEntry)


class Inventory:
    """The sandboxes, volumes and images on the engines that can be reached.

    Args:
        names: The engines to ask, each of which then has to be reached; none: all installed engines but `local`, whose
            sandboxes only their own process knows.
        known: The registry of engines; default: the installed engines.
        options: The options of each engine, by the engine's name.

    Raises:
        ConfigError: There is no such engine.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        known: Registry | None = None,
        options: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        known = known or registry()
        options = options or {}
        named = [*dict.fromkeys(names)]
        wanted = named or sorted(set(known.engines) - {"local"})
        self._named = frozenset(named)
        self._engines: dict[str, Engine] = {name: known.get(name)(options.get(name)) for name in wanted}
        self.unreachable: dict[str, str] = {}
        """The engines that were not named and could not be asked, each with the reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines.values():
            engine.close()

    def sandboxes(self) -> list[Entry]:
        """Return every sandbox that samebox made, by engine and name.

        Raises:
            EngineError: An engine that was named can't be asked.
        """
        found = self._ask(self._engines, lambda engine: engine.list())
        return [Entry(name, status) for name, status in found if status.labels.get(MANAGED) == "1"]

    def volumes(self) -> list[VolumeEntry]:
        """Return every named volume that samebox made, by engine and name.

        Raises:
            EngineError: An engine that was named can't be asked.
            UnsupportedError: An engine that was named has no volumes.
        """
        having = [
            name
            for name, engine in self._engines.items()
            if name in self._named or Capability.VOLUMES in engine.capabilities
        ]
        return [VolumeEntry(name, status) for name, status in self._ask(having, lambda engine: engine.volumes())]

    def images(self) -> list[ImageEntry]:
        """Return every image that samebox made, by engine and name: builds, snapshots and imports of files.

        Raises:
            EngineError: An engine that was named can't be asked.
        """
        return [ImageEntry(name, status) for name, status in self._ask(self._engines, lambda engine: engine.images())]

    def stale_images(self, age: float) -> list[ImageEntry]:
        """Return the images that no sandbox has, and that were neither made nor used for some time.

        An image that nobody knows the age of is none of them.

        Args:
            age: The time in seconds.

        Raises:
            EngineError: An engine that was named can't be asked.
        """
        before = time.time() - age
        unused = [entry for entry in self.images() if not entry.status.used_by]
        return [each for each in unused if each.status.last_used is not None and each.status.last_used < before]

    def abandoned(self) -> list[Entry]:
        """Return the sandboxes whose owners have died and left them.

        Raises:
            EngineError: An engine that was named can't be asked.
        """
        return [entry for entry in self.sandboxes() if entry.abandoned]

    def sandbox(self, name: str) -> Entry:
        """Return a sandbox by its name or id, from whichever engine has the sandbox.

        Raises:
            SandboxNotFoundError: No engine that can be reached has the sandbox, or samebox did not make it.
            EngineError: Several engines have a sandbox of that name.
        """
        found = [entry for entry in self.sandboxes() if name in {entry.status.name, entry.status.id}]
        if not found:
            raise SandboxNotFoundError(self._absent("sandbox", name))
        return _only(found, "a sandbox", name)

    def volume(self, name: str) -> VolumeEntry:
        """Return a named volume, from whichever engine has the volume.

        Raises:
            EngineError: No engine that can be reached has the volume, or several engines have a volume of that name.
            UnsupportedError: An engine that was named has no volumes.
        """
        found = [entry for entry in self.volumes() if entry.status.name == name]
        if not found:
            raise EngineError(self._absent("volume", name))
        return _only(found, "a volume", name)

    def image(self, name: str) -> ImageEntry:
        """Return an image by one of its names or its id, from whichever engine has the image.

        Raises:
            ImageNotFoundError: No engine that can be reached has the image, or samebox did not make it.
            EngineError: Several engines have an image of that name.
        """
        found = [entry for entry in self.images() if entry.status.called(name)]
        if not found:
            raise ImageNotFoundError(self._absent("image", name))
        return _only(found, "an image", name)

    def remove(self, entry: Entry | VolumeEntry | ImageEntry) -> None:
        """Remove a sandbox, or a volume or image that no sandbox uses.

        Raises:
            EngineError: It can't be removed; a volume or an image may be in use.
        """
        engine = self._engines[entry.engine]
        if isinstance(entry, VolumeEntry):
            engine.remove_volume(entry.status.name)
        elif isinstance(entry, ImageEntry):
            engine.remove_image(entry.status.id)
        else:
            engine.remove(entry.status.id)

    def prune(self) -> list[str]:
        """Have each engine remove what it has made for sandboxes that are gone, and return what was removed.

        Returns:
            The engine and what it was of each, as "docker network samebox-sandboxes".

        Raises:
            EngineError: An engine that was named can't be asked.
        """
        removed = []
        for name, engine in self._engines.items():
            try:
                removed += [f"{name} {what}" for what in engine.prune()]
            except SandboxError as error:
                if name in self._named:
                    raise
                self.unreachable[name] = str(error)
        return removed

    def _ask(self, names: Iterable[str], question: Callable[[Engine], Iterable[_Status]]) -> list[tuple[str, _Status]]:
        """Return the engines' answers, sorted; an unnamed engine that can't answer is noted in `unreachable`."""
        found: list[tuple[str, _Status]] = []
        for name in names:
            try:
                statuses = sorted(question(self._engines[name]), key=_order)
            except SandboxError as error:
                if name in self._named:
                    raise
                self.unreachable[name] = str(error)
            else:
                found += [(name, status) for status in statuses]
        return found

    def _absent(self, what: str, name: str) -> str:
        asked = ", ".join(self._engines) or "no engine"
        unreachable = "".join(f"; {reason}" for reason in self.unreachable.values())
        return f"there is no {what} {name!r} that samebox made on {asked}{unreachable}"


def _order(status: SandboxStatus | VolumeStatus | ImageStatus) -> tuple[str, ...]:
    return (*status.names, status.id) if isinstance(status, ImageStatus) else (status.name,)


def _only(found: Sequence[_Entry], what: str, name: str) -> _Entry:
    if len(found) > 1:
        where = " and ".join(entry.engine for entry in found)
        msg = f"there is {what} {name!r} on {where}; say which one with --engine"
        raise EngineError(msg)
    return found[0]


def sandboxes(*engines: str) -> list[Entry]:
    """Return the sandboxes that samebox made and that are there, by engine and name.

    `Sandbox.attach(entry.status.name, engine=entry.engine)` has one of them, and its `destroy` removes it.

    Args:
        engines: The engines to ask, each of which has to be reached; none: all that can be reached.

    Raises:
        ConfigError: There is no such engine.
        EngineError: An engine that was named can't be asked.
    """
    with Inventory(engines) as inventory:
        return inventory.sandboxes()
