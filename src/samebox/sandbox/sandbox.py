"""Sandbox and AsyncSandbox: the objects that users hold, in a sync and an async form."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from samebox.config.model import SandboxConfig
from samebox.guest.operation import drive, run
from samebox.sandbox.interface import AsyncGuest, SyncGuest
from samebox.sandbox.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from samebox.capabilities import Capability
    from samebox.engine import Engine, EngineInfo
    from samebox.guest.guest import Guest


class _Holder:
    """The base of both forms: the lifecycle of their sandbox, and the facts about it that need no call."""

    def __init__(
        self, config: SandboxConfig | None = None, /, *, progress: Callable[[str], None] | None = None, **settings: Any
    ) -> None:
        self._lifecycle = Lifecycle(
            config.replace(**settings) if config is not None else SandboxConfig(**settings), progress
        )

    async def _target(self) -> Guest:
        return await self._lifecycle.guest()

    @property
    def config(self) -> SandboxConfig:
        """The sandbox's config."""
        return self._lifecycle.config

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self._lifecycle.name

    @property
    def id(self) -> str:
        """The engine's id of the sandbox; "" before the sandbox's start."""
        return self._lifecycle.id

    @property
    def attached(self) -> bool:
        """Whether the sandbox was there already, and was attached to; the sandbox is then not removed at the end."""
        return self._lifecycle.attached

    @property
    def engine(self) -> Engine | None:
        """The engine that the sandbox runs on; None before the sandbox's start."""
        return self._lifecycle.engine

    @property
    def info(self) -> EngineInfo | None:
        """The facts about the engine on this host; None before the sandbox's start."""
        return self._lifecycle.info

    @property
    def unenforced(self) -> Mapping[Capability, str]:
        """The default hardening that the engine can't enforce on this host, each capability with the reason."""
        return self._lifecycle.unenforced

    @property
    def summary(self) -> str:
        """What was chosen, in one line: the engine, its wall, the limits, what is not enforced; "" before the start."""
        return self._lifecycle.summary

    def __reduce__(self) -> NoReturn:
        msg = (
            f"a {type(self).__name__} can't be sent to another process: give the sandbox a name there and here, as in "
            "Sandbox(name=...), on an engine whose sandboxes other processes can attach to"
        )
        raise TypeError(msg)

    def __repr__(self) -> str:
        engine = self._lifecycle.engine
        where = f" on {engine.name}" if engine is not None else ", not started"
        return f"<{type(self).__name__} {self.name!r}{where}>"


class Sandbox(_Holder, SyncGuest):
    """An isolated environment to run commands and handle files in.

    The sandbox is made on its first use, and removed at the end of its `with` block.

    Args:
        config: The sandbox's config; default: a config of the settings alone.
        progress: Takes what is being done, as an image's pull, a line at a time.
        settings: Fields of `SandboxConfig`, which replace those of `config`.

    Raises:
        ConfigError: A setting is wrong. The first use raises errors of the engine's side.
    """

    def host_port(self, port: int | str) -> int:
        """See `Lifecycle.host_port`."""
        return run(self._lifecycle.host_port(port))

    def snapshot(self, image: str) -> str:
        """See `Lifecycle.snapshot`."""
        return run(self._lifecycle.snapshot(image))

    def start(self) -> Self:
        """Start the sandbox now, instead of on its first use.

        Raises:
            EngineUnavailableError: No engine is usable; the error's text says what was wrong with each engine.
            UnsupportedError: The engine can't honour a setting.
            ImageNotFoundError: The image is not on the engine, and the engine can't get it.
        """
        self._lifecycle.start()
        return self

    def close(self) -> None:
        """End the sandbox; remove it unless it was attached to or is to be kept. May be called again."""
        self._lifecycle.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSandbox(_Holder, AsyncGuest):
    """As `Sandbox`, with operations to be awaited from asyncio."""

    async def host_port(self, port: int | str) -> int:
        """See `Lifecycle.host_port`."""
        return await drive(self._lifecycle.host_port(port))

    async def snapshot(self, image: str) -> str:
        """See `Lifecycle.snapshot`."""
        return await drive(self._lifecycle.snapshot(image))

    async def start(self) -> Self:
        """Start the sandbox now, instead of on its first use; raises the errors of `Sandbox.start`."""
        await asyncio.to_thread(self._lifecycle.start)
        return self

    async def close(self) -> None:
        """End the sandbox; remove it unless it was attached to or is to be kept. May be called again."""
        await asyncio.shield(asyncio.to_thread(self._lifecycle.close))

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            self._lifecycle.abandon()  # cancelled, it would be started with nobody to close it
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
