"""Which service is used, in which order, and what is said where there is none."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samebox.errors import EngineUnavailableError
from samebox_podman import discovery
from samebox_podman.address import Address
from samebox_podman.child import HelperError
from samebox_podman.discovery import find_service
from samebox_podman.options import PodmanOptions
from samebox_podman.service import PrivateService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Service(PrivateService):
    """A private service that starts nothing."""

    def __init__(self, path: str | None = "/usr/bin/podman", error: str = "") -> None:
        super().__init__()
        self._path = path
        self._error = error

    def program(self) -> str | None:  # type: ignore[override]
        """Return what the test says."""
        return self._path

    def ensure(self) -> Address:
        """Return an address, or fail as the test says."""
        if self._error:
            raise HelperError(self._error)
        return Address("unix:///private", "a private service")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home directory without any configuration."""
    home = tmp_path / "home"
    (home / ".config" / "containers").mkdir(parents=True)
    return home


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Return what makes a socket that somebody listens on, and tells its path."""
    sockets = []

    def listening(name: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        sockets.append(server)
        return str(path)

    yield listening
    for each in sockets:
        each.close()


def find(environ: dict[str, str], uid: int = 1000, service: Service | None = None, **options: Any) -> Address:
    """Find the service as that user would."""
    return find_service(PodmanOptions(**options), environ, uid, service or Service())


def connections(home: Path) -> None:
    """Write both files of Podman's command line, which have one name in common."""
    directory = home / ".config" / "containers"
    (directory / "podman-connections.json").write_text(
        json.dumps(
            {
                "Connection": {
                    "Default": "vm",
                    "Connections": {
                        "vm": {"URI": "ssh://core@localhost:2222/run/user/1000/podman/podman.sock", "Identity": "/key"},
                        "both": {"URI": "unix:///json.sock"},
                    },
                }
            }
        )
    )
    (directory / "containers.conf").write_text(
        '[engine.service_destinations.old]\nuri = "tcp://host:1234"\n'
        '[engine.service_destinations.both]\nuri = "unix:///toml.sock"\n'
    )


