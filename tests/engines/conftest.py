"""The real engines that these tests run on.

With SAMEBOX_REQUIRE_ENGINES, one that can't be reached is a failure, never a skip.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from samebox import SandboxError
from samebox.registry import make_engine


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


@pytest.fixture(scope="session", params=TARGETS, ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Target:
    """Each engine in turn."""
    found: Target = request.param
    engine = make_engine(found.engine, found.options)
    trouble = "" if "SAMEBOX_TEST_IMAGE_DIR" in os.environ else "run the tests by tools/engines.py run -- ..."
    try:
        engine.probe()
    except SandboxError as error:
        trouble = str(error)
    finally:
        engine.close()
    if trouble and os.environ.get("SAMEBOX_REQUIRE_ENGINES"):
        pytest.fail(f"{found.name} has to be reached: {trouble}")
    if trouble:
        pytest.skip(f"{found.name}: {trouble}")
    return found
