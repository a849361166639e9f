"""The hooks that a plugin implements: one that registers its engine, and one that registers presets of images.

A plugin is a distribution with an entry point in the group `samebox`. The entry point is named like the plugin's engine
and leads to a module with

    from samebox.engine.hookspecs import hookimpl

    @hookimpl
    def samebox_register_engine():
        return MyEngine
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samebox.config.build import Runtime
    from samebox.engine.contract import Engine

PROJECT = "samebox"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def samebox_register_engine() -> type[Engine]:
    """Return the engine's class. The hook must neither contact the engine nor import its client library."""
    raise NotImplementedError


@hookspec
def samebox_register_runtimes() -> Sequence[Runtime]:
    """Return presets for `SandboxConfig.build`, beside those of the core; a plugin may have this hook alone."""
    raise NotImplementedError