def test_order(home: Path, tmp_path: Path, listening: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place is used as soon as those before it are not there."""
    connections(home)
    monkeypatch.setattr(discovery, "ROOTFUL_SOCKET", listening("rootful.sock"))
    runtime = tmp_path / "runtime"
    mine = listening("runtime/podman/podman.sock")
    environ = {
        "HOME": str(home),
        "CONTAINER_HOST": "unix:///env.sock",
        "CONTAINER_CONNECTION": "both",
        "XDG_RUNTIME_DIR": str(runtime),
    }
    found = []
    found.append(find(environ, url="unix:///option.sock"))
    found.append(find(environ))
    del environ["CONTAINER_HOST"]
    found.append(find(environ))
    del environ["CONTAINER_CONNECTION"]
    found.append(find(environ))
    Path(mine).unlink()
    found.append(find(environ))
    found.append(find(environ, uid=0))
    assert [address.url for address in found] == [
        "unix:///option.sock",
        "unix:///env.sock",
        "unix:///json.sock",
        f"unix://{mine}",
        "unix:///private",
        f"unix://{discovery.ROOTFUL_SOCKET}",
    ]
    assert [address.source for address in found[:2]] == ["options.url", "CONTAINER_HOST"]
    assert "podman-connections.json, named by CONTAINER_CONNECTION" in found[2].source
    assert found[3].source == "the user's socket in $XDG_RUNTIME_DIR"


def test_the_usual_sockets() -> None:
    """The standard runtime directory is tried once, also when the environment names it."""

    def urls(uid: int, environ: dict[str, str], *, rootless: bool | None = None) -> list[str]:
        options = PodmanOptions(rootless=rootless)
        return [address.url for address in discovery.usual_sockets(options, environ, uid)]

    other = {"XDG_RUNTIME_DIR": "/tmp/run/"}
    assert urls(7, other) == ["unix:///tmp/run/podman/podman.sock", "unix:///run/user/7/podman/podman.sock"]
    assert urls(7, {"XDG_RUNTIME_DIR": "/run/user/7"}) == ["unix:///run/user/7/podman/podman.sock"]
    assert urls(7, {}, rootless=False) == ["unix:///run/podman/podman.sock"]
    assert urls(0, other) == ["unix:///run/podman/podman.sock"]
    assert urls(0, {}, rootless=True) == []


@pytest.mark.parametrize("name", ["vm", "old", "both"])
def test_a_connection_by_name(home: Path, name: str) -> None:
    """A name is looked for in both files; the newer one's word counts."""
    connections(home)
    environ = {"HOME": str(home), "CONTAINER_HOST": "unix:///env.sock"}
    address = find(environ, connection=name)
    expected = {
        "vm": ("ssh://core@localhost:2222/run/user/1000/podman/podman.sock", "/key"),
        "old": ("tcp://host:1234", None),
        "both": ("unix:///json.sock", None),
    }
    assert (address.url, address.identity) == expected[name]
    assert f"the connection {name!r} of " in address.source
    assert address.source.endswith("named by options.connection")


def test_an_unknown_connection_names_the_known_ones(home: Path) -> None:
    """Whoever mistyped a name sees the right ones."""
    connections(home)
    with pytest.raises(EngineUnavailableError) as caught:
        find({"HOME": str(home), "CONTAINER_CONNECTION": "nosuch"})
    assert str(caught.value) == (
        "CONTAINER_CONNECTION names the Podman connection 'nosuch', which is not there; known: both, old, vm. "
        "Add it with `podman system connection add`, or correct the name."
    )


def test_files_that_are_no_configuration_are_told(home: Path) -> None:
    """A broken file does not hide why a name was not found."""
    directory = home / ".config" / "containers"
    (directory / "containers.conf").write_text("[engine\n")
    (directory / "podman-connections.json").write_text('{"Connection": null}')
    with pytest.raises(EngineUnavailableError) as caught:
        find({"HOME": str(home)}, connection="vm")
    assert f"Could not read {directory}/containers.conf: " in str(caught.value)
    assert "known: none" in str(caught.value)


def test_containers_conf_of_the_environment_is_the_only_one(home: Path, tmp_path: Path) -> None:
    """As for Podman, CONTAINERS_CONF stands for every containers.conf."""
    connections(home)
    (tmp_path / "own.conf").write_text('[engine.service_destinations.own]\nuri = "unix:///own.sock"\n')
    environ = {"HOME": str(home), "CONTAINERS_CONF": str(tmp_path / "own.conf")}
    assert find(environ, connection="own").url == "unix:///own.sock"
    with pytest.raises(EngineUnavailableError, match="known: both, own, vm"):
        find(environ, connection="old")


@pytest.mark.parametrize("url", ["npipe://x", "unix://", "tcp://host", "ssh://u:p@host/sock"])
def test_a_wrong_address_of_the_environment(url: str) -> None:
    """The text names the variable and not the password."""
    with pytest.raises(EngineUnavailableError) as caught:
        find({"CONTAINER_HOST": url})
    assert str(caught.value).startswith("CONTAINER_HOST is no address that the Podman engine can use: ")
    assert str(caught.value).endswith("Correct or unset it.")
    assert ":p@" not in str(caught.value)


def test_ssh_key_of_the_environment() -> None:
    """Podman's own variable for the key is heeded."""
    address = find({"CONTAINER_HOST": "ssh://me@host/run/podman.sock", "CONTAINER_SSHKEY": "/my/key"})
    assert address.identity == "/my/key"


def test_nothing_found_lists_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place with what was wrong there, then what to do."""
    monkeypatch.setattr("shutil.which", lambda _name: None)
    runtime = str(tmp_path)
    with pytest.raises(EngineUnavailableError) as caught:
        find({"XDG_RUNTIME_DIR": runtime}, uid=4321, service=Service(None))
    assert str(caught.value) == (
        "no Podman service can be used. Tried:\n"
        f"  - unix://{runtime}/podman/podman.sock (the user's socket in $XDG_RUNTIME_DIR): "
        f"there is no socket {runtime}/podman/podman.sock\n"
        "  - unix:///run/user/4321/podman/podman.sock (the user's socket): "
        "there is no socket /run/user/4321/podman/podman.sock\n"
        "  - a private service: there is no podman program in PATH\n"
        "Install Podman (`apt install podman`, `dnf install podman`, or https://podman.io/docs/installation)."
    )


def test_a_private_service_that_does_not_start_tells_its_words(tmp_path: Path) -> None:
    """Podman's own words are the only ones that help here."""
    with pytest.raises(EngineUnavailableError) as caught:
        find({"XDG_RUNTIME_DIR": str(tmp_path)}, service=Service(error="it ended with exit code 125: no subuids"))
    assert "  - a private service: it ended with exit code 125: no subuids\n" in str(caught.value)
    assert "podman.socket`, or name a service elsewhere with options.url or CONTAINER_HOST." in str(caught.value)


def test_no_private_service_where_it_is_forbidden(tmp_path: Path) -> None:
    """The text says that it was the option."""
    with pytest.raises(EngineUnavailableError, match=r"options\.service=False forbids it"):
        find_service(PodmanOptions(service=False), {"XDG_RUNTIME_DIR": str(tmp_path)}, 1000, Service())


def test_root_has_no_rootless_service_of_its_own() -> None:
    """Nothing is searched: root's own service is never rootless."""
    with pytest.raises(EngineUnavailableError) as caught:
        find({}, uid=0, rootless=True)
    assert "options.rootless=True: root has no rootless Podman of its own" in str(caught.value)
    assert "options.url='unix:///run/user/UID/podman/podman.sock'" in str(caught.value)


def test_a_user_starts_no_rootful_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the other way round."""
    monkeypatch.setattr(discovery, "ROOTFUL_SOCKET", str(tmp_path / "none.sock"))
    with pytest.raises(EngineUnavailableError) as caught:
        find({}, uid=1000, rootless=False)
    assert "an ordinary user can't start a rootful service" in str(caught.value)
    assert "`systemctl enable --now podman.socket`" in str(caught.value)


def test_a_socket_that_nobody_listens_on_is_passed_over(tmp_path: Path, listening: Callable[[str], str]) -> None:
    """A socket left over from a service that has ended is not the end of the search."""
    path = listening("podman/podman.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        Path(path).unlink()
        dead.bind(path)
    assert find({"XDG_RUNTIME_DIR": str(tmp_path)}).url == "unix:///private"
    with pytest.raises(EngineUnavailableError, match=r"podman\.sock is there, but nothing listens on it"):
        find({"XDG_RUNTIME_DIR": str(tmp_path)}, service=Service(None))


def test_a_runtime_takes_the_private_service(listening: Callable[[str], str], tmp_path: Path) -> None:
    """Podman heeds the runtime of a request since 6.0 alone, and a service that is started with it always."""
    listening("runtime/podman/podman.sock")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    usual = f"unix://{tmp_path}/runtime/podman/podman.sock"

    assert find(environ).url == usual
    assert find(environ, runtime="runsc").url == "unix:///private"
    assert find(environ, runtime="runsc", service=Service(None)).url == usual
    assert find_service(PodmanOptions(runtime="runsc", service=False), environ, 1000, Service()).url == usual
    assert find(environ | {"CONTAINER_HOST": "tcp://host:1"}, runtime="runsc").url == "tcp://host:1"
    assert find(environ, runtime="runsc", url="unix:///mine").url == "unix:///mine"
