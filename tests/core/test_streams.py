"""Docker's multiplexed framing, cut anywhere."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from samebox.engine import ByteStream
from samebox.engine.streams import MultiplexedStream
from samebox.errors import ProtocolError


class Pieces(ByteStream):
    """A stream that gives what it was made with, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces]

    def fileno(self) -> int:
        """Return a descriptor that nobody uses."""
        return 0

    def recv(self, size: int) -> bytes:
        """Return the next piece."""
        return self.pieces.pop(0) if self.pieces else b""

    def send(self, data: bytes | memoryview) -> int:
        """Take everything."""
        return len(data)

    def close(self) -> None:
        """Do nothing."""


def piece(kind: int, data: bytes) -> bytes:
    """Return one frame of Docker's."""
    return struct.pack(">BxxxI", kind, len(data)) + data


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=8), st.data())
def test_stdout_is_the_stream_however_it_is_cut(parts: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Stderr goes to the diagnostics; nothing is lost or mixed."""
    whole = b"".join(piece(*part) for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if b > a]
    backlog = data.draw(st.booleans()) and bool(pieces)
    stream = MultiplexedStream(Pieces(*pieces[int(backlog) :]), backlog=pieces[0] if backlog else b"")
    out = b""
    while got := stream.recv(100):
        out += got

    assert out == b"".join(text for kind, text in parts if kind == 1)
    assert stream.diagnostics() == b"".join(text for kind, text in parts if kind == 2).decode(errors="replace").strip()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x09\0\0\0\0\0\0\0", "no frame header where one is due"),
        (b"OCI runtime error", "no frame header where one is due, but b'OCI runt'"),
    ],
)
def test_broken_framing_is_an_error(data: bytes, words: str) -> None:
    """What is no frame ends the stream, with the words that came in its place."""
    stream = MultiplexedStream(Pieces(data))
    with pytest.raises(ProtocolError, match=words):
        [*iter(lambda: stream.recv(100), b"")]


@pytest.mark.parametrize("data", [b"\x01\0\0", piece(1, b"abc")[:-1]])
def test_cut_inside_a_frame_is_an_error(data: bytes) -> None:
    """docker-py returns normally in the middle of a frame; output is lost without a word."""
    stream = MultiplexedStream(Pieces(data))
    with pytest.raises(ConnectionResetError, match="ended inside a frame"):
        [*iter(lambda: stream.recv(100), b"")]
