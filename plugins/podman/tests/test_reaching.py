"""What is said where a service can't be reached or is not the right one: the address, what was found, what to do."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from forks import true_in_a_fork
from samebox.engine.oci.refusal import RefusedError
from samebox.errors import EngineError, EngineUnavailableError
from samebox_podman.address import Address
from samebox_podman.client import PodmanClient, error_words
from samebox_podman.engine import PodmanEngine
from samebox_podman.failure import unreachable
from samebox_podman.stream import open_exec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def probe(url: str, **options: object) -> str:
    """Return the text of the error that a probe raises."""
    engine = PodmanEngine({"url": url, **options})
    with contextlib.closing(engine), pytest.raises(EngineUnavailableError) as caught:
        engine.probe()
    return str(caught.value)


@pytest.mark.parametrize("installed", [True, False])
def test_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:  # noqa: FBT001
    """The remedy starts with installing Podman only where it isn't."""
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/podman" if installed else None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    path = tmp_path / "none.sock"
    start = "Start it" if installed else (
        "Install Podman (`apt install podman`, `dnf install podman`, or https://podman.io/docs/installation), "
        "then start it"
    )  # fmt: skip
    assert probe(f"unix://{path}") == (
        f"no Podman service can be used at unix://{path} (options.url): there is no socket {path}. "
        f"{start}: `systemctl --user enable --now podman.socket`, or correct options.url."
    )


def test_root_starts_the_systems_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root has no user session to ask."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "`systemctl enable --now podman.socket`" in probe(f"unix://{tmp_path}/none.sock")


def test_nobody_listens(tmp_path: Path) -> None:
    """A socket that a service has left behind is told apart from one that is not there."""
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert f"{path} is there, but nothing listens on it. " in probe(f"unix://{path}")


def test_no_socket_but_a_file(tmp_path: Path) -> None:
    """A path that leads through a file can't be right."""
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file/podman.sock is no socket. Correct options.url." in probe(
        f"unix://{tmp_path}/file/podman.sock"
    )


def test_no_permission() -> None:
    """As for an ordinary user at the rootful socket; root may open everything, so the error is made here."""
    address = Address("unix:///run/podman/podman.sock", "CONTAINER_HOST")
    inner = PermissionError(13, "Permission denied")
    error = OSError("GET operation failed")
    error.__cause__ = inner
    text = str(unreachable(address, error))
    assert f"(uid {os.geteuid()}) may not open /run/podman/podman.sock. " in text
    assert "Run as the user that it belongs to, or use a rootless Podman of your own: " in text
    assert "`systemctl --user enable --now podman.socket`, without options.url and CONTAINER_HOST." in text


def test_nothing_at_a_port() -> None:
    """With tcp there is no systemd socket to start."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = probe(f"tcp://127.0.0.1:{port}")
    assert text == (
        f"no Podman service can be used at tcp://127.0.0.1:{port} (options.url): nothing listens there (connection "
        "refused). Start the service there (`podman system service`), or correct options.url."
    )


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests would send every call for a tcp service to HTTP_PROXY."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert "nothing listens there" in probe(f"tcp://127.0.0.1:{port}")


def test_an_unknown_host() -> None:
    """The resolver's words are in the text."""
    assert "the host name is not known (" in probe("tcp://podman.invalid:1234")


def test_no_answer_in_time(tmp_path: Path) -> None:
    """A service that accepts and says nothing costs `timeout`, not for ever."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "mute.sock"))
        server.listen()
        text = probe(f"unix://{tmp_path}/mute.sock", timeout=0.2)
    assert (
        "there was no answer in time. See whether the service is overloaded or behind a firewall; options.timeout says"
        in text
    )


def test_something_else_answers(fake: Any) -> None:
    """Docker's daemon answers a ping as well."""
    fake.answers["GET /_ping"] = (200, "OK", {"Api-Version": "1.51"})
    text = probe(fake.url)
    assert "what answers there is no Podman (it calls itself 'BaseHTTP/" in text
    assert text.endswith("Correct options.url.")


def test_too_old(fake: Any) -> None:
    """Ubuntu 22.04 has Podman 3.4."""
    fake.answers["GET /_ping"] = (200, "OK", {"Libpod-Api-Version": "3.4.4"})
    fake.answers["GET /info"] = (200, fake.answers["GET /info"][1] | {"version": {"Version": "3.4.4"}})
    assert probe(fake.url).endswith("it is Podman 3.4.4. Install Podman 4.0 or newer.")


def test_rootful_where_rootless_is_asked_for(fake: Any) -> None:
    """The wall is lower than what was asked for: refused."""
    text = probe(fake.url, rootless=True)
    assert (
        "it is rootful, and options.rootless=True asks for rootless. Name a rootless service with options.url" in text
    )


def test_info_is_asked_once_for_all_engines(fake: Any) -> None:
    """It takes 160 ms on Debian; the ping before it shows whether the service is there, and still the same."""
    for _ in range(3):
        with contextlib.closing(PodmanEngine({"url": fake.url})) as engine:
            assert engine.probe().version == "5.8.2"
    assert fake.calls.count("GET /info") == 1
    fake.answers["GET /_ping"] = (200, "OK", {"Libpod-Api-Version": "5.9.0"})
    with contextlib.closing(PodmanEngine({"url": fake.url})) as engine:
        engine.probe()
    assert fake.calls.count("GET /info") == 2


