"""Selection: the choice of an engine for a config, and the reasons against the other engines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.config.reference import image_capability
from samebox.engine.registry import Registry, registry
from samebox.engine.requirements import check
from samebox.errors import ConfigError, EngineUnavailableError, SandboxError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.model import SandboxConfig
    from samebox.engine.contract import Engine, EngineInfo

ENGINE = "SAMEBOX_ENGINE"
_NEVER_BY_DEFAULT = "local"


@dataclass(frozen=True, slots=True)
class Selection:
    """An engine that can honour a config."""

    engine: Engine
    info: EngineInfo
    unenforced: Mapping[Capability, str]
    """The default hardening that the engine can't enforce on this host, each capability with the reason."""


class Choice:
    """The engines that a config may get, the best engine first.

    Args:
        config: The config, whose `engine` decides; "auto" gives way to the environment's `SAMEBOX_ENGINE`.
        known: The engines to choose from; default: the installed engines.
    """

    def __init__(self, config: SandboxConfig, known: Registry | None = None) -> None:
        self._known = known or registry()
        self._wrong: list[str] = []
        name = config.engine if config.engine != "auto" else os.environ.get(ENGINE) or "auto"
        self._named = name != "auto"
        self._left = self._one(name, config) if self._named else self._usable(config)

    def next(self, refused: UnsupportedError | None = None) -> Selection:
        """Return the engine that the config names, or the next usable engine that can honour the config.

        Args:
            refused: The error by which the engine returned last refused the config after all, as for a combination of
                settings that no capability stands for.

        Raises:
            EngineUnavailableError: The engine named, or every engine, is not usable; the error's text says what was
                wrong with each engine and how to get a usable engine.
            UnsupportedError: The engine named can't honour the config (also `IsolationError` and `ConfigError`).
        """
        if refused is not None:
            if self._named:
                raise refused
            self._note(refused.engine, refused)
        if (selection := next(self._left, None)) is not None:
            return selection
        wrong = [*self._wrong, *map(str, self._known.failures)]
        tried = "\n".join(f"  - {line}" for line in wrong) or "  none is installed"
        msg = (
            f"no usable engine for this config. Tried:\n{tried}\n"
            "Get one: `pip install samebox-bubblewrap` needs no daemon; Docker and Podman need `samebox-docker` or "
            "`samebox-podman` and the engine itself. `samebox engines` tells more."
        )
        raise EngineUnavailableError(msg)

    def _one(self, name: str, config: SandboxConfig) -> Iterator[Selection]:
        engine = self._known.get(name)(config.options)
        try:
            selection = _checked(engine, config)
        except BaseException:
            engine.close()
            raise
        yield selection  # who gets it closes its engine

    def _usable(self, config: SandboxConfig) -> Iterator[Selection]:
        for engine_class, rootless in preference(config, self._known):
            try:
                engine = engine_class(config.options)
            except ConfigError as error:
                self._note(engine_class.name, error)
                continue
            try:
                selection = _checked(engine, config)
            except SandboxError as error:
                self._note(engine_class.name, error)
            else:
                if rootless is None or selection.info.rootless == rootless:
                    yield selection
                    continue  # who gets the selection closes its engine
            engine.close()

    def _note(self, name: str, error: SandboxError) -> None:
        if (line := f"{name}: {error}") not in self._wrong:
            self._wrong.append(line)


def select(config: SandboxConfig, known: Registry | None = None) -> Selection:
    """Return the engine that the config names, or the first usable engine that can honour the config; see `Choice`."""
    return Choice(config, known).next()


def _checked(engine: Engine, config: SandboxConfig) -> Selection:
    info = engine.probe()
    return Selection(engine, info, check(config, engine, info))


def preference(config: SandboxConfig, known: Registry) -> Iterator[tuple[type[Engine], bool | None]]:
    """Yield engines in the order in which they are tried; the second part, if not None, is whether to take it rootless.

    Bubblewrap comes first where no container image is asked for; then rootless Podman, Docker, rootful Podman, and the
    engines of third parties by name.
    """
    engines = known.engines
    container = config.build is not None or image_capability(config.image) is Capability.CONTAINER_IMAGE
    order: list[tuple[str, bool | None]] = [] if container else [("bubblewrap", None)]
    order += [("podman", True), ("docker", None), ("podman", False)]
    named = {name for name, _ in order} | {_NEVER_BY_DEFAULT}
    order += [(name, None) for name in sorted(engines) if name not in named]
    yield from ((engines[name], rootless) for name, rootless in order if name in engines)
