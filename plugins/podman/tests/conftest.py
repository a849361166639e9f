"""What the tests of the Podman engine share: real services, and sandboxes that leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self

import pytest

from real_engine import address, busybox, name, sandboxes
from samebox.engine.registry import registry
from samebox_podman.engine import PodmanEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient

__all__ = ["busybox", "name"]

SERVICES = {"rootful": "SAMEBOX_TEST_PODMAN_URL", "rootless": "SAMEBOX_TEST_PODMAN_ROOTLESS_URL"}


@pytest.fixture(params=list(SERVICES))
def url(request: pytest.FixtureRequest) -> str:
    """Return the address of a real service, a rootful one and a rootless one in turn."""
    return address(SERVICES[request.param], f"{request.param} Podman")


@pytest.fixture
def engine(url: str) -> Iterator[PodmanEngine]:
    """Return an engine on a real service."""
    with contextlib.closing(PodmanEngine({"url": url})) as engine:
        yield engine


@pytest.fixture
def client(engine: PodmanEngine) -> PodmanClient:
    """Return the engine's client."""
    return engine.client


@pytest.fixture
def remove_image(client: PodmanClient) -> Callable[[str], None]:
    """Return what removes an image, if it is there."""

    def remove_image(image: str) -> None:
        client.call("delete", f"/images/{image}", params={"force": "true"}, accept=(404, 409, 500))

    return remove_image


@pytest.fixture
def make(url: str, busybox: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sandbox]:
    """Return what makes a Sandbox on the real service; the test enters it."""
    monkeypatch.setitem(registry().engines, "podman", PodmanEngine)
    return sandboxes("podman", url, busybox)


@pytest.fixture
def volumes(client: PodmanClient) -> Callable[[], set[str]]:
    """Return what tells the names of the service's anonymous volumes."""

    def volumes() -> set[str]:
        return {each["Name"] for each in client.json("/volumes/json") or [] if each.get("Anonymous")}

    return volumes


Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class FakePodman:
    """A service that answers as a test says, for what a real one does not do on demand.

    It answers each call from `answers`, by method and the path below /libpod; what is not there is 404.

    Args:
        path: The socket.
    """

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.answers: dict[str, Answer] = {"GET /_ping": (200, "OK", {"Libpod-Api-Version": "5.8.2"})}
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                own = self.path.partition("/libpod")[2]
                # The API that is Docker's has no such part.
                path = own or "/compat/" + self.path.lstrip("/").partition("/")[2]
                call = f"{self.command} {path.partition('?')[0]}"
                fake.calls.append(call)
                if self.headers.get("Content-Type") == "application/json":
                    fake.bodies.append(json.loads(body))
                status, content, *headers = fake.answers.get(call, (404, {"message": "no such container"}))
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                for header, value in (headers[0] if headers else {}).items():
                    self.send_header(header, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815 - as BaseHTTPRequestHandler calls them

            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakePodman]:
    """Return a service that answers as the test says."""
    with FakePodman(tmp_path / "fake.sock") as fake:
        security = {"rootless": False, "seccompEnabled": True, "apparmorEnabled": True, "selinuxEnabled": True}
        host = {"security": security, "cgroupVersion": "v2", "cgroupControllers": ["cpu", "memory", "pids"]}
        store = {"graphDriverName": "btrfs"}
        fake.answers["GET /info"] = (200, {"host": host, "store": store, "version": {"Version": "5.8.2"}})
        yield fake
