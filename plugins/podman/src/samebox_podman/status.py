"""Status: what Podman's list tells of a container, as a SandboxStatus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.engine import SandboxStatus
from samebox.engine.oci.status import IMAGE_LABEL, container_state, text_labels, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping


def listed_status(found: Mapping[str, Any]) -> SandboxStatus:
    """Return the status of a container from one entry of the list, which does not know of memory that ran out."""
    state = container_state(str(found["State"]))
    labels = text_labels(found)
    return SandboxStatus(
        id=str(found["Id"]),
        name=str(found["Names"][0]),
        state=state,
        image=labels.get(IMAGE_LABEL) or str(found.get("Image") or ""),
        labels=labels,
        exit_code=int(found["ExitCode"]) if state == "stopped" else None,
        created=timestamp(str(found["Created"])),
        paused=found["State"] == "paused",
    )
