"""Engines without anything behind them, for tests of what happens before a sandbox is made."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from samebox.capabilities import Capability, Isolation
from samebox.engine import ByteStream, Engine, EngineInfo, SandboxStatus
from samebox.engine.hookspecs import hookimpl
from samebox.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samebox.config.model import SandboxConfig


class FakeEngine(Engine):
    """An engine that answers probes and fails at everything else."""

    name = "fake"
    capabilities = frozenset({Capability.CONTAINER_IMAGE})
    info: ClassVar[EngineInfo | str] = "not there"

    def probe(self) -> EngineInfo:
        """Return the class's info, or fail with its text."""
        if isinstance(self.info, str):
            raise EngineUnavailableError(self.info)
        return self.info

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Fail: a test got further than it should."""
        raise AssertionError

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Fail."""
        raise AssertionError

    def start(self, sandbox_id: str) -> None:
        """Fail."""
        raise AssertionError

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """Fail."""
        raise AssertionError

    def remove(self, sandbox_id: str) -> None:
        """Fail."""
        raise AssertionError

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Fail."""
        raise AssertionError

    def list(self) -> list[SandboxStatus]:
        """Return nothing."""
        return []

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Fail."""
        raise AssertionError


def engine(name: str, info: EngineInfo | str | None = None, **attributes: Any) -> type[FakeEngine]:
    """Return a class of a fake engine; usable unless `info` is a text."""
    attributes = {"name": name, "info": info if info is not None else usable(name), **attributes}
    return type(name.title(), (FakeEngine,), attributes)


def usable(name: str, isolation: Isolation = Isolation.CONTAINER, **more: Any) -> EngineInfo:
    """Return what a probe of a usable engine gives."""
    return EngineInfo(name, "1.0", isolation, **more)


class Point(EntryPoint):
    """An entry point that gives what a test has put there."""

    def __new__(cls, name: str, _value: object) -> Self:
        """Make one."""
        return super().__new__(cls)

    def __init__(self, name: str, value: object) -> None:
        super().__init__(name, "x", "samebox")
        object.__setattr__(self, "_found", value)

    def load(self) -> Any:
        """Return the value, or raise it."""
        found = vars(self)["_found"]
        if isinstance(found, BaseException):
            raise found
        return found


def plugin(*classes: object) -> object:
    """Return a plugin whose hook gives the first of some things."""

    @hookimpl
    def samebox_register_engine() -> object:
        return classes[0]

    return SimpleNamespace(samebox_register_engine=samebox_register_engine)
