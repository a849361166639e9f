"""The entry point: what samebox loads to learn of the Podman engine."""

from __future__ import annotations

from samebox.engine.hookspecs import hookimpl
from samebox_podman.engine import PodmanEngine


@hookimpl
def samebox_register_engine() -> type[PodmanEngine]:
    """Return the engine's class; podman-py is imported when a service is first asked for something."""
    return PodmanEngine
