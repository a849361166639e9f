"""READ and WRITE as streams; what they do with files is tested beside."""

from __future__ import annotations

import errno
import os
import resource
import time
from typing import TYPE_CHECKING

import pytest

from wire import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wire import Agent, Wire


def test_read(wire: Wire, tmp_path: Path) -> None:
    """A file of megabytes arrives as it is."""
    data = os.urandom(5 << 20)
    (tmp_path / "f").write_bytes(data)
    stream = wire.open("read", path="f")
    assert stream.wait() == {"size": len(data)}
    assert stream.reply
    assert stream.reply["size"] == len(data)
    assert stream.stdout == data


def test_read_window(wire: Wire, tmp_path: Path) -> None:
    """No more is sent than was allowed."""
    (tmp_path / "f").write_bytes(bytes(100_000))
    stream = wire.open("read", path="f", window=5000, crediting=False)
    while len(stream.stdout) < 5000:
        wire.pump()
    assert wire.sh("sleep 0.1").result == {"exit_code": 0}
    assert len(stream.stdout) == 5000
    stream.crediting = True
    stream.give(1, 5000)
    assert stream.wait() == {"size": 100_000}


@pytest.mark.parametrize(("flags", "size"), [(0, 10), (1, 5)])
def test_read_limit(wire: Wire, tmp_path: Path, flags: int, size: int) -> None:
    """A limit that is not passed is no error; with the flag the file is cut at it."""
    (tmp_path / "f").write_bytes(b"0123456789")
    stream = wire.open("read", path="f", limit=size, flags=flags)
    assert stream.wait() == {"size": size}
    assert stream.stdout == b"0123456789"[:size]


def test_read_limit_of_a_file_without_size(wire: Wire) -> None:
    """Files of /proc say that they are empty."""
    stream = wire.open("read", path="/proc/self/status", limit=100)
    result = stream.wait()
    assert (result["errno"], result["kind"], stream.failed) == (errno.EFBIG, b"too-large", True)
    stream = wire.open("read", path="/proc/self/status", limit=100, flags=1)
    assert stream.wait() == {"size": 100}
    stream = wire.open("read", path="/proc/self/status")
    stream.wait()
    assert stream.stdout.startswith(b"Name:")


def test_read_cancelled(wire: Wire, tmp_path: Path) -> None:
    """CANCEL ends a read that waits for credit."""
    (tmp_path / "f").write_bytes(bytes(1 << 20))
    stream = wire.open("read", path="f", crediting=False)
    while len(stream.stdout) < WINDOW:
        wire.pump()
    stream.cancel()
    assert stream.wait()["errno"] == errno.ECANCELED


def test_write(wire: Wire, tmp_path: Path) -> None:
    """A file of megabytes lands as it is."""
    data = os.urandom(5 << 20)
    stream = wire.open("write", path="f")
    stream.feed(data)
    assert stream.wait() == {"size": len(data)}
    assert (tmp_path / "f").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_write_cancelled(wire: Wire, tmp_path: Path) -> None:
    """Nothing is left of it."""
    stream = wire.open("write", path="f")
    stream.data(b"half")
    stream.cancel()
    assert stream.wait()["errno"] == errno.ECANCELED
    assert list(tmp_path.iterdir()) == []


def test_write_lost(agent: Agent, tmp_path: Path) -> None:
    """Nor when the host has gone."""
    stream = agent.wire.open("write", path="f")
    stream.data(b"half")
    agent.wire.sh("true")
    assert agent.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_write_without_room(start: Callable[..., Agent], tmp_path: Path) -> None:
    """A file that can't grow is an error, and leaves nothing; the agent goes on."""
    wire = start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))).wire
    stream = wire.open("write", path="f")
    stream.data(bytes(20_000))
    assert stream.wait()["errno"] == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
    assert wire.sh("exit 3").result == {"exit_code": 3}


def tree(path: Path) -> None:
    """Make many files."""
    for number in range(3000):
        (path / f"{number:0>200}").touch()


def test_worker(wire: Wire, tmp_path: Path) -> None:
    """A long listing keeps to its window, and holds up nothing."""
    tree(tmp_path)
    stream = wire.open("list", path=".", window=2000, crediting=False)
    while len(stream.stdout) < 2000:
        wire.pump()
    assert wire.sh("exit 3").result == {"exit_code": 3}
    assert len(stream.stdout) == 2000
    stream.crediting = True
    stream.give(1, 2000)
    assert stream.wait() == {"count": 3000}


def test_worker_cancelled(wire: Wire, tmp_path: Path) -> None:
    """CANCEL ends one that waits for credit, promptly."""
    tree(tmp_path)
    stream = wire.open("list", path=".", window=2000, crediting=False)
    while len(stream.stdout) < 2000:
        wire.pump()
    began = time.monotonic()
    stream.cancel()
    assert stream.wait()["errno"] == errno.ECANCELED
    assert time.monotonic() - began < 1


def test_worker_lost(agent: Agent, tmp_path: Path) -> None:
    """Hanging up ends it."""
    tree(tmp_path)
    stream = agent.wire.open("list", path=".", window=2000, crediting=False)
    while len(stream.stdout) < 2000:
        agent.wire.pump()
    assert agent.end(2) == 0
