"""Collector and Pipe: the two takers of an operation's output, whole within a limit or piece by piece."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from samebox.agent.frames import WINDOW

_BATCH = WINDOW // 2
"""How many bytes of credit are given at once, as a credit frame for every chunk would double the traffic."""


class Sink(Protocol):
    """Takes the bytes of one channel, in the thread that reads the connection."""

    def receive(self, data: bytes) -> int:
        """Take bytes; return how much credit to give for bytes that take no room any more.

        Raises:
            ProtocolError: The bytes can only be a lie; the connection ends.
            SandboxError: The bytes are refused; the call fails, and the connection goes on.
        """

    def finish(self, error: BaseException | None) -> None:
        """Take note that no more bytes come; `error` is given if the connection was lost."""


class Collector:
    """Keeps the beginning and the end of a stream, at most `limit` bytes together, and drops the middle."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head: list[bytes] = []
        self._head_size = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._owed = 0
        self.truncated = False

    def receive(self, data: bytes) -> int:
        """Take bytes; see `Sink.receive`."""
        self._owed += len(data)
        if (room := self._head_limit - self._head_size) > 0:
            part = data[:room]
            self._head.append(part)
            self._head_size += len(part)
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
                self._tail_size -= len(self._tail.popleft())
                self.truncated = True
        if self._owed < _BATCH:
            return 0
        owed, self._owed = self._owed, 0
        return owed

    def finish(self, error: BaseException | None) -> None:
        """Take note that no more bytes come."""

    @property
    def data(self) -> bytes:
        """The bytes that were kept."""
        tail = b"".join(self._tail)
        if len(tail) > self._tail_limit:
            tail = tail[len(tail) - self._tail_limit :]
            self.truncated = True
        return b"".join(self._head) + tail


class Pipe:
    """Holds a stream's bytes until they are read, at most one window; the agent waits while the pipe is full."""

    data = b""
    """A result's share of the stream: nothing, as the bytes belong to the pipe's reader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: Future[None] | None = None
        self._owed = 0
        self._room: int | None = None
        self.truncated = False

    def receive(self, data: bytes) -> int:
        """Take bytes; see `Sink.receive`."""
        with self._lock:
            if self._room is None:
                self._chunks.append(data)
                self._wake()
                return 0
            kept = data[: self._room]
            self._room -= len(kept)
            self.truncated |= len(kept) < len(data)
            if kept:
                self._chunks.append(kept)
                self._wake()
            return len(data)

    def finish(self, error: BaseException | None) -> None:
        """Take note that no more bytes come; bytes that the pipe holds can still be read."""
        with self._lock:
            self._ended = True
            self._error = self._error or error
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and waiter.set_running_or_notify_cancel():
            waiter.set_result(None)

    def take(self) -> tuple[bytes | None, int]:
        """Return the next bytes (None: none yet, b"": the end) and how much credit to give for them.

        Raises:
            ConnectionLostError: The connection ended before the stream did.
        """
        with self._lock:
            if self._chunks:
                data = self._chunks.popleft()
                self._owed += len(data)
                # With less than a batch owed, the agent has room left to send, so the credit waits while chunks are
                # held.
                if self._room is not None or (self._owed < _BATCH and self._chunks):
                    return data, 0
                owed, self._owed = self._owed, 0
                return data, owed
            if self._error is not None:
                raise self._error
            return (b"", 0) if self._ended else (None, 0)

    def put_back(self, data: bytes) -> None:
        """Give back the rest of what `take` returned."""
        with self._lock:
            self._chunks.appendleft(data)
            self._owed -= len(data)

    def waiter(self) -> Future[None]:
        """Return a future that is resolved when `take` has bytes or the end to return."""
        with self._lock:
            future: Future[None] = Future()
            if self._chunks or self._ended:
                future.set_result(None)
            else:
                self._wake()
                self._waiter = future
            return future

    def release(self, limit: int) -> int:
        """Hold up the agent no longer: keep up to `limit` bytes and drop all bytes after those.

        Returns:
            The credit to give now.
        """
        with self._lock:
            if self._room is not None:
                return 0
            held = sum(map(len, self._chunks))
            self._room = max(0, limit - held)
            owed, self._owed = self._owed + held, 0
            return owed
