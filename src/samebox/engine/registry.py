"""Registry: the installed engines, found by pluggy, and the plugins that could not be loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import pluggy

from samebox.config.nearest import nearest
from samebox.engine import hookspecs
from samebox.engine.contract import Engine
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from samebox.config.build import Runtime

GROUP = "samebox"
DISABLED = "SAMEBOX_DISABLED_ENGINES"
_PUBLISHED = ("bubblewrap", "docker", "podman")
"""The engines that come with samebox, each in a distribution of its own."""


@dataclass(frozen=True, slots=True)
class EngineSource:
    """The distribution that an engine comes from."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """A plugin that could not be loaded; other plugins are unharmed."""

    source: EngineSource
    error: str

    def __str__(self) -> str:
        where = f"{self.source.distribution} {self.source.version}"
        return f"engine {self.source.name!r} of {where} could not be loaded: {self.error}"


class Registry:
    """Loads each plugin by itself, so that a plugin that fails hurts no other plugin.

    Args:
        found: The entry points of the group `samebox`; default: the installed entry points.
        disabled: Names of engines to leave out; default: the environment's `SAMEBOX_DISABLED_ENGINES`, separated by
            commas.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None, disabled: Iterable[str] | None = None) -> None:
        if disabled is None:
            disabled = os.environ.get(DISABLED, "").split(",")
        self.disabled = frozenset(name.strip() for name in disabled) - {""}
        self.engines: dict[str, type[Engine]] = {}
        self.sources: dict[str, EngineSource] = {}
        self.failures: list[PluginFailure] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for point in sorted(entry_points(group=GROUP) if found is None else found, key=lambda point: point.name):
            if point.name not in self.disabled:
                self._load(point)

    def _load(self, point: EntryPoint) -> None:
        distribution = point.dist
        source = EngineSource(
            point.name,
            distribution.name if distribution else "an unknown distribution",
            distribution.version if distribution else "",
        )
        try:
            plugin = point.load()
            self._manager.register(plugin, name=point.name)
            self._manager.check_pending()
            registered = [
                hook.function()
                for hook in self._manager.hook.samebox_register_engine.get_hookimpls()
                if hook.plugin is plugin
            ]
            if not registered and hasattr(plugin, "samebox_register_runtimes"):
                return
            if len(registered) != 1 or not (isinstance(registered[0], type) and issubclass(registered[0], Engine)):
                expected = "expected one subclass of samebox.engine.Engine"
                msg = f"its hook samebox_register_engine gave {registered!r}, {expected}"
                raise TypeError(msg)  # noqa: TRY301
            engine = registered[0]
            if engine.name != point.name:
                msg = f"its engine is called {engine.name!r}, the entry point {point.name!r}; they have to be the same"
                raise ValueError(msg)  # noqa: TRY301
            if engine.name in self.engines:
                other = self.sources[engine.name]
                msg = f"{other.distribution} {other.version} has an engine of that name already; uninstall one of them"
                raise ValueError(msg)  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its own trouble
            if self._manager.has_plugin(point.name) and point.name not in self.engines:
                self._manager.unregister(name=point.name)
            self.failures.append(PluginFailure(source, f"{type(error).__name__}: {error}"))
            return
        self.engines[engine.name] = engine
        self.sources[engine.name] = source

    def runtimes(self) -> list[Runtime]:
        """Return the presets of images that plugins register."""
        return [runtime for found in self._manager.hook.samebox_register_runtimes() for runtime in found]

    def get(self, name: str) -> type[Engine]:
        """Return an engine's class.

        Raises:
            ConfigError: There is no engine of that name; the error's text says why, where that is known.
        """
        if name in self.engines:
            return self.engines[name]
        for failure in self.failures:
            if failure.source.name == name:
                raise ConfigError(str(failure))
        if name in self.disabled:
            msg = f"engine {name!r} is disabled by {DISABLED}"
            raise ConfigError(msg)
        if name in _PUBLISHED:
            remedy = f"; `pip install samebox-{name}` brings it"
        else:
            remedy = nearest(name, sorted(self.engines), "installed")
        msg = f"there is no engine {name!r}{remedy}"
        raise ConfigError(msg)


@cache
def registry() -> Registry:
    """Return the registry of the installed engines, made once."""
    return Registry()


def make_engine(name: str, options: Mapping[str, object] | None = None) -> Engine:
    """Make an engine by its name.

    Raises:
        ConfigError: There is no engine of that name, or an option is wrong.
    """
    return registry().get(name)(options)
