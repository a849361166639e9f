"""The plugin: hands samebox the engine's class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.engine.hookspecs import hookimpl

if TYPE_CHECKING:
    from samebox.engine import Engine


@hookimpl
def samebox_register_engine() -> type[Engine]:
    """Return the engine's class."""
    from samebox_bubblewrap.engine import BubblewrapEngine  # noqa: PLC0415 - only when engines are asked for

    return BubblewrapEngine
