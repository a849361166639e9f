"""The forms of an image's reference, and the capability that each asks of an engine."""

from __future__ import annotations

from samebox.capabilities import Capability


def image_capability(image: str | None) -> Capability | None:
    """Return what an image reference asks of an engine; None for the engine's default."""
    if image is None:
        return None
    if image == "host":
        return Capability.HOST_IMAGE
    if image.startswith("dir:"):
        return Capability.DIRECTORY_IMAGE
    return Capability.ARCHIVE_IMAGE if image.startswith("tar:") else Capability.CONTAINER_IMAGE
