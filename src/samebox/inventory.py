"""Inventory: the sandboxes that samebox has made, on every engine, and who they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from samebox.errors import EngineError, SandboxNotFoundError
from samebox.owner import KEEP, MANAGED, OWNER, Owner
from samebox.registry import Registry, registry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from samebox.engine import Engine, SandboxStatus


@dataclass(frozen=True, slots=True)
class Entry:
    """One sandbox on one engine."""

    engine: str
    status: SandboxStatus

    @property
    def owner(self) -> Owner | None:
        """The process that made it; None if its label says nothing."""
        return Owner.parse(self.status.labels.get(OWNER, ""))

    @property
    def kept(self) -> bool:
        """Whether it is to outlive its owner."""
        return self.status.labels.get(KEEP) == "1"

    @property
    def abandoned(self) -> bool:
        """Whether its owner is known to be dead, and it was not to be kept."""
        return not self.kept and self.owner is not None and self.owner.alive is False

    @property
    def owner_text(self) -> str:
        """The owner in words."""
        if self.owner is None:
            return "unknown"
        alive = {True: "alive", False: "dead", None: "of another host"}[self.owner.alive]
        return f"{self.owner} ({alive})"

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


class Inventory:
    """The sandboxes on the engines that can be reached.

    Args:
        names: Which engines; none: all that are installed.
        known: The engines; default: those that are installed.
        options: The options of an engine by its name.

    Raises:
        ConfigError: There is no such engine.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        known: Registry | None = None,
        options: dict[str, dict[str, object]] | None = None,
    ) -> None:
        known = known or registry()
        options = options or {}
        wanted = [*names] or sorted(set(known.engines) - {"local"})
        self._engines: dict[str, Engine] = {name: known.get(name)(options.get(name)) for name in wanted}
        self.unreachable: dict[str, str] = {}
        """Engines that could not be asked, with the reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines.values():
            engine.close()

    def sandboxes(self) -> list[Entry]:
        """Return every sandbox that samebox made, by engine and name."""
        found: list[Entry] = []
        for name, engine in self._engines.items():
            try:
                found += [Entry(name, status) for status in sorted(engine.list(), key=lambda status: status.name)]
            except EngineError as error:
                self.unreachable[name] = str(error)
        return found

    def remove(self, name: str) -> None:
        """Remove a sandbox by its name or id, on whichever engine it is.

        Raises:
            SandboxNotFoundError: No engine that can be reached has it, or samebox did not make it.
        """
        for entry in self.sandboxes():
            if name in {entry.status.name, entry.status.id} and entry.status.labels.get(MANAGED) == "1":
                self._engines[entry.engine].remove(entry.status.id)
                return
        asked = ", ".join(self._engines) or "no engine"
        unreachable = "".join(f"; {reason}" for reason in self.unreachable.values())
        msg = f"there is no sandbox {name!r} that samebox made on {asked}{unreachable}"
        raise SandboxNotFoundError(msg)

    def prune(self) -> list[Entry]:
        """Remove what dead owners have left, and return it."""
        removed = [entry for entry in self.sandboxes() if entry.abandoned]
        for entry in removed:
            self._engines[entry.engine].remove(entry.status.id)
        return removed
