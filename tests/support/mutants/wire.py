"""Mutants whose byte stream is broken: what an engine's plugin gets wrong most easily."""

from __future__ import annotations

import contextlib
import struct
import time
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from samebox.engine.streams import SocketStream

if TYPE_CHECKING:
    import pytest

    from samebox.engine.local import LocalEngine


def _stream(patch: pytest.MonkeyPatch, stream: type[SocketStream]) -> None:
    patch.setattr("samebox.engine.local.SocketStream", stream)


class _Cutting(SocketStream):
    """Gives whole frames, and drops the one that a read has cut."""

    def recv(self, size: int) -> bytes:
        data = super().recv(min(size, 10_000))
        end = 0
        while len(data) - end >= 9 and len(data) - end - 9 >= struct.unpack_from(">I", data, end)[0]:
            end += 9 + int(struct.unpack_from(">I", data, end)[0])
        if data and not end:
            raise BlockingIOError
        return data[:end]


@mutant("exec/both-streams-may-be-large", patience=2)
def swallows_a_partial_frame(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A frame that comes in two reads is dropped."""
    _stream(patch, _Cutting)


class _Forgetting(SocketStream):
    """Says that it has sent everything, whatever the socket took."""

    def send(self, data: Any) -> int:
        with contextlib.suppress(BlockingIOError):
            super().send(data)
        return len(data)


@mutant("stdin/large-input-is-whole", patience=2)
def loses_what_is_not_sent_at_once(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """What the socket does not take at once is lost."""
    _stream(patch, _Forgetting)


class _Terminal(SocketStream):
    """Converts line ends, as a terminal on the way does."""

    def recv(self, size: int) -> bytes:
        data = super().recv(size)
        return data.replace(b"\r\n", b"\n") or data


@mutant("exec/line-ends-are-kept", patience=2)
def has_a_terminal_on_the_way(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The stream has a terminal on its way, which converts line ends."""
    _stream(patch, _Terminal)


class _Text(SocketStream):
    """Replaces what is not UTF-8, where it happens to be as long."""

    def recv(self, size: int) -> bytes:
        return super().recv(size).replace(b"\xff", b"?")


@mutant("exec/output-is-byte-exact", "files/read-bytes-are-exact")
def replaces_bytes_on_the_way(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The stream replaces bytes that are no text."""
    _stream(patch, _Text)


class _Deaf(SocketStream):
    """Never says that the other side has ended."""

    def recv(self, size: int) -> bytes:
        data = super().recv(size)
        if not data:
            time.sleep(0.02)
            raise BlockingIOError
        return data


@mutant(
    "gone/running-command-is-told[removed]",
    "gone/running-command-is-told[stopped]",
    patience=2,
)
def hangs_when_gone(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The stream does not tell its end: calls of a sandbox that is gone wait for ever."""
    _stream(patch, _Deaf)
