"""ImageStatus: an image that samebox has made on an engine, how one is found among them, and why one is not removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from samebox.errors import EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

BUILDS = "localhost/samebox-build"
"""The repository of images that were built; an image's tag is the digest of what it was built from."""
ImageKind = Literal["archive", "build", "directory", "snapshot"]


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """The engine's facts about one image that samebox has made there: a build, a snapshot, or an import of files."""

    id: str
    kind: ImageKind
    """What the image was made of: a `tar:` or `dir:` of the host, a build, or a sandbox's files."""
    names: tuple[str, ...] = ()
    """The names that samebox gave, as `image` takes them, without ":latest"; none where another image has got them."""
    size: int = 0
    """The size of the image's files in bytes, with those that the image shares with others."""
    created: float | None = None
    """When the image was made here, in seconds since 1970; on Podman for an archive of an image what the archive says;
    None: not known."""
    used: float | None = None
    """When a sandbox was last made of the image, in seconds since 1970; None: not known."""
    used_by: tuple[str, ...] = ()
    """The names of sandboxes and containers that have the image, stopped ones included."""

    @property
    def last_used(self) -> float | None:
        """When the image was made or last used, whatever was later, in seconds since 1970; None: not known."""
        return max(filter(None, (self.created, self.used)), default=None)

    def called(self, name: str) -> bool:
        """Return whether a name, or an id, is the image's."""
        return name == self.id or name.removesuffix(":latest") in self.names


def find_image(images: Iterable[ImageStatus], name: str, engine: str) -> ImageStatus:
    """Return the image of a name or an id.

    Args:
        images: The images that samebox has made.
        name: The name or id.
        engine: Which engine and where, for the error.

    Raises:
        ImageNotFoundError: There is none.
    """
    for image in images:
        if image.called(name):
            return image
    msg = f"there is no image {name!r} that samebox made on {engine}; `samebox images` lists those that there are"
    raise ImageNotFoundError(msg)


def in_use(name: str, engine: str, users: Iterable[str]) -> EngineError:
    """Return the error for an image that is not removed because it is in use.

    Args:
        name: What was to be removed.
        engine: Which engine and where.
        users: The names of the sandboxes that have the image.
    """
    return EngineError(f"the image {name!r} on {engine} is in use by {', '.join(users)}; remove that first")
