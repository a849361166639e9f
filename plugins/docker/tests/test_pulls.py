"""Pulls from a real registry: with and without credentials, what is newer, what is missing, and what breaks off."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest

from registry_server import (
    OTHER,
    OWN,
    PASSWORD,
    BreakingRelay,
    RegistryServer,
    auth_file,
    credentials,
    layer,
    require_registry,
)
from samebox.config.build import ImageBuild
from samebox.config.model import SandboxConfig
from samebox.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox_docker.engine import DockerEngine


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
def registry(start: Callable[..., RegistryServer]) -> RegistryServer:
    """Return a registry that is open to all."""
    return start()


@pytest.fixture
def private(start: Callable[..., RegistryServer]) -> RegistryServer:
    """Return a registry that wants a password."""
    return start(private=True)


@pytest.fixture
def pull(engine: DockerEngine) -> Callable[..., tuple[str, list[str]]]:
    """Return what makes an image available, and tells its id and the progress."""

    def pull(image: str, policy: str = "missing") -> tuple[str, list[str]]:
        lines: list[str] = []
        return engine.ensure_image(SandboxConfig.model_validate({"image": image, "pull": policy}), lines.append), lines

    return pull


def test_pull_shows_progress(
    registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]], make: Callable[..., Sandbox]
) -> None:
    """An image comes from the registry, layer by layer, once; a sandbox runs it."""
    root = Path(os.environ.get("SAMEBOX_TEST_IMAGE_DIR", ""), "busybox.tar")
    image = registry.push("team/tool", layer("one", root=root), "1.0")
    found, lines = pull(image)

    assert lines[0] == f"pulling {image}"
    assert any(line.endswith(": Pull complete") for line in lines)
    assert lines[-1] == f"Status: Downloaded newer image for {image}"
    assert pull(image) == (found, [])
    with make(image=image, pull="never") as box:
        assert box.read_text("/mark") == "one"


def test_when_to_pull(registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]]) -> None:
    """A newer image under the same tag: "missing" and "never" don't see it, "always" does."""
    image = registry.push("moving", layer("old"))
    with pytest.raises(ImageNotFoundError, match=r'may not be pulled \(pull="never"\)'):
        pull(image, "never")
    old, _ = pull(image)
    registry.push("moving", layer("new"))

    assert pull(image) == pull(image, "never") == (old, [])
    new, lines = pull(image, "always")
    assert new != old
    assert f"Status: Downloaded newer image for {image}" in lines
    assert pull(image) == (new, [])


def test_platforms(registry: RegistryServer, engine: DockerEngine, pull: Callable[..., tuple[str, list[str]]]) -> None:
    """Of an image of several platforms the one asked for, whatever is there already; else the daemon's own."""
    image = registry.push_index("many", {OTHER: layer("other"), OWN: layer("own")})
    own, _ = pull(image)
    found = [
        engine.ensure_image(SandboxConfig.model_validate({"image": image, "platform": f"linux/{name}"}), print)
        for name in (OTHER, OTHER, OWN)
    ]
    assert found[0] == found[1] != own
    assert found[2] == own
    with pytest.raises(ImageNotFoundError, match="s390x"):
        engine.ensure_image(SandboxConfig(image=image, platform="linux/s390x"), print)


def test_builds_pull_their_base(registry: RegistryServer, engine: DockerEngine, raw: Any) -> None:
    """A build pulls what it begins with, anew with pull="always", and then builds anew."""
    image = registry.push("base", layer("old"))
    build = ImageBuild(dockerfile=f"FROM {image}\nLABEL a=b\n")
    found = [engine.build_image(SandboxConfig(build=build), print)]
    registry.push("base", layer("new"))
    found += [engine.build_image(SandboxConfig(build=build, pull=policy), print) for policy in ("missing", "always")]
    for built in set(found):
        raw.remove_image(built, force=True)

    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", ["there:2", "nothing:1"])
def test_missing_tag(registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]], url: str, name: str) -> None:
    """What the registry does not have is told in its words, with the name, the daemon and what to do."""
    registry.push("there", layer("x"), "1")
    image = f"{registry.address}/{name}"
    with pytest.raises(ImageNotFoundError) as caught:
        pull(image)
    assert str(caught.value).startswith(f"the image '{image}' is not on Docker at {url}: pulling it failed: manifest ")
    assert "manifest unknown. Check its name and tag;" in str(caught.value)


def test_credentials(private: RegistryServer, pull: Callable[..., tuple[str, list[str]]], docker_config: Path) -> None:
    """What `docker login` kept is used, also when it was kept later; no text has the password."""
    image = private.push("secret", layer("x"))
    said: list[str] = []
    with pytest.raises(ImageNotFoundError, match=r"no basic auth credentials.*for a private one run `docker login`"):
        pull(image)
    auth_file(docker_config, private.address, "wrong-horse")
    with pytest.raises(ImageNotFoundError, match="pulling it failed: unauthorized: ") as caught:
        pull(image)
    said.append(str(caught.value))
    auth_file(docker_config, private.address)
    said += pull(image)[1]

    assert said[-1] == f"Status: Downloaded newer image for {image}"
    for secret in (PASSWORD, "wrong-horse", credentials(), credentials("wrong-horse")):
        assert secret not in "\n".join(said)


@pytest.mark.timeout(150)  # Docker itself tries five times, 75 seconds in all
def test_a_registry_that_goes_away(
    registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]], engine: DockerEngine, raw: Any
) -> None:
    """In the middle of a layer: the retries are shown, not counted down, and then it is an error; nothing is left."""
    relay = BreakingRelay(registry.address, 8 << 20)
    image = registry.push("big", layer("x", 16 << 20)).replace(registry.address, relay.address)
    before = {each["Id"] for each in raw.images(all=True)}
    lines: list[str] = []
    try:
        with pytest.raises(ImageNotFoundError, match=r"pulling it failed: .*connection refused\. Check its name"):
            engine.ensure_image(SandboxConfig(image=image), lines.append)
    finally:
        relay.close()

    assert relay.broken.is_set()
    assert 1 <= sum("Retrying in " in line for line in lines) <= 5, lines
    assert not [each for each in raw.images(all=True) if each["Id"] not in before and image in (each["RepoTags"] or ())]
    with pytest.raises(docker.errors.ImageNotFound):
        raw.inspect_image(image)


def test_interrupted(registry: RegistryServer, engine: DockerEngine, raw: Any) -> None:
    """Whoever stops a pull is not held up, and the daemon does not go on with it."""
    relay = BreakingRelay(registry.address, 8 << 20, stall=True)
    image = registry.push("big", layer("x", 16 << 20)).replace(registry.address, relay.address)

    def stop(line: str) -> None:
        if line.endswith(": Downloading"):
            raise KeyboardInterrupt

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.ensure_image(SandboxConfig(image=image), stop)
    finally:
        relay.close()
    assert time.monotonic() - started < 5
    with pytest.raises(docker.errors.ImageNotFound):
        raw.inspect_image(image)
