"""Pulls from a real registry: with and without credentials, what is newer, what is missing, and what breaks off.

By a service of the tests' own, whose settings and credentials nobody else has.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam
from typing import TYPE_CHECKING

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
from samebox import Sandbox
from samebox.config.build import ImageBuild
from samebox.config.model import SandboxConfig
from samebox.errors import ImageNotFoundError
from samebox_podman.engine import PodmanEngine
from testbed.layout import Layout
from testbed.leftovers import remove_tree
from testbed.podman import Podman
from testbed.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIG = 16 << 20


@dataclass(frozen=True)
class Service:
    """A Podman service of the tests' own."""

    url: str
    logins: Path
    """Its auth.json."""


@pytest.fixture(scope="module", params=["rootful", "rootless"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Return a service that trusts registries on loopback, a rootful one and a rootless one in turn."""
    require_registry()
    name = os.environ.get("SAMEBOX_TEST_USER", "")
    if os.geteuid() != 0 or not name or shutil.which("podman") is None:
        found = "only root can start a rootful service and that of SAMEBOX_TEST_USER, and there has to be a podman"
        (pytest.fail if os.environ.get("SAMEBOX_REQUIRE_ENGINES") else pytest.skip)(found)
    user = getpwnam(name)
    directory = Path(tempfile.mkdtemp(prefix="samebox-pulls-"))
    directory.chmod(0o755)
    layout = Layout(directory, directory / "run", name, secrets.token_hex(2))
    layout.home.mkdir()
    os.chown(layout.home, user.pw_uid, user.pw_gid)
    rootless = request.param == "rootless"
    podman = Podman(layout, State(layout.state_file), (user.pw_uid, user.pw_gid) if rootless else None)
    try:
        podman.ensure()
        logins = Path(podman.url.removeprefix("unix://")).parent / "containers" / "auth.json"
        logins.parent.mkdir(exist_ok=True)
        logins.parent.chmod(0o755)
        yield Service(podman.url, logins)
        podman.clean()
    finally:
        podman.stop()
        for file in directory.rglob("pause.pid"):  # what holds a rootless user's namespaces
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        remove_tree(directory)


@pytest.fixture
def engine(service: Service) -> Iterator[PodmanEngine]:
    """Return an engine on the tests' own service."""
    service.logins.unlink(missing_ok=True)
    engine = PodmanEngine({"url": service.url})
    yield engine
    engine.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    """Return a registry that is open to all."""
    with RegistryServer(tmp_path) as server:
        yield server


@pytest.fixture
def private(tmp_path: Path) -> Iterator[RegistryServer]:
    """Return a registry that wants a password."""
    with RegistryServer(tmp_path, private=True) as server:
        yield server


@pytest.fixture
def pull(engine: PodmanEngine) -> Callable[..., tuple[str, list[str]]]:
    """Return what makes an image available, and tells its id and the progress."""

    def pull(image: str, policy: str = "missing") -> tuple[str, list[str]]:
        lines: list[str] = []
        return engine.ensure_image(SandboxConfig.model_validate({"image": image, "pull": policy}), lines.append), lines

    return pull


def images(engine: PodmanEngine) -> set[str]:
    """Return the ids of all images."""
    return {each["Id"] for each in engine.client.json("/images/json", {"all": "true"}) or []}


def put_aside() -> set[str]:
    """Return what services have put aside for pulls."""
    return {path.name for path in Path("/var/tmp").glob("storage*")}


def assert_nothing_new(engine: PodmanEngine, before: tuple[set[str], set[str]]) -> None:
    """Wait until what there was before a pull is all there is; other services put things aside, but not for long."""
    deadline = time.monotonic() + 20
    while left := (images(engine) - before[0]) | (put_aside() - before[1]):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_pull_shows_progress(
    registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]], service: Service
) -> None:
    """An image comes from the registry, layer by layer, once; a sandbox runs it."""
    root = Path(os.environ.get("SAMEBOX_TEST_IMAGE_DIR", ""), "busybox.tar")
    image = registry.push("team/tool", layer("one", root=root), "1.0")
    found, lines = pull(image)

    assert lines[:2] == [f"fetching {image}", f"Trying to pull {image}..."]
    assert any(line.startswith("Copying blob sha256:") for line in lines)
    assert pull(image) == (found, [])
    with Sandbox(engine="podman", image=image, pull="never", options={"url": service.url}) as box:
        assert box.read_text("/mark") == "one"


