"""The stream to an agent: every byte both ways, its end, and the engine's words where there is no agent."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from samebox.config import SandboxConfig
from samebox.errors import EngineError, SandboxError
from samebox_podman import stream as stream_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox.engine import ByteStream
    from samebox_podman.client import PodmanClient
    from samebox_podman.engine import PodmanEngine

CAT = ["/bin/cat"]


@pytest.fixture
def running(engine: PodmanEngine, busybox: str, name: str) -> str:
    """Return the id of a running sandbox."""
    config = SandboxConfig(image=busybox)
    image = engine.ensure_image(config, lambda _line: None)
    sandbox = engine.create(config, image=image, name=name, labels={"samebox.managed": "1"})
    engine.start(sandbox)
    return sandbox


@pytest.fixture
def cat(engine: PodmanEngine, running: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ByteStream]:
    """Return a stream to a `cat` in place of the agent."""
    monkeypatch.setattr("samebox_podman.engine.SERVE_ARGV", CAT)
    stream = engine.connect(running)
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
        data = os.urandom(size)
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
    monkeypatch.setattr("samebox_podman.engine.SERVE_ARGV", CAT)
    monkeypatch.setattr("samebox_podman.engine.DETACH_KEYS", "")
    stream = engine.connect(running)
    for value in (0x41, 0x10, 0x11, 0x42):
        try:
            send(stream, bytes([value]))
        except OSError:
            break
        time.sleep(0.1)
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


def test_the_end_of_the_sandbox_is_the_end_of_the_stream(engine: PodmanEngine, running: str, cat: ByteStream) -> None:
    """Promptly, and as an end."""
    send(cat, b"x")
    assert read(cat, 1) == b"x"
    engine.stop(running)
    assert read(cat, 1, 5) == b""


def test_a_program_that_does_not_start_leaves_the_runtimes_words(
    engine: PodmanEngine, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman has answered 101 by then; the words come on stderr."""
    monkeypatch.setattr("samebox_podman.engine.SERVE_ARGV", ["/no/such/agent"])
    stream = engine.connect(running)
    assert read(stream, 1) == b""
    assert "/no/such/agent" in stream.diagnostics()
    stream.close()


def test_an_unknown_user_is_the_engines_error(engine: PodmanEngine, running: str) -> None:
    """With Podman's own words, wherever it finds out."""
    try:
        stream = engine.connect(running, "nosuchuser")
    except EngineError as error:
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


def test_one_exec_for_each_connection(make: Callable[..., Sandbox], client: PodmanClient) -> None:
    """Each costs conmon processes and an entry in Podman's database for minutes."""
    with make() as box:
        for _ in range(5):
            box.exec(["true"]).check()
        assert len(client.json(f"/containers/{box.id}/json")["ExecIDs"]) == 1


def test_big_input_and_output(make: Callable[..., Sandbox]) -> None:
    """Both directions at once: conmon writes to a full pipe without reading the other one meanwhile."""
    data = os.urandom(8 << 20)
    with make() as box:
        result = box.exec(["sha256sum"], input=data).check()
        assert result.text.split()[0] == hashlib.sha256(data).hexdigest()
        assert box.exec(["cat"], input=data, timeout=60).stdout == data
        box.write_bytes("big", data)
        assert box.read_bytes("big") == data
