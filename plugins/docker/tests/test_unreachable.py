"""Daemons that can't be reached: one error each, with the address, what was found and what to do."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import resource
import shutil
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from interpreter import printed
from samebox.errors import EngineUnavailableError
from samebox_docker import address as address_module
from samebox_docker.engine import DockerEngine

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox

NOBODY = 65534


def probe_fails(text: str, **options: object) -> None:
    """Check the whole text of the error that probing gives."""
    engine = DockerEngine(options)
    with pytest.raises(EngineUnavailableError) as caught:
        engine.probe()

    assert text == str(caught.value)


@pytest.fixture
def default_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a path that stands for the default socket, with nothing there."""
    path = str(tmp_path / "docker.sock")
    monkeypatch.setattr(address_module, "DEFAULT_SOCKET", path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return path


def test_not_running(default_socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Docker is installed, the remedy is to start it."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    probe_fails(
        f"no Docker daemon can be used at unix://{default_socket} (the default socket): there is no socket "
        f"{default_socket}. Docker is installed here: start it with `sudo systemctl start docker` (Docker Desktop: "
        f"open "
        "it)."
    )


def test_not_installed(default_socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Docker is not installed, the remedy is to install it or to take another engine."""
    monkeypatch.setattr(shutil, "which", lambda _: None)

    probe_fails(
        f"no Docker daemon can be used at unix://{default_socket} (the default socket): there is no socket "
        f"{default_socket}. Docker is not installed here: see https://docs.docker.com/engine/install/, or take another "
        "engine (`samebox engines` lists them)."
    )


def test_no_socket_at_docker_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that was given is named with who gave it."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/x.sock")

    probe_fails(
        f"no Docker daemon can be used at unix://{tmp_path}/x.sock (DOCKER_HOST): there is no socket "
        f"{tmp_path}/x.sock. "
        "Start the daemon that should listen there, or correct DOCKER_HOST."
    )


def test_stale_socket(tmp_path: Path) -> None:
    """A socket that a stopped daemon left is told from one that is not there."""
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    probe_fails(
        f"no Docker daemon can be used at unix://{path} (options.url): {path} is there, but nothing listens on it. "
        "Start the daemon that should listen there, or correct options.url.",
        url=f"unix://{path}",
    )


def test_no_socket_but_a_file(tmp_path: Path) -> None:
    """A path below a file is no socket."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "docker.sock"

    probe_fails(
        f"no Docker daemon can be used at unix://{path} (options.url): {path} is no socket. Correct options.url.",
        url=f"unix://{path}",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_no_permission(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An ordinary user who may not open the socket is told of the group, with the price, and of rootless Docker."""
    directory = tmp_path_factory.mktemp("private")
    path = directory / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o660)
        for above in [directory, *directory.parents]:
            if above.stat().st_uid == os.getuid() and above.name.startswith("pytest-"):
                above.chmod(0o755)
        # Everything is imported before the user changes, as this Python may be root's alone.
        script = (
            "import os, sys, samebox_docker.daemon, samebox_docker.engine as module, encodings.idna\n"
            f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
            "try: module.DockerEngine({'url': sys.argv[1]}).probe()\n"
            "except Exception as error: print(type(error).__name__, error)\n"
        )
        said = printed(script, f"unix://{path}")
    user = pwd.getpwuid(NOBODY).pw_name

    assert (
        f"EngineUnavailableError no Docker daemon can be used at unix://{path} (options.url): the user {user} (uid "
        f"{NOBODY}) may not open {path}. Add the user to the group docker (`sudo usermod -aG docker {user}`, then log "
        f"in "
        "anew; its members are as powerful as root), or run a rootless Docker: "
        "https://docs.docker.com/engine/security/rootless/\n"
    ) == said


def test_refused_tcp() -> None:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    probe_fails(
        f"no Docker daemon can be used at tcp://127.0.0.1:{port} (options.url): nothing listens there (connection "
        "refused). Start the daemon that should listen there, or correct options.url.",
        url=f"tcp://127.0.0.1:{port}",
    )


def test_unknown_host() -> None:
    """A host name that does not resolve."""
    engine = DockerEngine({"url": "tcp://docker.invalid:2375"})
    with pytest.raises(EngineUnavailableError, match=r"the host name is not known \(.+\)\. Correct options\.url\.$"):
        engine.probe()


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Return what opens a port where a function answers each connection."""
    with contextlib.ExitStack() as stack:

        def listen(answer: Callable[[socket.socket], None]) -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = server.accept()
                        with connection, contextlib.suppress(OSError):
                            answer(connection)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield listen


def http(text: str, headers: str = "") -> Callable[[socket.socket], None]:
    """Return what answers each request with a text."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n{headers}\r\n{text}".encode())

    return answer


def test_silence(listen: Callable[..., str]) -> None:
    """A daemon that says nothing is given up after the time in the options."""
    where = listen(lambda connection: connection.recv(65536) and connection.recv(1))

    probe_fails(
        f"no Docker daemon can be used at tcp://{where} (options.url): there was no answer in time. See whether the "
        "daemon is overloaded or behind a firewall; options.timeout says how long to wait.",
        url=f"tcp://{where}",
        timeout=0.5,
    )


def test_no_docker(listen: Callable[..., str]) -> None:
    """A web server is no Docker."""
    where = listen(http("hello"))

    probe_fails(
        f"no Docker daemon can be used at tcp://{where} (options.url): what answers there is no Docker daemon. Correct "
        "options.url.",
        url=f"tcp://{where}",
    )


def test_podman(listen: Callable[..., str]) -> None:
    """Podman's imitation of Docker has an engine of its own, and behaves unlike Docker."""
    where = listen(http("OK", "Api-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\n"))

    probe_fails(
        f"no Docker daemon can be used at tcp://{where} (options.url): what answers there is Podman, in Docker's "
        f"words. "
        f"Take engine='podman' with options url='tcp://{where}', or correct options.url.",
        url=f"tcp://{where}",
    )


def test_unknown_authority(certificates: Path, tls: ssl.SSLContext, relay: Callable[..., object]) -> None:
    """A daemon whose certificate is of an authority that is not known."""
    url = relay(tls=tls).address  # type: ignore[attr-defined]

    engine = DockerEngine({"url": url, "tls_ca": certificates / "other.pem"})
    text = (
        rf"^no Docker daemon can be used at {url} \(options\.url\): its certificate is not accepted \([\w -]+\)\. Give "
        rf"the "
        r"certificate of the authority that signed it as options\.tls_ca, or as ca\.pem in DOCKER_CERT_PATH\.$"
    )
    with pytest.raises(EngineUnavailableError, match=text):
        engine.probe()


@pytest.mark.parametrize(
    ("name", "found", "remedy"),
    [
        (None, ", and no certificate of this side was given", "Give options.tls_cert and options.tls_key"),
        ("bad", " with the certificate {}", "See that it and its key belong together"),
    ],
)
def test_client_certificate(
    certificates: Path, tls: ssl.SSLContext, relay: Callable[..., object], *, name: str | None, found: str, remedy: str
) -> None:
    """A daemon that does not accept this side's certificate, or that wants one and gets none."""
    url = relay(tls=tls).address  # type: ignore[attr-defined]
    mine = {"tls_cert": certificates / f"{name}.pem", "tls_key": certificates / f"{name}-key.pem"} if name else {}
    engine = DockerEngine({"url": url, "tls_ca": certificates / "ca.pem", **mine})
    found = re.escape(found.format(certificates / "bad.pem"))
    with pytest.raises(EngineUnavailableError, match=rf"TLS failed \(.+\){found}\. {remedy}"):
        engine.probe()


def test_tls_to_plain(certificates: Path, relay: Callable[..., object]) -> None:
    """TLS options for a daemon that speaks plainly."""
    url = relay().address  # type: ignore[attr-defined]

    probe_fails(
        f"no Docker daemon can be used at {url} (options.url): it does not speak TLS. Leave out the options tls_*, or "
        "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.",
        url=url,
        tls_ca=str(certificates / "ca.pem"),
    )


def test_plain_to_tls(listen: Callable[..., str]) -> None:
    """No TLS options for a daemon that wants TLS; Go's servers say so themselves."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        text = "Client sent an HTTP request to an HTTPS server.\n"
        connection.sendall(f"HTTP/1.0 400 Bad Request\r\n\r\n{text}".encode())

    where = listen(answer)

    probe_fails(
        f"no Docker daemon can be used at tcp://{where} (options.url): what listens there wants TLS. Give tls_ca, "
        "tls_cert and tls_key, or set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.",
        url=f"tcp://{where}",
    )


def test_tls_that_fits(certificates: Path, tls: ssl.SSLContext, relay: Callable[..., object]) -> None:
    """With the right files the daemon is reached, and its address is what EngineInfo names."""
    url = relay(tls=tls).address  # type: ignore[attr-defined]
    files = {"tls_ca": "ca.pem", "tls_cert": "client.pem", "tls_key": "client-key.pem"}
    engine = DockerEngine({"url": url, **{option: certificates / file for option, file in files.items()}})

    assert url == engine.probe().address


def test_a_proxys_page(listen: Callable[..., str]) -> None:
    """What is no answer of a daemon in the middle of one's answers is told apart from a mistake of samebox's own."""
    where = listen(http("<html>please log in</html>", "Api-Version: 1.41\r\nConnection: close\r\n"))

    probe_fails(
        f"no Docker daemon can be used at tcp://{where} (options.url): what answers there is no Docker daemon. Correct "
        "options.url, or look at what stands between.",
        url=f"tcp://{where}",
    )


def test_too_many_open_files(url: str) -> None:
    """The daemon is not to blame, and its log tells nothing of that."""
    engine = DockerEngine({"url": url})
    engine.probe()
    engine.close()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(EngineUnavailableError, match=r"may open no more files and sockets.*ulimit -n"):
            engine.list()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        engine.close()


def test_a_stream_that_breaks_as_it_is_opened(
    engine: DockerEngine, make: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon may be gone between its answer and the first look at the connection."""

    def reset(_hijacked: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    with make() as box:
        monkeypatch.setattr("samebox_docker.streams._hijack", reset)
        with pytest.raises(EngineUnavailableError, match=r"the connection broke: .*Connection reset by peer"):
            engine.connect(box.id)
