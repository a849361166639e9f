"""Pulls from a real registry: with and without credentials, what is newer, what is missing, and what breaks off."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from pulls import *  # noqa: F403 - its tests and fixtures
from pulls import PullWords
from registry_server import RegistryServer, require_registry
from samebox.config.model import SandboxConfig
from samebox.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pulls import Break
    from samebox_docker.engine import DockerEngine

WORDS = PullWords(
    progress=r"pulling {image}\n(.*\n)?\w+: Pull complete\n(.*\n)?Status: Downloaded newer image for {image}",
    layer=r".*: Downloading$",
    never=r'may not be pulled \(pull="never"\)',
    missing=r"the image '{image}' is not on Docker at {url}: pulling it failed: manifest "
    r".*manifest unknown\. Check its name and tag;",
    private=r"no basic auth credentials.*for a private one run `docker login`",
    unauthorized="pulling it failed: unauthorized: ",
    broken=r"the credentials for \S+ in {logins} could not be used: .*run `docker login \S+` anew",
)


@pytest.fixture
def words() -> PullWords:
    """Return what Docker says."""
    return WORDS


@pytest.fixture(autouse=True)
def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which `docker login` keeps credentials, a test's own."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def start(engine: DockerEngine, raw: Any, tmp_path: Path) -> Iterator[Callable[..., RegistryServer]]:
    """Return what starts a registry; what was pulled from it is removed after the test."""
    require_registry()
    if engine.probe().rootless:
        pytest.skip("a rootless daemon has a loopback of its own")
    addresses: list[str] = []
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> RegistryServer:
            server = stack.enter_context(RegistryServer(tmp_path, **settings))
            addresses.append(server.address)
            return server

        yield start
    names = [name for image in raw.images() for name in (image["RepoTags"] or []) + (image["RepoDigests"] or [])]
    for name in names:
        if name.partition("/")[0] in addresses:
            with contextlib.suppress(docker.errors.NotFound):  # with its tag
                raw.remove_image(name, force=True)


@pytest.fixture
def stored(raw: Any) -> Callable[[str], set[str]]:
    """Return what tells the id of an image, if it is there."""

    def stored(image: str) -> set[str]:
        with contextlib.suppress(docker.errors.ImageNotFound):
            return {raw.inspect_image(image)["Id"]}
        return set()

    return stored


@pytest.mark.timeout(150)  # Docker itself tries five times, 75 seconds in all
def test_a_registry_that_goes_away(
    break_off: Break, engine: DockerEngine, raw: Any, stored: Callable[[str], set[str]]
) -> None:
    """In the middle of a layer: the retries are shown, not counted down, and then it is an error; nothing is left."""
    image, relay = break_off()
    before = {each["Id"] for each in raw.images(all=True)}
    lines: list[str] = []
    with pytest.raises(ImageNotFoundError, match=r"pulling it failed: .*connection refused\. Check its name"):
        engine.ensure_image(SandboxConfig(image=image), lines.append)

    assert relay.broken.is_set()
    assert 1 <= sum("Retrying in " in line for line in lines) <= 5, lines
    assert not [each for each in raw.images(all=True) if each["Id"] not in before and image in (each["RepoTags"] or ())]
    assert not stored(image)
