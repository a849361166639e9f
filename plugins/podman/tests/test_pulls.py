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
from typing import TYPE_CHECKING, Any

import pytest

from pulls import *  # noqa: F403 - its tests and fixtures
from pulls import PullWords, assert_nothing_new
from real_engine import not_here
from registry_server import RegistryServer, require_registry
from samebox.config.model import SandboxConfig
from samebox.errors import ImageNotFoundError
from testbed.layout import Layout
from testbed.leftovers import remove_tree
from testbed.podman import Podman
from testbed.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulls import Break
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

WORDS = PullWords(
    progress=r"fetching {image}\nTrying to pull {image}\.\.\.\n(.*\n)?Copying blob sha256:.*",
    layer="Copying blob",
    never=r'may not be fetched \(pull="never"\)',
    missing=r"image '{image}' is not on Podman at {url}, and fetching {image} failed: "
    r".*manifest unknown.*Check the name and the network there \(`podman pull {image}` says more",
    private=r"unauthorized: .*`podman login` for a private registry",
    unauthorized="unauthorized: ",
    # What it takes for none, it says nothing of.
    broken=r"the credentials for \S+ that the service has could not be used: .*auth\.json, or run `podman login \S+` "
    r"anew"
    r"|unauthorized: authentication required\. .*`podman login` for a private registry",
)


@pytest.fixture
def words() -> PullWords:
    """Return what Podman says."""
    return WORDS


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
        not_here("only root can start a rootful service and that of SAMEBOX_TEST_USER, and there has to be a podman")
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
def url(service: Service) -> str:
    """Return the address of the tests' own service, which knows no credentials."""
    service.logins.unlink(missing_ok=True)
    return service.url


@pytest.fixture
def logins(service: Service) -> Path:
    """Return the file in which `podman login` keeps credentials."""
    return service.logins


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RegistryServer]]:
    """Return what starts a registry."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> RegistryServer:
            return stack.enter_context(RegistryServer(tmp_path, **settings))

        yield start


@pytest.fixture
def stored(client: PodmanClient) -> Callable[[str], set[str]]:
    """Return what tells the ids of all images, and what services have put aside for pulls."""

    def stored(_image: str) -> set[str]:
        images = {each["Id"] for each in client.json("/images/json", {"all": "true"}) or []}
        return images | {path.name for path in Path("/var/tmp").glob("storage*")}

    return stored


def test_a_registry_that_goes_away(break_off: Break, engine: PodmanEngine, stored: Callable[[str], set[str]]) -> None:
    """In the middle of a layer: an error with Podman's words; nothing hangs, and nothing is left."""
    image, relay = break_off()
    before = stored(image)
    started = time.monotonic()
    with pytest.raises(ImageNotFoundError, match=r"and fetching .* failed: .*(EOF|reset|refused)"):
        engine.ensure_image(SandboxConfig(image=image), print)

    assert relay.broken.is_set()
    assert time.monotonic() - started < 30
    assert_nothing_new(stored, image, before)
