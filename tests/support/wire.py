"""A client of the agent that knows nothing but docs/protocol.md: what the host's side does wrong can't hide here."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import socket
    import subprocess

HELLO, WELCOME, OPEN, DATA, EOF, CREDIT, SIGNAL, RESIZE, CANCEL, REPLY, END, ERROR, PING, PONG = range(1, 15)
WINDOW = 256 << 10
MAX_REQUEST = 8 << 20
MAX_REPLY = 128 << 10

OPERATIONS = {
    "exec": 1,
    "read": 10,
    "write": 11,
    "stat": 12,
    "list": 13,
    "remove": 15,
    "walk": 22,
    "unpack": 25,
    "connect": 30,
}
NUMBERS = {
    "version_min": 1,
    "version_max": 2,
    "version": 3,
    "pid": 5,
    "uid": 6,
    "gid": 7,
    "timeout": 12,
    "grace": 13,
    "tty": 14,
    "rows": 15,
    "columns": 16,
    "window": 17,
    "clear_env": 18,
    "flags": 22,
    "limit": 23,
    "offset": 24,
    "errno": 33,
    "exit_code": 35,
    "signal": 36,
    "size": 39,
    "mode": 40,
    "mtime": 42,
    "inode": 44,
    "links": 45,
    "count": 48,
    "device": 50,
    "want_digest": 51,
    "port": 55,
    "depth": 56,
}
TEXTS = {
    "digest": 4,
    "workdir": 8,
    "env": 9,
    "argv": 10,
    "cwd": 11,
    "path": 20,
    "root": 21,
    "message": 34,
    "reason": 37,
    "kind": 38,
    "file_type": 41,
    "target": 43,
    "name": 49,
    "host": 54,
}
NAMES = {tag: name for table in (NUMBERS, TEXTS) for name, tag in table.items()}

Value = int | bytes | str
Record = dict[str, Value]


def encode(**fields: Any) -> bytes:
    """Return a record; a list repeats its field."""
    out = []
    for name, given in fields.items():
        for value in [given] if isinstance(given, int | bytes | str) else given:
            data = struct.pack(">q", value) if isinstance(value, int) else os.fsencode(value)
            out.append(struct.pack(">BI", (NUMBERS if isinstance(value, int) else TEXTS)[name], len(data)) + data)
    return b"".join(out)


def decode(data: bytes) -> Record:
    """Return the fields of a record, numbers as int and the rest as bytes."""
    record: Record = {}
    while data:
        tag, size = struct.unpack_from(">BI", data)
        value, data = data[5 : 5 + size], data[5 + size :]
        assert len(value) == size
        name = NAMES[tag]
        assert name not in record
        record[name] = struct.unpack(">q", value)[0] if name in NUMBERS else value
    return record


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return struct.pack(">IIB", len(payload), stream, kind) + payload


class Frame(NamedTuple):
    """A frame of the agent."""

    type: int
    stream: int
    payload: bytes


@dataclass
class Stream:
    """One operation under way."""

    wire: Wire
    id: int
    output: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    ended: set[int] = field(default_factory=set)
    crediting: bool = True
    """Whether what arrives is answered with credit at once."""
    credit: int = 0
    """What the agent has given, for channel 0, beyond the first window."""
    reply: Record | None = None
    result: Record | None = None
    failed: bool = False

    @property
    def stdout(self) -> bytes:
        """What has come on channel 1."""
        return bytes(self.output[1])

    @property
    def stderr(self) -> bytes:
        """What has come on channel 2."""
        return bytes(self.output[2])

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame of this stream."""
        self.wire.send(kind, self.id, payload)

    def data(self, data: bytes) -> None:
        """Send input that the window allows."""
        for start in range(0, len(data), 65536):
            self.send(DATA, b"\0" + data[start : start + 65536])

    def eof(self) -> None:
        """End the input."""
        self.send(EOF, b"\0")

    def give(self, channel: int, size: int) -> None:
        """Give credit."""
        self.send(CREDIT, struct.pack(">BI", channel, size))

    def cancel(self, grace: int | None = None) -> None:
        """Ask for the end."""
        self.send(CANCEL, b"" if grace is None else struct.pack(">I", grace))

    def feed(self, data: bytes) -> None:
        """Send all of the input as the agent takes it, then its end."""
        sent = 0
        while sent < len(data):
            size = min(65536, WINDOW + self.credit - sent, len(data) - sent)
            if size > 0:
                self.data(data[sent : sent + size])
                sent += size
            elif self.result is not None:
                return
            else:
                self.wire.pump()
        self.eof()

    def wait(self) -> Record:
        """Go on until it has ended, and return its last record."""
        while self.result is None:
            self.wire.pump()
        return self.result

    def until(self, text: bytes, channel: int = 1) -> None:
        """Go on until this was written."""
        while text not in self.output[channel]:
            assert self.result is None, self
            self.wire.pump()

    def take(self, frame: Frame) -> None:
        """Take one frame of the agent."""
        assert self.result is None, "a frame after the end"
        if frame.type == DATA:
            channel = frame.payload[0]
            assert len(frame.payload) > 1
            assert channel not in self.ended
            self.output[channel] += frame.payload[1:]
            if self.crediting:
                self.give(channel, len(frame.payload) - 1)
        elif frame.type == EOF:
            self.ended.add(frame.payload[0])
        elif frame.type == CREDIT:
            channel, size = struct.unpack(">BI", frame.payload)
            assert channel == 0
            self.credit += size
        elif frame.type == REPLY:
            assert self.reply is None
            self.reply = decode(frame.payload)
        else:
            assert frame.type in (END, ERROR)
            self.failed = frame.type == ERROR
            self.result = decode(frame.payload)


