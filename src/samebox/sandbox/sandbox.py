"""Sandbox and AsyncSandbox: the objects that users hold, in a sync and an async form."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NoReturn

from samebox.config.help import settings_text
from samebox.config.model import SandboxConfig
from samebox.engine.selection import ENGINE
from samebox.errors import ConfigError
from samebox.guest.operation import drive, run
from samebox.sandbox.interface import AsyncGuest, SyncGuest
from samebox.sandbox.inventory import Inventory
from samebox.sandbox.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self, Unpack

    from samebox.capabilities import Capability
    from samebox.config.settings import SandboxSettings
    from samebox.engine import Engine, EngineInfo, SandboxStatus
    from samebox.guest.guest import Guest


class _Holder:
    """The base of both forms: the lifecycle of their sandbox, and the facts about it that need no call."""

    def __init__(
        self,
        config: SandboxConfig | None = None,
        /,
        *,
        progress: Callable[[str], None] | None = None,
        **settings: Unpack[SandboxSettings],
    ) -> None:
        if config is None:
            config = SandboxConfig(**settings)
        elif isinstance(config, SandboxConfig):
            config = config.replace(**settings)
        else:
            meant = f"; is image={config!r} meant?" if isinstance(config, str) else ""
            msg = f"{type(self).__name__} takes a SandboxConfig, or settings by their names, not {config!r}{meant}"
            raise ConfigError(msg)
        self._lifecycle = Lifecycle(config, progress)

    @classmethod
    def _to_attach(cls, name: str, progress: Callable[[str], None] | None, settings: Mapping[str, Any]) -> Self:
        """Return an object for a sandbox that has to be there, on the engine that has it."""
        asked: dict[str, Any] = {**settings, "name": name}
        box = cls(progress=progress, **asked)
        if box.config.engine == "auto" and not os.environ.get(ENGINE):
            with Inventory() as inventory:
                asked["engine"] = inventory.sandbox(name).engine
            box = cls(progress=progress, **asked)
        box._lifecycle.attach_only = True
        return box

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
        if self._lifecycle.closed:
            where += ", closed"
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

    @classmethod
    def attach(
        cls, name: str, /, *, progress: Callable[[str], None] | None = None, **settings: Unpack[SandboxSettings]
    ) -> Self:
        """Attach to the sandbox of a name, on whichever engine has it; none is made where there is none.

        Args:
            name: The sandbox's name.
            progress: As for `Sandbox`.
            settings: Those with which the sandbox has to be made, and how to reach it: `engine`, `options`, `env`.

        Returns:
            The sandbox, which was started if it was stopped. It is not removed at the end; `destroy` removes it.

        Raises:
            SandboxNotFoundError: There is no sandbox of the name that samebox made.
            SandboxExistsError: It was made with other settings.
            EngineError: Several engines have one.
        """
        return cls._to_attach(name, progress, settings).start()

    def probe(self) -> EngineInfo:
        """See `Lifecycle.probe`."""
        return self._lifecycle.probe()

    def status(self) -> SandboxStatus:
        """See `Lifecycle.status`."""
        return run(self._lifecycle.status())

    def destroy(self) -> None:
        """See `Lifecycle.destroy`."""
        self._lifecycle.destroy()

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

    @classmethod
    async def attach(
        cls, name: str, /, *, progress: Callable[[str], None] | None = None, **settings: Unpack[SandboxSettings]
    ) -> Self:
        """Attach to the sandbox of a name; see `Sandbox.attach`."""
        box = await asyncio.to_thread(cls._to_attach, name, progress, settings)
        return await box.start()

    async def probe(self) -> EngineInfo:
        """See `Lifecycle.probe`."""
        return await asyncio.to_thread(self._lifecycle.probe)

    async def status(self) -> SandboxStatus:
        """See `Lifecycle.status`."""
        return await drive(self._lifecycle.status())

    async def destroy(self) -> None:
        """See `Lifecycle.destroy`."""
        await asyncio.shield(asyncio.to_thread(self._lifecycle.destroy))

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


for _form in (Sandbox, AsyncSandbox):
    _form.__doc__ = f"{_form.__doc__ or ''}\n\nSettings:\n{settings_text(SandboxConfig.model_fields)}\n"
