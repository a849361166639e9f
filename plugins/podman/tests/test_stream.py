"""The stream to an agent: every byte both ways, its end, and the engine's words where there is no agent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from forks import true_in_a_fork
from samebox.config.model import SandboxConfig
from samebox.engine.streams import SocketStream
from samebox.errors import ConnectionLostError, SandboxError
from samebox_podman import stream as stream_module
from samebox_podman.stream import AttachedStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox.engine import ByteStream
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

CAT = ["/bin/cat", "-"]  # two words, as Podman tells a lone one twice


def make_sandbox(engine: PodmanEngine, image: str, name: str) -> str:
    """Create a sandbox and return its id."""
    config = SandboxConfig(image=image)
    found = engine.ensure_image(config, lambda _line: None)
    return engine.create(config, image=found, name=name, labels={"samebox.managed": "1"})


@pytest.fixture
def running(engine: PodmanEngine, busybox: str, name: str) -> str:
    """Return the id of a running sandbox that nobody has connected to."""
    sandbox = make_sandbox(engine, busybox, name)
    engine.start(sandbox)
    return sandbox


@pytest.fixture(params=["exec", "attached"])
def cat(  # noqa: PLR0917 - fixtures
    request: pytest.FixtureRequest,
    engine: PodmanEngine,
    running: str,
    busybox: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ByteStream]:
    """Return a stream to a `cat` in place of the agent, by an exec and on the first process in turn."""
    monkeypatch.setattr("samebox_podman.stream.SERVE_ARGV", CAT)
    if request.param == "attached":
        engine.remove(running)
        monkeypatch.setattr("samebox_podman.spec.init_argv", lambda _config: CAT[:0])
        monkeypatch.setattr("samebox_podman.spec.SERVE_ON_STDIO", CAT)
        running = make_sandbox(engine, busybox, name)
        engine.start(running)
    else:
        engine.connect(running).close()
    stream = engine.connect(running)
    assert isinstance(stream, AttachedStream) == (request.param == "attached")
    yield stream
    stream.close()


def read(stream: ByteStream, size: int, within: float = 10.0) -> bytes:
    """Read exactly so many bytes, or what there is when the time is over."""
    data = bytearray()
    deadline = time.monotonic() + within
    while len(data) < size and time.monotonic() < deadline:
        try:
            part = stream.recv(size)
        except BlockingIOError:
            time.sleep(0.001)
            continue
        if not part:
            break
        data += part
    return bytes(data)


def send(stream: ByteStream, data: bytes) -> None:
    """Send all of it."""
    view = memoryview(data)
    while view:
        try:
            view = view[stream.send(view) :]
        except BlockingIOError:
            time.sleep(0.001)


def test_every_byte_goes_through(cat: ByteStream) -> None:
    """In sizes around those of the buffers between."""
    assert cat.fileno() is not None
    for size in (1, 9, 4096, 8192, 32767, 32768, 32769, 65536 + 1, 3 << 20):
        data = os.urandom(size - 1) + b"x"  # not DEL, which Podman holds back until the next byte
        sender = threading.Thread(target=send, args=(cat, data))
        sender.start()
        found = read(cat, size)
        sender.join()
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest(), size


def test_single_bytes_go_through(cat: ByteStream) -> None:
    """Podman looks for ctrl-p, ctrl-q in the input of every exec, and cuts the stream when they come one by one."""
    for value in (*range(256), 0x10, 0x11):
        send(cat, bytes([value]))
        if value != 0x7F:  # the one that Podman holds back until the next comes
            time.sleep(0.002)
    assert read(cat, 258) == bytes([*range(256), 0x10, 0x11])


def test_the_default_keys_would_have_cut_it(
    engine: PodmanEngine, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above tests what it says."""
    monkeypatch.setattr("samebox_podman.stream.SERVE_ARGV", CAT)
    monkeypatch.setattr("samebox_podman.stream.DETACH_KEYS", "")
    engine.connect(running).close()
    stream = engine.connect(running)
    for value in (0x41, 0x10, 0x11, 0x42):
        try:
            send(stream, bytes([value]))
        except OSError:
            break
        time.sleep(0.1)
    with contextlib.suppress(ConnectionResetError):
        assert read(stream, 4, 1) != b"A\x10\x11B"
    stream.close()


def test_the_keys_are_ones_that_podman_knows() -> None:
    """Each is one byte to it; an empty one means the default again."""
    keys = stream_module.DETACH_KEYS.split(",")
    assert len(keys) == 16
    assert set(keys) == {"DEL", "ctrl-_"}


def test_the_end_of_the_stream_is_the_end_of_stdin(engine: PodmanEngine, make: Callable[..., Sandbox]) -> None:
    """An agent whose host has gone ends, so that none pile up."""
    with make() as box:
        count = "grep -l '^samebox' /proc/[0-9]*/comm 2>/dev/null | wc -l"
        before = int(box.sh(count).text)
        streams = [engine.connect(box.id) for _ in range(3)]
        deadline = time.monotonic() + 5
        while int(box.sh(count).text) < before + 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert int(box.sh(count).text) == before + 3
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + 5
        while int(box.sh(count).text) > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert int(box.sh(count).text) == before


def test_the_end_of_the_sandbox_is_the_end_of_the_stream(engine: PodmanEngine, name: str, cat: ByteStream) -> None:
    """Promptly, and as an end."""
    send(cat, b"x")
    assert read(cat, 1) == b"x"
    engine.stop(name)
    assert read(cat, 1, 5) == b""


