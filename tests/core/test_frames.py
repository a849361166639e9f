"""The host's side of the protocol: whatever the agent sends, the answer is events or a ProtocolError."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from samebox.agent import frames
from samebox.agent.frames import HostSide, frame
from samebox.agent.records import decode_record, encode_record
from samebox.errors import ProtocolError

WELCOME = frame(frames.WELCOME, 0, encode_record([("version", 1), ("pid", 7)]))


def host(*, streams: int = 1) -> HostSide:
    """Return a host's side after the first exchange, with some streams open."""
    side = HostSide()
    side.hello([("workdir", b"/w")])
    assert [event.type for event in side.feed(WELCOME)] == [frames.WELCOME]
    for _ in range(streams):
        side.open(1, [("argv", b"true")])
    return side


def test_first_exchange_offers_the_version() -> None:
    """HELLO comes first, on stream 0, with the versions that this side knows."""
    data = HostSide().hello([("workdir", b"/w")])
    length, stream, kind = struct.unpack_from(">IIB", data)
    record = decode_record(data[9:])

    assert (length, stream, kind) == (len(data) - 9, 0, frames.HELLO)
    assert (record.number("version_min"), record.number("version_max"), record["workdir"]) == (1, 1, b"/w")


def test_whole_life_of_a_stream() -> None:
    """REPLY, DATA, EOF and END arrive as events; then the stream is closed."""
    side = host()
    sent = b"".join(
        [
            frame(frames.REPLY, 1, encode_record([("pid", 3)])),
            frame(frames.DATA, 1, b"\x01out"),
            frame(frames.DATA, 1, b"\x02err"),
            frame(frames.EOF, 1, b"\x01"),
            frame(frames.END, 1, encode_record([("exit_code", 0)])),
        ]
    )
    events = side.feed(sent)

    assert [event.type for event in events] == [frames.REPLY, frames.DATA, frames.DATA, frames.EOF, frames.END]
    assert [(event.channel, event.data) for event in events[1:3]] == [(1, b"out"), (2, b"err")]
    with pytest.raises(ProtocolError, match=r"stream 1, which is not open"):
        side.feed(frame(frames.END, 1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack(">IIB", frames.MAX_REPLY + 1, 1, frames.DATA), "is no frame"),
        (struct.pack(">IIB", 0xFFFFFFFF, 1, frames.DATA), "is no frame"),
        (frame(frames.OPEN, 1), "is no frame"),
        (frame(99, 1), "is no frame"),
        (frame(frames.DATA, 9, b"\x01x"), "stream 9, which is not open"),
        (frame(frames.DATA, 1, b""), "channel that is not open"),
        (frame(frames.DATA, 1, b"\x01"), "sent 0 bytes"),
        (frame(frames.DATA, 1, b"\x00x"), "channel that is not open"),
        (frame(frames.DATA, 1, b"\x07x"), "channel that is not open"),
        (frame(frames.EOF, 1, b"\x01") + frame(frames.DATA, 1, b"\x01x"), "channel that is not open"),
        (frame(frames.CREDIT, 1, b"\x00\x00"), "wrong length"),
        (frame(frames.CREDIT, 1, struct.pack(">BI", 0, 0)), "credit of 0 bytes"),
        (frame(frames.CREDIT, 1, struct.pack(">BI", 0, 0xFFFFFFFF)), "credit of 4294967295 bytes"),
        (frame(frames.CREDIT, 1, struct.pack(">BI", 1, 5)), "on channel 1"),
        (frame(frames.END, 1, b"\x23\x00"), "ends inside a field"),
        (frame(frames.END, 1, struct.pack(">BI", 35, 100)), "ends inside a field"),
        (frame(frames.END, 1, encode_record([("exit_code", 0), ("exit_code", 1)])), "'exit_code' twice"),
        (WELCOME, "welcome is not one"),
        (frame(frames.END, 0), "type 11 on stream 0"),
    ],
)
def test_broken_frames_are_refused(data: bytes, words: str) -> None:
    """Each way to break the protocol is a ProtocolError that says which."""
    side = host()

    with pytest.raises(ProtocolError, match=words):
        side.feed(data)


def test_what_is_no_agent_is_quoted() -> None:
    """Before the first exchange the text shows what the other side said: most often it is the runtime's own error."""
    side = HostSide()
    side.hello([])

    with pytest.raises(ProtocolError, match=r"no samebox agent; it said b'OCI runtime exec failed"):
        side.feed(b"OCI runtime exec failed: no such file\r\n")


def test_window_is_enforced() -> None:
    """An agent that sends more than it was allowed is refused: else it could fill the host's memory."""
    side = host()
    chunk = frame(frames.DATA, 1, b"\x01" + bytes(64 << 10))
    for _ in range(frames.WINDOW // (64 << 10)):
        side.feed(chunk)

    with pytest.raises(ProtocolError, match=r"sent 65536 bytes where 0 were allowed"):
        side.feed(chunk)


def test_credit_opens_the_window() -> None:
    """After credit the agent may send as much again; a stream that has ended gets none."""
    side = host()
    side.feed(frame(frames.DATA, 1, b"\x01" + bytes(100)))
    assert side.credit(1, 1, 100) == frame(frames.CREDIT, 1, struct.pack(">BI", 1, 100))
    side.feed(frame(frames.END, 1))

    assert side.credit(1, 1, 100) == b""


def test_a_request_that_is_too_long_is_refused_before_it_is_sent() -> None:
    """The text says what is too long, and no stream stays open for it."""
    side = host(streams=0)

    with pytest.raises(ValueError, match="arguments or environment are too long"):
        side.open(1, [("argv", bytes(frames.MAX_REQUEST))])
    assert side.open(1, [("argv", b"x")])[0] == 1


@given(st.binary(max_size=4000))
def test_random_bytes_never_hang_or_grow(data: bytes) -> None:
    """Random bytes give events or a ProtocolError, and nothing more than one frame is held."""
    side = host()
    try:
        side.feed(data)
    except ProtocolError:
        return
    assert len(side._buffer) <= frames.MAX_REPLY + 9


REPLIES = st.sampled_from([frames.DATA, frames.EOF, frames.CREDIT, frames.REPLY, frames.END, frames.ERROR, frames.PONG])


@given(st.lists(st.tuples(REPLIES, st.integers(0, 3), st.binary(max_size=40)), max_size=20), st.data())
def test_frames_cut_anywhere_mean_the_same(parts: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    """However a stream of frames is cut into reads, the events are the same."""
    stream = b"".join(frame(*part) for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    def events(chunks: list[bytes]) -> list[object]:
        side, found = host(streams=2), list[object]()
        for chunk in chunks:
            for position in range(len(chunk)):
                try:
                    found += side.feed(chunk[position : position + 1])
                except ProtocolError as error:
                    return [*found, str(error)]
        return found

    def in_pieces(chunks: list[bytes]) -> list[object]:
        side, found = host(streams=2), list[object]()
        for chunk in chunks:
            try:
                found += side.feed(chunk)
            except ProtocolError:
                return found
        return found

    one_by_one = events([stream])
    whole = in_pieces(pieces)
    assert one_by_one[: len(whole)] == whole


@given(st.dictionaries(st.sampled_from(["path", "target", "name", "text"]), st.binary(max_size=50)))
def test_records_survive_the_way(fields: dict[str, bytes]) -> None:
    """Bytes in a record come out as they went in."""
    assert decode_record(encode_record(fields.items())) == fields
