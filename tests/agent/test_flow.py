"""Windows and credit: a slow reader costs bounded memory, and holds up nobody else."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wire import PING, PONG, WINDOW

if TYPE_CHECKING:
    from wire import Agent, Wire


def settle(wire: Wire, seconds: float = 0.3) -> None:
    """Take what comes until nothing comes any more."""
    wire.sock.settimeout(seconds)
    try:
        while True:
            wire.pump()
    except TimeoutError:
        wire.sock.settimeout(20)


@pytest.mark.parametrize("window", [1024, 5000, WINDOW, 1 << 20])
def test_window(wire: Wire, window: int) -> None:
    """No more comes than was allowed, on each channel for itself; credit brings exactly as much more."""
    script = "head -c 3000000 /dev/zero >&2 & head -c 3000000 /dev/zero; wait"
    stream = wire.exec("sh", "-c", script, crediting=False, **({} if window == WINDOW else {"window": window}))
    settle(wire)
    assert (len(stream.stdout), len(stream.stderr)) == (window, window)
    stream.give(1, 10)
    settle(wire)
    assert (len(stream.stdout), len(stream.stderr)) == (window + 10, window)
    stream.crediting = True
    stream.give(1, window)
    stream.give(2, window)
    assert stream.wait() == {"exit_code": 0}
    assert len(stream.stdout) == len(stream.stderr) == 3_000_000


@pytest.mark.parametrize("window", [0, 1023, (16 << 20) + 1])
def test_invalid_window(wire: Wire, window: int) -> None:
    """Windows have bounds."""
    failed = wire.exec("true", window=window)
    assert failed.wait()["errno"] == errno.EINVAL
    assert failed.failed


def test_slow_reader(wire: Wire) -> None:
    """A stream without credit holds up no other one."""
    slow = wire.exec("cat", "/dev/zero", crediting=False)
    settle(wire)
    for number in range(5):
        done = wire.exec("sh", "-c", f"head -c 2000000 /dev/zero; exit {number}")
        assert done.wait() == {"exit_code": number}
        assert len(done.stdout) == 2_000_000
    assert len(slow.stdout) == WINDOW
    slow.cancel()
    slow.crediting = True
    slow.give(1, WINDOW)
    assert slow.wait()["reason"] == b"cancel"


def test_fair(wire: Wire, tmp_path: Path) -> None:
    """A flood over one stream lets the others through, files and commands alike."""
    (tmp_path / "big").write_bytes(bytes(30 << 20))
    floods = [wire.exec("cat", "/dev/zero"), wire.open("read", path="big")]
    for _ in range(20):
        began = time.monotonic()
        assert wire.sh("echo hi").stdout == b"hi\n"
        assert time.monotonic() - began < 2
    assert floods[0].result is None
    floods[0].cancel()
    assert floods[0].wait()["reason"] == b"cancel"
    assert floods[1].wait() == {"size": 30 << 20}


def resident(pid: int) -> int:
    """How much memory it takes, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def test_host_that_reads_nothing(agent: Agent) -> None:
    """A host that does not read makes the agent wait, not grow."""
    wire = agent.wire
    wire.sh("true")
    before = resident(agent.process.pid)
    streams = [wire.exec("cat", "/dev/zero", crediting=False, window=16 << 20) for _ in range(20)]
    time.sleep(1)
    assert resident(agent.process.pid) - before < 24 << 20
    for stream in streams:
        stream.cancel()
        stream.give(1, 1 << 20)
    for stream in streams:
        assert stream.wait()["reason"] == b"cancel"


def test_host_that_asks_without_reading(agent: Agent) -> None:
    """Nor does it grow when it is asked and asked: in the end it reads no more."""
    wire = agent.wire
    before = resident(agent.process.pid)
    wire.sock.settimeout(0.5)
    ping = b"".join((64).to_bytes(4, "big") + bytes(4) + bytes([PING]) + bytes(64) for _ in range(1000))
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 40 << 20:
            sent += wire.sock.send(ping)
    assert sent < 40 << 20
    assert resident(agent.process.pid) - before < 100 << 20  # the sanitizer's own copies included
    wire.sock.settimeout(20)
    got = 0
    while got < (sent - len(ping)) // 73:
        assert wire.receive().type == PONG
        got += 1
    wire.sock.shutdown(socket.SHUT_WR)


def test_small_output_at_once(wire: Wire) -> None:
    """What a command writes is not held back."""
    stream = wire.exec("sh", "-c", "for i in 1 2 3; do echo $i; read x; done", flags=1)
    for number in (1, 2, 3):
        stream.until(f"{number}\n".encode())
        stream.data(b"\n")
    assert stream.wait() == {"exit_code": 0}


def test_closed_output(wire: Wire) -> None:
    """A command that closes stdout and runs on is told of."""
    stream = wire.exec("sh", "-c", "exec >&-; read x; echo e >&2", flags=1)
    while 1 not in stream.ended:
        wire.pump()
    stream.eof()
    assert stream.wait() == {"exit_code": 0}
    assert stream.stderr == b"e\n"


def test_input_window(wire: Wire) -> None:
    """Credit for input comes as the command takes it."""
    stream = wire.exec("sh", "-c", "read x; cat >/dev/null", flags=1)
    stream.data(os.urandom(WINDOW - 1).replace(b"\n", b"x"))
    settle(wire)
    assert stream.credit < WINDOW
    stream.data(b"\n")
    while stream.credit < WINDOW // 2:
        wire.pump()
    stream.eof()
    assert stream.wait() == {"exit_code": 0}


def test_end_of_one_output_waits_for_no_other(wire: Wire) -> None:
    """A reader of stderr learns of its end although nobody reads stdout, once the command has ended."""
    stream = wire.exec("sh", "-c", "head -c 3000 /dev/zero; echo err >&2", crediting=False, window=1024)
    settle(wire)
    assert (len(stream.stdout), bytes(stream.stderr)) == (1024, b"err\n")
    assert stream.ended == {2}
    assert stream.result is None
    stream.crediting = True
    stream.give(1, 4096)
    assert stream.wait() == {"exit_code": 0}
    assert len(stream.stdout) == 3000
