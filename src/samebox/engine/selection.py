"""Selection: the choice of an engine for a config, and the reasons against the other engines."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability, Isolation
from samebox.config.model import STRONGEST
from samebox.config.reference import image_capability
from samebox.engine.registry import Registry, registry
from samebox.engine.requirements import check, weakest
from samebox.errors import EngineUnavailableError, IsolationError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from samebox.config.model import SandboxConfig
    from samebox.engine.contract import Engine, EngineInfo

_log = logging.getLogger("samebox.engine")
ENGINE = "SAMEBOX_ENGINE"
_NEVER_BY_DEFAULT = "local"
_INSTALL = {
    Isolation.USER_KERNEL: (
        "gVisor gives the tier user-kernel: install its runsc (https://gvisor.dev/docs/user_guide/install/); `runsc "
        "install` tells Docker's daemon of it, and Podman finds it as /usr/bin/runsc"
    ),
    Isolation.VM: (
        "Kata Containers give the tier vm (https://katacontainers.io/docs/): name their runtime in the daemon.json of "
        "Docker, or in the containers.conf of Podman"
    ),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """An engine that can honour a config."""

    engine: Engine
    info: EngineInfo
    unenforced: Mapping[Capability, str]
    """The default hardening that the engine can't enforce on this host, each capability with the reason."""
    added: str = ""
    """The options that were added to those of the config for a stronger wall, in words."""


class Choice:
    """The engines that a config may get, the best engine first.

    That is the first in the order of preference whose wall is as strong as the config asks; an engine that has stronger
    walls by options of its own is taken with the weakest that will do. With `isolation="strongest"` it is the one with
    the strongest wall, and among equals the one that lacks least of the default hardening.

    Args:
        config: The config, whose `engine` decides; "auto" gives way to the environment's `SAMEBOX_ENGINE`.
        known: The engines to choose from; default: the installed engines.
    """

    def __init__(self, config: SandboxConfig, known: Registry | None = None) -> None:
        self._known = known or registry()
        self._config = config
        self._wrong: list[tuple[str, SandboxError]] = []
        name = config.engine if config.engine != "auto" else os.environ.get(ENGINE) or "auto"
        self._named = name != "auto"
        self._left = self._strongest(name) if config.isolation == STRONGEST else self._in_order(name)
        self._given = ""

    def next(self, refused: SandboxError | None = None) -> Selection:
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
            self._note(self._given, refused)
        if (selection := next(self._left, None)) is not None:
            self._given = selection.engine.name
            info = selection.info
            _log.info("took %s %s, isolation %s", info.name, info.version, info.isolation)
            return selection
        if self._named:
            raise refused or self._wrong[0][1]
        lines = dict.fromkeys([f"{name}: {error}" for name, error in self._wrong])
        tried = "\n".join(f"  - {line}" for line in [*lines, *map(str, self._known.failures)])
        strength = _how_to_get(weakest(self._config))
        msg = (
            f"no usable engine for this config. Tried:\n{tried or '  none is installed'}\n"
            "Get one: `pip install samebox-bubblewrap` needs no daemon; Docker and Podman need `samebox-docker` or "
            f"`samebox-podman` and the engine itself. {strength}`samebox engines` tells more."
        )
        raise EngineUnavailableError(msg)

    def _classes(self, name: str) -> Iterator[tuple[type[Engine], bool | None]]:
        if self._named:
            yield self._known.get(name), None
        else:
            yield from preference(self._config, self._known)

    def _in_order(self, name: str) -> Iterator[Selection]:
        """Yield each engine that is strong enough, with what its options say or else with the weakest wall that is."""
        for engine_class, rootless in self._classes(name):
            try:
                for selection in _strong_enough(engine_class, self._config, named=self._named):
                    if rootless is None or selection.info.rootless == rootless:
                        yield selection  # who gets the selection closes its engine
                    else:
                        selection.engine.close()
            except SandboxError as error:
                self._note(engine_class.name, error)

    def _strongest(self, name: str) -> Iterator[Selection]:
        """Yield every engine with each of its walls, the strongest first."""
        found: list[tuple[Selection, type[Engine], Mapping[str, Any]]] = []
        for engine_class, rootless in self._classes(name):
            every: Sequence[Mapping[str, Any]] = [self._config.options]
            with self._noting(engine_class):
                every = [*every, *_stronger(engine_class, self._config)]
            for options in every:
                with self._noting(engine_class):
                    selection = _opened(engine_class, options, self._config)
                    selection.engine.close()
                    if rootless is None or selection.info.rootless == rootless:
                        found.append((selection, engine_class, options))
        found.sort(key=lambda offer: (-offer[0].info.isolation.rank, len(offer[0].unenforced)))
        for _, engine_class, options in found:
            with self._noting(engine_class):
                yield _opened(engine_class, options, self._config)

    def _note(self, name: str, error: SandboxError) -> None:
        _log.info("passed over %s: %s", name, error)
        self._wrong.append((name, error))

    @contextlib.contextmanager
    def _noting(self, engine_class: type[Engine]) -> Iterator[None]:
        try:
            yield
        except SandboxError as error:
            self._note(engine_class.name, error)


def select(config: SandboxConfig, known: Registry | None = None) -> Selection:
    """Return the engine that the config names, or the first usable engine that can honour the config; see `Choice`."""
    return Choice(config, known).next()


def _opened(engine_class: type[Engine], options: Mapping[str, Any], config: SandboxConfig) -> Selection:
    """Return the engine with some options, or close it again and raise why it can't honour the config."""
    engine = engine_class(options)
    try:
        info = engine.probe()
        return Selection(engine, info, check(config, engine, info), _added(options, config))
    except BaseException:
        engine.close()
        raise


def _added(options: Mapping[str, Any], config: SandboxConfig) -> str:
    """Return in words the options that are not the config's own."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items() if name not in config.options)


def _stronger(engine_class: type[Engine], config: SandboxConfig) -> list[dict[str, Any]]:
    """Return the options with which an engine has a stronger wall, the config's own included."""
    with contextlib.closing(engine_class(config.options)) as engine:
        return [{**config.options, **more} for more in engine.stronger()]


def _strong_enough(engine_class: type[Engine], config: SandboxConfig, *, named: bool) -> Iterator[Selection]:
    """Yield an engine with what the config's options say or else, the weakest first, with walls that are strong enough.

    Raises:
        IsolationError: It has none; the error's text has what was wrong with those it has.
        SandboxError: It can't be used, or can't honour the config.
    """
    try:
        selection = _opened(engine_class, config.options, config)
    except IsolationError as error:
        weak = error
    else:
        yield selection
        return
    wrong: list[str] = []
    tiers, enough, found = {weak.tier}, False, False
    for options in _stronger(engine_class, config):
        more = _added(options, config)
        try:
            selection = _opened(engine_class, options, config)
        except IsolationError as error:
            tiers.add(error.tier)
            wrong.append(f"with {more} at the tier {error.tier}")
        except SandboxError as error:
            enough = True
            wrong.append(f"and not with {more}: {error}")
        else:
            found = True
            yield selection
    if not found:
        offers = ", ".join(wrong) or "with these options it has no stronger wall"
        msg = f"{weak}; {offers}; choose another engine, or accept less with isolation={max(tiers).value!r}"
        remedy = "" if enough or not named else f". {_how_to_get(weakest(config))}".rstrip(". ")
        raise IsolationError(msg + remedy, max(tiers))


def _how_to_get(tier: Isolation) -> str:
    """Return how a tier beyond those of ordinary containers is had, as a sentence and a space; else ""."""
    return f"{_INSTALL[tier]}. " if tier in _INSTALL else ""


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
