"""Selection: which engine a config gets, and why not the others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.errors import ConfigError, EngineUnavailableError, SandboxError
from samebox.registry import Registry, registry
from samebox.requirements import check, image_capability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config import SandboxConfig
    from samebox.engine import Engine, EngineInfo

ENGINE = "SAMEBOX_ENGINE"
_NEVER_BY_DEFAULT = "local"


@dataclass(frozen=True, slots=True)
class Selection:
    """An engine that can honour a config."""

    engine: Engine
    info: EngineInfo
    unenforced: Mapping[Capability, str]
    """Default hardening that this host can't enforce, each with the reason."""


def select(config: SandboxConfig, known: Registry | None = None) -> Selection:
    """Return the engine that the config names, or the first usable one that can honour it.

    Args:
        config: `engine` decides; "auto" gives way to the environment's `SAMEBOX_ENGINE`.
        known: The engines; default: those that are installed.

    Raises:
        EngineUnavailableError: The engine named, or every engine, is not usable; the text says what was wrong with
            each and how to get one.
        UnsupportedError: The engine named can't honour the config (and `IsolationError`, `ConfigError`).
    """
    known = known or registry()
    name = config.engine if config.engine != "auto" else os.environ.get(ENGINE) or "auto"
    if name != "auto":
        return _checked(known.get(name)(config.options), config)
    wrong: list[str] = []
    for engine_class, rootless in preference(config, known):
        try:
            engine = engine_class(config.options)
        except ConfigError as error:
            wrong.append(f"{engine_class.name}: {error}")
            continue
        try:
            selection = _checked(engine, config)
        except SandboxError as error:
            line = f"{engine_class.name}: {error}"
            if line not in wrong:
                wrong.append(line)
        else:
            if rootless is None or selection.info.rootless == rootless:
                return selection
        engine.close()
    wrong += [str(failure) for failure in known.failures]
    tried = "\n".join(f"  - {line}" for line in wrong) or "  none is installed"
    msg = (
        f"no usable engine for this config. Tried:\n{tried}\n"
        "Get one: `pip install samebox-bubblewrap` needs no daemon; Docker and Podman need `samebox-docker` or "
        "`samebox-podman` and the engine itself. `samebox engines` tells more."
    )
    raise EngineUnavailableError(msg)


def _checked(engine: Engine, config: SandboxConfig) -> Selection:
    info = engine.probe()
    return Selection(engine, info, check(config, engine, info))


def preference(config: SandboxConfig, known: Registry) -> Iterator[tuple[type[Engine], bool | None]]:
    """Yield engines in the order in which they are tried; the second part, if not None, is whether rootless.

    The embedded engine comes first where no container image is asked for; then rootless Podman, Docker, rootful
    Podman, and third parties by name.
    """
    engines = known.engines
    container = config.build is not None or image_capability(config.image) is Capability.CONTAINER_IMAGE
    order: list[tuple[str, bool | None]] = [] if container else [("bubblewrap", None)]
    order += [("podman", True), ("docker", None), ("podman", False)]
    named = {name for name, _ in order} | {_NEVER_BY_DEFAULT}
    order += [(name, None) for name in sorted(engines) if name not in named]
    yield from ((engines[name], rootless) for name, rootless in order if name in engines)