def test_a_program_that_does_not_start_leaves_the_runtimes_words(
    engine: PodmanEngine, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman has answered 101 by then; the words come on stderr."""
    monkeypatch.setattr("samebox_podman.stream.SERVE_ARGV", ["/no/such/agent"])
    engine.connect(running).close()
    stream = engine.connect(running)
    assert read(stream, 1) == b""
    assert "/no/such/agent" in stream.diagnostics()
    stream.close()


def test_an_unknown_user_is_the_engines_error(engine: PodmanEngine, running: str) -> None:
    """With Podman's own words, wherever it finds out."""
    try:
        stream = engine.connect(running, "nosuchuser")
    except SandboxError as error:
        said = str(error)
    else:
        assert read(stream, 1) == b""
        said = stream.diagnostics()
        stream.close()
    assert "nosuchuser" in said


def test_another_user(make: Callable[..., Sandbox]) -> None:
    """By name, uid, and uid:gid."""
    with make() as box:
        for user, expected in (("nobody", "65534"), ("1234", "1234"), ("1234:77", "1234")):
            assert box.exec(["id", "-u"], user=user).text.strip() == expected
        with pytest.raises(SandboxError, match="nosuchuser"):
            box.exec(["id"], user="nosuchuser")


def test_few_execs(make: Callable[..., Sandbox], client: PodmanClient) -> None:
    """Each costs conmon processes, and an entry in Podman's database for minutes: none for the sandbox's own user."""
    with make() as box:
        for _ in range(5):
            box.exec(["true"]).check()
        assert client.json(f"/containers/{box.id}/json")["ExecIDs"] == []
        for _ in range(5):
            box.exec(["true"], user="nobody").check()
        assert len(client.json(f"/containers/{box.id}/json")["ExecIDs"]) == 1


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_killed_first_agent_is_replaced(make: Callable[..., Sandbox], signal: str) -> None:
    """Podman ends what is attached with the container only, so init tells."""
    with make() as box:
        kill = f"case $n in samebox[-+]???????) kill -{signal} ${{p#/proc/}};; esac"
        script = f"for p in /proc/[0-9]*; do read n < $p/comm; {kill}; done"
        began = time.monotonic()
        for _ in range(2):  # the second time an exec's
            with contextlib.suppress(ConnectionLostError):
                box.sh(script)
            assert box.sh("echo here").text == "here\n"
        assert time.monotonic() - began < 5


def test_the_first_stream_is_one_processs_alone(engine: PodmanEngine, running: str) -> None:
    """Two at one pipe would read each other's answers."""
    assert true_in_a_fork(lambda: not isinstance(engine.connect(running), AttachedStream))
    streams = [engine.connect(running) for _ in range(2)]
    assert [isinstance(stream, AttachedStream) for stream in streams] == [True, False]
    for stream in streams:
        stream.close()


def test_a_restarted_sandbox_has_no_first_stream(engine: PodmanEngine, running: str) -> None:
    """Whoever starts it again may be another process."""
    engine.stop(running)
    engine.start(running)
    stream = engine.connect(running)
    assert not isinstance(stream, AttachedStream)
    stream.close()


def test_a_sandbox_that_ends_at_once(
    engine: PodmanEngine, busybox: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To attach to a container that has ended makes Podman get it ready for another start, and the stream mute."""
    monkeypatch.setattr("samebox_podman.spec.init_argv", lambda _config: ["/bin/false"])
    sandbox = make_sandbox(engine, busybox, name)
    engine.start(sandbox)
    deadline = time.monotonic() + 5
    while engine.inspect(sandbox).state == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    stream = engine.connect(sandbox)
    assert read(stream, 1, 5) == b""
    stream.close()
    assert engine.inspect(sandbox).exit_code == 1


def test_big_input_and_output(make: Callable[..., Sandbox]) -> None:
    """Both directions at once: conmon writes to a full pipe without reading the other one meanwhile."""
    data = os.urandom(8 << 20)
    with make() as box:
        result = box.exec(["sha256sum"], input=data).check()
        assert result.text.split()[0] == hashlib.sha256(data).hexdigest()
        assert box.exec(["cat"], input=data, timeout=60).stdout == data
        box.write_bytes("big", data)
        assert box.read_bytes("big") == data


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=4), st.integers(0, 13), st.data())
def test_the_agents_end_is_told_however_it_is_cut(parts: list[bytes], more: int, data: st.DataObject) -> None:
    """Also where it comes in one read with the agent's last bytes: a reader that waits for the descriptor finds it."""
    frames = [struct.pack(">BxxxI", 1, len(part)) + part for part in parts]
    end = struct.pack(">BxxxI", 2, 5) + b"ended"
    whole = b"".join(frames) + end + end[:more]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    near, far = socket.socketpair()
    stream = AttachedStream(SocketStream(near))
    found = b""
    with far, contextlib.closing(stream):
        for first, last in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            with contextlib.suppress(BrokenPipeError):  # once the end was read
                far.sendall(whole[first:last])
            while select.select([near], [], [], 0)[0]:
                try:
                    part = stream.recv(100)
                except BlockingIOError:
                    continue
                if not part:
                    assert found == b"".join(parts)
                    return
                found += part
    pytest.fail("the end was not told")