def test_the_services_words_are_in_the_error(fake: Any) -> None:
    """Podman tells a cause and a message; the message is the whole."""
    fake.answers["POST /x"] = (500, {"cause": "c", "message": "crun: out of luck: OCI runtime error", "response": 500})
    with contextlib.closing(PodmanEngine({"url": fake.url})) as engine, pytest.raises(RefusedError) as caught:
        engine.client.call("post", "/x")
    assert str(caught.value) == (
        f"Podman at {fake.url} refused: crun: out of luck: OCI runtime error (HTTP status 500)"
    )


@pytest.mark.parametrize("body", [b"", b"plain words", b"[]", b'{"cause": "x"}', b"\xff\xfe"])
def test_an_error_without_a_message(body: bytes) -> None:
    """Whatever the body is, there are words."""
    assert error_words(body)


ANSWERS = [
    (b'HTTP/1.1 409 Conflict\r\nContent-Length: 26\r\n\r\n{"message": "not running"}', "refused: not running (HTTP"),
    (b'HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n{"message": "no x"}\r\n0\r\n\r\n', "no x"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", "what answered is no Podman service: 'SSH-2.0-OpenSSH'"),
    (b"x" * 70000, "its answer has no end of its head"),
    (b"HTTP/1.1 101", "the connection broke: the connection ended before the answer"),
]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], tuple[PodmanClient, threading.Thread]]]:
    """Return what makes a client of a service that answers one connection with some bytes; its thread ends with it."""
    path = tmp_path / "s.sock"
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answering(answer: bytes) -> tuple[PodmanClient, threading.Thread]:
            def serve() -> None:
                connection = server.accept()[0]
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(thread.join)
            client = PodmanClient(Address(f"unix://{path}", "a test"), 5)
            return stack.enter_context(contextlib.closing(client)), thread

        yield answering


@pytest.mark.parametrize(("answer", "said"), ANSWERS, ids=["length", "chunked", "ssh", "endless", "cut"])
def test_an_exec_that_does_not_start(
    answering: Callable[[bytes], tuple[PodmanClient, threading.Thread]], answer: bytes, said: str
) -> None:
    """The upgrade is spoken by hand, so every wrong answer ends in an error here, and none hangs."""
    client, _ = answering(answer)
    with pytest.raises(EngineError) as caught:
        open_exec(client, "0" * 64, 5)
    assert said in str(caught.value)


def test_what_comes_with_the_answers_head_is_kept(
    answering: Callable[[bytes], tuple[PodmanClient, threading.Thread]],
) -> None:
    """The first frame may be in the same packet, as the runtime's error is."""
    frame = b"\x01\0\0\0\0\0\0\x05hello"
    client, thread = answering(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\n" + frame)
    with contextlib.closing(open_exec(client, "0" * 64, 5)) as stream:
        thread.join()
        assert stream.recv(100) == b"hello"
        assert stream.recv(100) == b""


def test_many_threads_and_a_fork(url: str) -> None:
    """Requests' sessions are not made to be shared: each thread and process has its own."""
    engine = PodmanEngine({"url": url})

    def work() -> None:
        for _ in range(20):
            engine.client.json("/containers/json")

    with ThreadPoolExecutor(12) as threads:
        working = [threads.submit(work) for _ in range(12)]
        assert true_in_a_fork(lambda: isinstance(engine.list(), list))
    for each in working:
        each.result()
    engine.close()
    assert isinstance(engine.list(), list)  # closing gives connections back, not the engine up
    engine.close()


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        ("GET /info", PodmanEngine.probe),
        ("GET /containers/x/json", lambda engine: engine.inspect("x")),
        ("GET /containers/json", PodmanEngine.list),
        ("GET /volumes/json", PodmanEngine.volumes),
        ("POST /containers/" + "0" * 64 + "/exec", lambda engine: engine.connect("0" * 64)),
    ],
)
def test_a_proxys_page_in_place_of_an_answer(fake: Any, answer: str, call: Callable[[PodmanEngine], object]) -> None:
    """It is told apart from a mistake of samebox's own."""
    fake.answers[answer] = (200, "<html>please log in</html>")
    engine = PodmanEngine({"url": fake.url})
    with contextlib.closing(engine), pytest.raises(EngineUnavailableError) as caught:
        call(engine)
    assert str(caught.value) == (
        f"no Podman service can be used at {fake.url} (options.url): what answers there is no Podman, it said "
        "'<html>please log in</html>'. Correct options.url, or look at what stands between."
    )


def test_too_many_open_files(fake: Any) -> None:
    """The service is not to blame, and its log tells nothing of that."""
    with contextlib.closing(PodmanEngine({"url": fake.url})) as engine:
        engine.probe()
        engine.close()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(EngineUnavailableError, match=r"may open no more files and sockets.*ulimit -n"):
                engine.probe()
            with pytest.raises(EngineUnavailableError, match=r"may open no more files and sockets.*ulimit -n"):
                engine.client.connect_socket()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
