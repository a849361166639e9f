"""The entry point: what samebox loads to learn of the Docker engine."""

from __future__ import annotations

from samebox.engine.hookspecs import hookimpl
from samebox_docker.engine import DockerEngine


@hookimpl
def samebox_register_engine() -> type[DockerEngine]:
    """Return the engine's class; docker-py is imported when a daemon is first asked for something."""
    return DockerEngine
