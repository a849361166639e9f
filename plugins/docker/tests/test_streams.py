"""Streams into a sandbox over every kind of address, and what an engine says beside them."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.oci.refusal import RefusedError
from samebox.engine.streams import SocketStream
from samebox.errors import EngineUnavailableError
from samebox_docker.failure import refused
from samebox_docker.ssh import ssh_argv
from samebox_docker.streams import ExecStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox.engine import ByteStream
    from samebox_docker.engine import DockerEngine

DATA = os.urandom(1 << 20)


def use(box: Sandbox) -> None:
    """Carry some data both ways, more than one buffer, and a command's output."""
    box.write_bytes("data", DATA)
    assert box.read_bytes("data") == DATA
    assert DATA == box.exec(["cat"], input=DATA).stdout


def test_tcp(make: Callable[..., Sandbox], relay: Callable[..., Any]) -> None:
    """A daemon that listens on TCP."""
    with make(options={"url": relay().address}) as box:
        use(box)


def test_tls(make: Callable[..., Sandbox], relay: Callable[..., Any], certificates: Path, tls: ssl.SSLContext) -> None:
    """A daemon that listens with TLS, and wants a certificate of this side."""
    files = {"tls_ca": "ca.pem", "tls_cert": "client.pem", "tls_key": "client-key.pem"}
    options = {option: str(certificates / file) for option, file in files.items()}
    with make(options={"url": relay(tls=tls).address, **options}) as box:
        use(box)


def test_the_end_under_tls(certificates: Path, tls: ssl.SSLContext) -> None:
    """A stream that another thread has shut down gives no undecrypted bytes."""
    client = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    client.verify_flags &= ~ssl.VERIFY_X509_STRICT
    client.check_hostname = False
    client.load_cert_chain(certificates / "client.pem", certificates / "client-key.pem")
    near, far = socket.socketpair()
    with ThreadPoolExecutor() as pool:
        wrapped = pool.submit(tls.wrap_socket, far, server_side=True)
        stream = SocketStream(client.wrap_socket(near))
    with wrapped.result() as daemon:
        daemon.sendall(b"last words")
        stream.shutdown()

        assert stream.recv(100) == b"last words"
        assert stream.recv(100) == b""
    stream.close()


FAKE_SSH = """#!{python}
import os, socket, sys, threading
record, path = {record!r}, {path!r}
with open(record, "a") as out:
    print(*sys.argv[1:], file=out)
if {fails!r}:
    sys.exit(print("nobody@far: Permission denied (publickey).", file=sys.stderr) or 255)
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(path)
def carry():
    while data := os.read(0, 65536):
        daemon.sendall(data)
    daemon.shutdown(socket.SHUT_WR)
threading.Thread(target=carry, daemon=True).start()
while data := daemon.recv(65536):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what puts an `ssh` on PATH that leads to the daemon without a network, and writes down its arguments."""

    def fake_ssh(*, fails: bool = False) -> Path:
        record, program = tmp_path / "record", tmp_path / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        path = url.removeprefix("unix://")
        program.write_text(FAKE_SSH.format(python=sys.executable, record=str(record), path=path, fails=fails))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return record

    return fake_ssh


def children() -> set[str]:
    """Return the commands of this process's children."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                with open(f"{entry.path}/stat") as file:
                    fields = file.read().rpartition(")")
            except OSError:
                continue
            if int(fields[2].split()[1]) == os.getpid():
                found.add(entry.name)
    return found


def test_ssh(make: Callable[..., Sandbox], fake_ssh: Callable[..., Path]) -> None:
    """A daemon behind ssh; no process of it is left."""
    record, before = fake_ssh(), children()
    with make(options={"url": "ssh://me@far:2222"}) as box:
        use(box)
    arguments = set(record.read_text().splitlines())

    assert {"-T -o BatchMode=yes -o ConnectTimeout=60 -l me -p 2222 -- far docker system dial-stdio"} == arguments
    assert not children() - before


def test_ssh_refuses(engine_at: Callable[[str], DockerEngine], fake_ssh: Callable[..., Path]) -> None:
    """What ssh says when it fails is in the error."""
    fake_ssh(fails=True)
    engine = engine_at("ssh://nobody@far")
    with pytest.raises(EngineUnavailableError) as caught:
        engine.probe()

    assert (
        "no Docker daemon can be used at ssh://nobody@far (options.url): ssh said: nobody@far: Permission denied "
        "(publickey). See that `ssh -o BatchMode=yes ssh://nobody@far docker version` works: the host's key known, a "
        "key "
        "of yours accepted, docker installed there and permitted to you."
    ) == str(caught.value)


def test_no_ssh(engine_at: Callable[[str], DockerEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an ssh program the error says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match="No such file or directory: 'ssh'"):
        engine_at("ssh://far").probe()


def test_ssh_command() -> None:
    """No part of an address becomes an option of ssh."""
    assert ["--", "-oproxycommand=x", "docker"] == ssh_argv("ssh://-oProxyCommand=x", 5)[-5:-2]
    assert ["--", "::1", "docker"] == ssh_argv("ssh://[::1]", 5)[-5:-2]


def wait_for(stream: ByteStream, seconds: float = 10) -> bytes:
    """Return the first bytes of a stream, or b"" at its end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return stream.recv(4096)
        except BlockingIOError:
            time.sleep(0.01)
    pytest.fail("nothing came")


