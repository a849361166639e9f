"""References of images: what each form asks of an engine, and the names that an image may get."""

from __future__ import annotations

import re

from samebox.capabilities import Capability
from samebox.errors import ConfigError

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d)|\[[0-9a-fA-F:]+\])(?::\d+)?"
_NEW_NAME = re.compile(rf"(?:{_REGISTRY}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?", re.ASCII)


def check_new_name(image: str) -> None:
    """Check the name for an image that is made, as every engine reads it.

    Raises:
        ConfigError: It is none, or has a digest.
    """
    if "@" in image:
        raise ConfigError(f"an image that is made has a name and tag, and no digest: {image!r}")
    if not _NEW_NAME.fullmatch(image):
        msg = f"an image's name is as name:tag, in lower case letters, digits, '.', '_', '-' and '/', not {image!r}"
        raise ConfigError(msg)


def image_capability(image: str | None) -> Capability | None:
    """Return the capability that an image's reference asks of an engine; None for the engine's default image."""
    if image is None:
        return None
    if image == "host":
        return Capability.HOST_IMAGE
    if image.startswith("dir:"):
        return Capability.DIRECTORY_IMAGE
    return Capability.ARCHIVE_IMAGE if image.startswith("tar:") else Capability.CONTAINER_IMAGE
