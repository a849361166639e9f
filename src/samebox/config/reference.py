"""image_capability: the capability that each form of an image's reference asks of an engine."""

from __future__ import annotations

from samebox.capabilities import Capability


def image_capability(image: str | None) -> Capability | None:
    """Return the capability that an image's reference asks of an engine; None for the engine's default image."""
    if image is None:
        return None
    if image == "host":
        return Capability.HOST_IMAGE
    if image.startswith("dir:"):
        return Capability.DIRECTORY_IMAGE
    return Capability.ARCHIVE_IMAGE if image.startswith("tar:") else Capability.CONTAINER_IMAGE
