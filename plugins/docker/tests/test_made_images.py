"""Images that samebox has made on a daemon, and those that it has not made."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from made_images import *  # noqa: F403 - its tests and fixtures
from samebox.config.model import SandboxConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox_docker.engine import DockerEngine


@pytest.fixture
def ids(raw: Any) -> Callable[[], dict[str, str]]:
    """Return what tells the ids of the daemon's images by their names."""
    return lambda: {name: image["Id"] for image in raw.images() for name in image["RepoTags"] or ()}


@pytest.fixture
def tag(raw: Any) -> Callable[[str, str], None]:
    """Return what gives an image another name."""
    return lambda image, name: raw.tag(image, *name.rsplit(":", 1))


@pytest.fixture
def container(raw: Any) -> Iterator[Callable[[str], str]]:
    """Return what makes a container of an image."""
    made: list[str] = []

    def container(image: str) -> str:
        name = f"samebox-theirs-{secrets.token_hex(6)}"
        made.append(raw.create_container(image, ["true"], name=name)["Id"])
        return name

    yield container
    for each in made:
        with contextlib.suppress(docker.errors.NotFound):
            raw.remove_container(each)


@pytest.fixture
def committed(raw: Any, container: Callable[[str], str]) -> Callable[[str, str], str]:
    """Return what makes an image of another one's container."""

    def committed(image: str, name: str) -> str:
        user = container(image)
        made = str(raw.commit(user, *name.rsplit(":", 1))["Id"])
        raw.remove_container(user)
        return made

    return committed


def test_when_an_archive_was_brought(engine: DockerEngine, saved: Path) -> None:
    """Its image says when it was made somewhere else, or nothing: what counts is when it was brought here."""
    before = time.time()
    identity = engine.ensure_image(SandboxConfig(image=f"tar:{saved}"), lambda _line: None)
    (image,) = [image for image in engine.images() if image.id == identity]
    engine.remove_image(identity)
    assert image.created is not None
    assert before - 2 < image.created < time.time() + 2
