"""Status: what Podman tells of a container, as a SandboxStatus."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from samebox.engine import SandboxStatus, State

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    return SandboxStatus(
        id=str(found["Id"]),
        name=str(found["Name"]),
        state=state,
        image=str(found.get("ImageName") or found.get("Image") or ""),
        labels=found["Config"].get("Labels") or {},
        exit_code=int(found["State"]["ExitCode"]) if state == "stopped" else None,
        out_of_memory=bool(found["State"].get("OOMKilled")),
        created=datetime.fromisoformat(found["Created"]).timestamp(),
    )


def listed_status(found: Mapping[str, Any]) -> SandboxStatus:
    """Return the status of a container from one entry of the list, which does not know of memory that ran out."""
    state = _STATES.get(str(found["State"]), "stopped")
    return SandboxStatus(
        id=str(found["Id"]),
        name=str(found["Names"][0]),
        state=state,
        image=str(found.get("Image") or ""),
        labels=found.get("Labels") or {},
        exit_code=int(found["ExitCode"]) if state == "stopped" else None,
        created=datetime.fromisoformat(found["Created"]).timestamp(),
    )
