"""Frames that a hostile agent could send, made from bytes, and many calls that get them.

The bytes are choices: from hypothesis, from a seeded generator, or from a fuzzer that is guided by coverage.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.agent import frames
from samebox.agent.client import Connection
from samebox.agent.frames import frame
from samebox.agent.guest import AgentGuest
from samebox.agent.listing import Listing
from samebox.agent.records import END_OF_TREE, TAGS, encode_item, encode_record
from samebox.engine import ByteStream
from samebox.errors import SandboxError
from samebox.guest.operation import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from samebox.agent.records import Field
    from samebox.errors import ConnectionLostError

WELCOME = frame(frames.WELCOME, 0, encode_record([("version", 1)]))
_KINDS = [
    *[frames.DATA] * 9, frames.END, frames.ERROR, frames.REPLY, frames.REPLY, frames.EOF, frames.CREDIT, frames.CREDIT,
    frames.PONG, frames.WELCOME, frames.OPEN, frames.PING, 0, 99,
]  # fmt: skip
"""The first sixteen are those that an honest agent sends on a stream."""
_NUMBERS = [0, 1, -1, 2, 7, 255, 0o755, 4095, 65536, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)]
_TEXTS = [
    b"", b".", b"..", b"a", b"b", b"a/b", b"a/../b", b"/a", b"a\0", b"\xff", b"n" * 256, b"d/" * 2100 + b"f", b"f",
    b"d", b"l", b"timeout", b"spawn", b"escape", b"special", b"too-large", b"../x", "\N{GRINNING FACE}".encode(),
]  # fmt: skip
_GOOD = [b"a", b"b", b"\xff", b"d", b"n" * 200, b"e", b"f", b"g"]
_FACTS = ["file_type", "size", "mode", "mtime", "uid", "gid"]


class Choices:
    """Makes frames of bytes, each byte being a choice; every choice is the first one when no bytes are left."""

    def __init__(self, data: bytes, connection: Connection) -> None:
        self._data = data
        self._at = 0
        self._open = connection.protocol._streams
        self._calls = connection._calls

    def frames(self) -> Iterator[bytes]:
        """Yield frames, most of them well-formed, until no bytes are left."""
        while self._at < len(self._data):
            yield self._raw() if self._number(256) == 255 else self._frame()

    def _number(self, below: int) -> int:
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def _raw(self) -> bytes:
        size = self._number(40)
        self._at += size
        return self._data[self._at - size : self._at]

    def _frame(self) -> bytes:
        """Return a frame that mostly fits the state of its stream, so that the connection lives on after it."""
        if self._number(128) == 127 or not self._calls:
            kind = _KINDS[self._number(len(_KINDS))]
            return frame(kind, self._number(20), self._payload(kind, self._number(16)))
        kind = _KINDS[self._number(16)]
        stream = list(self._calls)[self._number(len(self._calls))]
        state, sink = self._open[stream], self._calls[stream]._sinks.get(1)
        if (kind == frames.REPLY and state.replied) or (
            kind in {frames.DATA, frames.EOF} and (1 in state.ended or sink is None)
        ):
            kind = frames.CREDIT if state.send < (8 << 20) else frames.END
        if kind == frames.DATA and isinstance(sink, Listing):
            return frame(kind, stream, b"\1" + self._item(match=self._number(4) == 3))
        return frame(kind, stream, self._payload(kind, self._number(16)))

    def _payload(self, kind: int, content: int) -> bytes:
        shape = self._number(64)
        if shape == 63 and content == 15:
            return self._raw()
        if kind == frames.DATA:
            return (b"\2" if shape == 62 and content == 15 else b"\1") + self._content(content)
        small = {
            frames.EOF: bytes([1 + (shape > 60)]),
            frames.CREDIT: b"\0" + ((1 + shape) << 12).to_bytes(4, "big"),
            frames.PONG: shape.to_bytes(8, "big"),
        }
        if kind in small:
            return small[kind]
        known: list[Field] = [("exit_code", 0), ("size", 3), ("errno", 2)] if shape < 56 else []
        return encode_record([*known, *self._fields(self._number(6))])

    def _content(self, shape: int) -> bytes:
        if shape < 2:
            return self._raw() or b"\n"
        if shape == 2:
            return END_OF_TREE
        if shape == 3:
            return encode_item([("name", b""), *self._facts(b"d")])
        return self._item(match=shape == 15)

    def _item(self, *, match: bool) -> bytes:
        name = _TEXTS[self._number(len(_TEXTS))] if self._number(16) == 15 else _GOOD[self._number(len(_GOOD))]
        if match:
            return encode_item([("name", name), ("line", 1), ("text", b"x"), *self._facts(b"f")])
        kind = b"fdl"[self._number(3) :][:1]
        fields: list[Field] = [("name", name), *self._facts(kind)]
        if kind == b"l":
            fields.append(("target", _GOOD[self._number(len(_GOOD))]))
        if kind == b"f" and not self._number(4):
            return encode_item([*fields[:2], ("size", 0), *fields[3:]])
        return encode_item(fields)

    def _facts(self, kind: bytes) -> list[Field]:
        facts: list[Field] = [(name, _NUMBERS[self._number(len(_NUMBERS))]) for name in _FACTS[1:]]
        return [("file_type", kind), *facts]

    def _fields(self, count: int) -> list[Field]:
        found: dict[str, int | bytes | str] = {}
        for _ in range(count):
            name = list(TAGS)[self._number(len(TAGS))]
            if name in {"exit_code", "size", "errno"} and self._number(8):
                continue
            value = _NUMBERS[self._number(len(_NUMBERS))]
            found[name] = value if self._number(2) else _TEXTS[self._number(len(_TEXTS))]
        return list(found.items())


class _Pieces(ByteStream):
    """A stream that gives what it is told to, and never waits."""

    _idle = os.pipe()[0]

    def __init__(self) -> None:
        self.next = b""

    def fileno(self) -> int:
        return self._idle

    def recv(self, size: int) -> bytes:
        data, self.next = self.next[:size], self.next[size:]
        return data

    def send(self, data: bytes | memoryview) -> int:
        return len(data)

    def close(self) -> None:
        pass


class _Guest(AgentGuest):
    """A guest on one connection, which is its own keeper of connections."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(self, 1 << 20, 1 << 20)
        self._connection = connection

    def current(self, user: str | None) -> Connection:
        return self._connection

    def reopen(self, user: str | None, within: float) -> Connection:
        return self._connection

    def explain(self, error: ConnectionLostError, user: str | None) -> SandboxError:
        return error


