"""HostSide: the host's side of the wire protocol, without I/O. The specification is docs/protocol.md.

`feed` takes bytes from the agent and returns events; the other methods return bytes to send. Whatever the agent sends,
`feed` returns or raises `ProtocolError`, and holds at most one frame (`MAX_REPLY`) beside the bytes that it was just
given.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from samebox.agent.records import Record, decode_record, encode_record
from samebox.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samebox.agent.records import Field

VERSION = 1
MAX_REQUEST = 8 << 20
MAX_REPLY = 128 << 10
WINDOW = 256 << 10
CHUNK = 64 << 10
"""The longest DATA frame that the host sends."""
MAX_WINDOW = 16 << 20

HELLO, WELCOME, OPEN, DATA, EOF, CREDIT, SIGNAL, RESIZE, CANCEL, REPLY, END, ERROR, PING, PONG = range(1, 15)
STDIN, STDOUT, STDERR = 0, 1, 2

_HEADER = struct.Struct(">IIB")
_CREDIT = struct.Struct(">BI")
_PING = struct.Struct(">Q")
_FROM_AGENT = frozenset({WELCOME, DATA, EOF, CREDIT, REPLY, END, ERROR, PONG})


class Event(NamedTuple):
    """A frame that the agent sent; which fields count depends on the type."""

    type: int
    stream: int
    channel: int = 0
    data: bytes = b""
    credit: int = 0
    record: Record = Record()


@dataclass(slots=True)
class _Stream:
    """The host's account of one open stream."""

    receive: dict[int, int]
    """How many bytes the agent may still send, by channel."""
    send: int = WINDOW
    """How many bytes of input the host may still send."""
    ended: set[int] = field(default_factory=set)
    """Channels that the agent has ended."""
    replied: bool = False
    """Whether the agent has given its interim answer."""


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame.

    Raises:
        ValueError: The payload is longer than a request may be.
    """
    if len(payload) > MAX_REQUEST:
        msg = (
            f"a request may have {MAX_REQUEST} bytes, this one has {len(payload)}: "
            "the arguments or environment are too long"
        )
        raise ValueError(msg)
    return _HEADER.pack(len(payload), stream, kind) + payload


class HostSide:
    """The state of one connection as the host sees it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._welcomed = False
        self._pings = 0
        self._pongs = 0

    def hello(self, fields: Iterable[Field]) -> bytes:
        """Return the first frame of a connection, which asks for the agent's welcome."""
        return frame(HELLO, 0, encode_record([("version_min", VERSION), ("version_max", VERSION), *fields]))

    def open(self, operation: int, fields: Iterable[Field], window: int = WINDOW) -> tuple[int, bytes]:
        """Open a stream for an operation.

        Args:
            operation: The operation's number.
            fields: The fields of the operation's record.
            window: How much the agent may send on each channel before it needs credit, in bytes.

        Returns:
            The stream's id and the frame to send.

        Raises:
            ValueError: The request is too long.
        """
        fields = list(fields)
        if window != WINDOW:
            fields.append(("window", window))
        stream = self._last % 0xFFFFFFFF + 1
        while stream in self._streams:
            stream = stream % 0xFFFFFFFF + 1
        data = frame(OPEN, stream, bytes([operation]) + encode_record(fields))
        self._last = stream
        self._streams[stream] = _Stream({STDOUT: window, STDERR: window})
        return stream, data

    def sendable(self, stream: int) -> int:
        """Return how many bytes of input the stream takes now; 0 for a stream that has ended."""
        known = self._streams.get(stream)
        return known.send if known else 0

    def input(self, stream: int, data: bytes | memoryview) -> bytes:
        """Return the frame of some input, which has at most `CHUNK` and at most `sendable` bytes."""
        self._streams[stream].send -= len(data)
        return b"".join((_HEADER.pack(len(data) + 1, stream, DATA), b"\0", data))

    def credit(self, stream: int, channel: int, size: int) -> bytes:
        """Return the frame that lets the agent send `size` bytes more; b"" for a stream that has ended."""
        known = self._streams.get(stream)
        if known is None:
            return b""
        known.receive[channel] += size
        return frame(CREDIT, stream, _CREDIT.pack(channel, size))

    def ping(self) -> bytes:
        """Return the frame that asks whether the agent is there."""
        self._pings += 1
        return frame(PING, 0, _PING.pack(self._pings))

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the agent and return the events of all frames that are whole.

        Raises:
            ProtocolError: The bytes break the protocol; the connection has to be closed.
        """
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        position, have = 0, len(buffer)
        while have - position >= _HEADER.size:
            length, stream, kind = _HEADER.unpack_from(buffer, position)
            if length > MAX_REPLY or kind not in _FROM_AGENT or (not self._welcomed and kind not in (WELCOME, ERROR)):
                raise self._foreign(bytes(buffer[position : position + 200]))
            if have - position - _HEADER.size < length:
                break
            position += _HEADER.size
            events.append(self._event(kind, stream, bytes(memoryview(buffer)[position : position + length])))
            position += length
        del buffer[:position]
        return events

    def _foreign(self, start: bytes) -> ProtocolError:
        """Return the error for bytes that are no frame."""
        if not self._welcomed:
            return ProtocolError(f"the other side is no samebox agent; it said {start!r}")
        return ProtocolError(f"the agent sent what is no frame: {start[:32]!r}")

    def _event(self, kind: int, stream: int, payload: bytes) -> Event:
        if kind == DATA:
            return self._data(stream, payload)
        if kind == WELCOME:
            return self._welcome(stream, payload)
        if kind == PONG or stream == 0:
            if stream != 0 or kind not in (PONG, ERROR):
                msg = f"the agent sent a frame of type {kind} on stream {stream}"
                raise ProtocolError(msg)
            return self._pong(payload) if kind == PONG else Event(kind, 0, record=decode_record(payload))
        known = self._known(stream)
        if kind in (REPLY, END, ERROR):
            record = decode_record(payload)
            if kind != REPLY:
                del self._streams[stream]
            elif known.replied:
                msg = f"the agent sent a second REPLY on stream {stream}"
                raise ProtocolError(msg)
            known.replied = True
            return Event(kind, stream, record=record)
        if kind == CREDIT:
            return self._credited(stream, known, payload)
        channel = self._channel(known, payload)
        known.ended.add(channel)
        return Event(EOF, stream, channel)

    def _welcome(self, stream: int, payload: bytes) -> Event:
        record = decode_record(payload)
        if self._welcomed or stream != 0 or record.number("version") != VERSION:
            msg = f"the agent's welcome is not one for version {VERSION} of the protocol"
            raise ProtocolError(msg)
        self._welcomed = True
        return Event(WELCOME, 0, record=record)

    def _pong(self, payload: bytes) -> Event:
        # In the order in which they were asked for, each once.
        if self._pongs == self._pings or payload != _PING.pack(self._pongs + 1):
            msg = "the agent sent a PONG that nobody asked for"
            raise ProtocolError(msg)
        self._pongs += 1
        return Event(PONG, 0)

    def _known(self, stream: int) -> _Stream:
        try:
            return self._streams[stream]
        except KeyError:
            msg = f"the agent sent a frame for stream {stream}, which is not open"
            raise ProtocolError(msg) from None

    def _channel(self, known: _Stream, payload: bytes) -> int:
        if not payload or payload[0] not in known.receive or payload[0] in known.ended:
            msg = f"the agent sent a frame for a channel that is not open: {payload[:1]!r}"
            raise ProtocolError(msg)
        return payload[0]

    def _data(self, stream: int, payload: bytes) -> Event:
        known = self._known(stream)
        channel = self._channel(known, payload)
        size = len(payload) - 1
        if not 0 < size <= known.receive[channel]:
            msg = f"the agent sent {size} bytes where {known.receive[channel]} were allowed"
            raise ProtocolError(msg)
        known.receive[channel] -= size
        return Event(DATA, stream, channel, payload[1:])

    def _credited(self, stream: int, known: _Stream, payload: bytes) -> Event:
        if len(payload) != _CREDIT.size:
            msg = "the agent sent a credit of the wrong length"
            raise ProtocolError(msg)
        channel, size = _CREDIT.unpack(payload)
        if channel != STDIN or not size or known.send + size > MAX_WINDOW:
            msg = f"the agent gave a credit of {size} bytes on channel {channel}"
            raise ProtocolError(msg)
        known.send += size
        return Event(CREDIT, stream, credit=size)
