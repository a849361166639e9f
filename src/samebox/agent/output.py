"""Collector and Pipe: the two takers of an operation's output, whole within a limit or piece by piece."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from samebox.agent.frames import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 64 << 10
"""The size of the blocks in which bytes are held."""
BATCH = WINDOW // 2
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


class Blocks:
    """Bytes in the order in which they came, in memory that follows their number and not the number of pieces.

    A piece of a few bytes would take fifty as an object of its own, so small pieces are joined.
    """

    def __init__(self) -> None:
        self._blocks: deque[bytes | bytearray] = deque()
        self.size = 0

    def __bool__(self) -> bool:
        return self.size > 0

    def add(self, data: bytes) -> None:
        """Take bytes, which are not empty, at the end."""
        self.size += len(data)
        blocks = self._blocks
        if blocks and len(blocks[-1]) + len(data) <= _BLOCK:
            if isinstance(blocks[-1], bytes):
                blocks[-1] = bytearray(blocks[-1])
            blocks[-1] += data
        else:
            blocks.append(data)

    def first(self) -> int:
        """Return the size of the first block."""
        return len(self._blocks[0])

    def pop(self) -> bytes:
        """Take the first block away."""
        block = self._blocks.popleft()
        self.size -= len(block)
        return bytes(block)

    def put_back(self, data: bytes) -> None:
        """Take bytes at the start, in blocks, so that what is taken away again is never copied as a whole."""
        self.size += len(data)
        for end in range(len(data), 0, -_BLOCK):
            self._blocks.appendleft(data[max(0, end - _BLOCK) : end])

    def __iter__(self) -> Iterator[bytes | bytearray]:
        return iter(self._blocks)


class Collector:
    """Keeps the beginning and the end of a stream, at most `limit` bytes together, and drops the middle."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head = Blocks()
        self._tail = Blocks()
        self._owed = 0
        self.truncated = False

    def receive(self, data: bytes) -> int:
        """Take bytes; see `Sink.receive`."""
        self._owed += len(data)
        if (room := self._head_limit - self._head.size) > 0:
            self._head.add(data[:room])
            data = data[room:]
        if data:
            tail = self._tail
            tail.add(data)
            while tail and tail.size - tail.first() >= self._tail_limit:
                tail.pop()
                self.truncated = True
        if self._owed < BATCH:
            return 0
        owed, self._owed = self._owed, 0
        return owed

    def finish(self, error: BaseException | None) -> None:
        """Take note that no more bytes come."""

    @property
    def data(self) -> bytes:
        """The bytes that were kept."""
        over = self._tail.size - self._tail_limit
        if over <= 0:
            return b"".join((*self._head, *self._tail))
        self.truncated = True
        first, *others = self._tail
        return b"".join((*self._head, memoryview(first)[over:], *others))


class Waiters:
    """Who waits for something to come; its owner holds a lock for every call."""

    def __init__(self) -> None:
        self._futures: list[Future[None]] = []

    def add(self, *, ready: bool) -> Future[None]:
        """Return a future for one who waits.

        Args:
            ready: Whether there is nothing to wait for.
        """
        future: Future[None] = Future()
        if ready:
            future.set_result(None)
        else:
            self._futures = [*(other for other in self._futures if not other.done()), future]
        return future

    def wake(self) -> None:
        """Resolve the futures of all who wait."""
        waiting, self._futures = self._futures, []
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(None)


class Pipe:
    """Holds a stream's bytes until they are read, at most one window; the agent waits while the pipe is full.

    Args:
        note: Is told how many bytes the channel got.
        end: Is told that the channel gets no more.
        channel: The channel.
    """

    data = b""
    """A result's share of the stream: nothing, as the bytes belong to the pipe's reader."""

    def __init__(
        self,
        note: Callable[[int, int], None] = lambda _channel, _size: None,
        end: Callable[[int], None] = lambda _channel: None,
        channel: int = 0,
    ) -> None:
        self._note, self._end, self._channel = note, end, channel
        self._lock = threading.Lock()
        self._held = Blocks()
        self._ended = False
        self._error: BaseException | None = None
        self._waiters = Waiters()
        self._owed = 0
        self._room: int | None = None
        self.truncated = False

    def receive(self, data: bytes) -> int:
        """Take bytes; see `Sink.receive`."""
        with self._lock:
            if self._room is None:
                self._held.add(data)
                self._note(self._channel, len(data))
                self._waiters.wake()
                return 0
            kept = data[: self._room]
            self._room -= len(kept)
            self.truncated |= len(kept) < len(data)
            if kept:
                self._held.add(kept)
                self._note(self._channel, len(kept))
                self._waiters.wake()
            return self._due(len(data))

    def _due(self, size: int) -> int:
        """Return the credit to give now that so many bytes more take no room; the agent has room for a batch left.

        With a credit for each piece, an agent that sends single bytes and takes nothing would fill the queue to it.
        """
        self._owed += size
        if self._owed < BATCH:
            return 0
        owed, self._owed = self._owed, 0
        return owed

    def finish(self, error: BaseException | None) -> None:
        """Take note that no more bytes come; bytes that the pipe holds can still be read."""
        with self._lock:
            self._ended = True
            self._error = self._error or error
            self._waiters.wake()
        self._end(self._channel)

    def take(self) -> tuple[bytes | None, int]:
        """Return the next bytes (None: none yet, b"": the end) and how much credit to give for them.

        Raises:
            ConnectionLostError: The connection ended before the stream did.
        """
        with self._lock:
            if self._held:
                data = self._held.pop()
                return data, self._due(len(data)) if self._room is None else 0
            if self._error is not None:
                raise self._error
            return (b"", 0) if self._ended else (None, 0)

    def put_back(self, data: bytes) -> None:
        """Give back the rest of what `take` returned."""
        with self._lock:
            self._held.put_back(data)
            if self._room is None:
                self._owed -= len(data)

    def waiter(self) -> Future[None]:
        """Return a future that is resolved when `take` has bytes or the end to return."""
        with self._lock:
            return self._waiters.add(ready=bool(self._held) or self._ended)

    def release(self, limit: int) -> int:
        """Hold up the agent no longer: keep up to `limit` bytes and drop all bytes after those.

        Returns:
            The credit to give now.
        """
        with self._lock:
            if self._room is not None:
                return 0
            held = self._held.size
            self._room = max(0, limit - held)
            owed, self._owed = self._owed + held, 0
            return owed
