"""SandboxStatus from what Docker tells of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.engine import SandboxStatus, State
from samebox_docker.archive_api import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE_LABEL = "samebox.image"
"""The label with the image as the config names it; the container itself is made from an id."""


def status_of(container: Mapping[str, Any]) -> SandboxStatus:
    """Return a sandbox's status.

    Args:
        container: What Docker's inspect says.
    """
    config, state = container.get("Config") or {}, container.get("State") or {}
    labels = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    now = _state(str(state.get("Status")))
    return SandboxStatus(
        id=str(container["Id"]),
        name=str(container["Name"]).removeprefix("/"),
        state=now,
        image=labels.get(IMAGE_LABEL) or str(config.get("Image") or ""),
        labels=labels,
        exit_code=int(state.get("ExitCode", 0)) if now == "stopped" else None,
        out_of_memory=now == "stopped" and bool(state.get("OOMKilled")),
        created=timestamp(str(container["Created"])),
    )


def _state(word: str) -> State:
    if word == "created":
        return "created"
    return "running" if word in {"running", "paused", "restarting"} else "stopped"
