"""Images that samebox has made on a service, and those that it has not made."""

from __future__ import annotations

import secrets
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from made_images import *  # noqa: F403 - its tests and fixtures
from samebox.engine.oci.refusal import RefusedError
from samebox_podman import local_images
from samebox_podman.containers import remove_container
from samebox_podman.engine import PodmanEngine
from samebox_podman.images import tag_image
from samebox_podman.local_images import LocalImages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox_podman.client import PodmanClient


@pytest.fixture
def ids(client: PodmanClient) -> Callable[[], dict[str, str]]:
    """Return what tells the ids of the service's images by their names."""
    images = LocalImages(client, "")
    return lambda: {name: image["Id"] for image in images.images() for name in image["RepoTags"] or ()}


@pytest.fixture
def tag(client: PodmanClient) -> Callable[[str, str], None]:
    """Return what gives an image another name."""
    return lambda image, name: tag_image(client, image, name)


@pytest.fixture
def container(client: PodmanClient) -> Iterator[Callable[[str], str]]:
    """Return what makes a container of an image."""
    made: list[str] = []

    def container(image: str) -> str:
        name = f"samebox-theirs-{secrets.token_hex(6)}"
        body = {"image": image, "name": name, "command": ["true"], "netns": {"nsmode": "none"}}
        made.append(client.json("/containers/create", method="post", body=body)["Id"])
        return name

    yield container
    for each in made:
        remove_container(client, each)


@pytest.fixture
def committed(client: PodmanClient, container: Callable[[str], str]) -> Callable[[str, str], str]:
    """Return what makes an image of another one's container."""

    def committed(image: str, name: str) -> str:
        repository, _, word = name.rpartition(":")
        user = container(image)
        params = {"container": user, "repo": repository, "tag": word}
        made = str(client.json("/commit", params, method="post")["Id"])
        remove_container(client, user)
        return made

    return committed


def test_a_list_in_which_an_image_is_removed(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman fails at the whole list then: it is asked for again, for some time; other failures are told at once."""
    row = {"Id": "a" * 64, "RepoTags": ["localhost/samebox-build:x"], "Labels": None, "Created": 5, "Size": 7}
    fake.answers["GET /containers/json"] = (200, [])
    gone = (500, {"message": "retrieving label for image: locating image with ID: image not known"})

    def sleep(_seconds: float) -> None:
        fake.answers["GET /images/json"] = (200, [row])

    fake.answers["GET /images/json"] = gone
    engine = PodmanEngine({"url": fake.url})
    with monkeypatch.context() as patch:
        patch.setattr(local_images, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        (image,) = engine.images()
    assert (image.names, image.size, image.created) == (("localhost/samebox-build:x",), 7, 5.0)
    for answer, within in ((gone, 0.1), ((500, {"message": "database is locked"}), 3600.0)):
        fake.answers["GET /images/json"] = answer
        monkeypatch.setattr(local_images, "LIST_WITHIN", within)
        with pytest.raises(RefusedError, match=answer[1]["message"]):
            engine.images()
    engine.close()