class Wire:
    """A connection to an agent, and what has come over it."""

    def __init__(self, sock: socket.socket, timeout: float = 20) -> None:
        self.sock = sock
        self.sock.settimeout(timeout)
        self.streams: dict[int, Stream] = {}
        self.other: list[Frame] = []
        self.last = 0
        self._buffer = b""

    def send(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        """Send a frame."""
        self.sock.sendall(frame(kind, stream, payload))

    def receive(self) -> Frame:
        """Return the next frame; EOFError if the agent has closed."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + struct.unpack_from(">I", self._buffer)[0]:
            data = self.sock.recv(1 << 20)
            if not data:
                assert not self._buffer, "the agent's last frame is cut"
                raise EOFError
            self._buffer += data
        size, stream, kind = struct.unpack_from(">IIB", self._buffer)
        assert size <= MAX_REPLY
        got = Frame(kind, stream, self._buffer[9 : 9 + size])
        self._buffer = self._buffer[9 + size :]
        return got

    def hello(self, *, version_max: int = 1, **fields: Any) -> Record:
        """Make the first exchange."""
        self.send(HELLO, 0, encode(version_min=1, version_max=version_max, **fields))
        answer = self.receive()
        assert (answer.type, answer.stream) == (WELCOME, 0), decode(answer.payload)
        return decode(answer.payload)

    def pump(self) -> Frame:
        """Take the next frame to its stream."""
        got = self.receive()
        if got.stream == 0:
            self.other.append(got)
        else:
            self.streams[got.stream].take(got)
        return got

    def open(self, operation: str, *, crediting: bool = True, **fields: Any) -> Stream:
        """Begin an operation."""
        self.last += 1
        stream = self.streams[self.last] = Stream(self, self.last, crediting=crediting)
        self.send(OPEN, self.last, bytes([OPERATIONS[operation]]) + encode(**fields))
        return stream

    def exec(self, *argv: bytes | str, crediting: bool = True, **fields: Any) -> Stream:
        """Begin a command."""
        return self.open("exec", crediting=crediting, argv=argv, **fields)

    def sh(self, script: str, **fields: Any) -> Stream:
        """Run a script to its end."""
        stream = self.open("exec", argv=("sh", "-c", script), **fields)
        stream.wait()
        return stream

    def refusal(self) -> Record:
        """Return the ERROR on stream 0 with which the agent ends the connection."""
        while True:
            got = self.receive()
            if got.stream == 0 and got.type == ERROR:
                with contextlib.suppress(ConnectionResetError):
                    assert self.sock.recv(1) == b""
                return decode(got.payload)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


@dataclass
class Agent:
    """An `agent serve` of our own, over a socket pair."""

    process: subprocess.Popen[bytes]
    wire: Wire

    def end(self, timeout: float = 10) -> int:
        """Hang up, and return the agent's exit code."""
        self.wire.close()
        return self.process.wait(timeout)


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int) -> bool:
    """Whether there is such a process, and not as a zombie; a thread may outlive the first one."""
    stat = _stat(pid)
    return stat is not None and (stat[0] not in "ZX" or int(stat[17]) > 1)


def children(parent: int) -> list[int]:
    """The processes of this parent, zombies too."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[1]) == parent]


def gone(*pids: int, within: float = 5) -> bool:
    """Whether all these processes end in time."""
    deadline = time.monotonic() + within
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
