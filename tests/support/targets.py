"""The real engines that the tests run on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """An engine as these tests reach it, and how each image is called there."""

    name: str
    engine: str
    options: dict[str, Any] = field(default_factory=dict)

    def settings(self, image: str) -> dict[str, Any]:
        """Return the settings of a sandbox with one of the images busybox, debian or scratch."""
        if self.engine == "bubblewrap":
            reference = f"dir:{os.environ['SAMEBOX_TEST_IMAGE_DIR']}/{image}"
        else:
            reference = os.environ[f"SAMEBOX_TEST_IMAGE_{image.upper()}"]
        return {"engine": self.engine, "image": reference, "options": self.options}


def _url(name: str) -> dict[str, Any]:
    url = os.environ.get(f"SAMEBOX_TEST_{name}_URL")
    return {"url": url} if url else {}


TARGETS = (
    Target("bubblewrap", "bubblewrap"),
    Target("docker", "docker", _url("DOCKER")),
    Target("podman", "podman", _url("PODMAN")),
    Target("podman-rootless", "podman", _url("PODMAN_ROOTLESS")),
)