def test_no_agent(engine: DockerEngine, raw: Any, busybox: str) -> None:
    """Why an agent can't be started is in the stream's diagnostics, in Docker's own words."""
    container = raw.create_container(busybox, ["sleep", "60"])["Id"]
    try:
        raw.start(container)
        stream = engine.connect(container)

        assert b"" == wait_for(stream)
        assert "/.samebox/agent" in stream.diagnostics()
        assert "no such file or directory" in stream.diagnostics()
        stream.close()
        stream.close()
    finally:
        raw.remove_container(container, force=True)


def test_unknown_user(make: Callable[..., Sandbox], engine: DockerEngine) -> None:
    """A user that the image does not have is said by Docker, and hurts no other command."""
    with make() as box:
        with pytest.raises(Exception, match="there is no user 'ghost' in the image's"):
            box.exec(["true"], user="ghost")
        assert box.exec(["true"]).ok


class Chunks(SocketStream):
    """A stream that has some chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)

    def recv(self, size: int) -> bytes:
        """Return the next chunk."""
        return self.chunks.pop(0) if self.chunks else b""


def frame(data: bytes, kind: int = 1) -> bytes:
    """Return data as Docker frames it."""
    return struct.pack(">BxxxI", kind, len(data)) + data


def test_backlog() -> None:
    """What the HTTP client has read ahead comes first, also when it ends in the middle of a frame."""
    whole = frame(b"\0\0\0\x01first") + frame(b"second")
    for cut in range(1, len(whole)):
        stream = ExecStream(Chunks(whole[cut:]), whole[:cut])
        found = b""
        while data := stream.recv(100):
            found += data

        assert b"\0\0\0\x01firstsecond" == found


def test_words_before_the_agent() -> None:
    """Text where a frame of the agent is due is Docker's; what looks like text later is the agent's own."""
    early = ExecStream(Chunks(frame(b"OCI runtime exec failed: x\r\n"), frame(b"more")))
    late = ExecStream(Chunks(frame(b"\0\0\0\x01"), frame(b"OCI"), frame(b"beside", 2)))

    assert (b"", b"", "OCI runtime exec failed: x") == (early.recv(100), early.recv(100), early.diagnostics())
    assert (b"\0\0\0\x01", b"OCI", b"", "beside") == (late.recv(9), late.recv(9), late.recv(9), late.diagnostics())


def test_an_answer_that_is_given_up_gives_no_connection_back_later(
    engine: DockerEngine, make: Callable[..., Sandbox], caplog: pytest.LogCaptureFixture
) -> None:
    """Its client has another one by then, and urllib3 warns of the one too many ("Connection pool is full")."""
    engine.probe()
    pool = engine._daemon.pool
    with make() as box:
        box.exec(["true"])
        used, streams = [], []

        def give_up() -> None:
            with pool.client() as client:
                stream, _ = client.get_archive(box.id, "/bin/busybox", chunk_size=512)
                next(stream)
                used.append(client)
                streams.append(stream)
                raise refused(pool.address, 500, "no more of it")

        with pytest.raises(RefusedError):
            give_up()
        with pool.client() as again:
            assert [again] == used
            assert again.ping()
        streams[0].close()

    assert caplog.messages == []