class _Running:
    """An operation that is driven as far as the answers that are there let it go."""

    def __init__(self, name: str, operation: Coroutine[Any, Any, Any]) -> None:
        self.name = name
        self.over = False
        self._operation = operation
        self._step: Any = None
        self.advance()

    def advance(self) -> None:
        """Go on until the next answer that is not there yet; an error that is not documented is raised."""
        while not self.over and not (isinstance(self._step, Wait) and not self._step.future.done()):
            try:
                self._step = self._resume()()
            except (StopIteration, SandboxError, OSError):
                self.over = True

    def _resume(self) -> Callable[[], Any]:
        try:
            step = self._step
            found = step.future.result(0) if isinstance(step, Wait) else step.call() if step is not None else None
        except Exception as error:  # noqa: BLE001 - the operation decides
            reason = error
            return lambda: self._operation.throw(reason)
        return lambda: self._operation.send(found)


async def _stream(guest: AgentGuest) -> None:
    process = await guest.spawn(["x"])
    await process.stdout.readline(limit=100)
    await process.stderr.read(10)
    await process.stdin.write(b"x" * 300_000)
    await process.stdout.read()
    await process.wait()


async def _socket(guest: AgentGuest) -> None:
    socket = await guest.connect(80)
    await socket.write(b"x" * 300_000)
    while await socket.read():
        pass


def survive(data: bytes, into: Path | None = None) -> int:
    """Open many calls, feed their connection frames that are made of bytes, end it, and see that every call ends.

    Args:
        data: The choices that make the frames.
        into: A directory for downloads, empty and emptied again; None: a temporary one.

    Returns:
        The number of frames.

    Raises:
        AssertionError: A call has not ended, or a file was written outside a download's destination.
        Exception: A call has ended with an error that is not documented.
    """
    scratch = Path(tempfile.mkdtemp()) if into is None else into
    stream = _Pieces()
    connection = Connection(stream, "sandbox 'x' on fake")
    connection.queue(connection.protocol.hello([]))
    if not data or data[0] != 1:
        stream.next = WELCOME
        connection.readable()
    guest = _Guest(connection)
    (scratch / "source").write_bytes(b"x" * 300_000)
    calls: dict[str, Coroutine[Any, Any, Any]] = {
        "download": guest.download("x", scratch / "tree", limit=1 << 20),
        "download of a file": guest.download("x", scratch / "file", limit=1 << 20),
        "exec": guest.exec(["x"], output_limit=100),
        "exec with input": guest.exec(["x"], input=b"x" * 300_000),
        "spawn": _stream(guest),
        "connect": _socket(guest),
        "read": guest.read_bytes("x"),
        "write": guest.write_bytes("x", b"x" * 300_000),
        "list": guest.list_dir(),
        "walk": guest.walk(),
        "glob": guest.glob("*"),
        "grep": guest.grep("x", limit=2),
        "stat": guest.stat("x"),
        "realpath": guest.realpath("x"),
        "upload": guest.upload(scratch / "source", "x"),
        "edit": guest.edit("x", "a", "b"),
    }
    running = [_Running(name, call) for name, call in calls.items()]
    count = 0
    try:
        for piece in Choices(data[1:], connection).frames():
            stream.next = piece
            count += 1
            while stream.next and connection.readable():
                pass
            for call in running:
                call.advance()
            if not connection.usable:
                break
        assert " failed: " not in str(connection._over), connection._over
        connection.readable()  # the end of the stream
        for call in running:
            call.advance()
        hanging = [call.name for call in running if not call.over]
        assert not hanging, f"these calls have not ended: {hanging}"
        found = set(os.listdir(scratch))
        assert found <= {"source", "tree", "file"}, found
    finally:
        connection.close()
        for path in scratch.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if into is None:
            scratch.rmdir()
    return count
