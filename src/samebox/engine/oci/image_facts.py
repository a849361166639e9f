"""ImageFacts: what an image says about the containers made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.status import text_labels
from samebox.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image says about the containers made from it."""

    id: str
    architecture: str = ""
    user: str = ""
    """The user that it names; "" is root."""
    volumes: tuple[str, ...] = ()
    """Paths of its volumes."""
    platform: str = ""
    """As linux/arm64/v8; Podman does not tell the variant."""
    labels: Mapping[str, str] = field(default_factory=dict)
    variables: frozenset[str] = frozenset()
    """The names of the environment variables that it sets."""

    def fits(self, platform: str | None) -> bool:
        """Tell whether it is of a platform; where no variant is asked for, each does."""
        own = self.platform.replace("arm64/v8", "arm64")  # there is no other
        return platform is None or f"{own}/".startswith(platform.replace("arm64/v8", "arm64") + "/")

    def check_platform(self, reference: str, platform: str | None) -> None:
        """Check that it is of the platform asked for, if any.

        Raises:
            ImageNotFoundError: It is of another one.
        """
        if not self.fits(platform):
            msg = f"the image {reference!r} is of {self.platform}, and {platform} is asked for"
            raise ImageNotFoundError(msg)


def image_facts(found: Mapping[str, Any]) -> ImageFacts:
    """Return what an image says, from the answer of inspect, which Docker and Podman give in the same words."""
    config = found.get("Config") or {}
    volumes = (str(path).strip("/") for path in config.get("Volumes") or ())
    return ImageFacts(
        id=str(found["Id"]),
        architecture=str(found.get("Architecture") or ""),
        user=str(config.get("User") or ""),
        volumes=tuple(sorted(f"/{path}" for path in volumes if path)),
        platform="/".join(str(found[key]) for key in ("Os", "Architecture", "Variant") if found.get(key)),
        labels=text_labels(config),
        variables=frozenset(str(entry).partition("=")[0] for entry in config.get("Env") or ()),
    )
