"""SandboxStatus and the published ports, from what Docker and Podman tell of a container in the same words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from samebox.config.ports import HostPort
from samebox.engine.contract import SandboxStatus, State
from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox.config.model import SandboxConfig

IMAGE_LABEL = "samebox.image"
"""The label with the image as the config names it; the container itself is made from an id, which has many names."""
_KILLED = 137
"""The exit code of a process that died of SIGKILL."""
_STATES: dict[str, State] = {
    "configured": "created",
    "created": "created",
    "initialized": "created",
    "paused": "running",
    "restarting": "running",
    "running": "running",
    "stopping": "running",
}


def image_label(config: SandboxConfig, default: str | None, image: str) -> dict[str, str]:
    """Return the label with the image of a sandbox.

    Args:
        config: What the sandbox is asked to be.
        default: The engine's default image.
        image: The image's id, for one that was built.
    """
    named = config.image or (None if config.build is not None else default)
    return {IMAGE_LABEL: named or image}


def container_state(word: str) -> State:
    """Return a container's state from its service's word for it."""
    return _STATES.get(word, "stopped")


def timestamp(text: str) -> float:
    """Return a time in RFC 3339 (nanoseconds, Z) as seconds since 1970."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def text_labels(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of what a service tells about a container, an image or a volume."""
    return {str(name): str(value) for name, value in (found.get("Labels") or {}).items()}


def inspected_status(found: Mapping[str, Any]) -> SandboxStatus:
    """Return the status of a container from the answer of inspect."""
    config, state = found.get("Config") or {}, found.get("State") or {}
    labels = text_labels(config)
    now = container_state(str(state.get("Status")))
    code = int(state.get("ExitCode", 0)) if now == "stopped" else None
    return SandboxStatus(
        id=str(found["Id"]),
        name=str(found["Name"]).removeprefix("/"),
        state=now,
        image=labels.get(IMAGE_LABEL) or str(found.get("ImageName") or config.get("Image") or ""),
        labels=labels,
        exit_code=code,
        # OOMKilled is said of any process; it is the first one's end that is told here.
        out_of_memory=code == _KILLED and bool(state.get("OOMKilled")),
        created=timestamp(str(found["Created"])),
        paused=state.get("Status") == "paused",
    )


def published_port(found: Mapping[str, Any], sandbox_id: str, port: str) -> HostPort:
    """Return where on the service's host a published port of a container is.

    Args:
        found: The answer of inspect.
        sandbox_id: Which sandbox, for errors.
        port: As "80/tcp".

    Raises:
        EngineError: The port is not published, or the container does not run.
    """
    asked = (found.get("HostConfig") or {}).get("PortBindings") or {}
    # What was asked for may be any free port; what it has become is told in another place.
    bound = (found.get("NetworkSettings") or {}).get("Ports") or asked
    if asked.get(port) and container_state(str(found["State"]["Status"])) != "running":
        msg = f"port {port} of the sandbox {sandbox_id!r} is not open: the sandbox does not run"
        raise EngineError(msg)
    for where in bound.get(port) or ():
        return HostPort(address=str(where["HostIp"]), port=int(where["HostPort"] or 0))
    published = ", ".join(sorted(each for each, where in bound.items() if where)) or "none"
    msg = f"port {port} of the sandbox {sandbox_id!r} is not published; published are: {published}"
    raise EngineError(msg)