def test_when_to_pull(registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]]) -> None:
    """A newer image under the same tag: "missing" and "never" don't see it, "always" does."""
    image = registry.push("moving", layer("old"))
    with pytest.raises(ImageNotFoundError, match=r'may not be fetched \(pull="never"\)'):
        pull(image, "never")
    old, _ = pull(image)
    registry.push("moving", layer("new"))

    assert pull(image) == pull(image, "never") == (old, [])
    new, lines = pull(image, "always")
    assert new != old
    assert lines[0] == f"fetching {image}"
    assert pull(image) == (new, [])


def test_platforms(registry: RegistryServer, engine: PodmanEngine, pull: Callable[..., tuple[str, list[str]]]) -> None:
    """Of an image of several platforms the one asked for, whatever is there already; else the service's own."""
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


def test_builds_pull_their_base(registry: RegistryServer, engine: PodmanEngine) -> None:
    """A build pulls what it begins with, anew with pull="always", and then builds anew."""
    image = registry.push("base", layer("old"))
    build = ImageBuild(dockerfile=f"FROM {image}\nLABEL a=b\n")
    found = [engine.build_image(SandboxConfig(build=build), print)]
    registry.push("base", layer("new"))
    found += [engine.build_image(SandboxConfig(build=build, pull=policy), print) for policy in ("missing", "always")]

    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", ["there:2", "nothing:1"])
def test_missing_tag(
    registry: RegistryServer, pull: Callable[..., tuple[str, list[str]]], service: Service, name: str
) -> None:
    """What the registry does not have is told in its words, with the name, the service and what to do."""
    registry.push("there", layer("x"), "1")
    image = f"{registry.address}/{name}"
    with pytest.raises(ImageNotFoundError) as caught:
        pull(image)
    said = str(caught.value)
    assert said.startswith(f"image '{image}' is not on Podman at {service.url}, and fetching {image} failed: ")
    assert "manifest unknown" in said
    assert f"Check the name and the network there (`podman pull {image}` says more" in said


def test_credentials(private: RegistryServer, pull: Callable[..., tuple[str, list[str]]], service: Service) -> None:
    """What `podman login` kept is used; no text has the password."""
    image = private.push("secret", layer("x"))
    with pytest.raises(ImageNotFoundError, match=r"unauthorized: .*`podman login` for a private registry"):
        pull(image)
    auth_file(service.logins, private.address, "wrong-horse")
    with pytest.raises(ImageNotFoundError, match="unauthorized: ") as caught:
        pull(image)
    auth_file(service.logins, private.address)
    said = "\n".join([str(caught.value), *pull(image)[1]])

    for secret in (PASSWORD, "wrong-horse", credentials(), credentials("wrong-horse")):
        assert secret not in said


def test_a_registry_that_goes_away(registry: RegistryServer, engine: PodmanEngine) -> None:
    """In the middle of a layer: an error with Podman's words; nothing hangs, and nothing is left."""
    relay = BreakingRelay(registry.address, BIG // 2)
    image = registry.push("big", layer("x", BIG)).replace(registry.address, relay.address)
    before = images(engine), put_aside()
    started = time.monotonic()
    try:
        with pytest.raises(ImageNotFoundError, match=r"and fetching .* failed: .*(EOF|reset|refused)"):
            engine.ensure_image(SandboxConfig(image=image), print)
    finally:
        relay.close()

    assert relay.broken.is_set()
    assert time.monotonic() - started < 30
    assert_nothing_new(engine, before)


def test_interrupted(registry: RegistryServer, engine: PodmanEngine) -> None:
    """Whoever stops a pull is not held up, and the service does not go on with it."""
    relay = BreakingRelay(registry.address, BIG // 2, stall=True)
    image = registry.push("big", layer("x", BIG)).replace(registry.address, relay.address)
    before = images(engine), put_aside()

    def stop(line: str) -> None:
        if line.startswith("Copying blob"):
            raise KeyboardInterrupt

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.ensure_image(SandboxConfig(image=image), stop)
        assert time.monotonic() - started < 5
        assert_nothing_new(engine, before)
    finally:
        relay.close()
