"""Status: what Podman tells of a container, as a SandboxStatus."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from samebox.engine import SandboxStatus, State

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE_LABEL = "samebox.image"
"""The label with the image as the config names it: a container is made of an id, and Podman tells any of its names."""

_STATES: dict[str, State] = {
    "configured": "created",
    "created": "created",
    "initialized": "created",
    "running": "running",
    "paused": "running",
    "stopping": "running",
}


def inspected_status(found: Mapping[str, Any]) -> SandboxStatus:
    """Return the status of a container from the answer of inspect."""
    state = _STATES.get(str(found["State"]["Status"]), "stopped")
    labels = found["Config"].get("Labels") or {}
    return SandboxStatus(
        id=str(found["Id"]),
        name=str(found["Name"]),
        state=state,
        image=labels.get(IMAGE_LABEL) or str(found.get("ImageName") or ""),
        labels=labels,
        exit_code=int(found["State"]["ExitCode"]) if state == "stopped" else None,
        out_of_memory=state == "stopped" and bool(found["State"].get("OOMKilled")),
        created=datetime.fromisoformat(found["Created"]).timestamp(),
    )


def listed_status(found: Mapping[str, Any]) -> SandboxStatus:
    """Return the status of a container from one entry of the list, which does not know of memory that ran out."""
    state = _STATES.get(str(found["State"]), "stopped")
    labels = found.get("Labels") or {}
    return SandboxStatus(
        id=str(found["Id"]),
        name=str(found["Names"][0]),
        state=state,
        image=labels.get(IMAGE_LABEL) or str(found.get("Image") or ""),
        labels=labels,
        exit_code=int(found["ExitCode"]) if state == "stopped" else None,
        created=datetime.fromisoformat(found["Created"]).timestamp(),
    )
