"""What the tests of the Docker engine share: a real daemon, ways to reach it, sandboxes that leave nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import pytest

from real_engine import address, busybox, name, sandboxes
from samebox.capabilities import Capability
from samebox.engine.program import AgentProgram, agent_program
from samebox_docker.engine import DockerEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox

__all__ = ["busybox", "name"]


class Relay:
    """Carries connections to a daemon, as one that listens on TCP would have them.

    Args:
        path: The daemon's socket.
        tls: How to speak TLS; None: plainly.
    """

    def __init__(self, path: str, tls: ssl.SSLContext | None = None) -> None:
        self._path, self._tls = path, tls
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End the port and all its connections."""
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in list(self._threads):
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        self._open.append(client)
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._open.append(client)
            daemon = socket.socket(socket.AF_UNIX)
            self._open.append(daemon)
            daemon.connect(self._path)
        except OSError:
            client.close()
            return
        self._start(self._copy, daemon, client)
        self._copy(client, daemon)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _no_address_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the machine's own Docker settings say out of the tests."""
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def url() -> str:
    """Return the address of a real daemon."""
    return address("SAMEBOX_TEST_DOCKER_URL", "Docker")


@pytest.fixture
def relay(url: str) -> Iterator[Callable[..., Relay]]:
    """Return what opens a TCP port of this machine that leads to the daemon."""
    opened: list[Relay] = []

    def relay(*, tls: Any = None) -> Relay:
        opened.append(Relay(url.removeprefix("unix://"), tls))
        return opened[-1]

    yield relay
    for each in opened:
        each.close()


@pytest.fixture
def scratch() -> str:
    """Return the name of an image without a shell."""
    return os.environ.get("SAMEBOX_TEST_IMAGE_SCRATCH", "localhost/samebox-scratch:latest")


@pytest.fixture
def raw(url: str) -> Iterator[Any]:
    """Return a client of the daemon, to look past the engine."""
    client = docker.APIClient(base_url=url, version="auto")
    yield client
    client.close()


@pytest.fixture
def remove_image(raw: Any) -> Callable[[str], None]:
    """Return what removes an image, if it is there."""

    def remove_image(image: str) -> None:
        with contextlib.suppress(docker.errors.APIError):
            raw.remove_image(image, force=True)

    return remove_image


@pytest.fixture
def engine(url: str) -> Iterator[DockerEngine]:
    """Return an engine on the daemon."""
    with contextlib.closing(DockerEngine({"url": url})) as engine:
        yield engine


@pytest.fixture
def limits(engine: DockerEngine) -> None:
    """Skip a test of limits on a host that has none; that they are refused there is tested elsewhere."""
    if Capability.MEMORY_LIMIT in engine.probe().missing:
        pytest.skip(engine.probe().missing[Capability.MEMORY_LIMIT])


@pytest.fixture
def make(url: str, busybox: str) -> Callable[..., Sandbox]:
    """Return what makes a Sandbox on the daemon; the test enters it."""
    return sandboxes("docker", url, busybox)


@pytest.fixture
def other_agent(tmp_path: Path, raw: Any) -> Iterator[AgentProgram]:
    """Return an agent that no daemon has yet: the real one with a few bytes after its end."""
    real = agent_program()
    path = tmp_path / "agent"
    path.write_bytes(real.data + secrets.token_bytes(16))
    path.chmod(0o755)
    program = AgentProgram(path, real.machine, hashlib.sha256(path.read_bytes()).hexdigest())
    yield program
    volume = f"samebox-agent-{program.digest[:16]}"
    if volume in {each["Name"] for each in raw.volumes()["Volumes"] or ()}:
        raw.remove_volume(volume)


@pytest.fixture
def engine_at() -> Iterator[Callable[[str], DockerEngine]]:
    """Return what makes an engine for an address."""
    made: list[DockerEngine] = []

    def engine_at(url: str) -> DockerEngine:
        made.append(DockerEngine({"url": url}))
        return made[-1]

    yield engine_at
    for engine in made:
        engine.close()


def openssl(directory: Path, name: str, *signed_by: str) -> None:
    """Make a key and a certificate for 127.0.0.1."""
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    argv += ["-keyout", f"{name}-key.pem", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
    if signed_by:
        argv += ["-CA", f"{signed_by[0]}.pem", "-CAkey", f"{signed_by[0]}-key.pem"]
        argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an authority (ca), a daemon's and a client's certificate of it, and another's (bad)."""
    directory = tmp_path_factory.mktemp("certificates")
    for subject, *signed_by in [("ca",), ("daemon", "ca"), ("client", "ca"), ("other",), ("bad", "other")]:
        openssl(directory, subject, *signed_by)
    return directory


@pytest.fixture
def tls(certificates: Path) -> ssl.SSLContext:
    """Return a daemon's side of TLS, which wants a client's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "daemon.pem", certificates / "daemon-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as Docker, which is not as strict as Python 3.13
    return context
