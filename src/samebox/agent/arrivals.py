"""Arrivals: the two streams of a command as their bytes come, one after the other."""

from __future__ import annotations

import threading
from array import array
from typing import TYPE_CHECKING

from samebox.agent.frames import STDERR, STDOUT, WINDOW
from samebox.agent.output import Pipe, Waiters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from samebox.agent.call import Call

_MOST = 2 * WINDOW
"""How many runs there can be of bytes that nobody has taken: as many as there are bytes."""
_SPENT = 4096
"""How many runs that were taken are kept before they are dropped together."""


class Arrivals:
    """The pipes of a command's stdout and stderr, and in which order they got their bytes.

    The order is kept as runs: how many bytes came on one stream, then on the other, and so on. They are numbers in an
    array, as a hostile sandbox may send single bytes on both streams in turn.
    """

    def __init__(self) -> None:
        self.pipes = {channel: Pipe(self._note, self._end, channel) for channel in (STDOUT, STDERR)}
        self._lock = threading.Lock()
        self._runs = array("Q")
        self._first = 0
        """The index of the first run that was not taken."""
        self._channel = STDOUT
        """The stream of the first run; the next run is the other's."""
        self._last = 0
        """The stream of the last run."""
        self._ended: set[int] = set()
        self._waiters = Waiters()

    async def next(self, call: Call, wait: Callable[[Future[None]], Awaitable[None]]) -> tuple[int, bytes] | None:
        """Return the bytes that came next, with their channel; None at the end of both streams.

        Bytes that were taken from a pipe meanwhile are passed over.

        Args:
            call: The command, which is given credit.
            wait: Waits for what is resolved when bytes have come, or the end of both.

        Raises:
            ConnectionLostError: The connection ended before the streams did.
        """
        while True:
            with self._lock:
                channel, size = self._channel, self._runs[self._first] if self._first < len(self._runs) else 0
                over = not size and len(self._ended) == len(self.pipes)
            if over:
                for pipe in self.pipes.values():
                    pipe.take()  # raises what ended it
                return None
            if not size:
                await wait(self._waiter())
                continue
            data, credit = self.pipes[channel].take()
            if data is not None and len(data) > size:
                self.pipes[channel].put_back(data[size:])
                data = data[:size]
            call.credit(channel, credit)
            self._taken(len(data) if data else size)
            if data:
                return channel, data

    def _note(self, channel: int, size: int) -> None:
        with self._lock:
            if self._first == len(self._runs):
                self._runs, self._first = array("Q", [size]), 0
                self._channel = channel
            elif channel == self._last:
                self._runs[-1] += size
            else:
                self._runs.append(size)
            self._last = channel
            if len(self._runs) - self._first > _MOST:  # the pipes are read by themselves
                self._runs[self._first + 2] += self._runs[self._first]
                self._runs[self._first + 3] += self._runs[self._first + 1]
                self._drop(2)
            self._waiters.wake()

    def _taken(self, size: int) -> None:
        with self._lock:
            self._runs[self._first] -= size
            if not self._runs[self._first]:
                self._drop(1)
                self._channel = STDERR if self._channel == STDOUT else STDOUT

    def _drop(self, runs: int) -> None:
        self._first += runs
        if self._first > _SPENT and self._first * 2 > len(self._runs):
            del self._runs[: self._first]
            self._first = 0

    def _end(self, channel: int) -> None:
        with self._lock:
            self._ended.add(channel)
            self._waiters.wake()

    def _waiter(self) -> Future[None]:
        """Return a future that is resolved when there are bytes, or both streams have ended."""
        with self._lock:
            return self._waiters.add(ready=self._first < len(self._runs) or len(self._ended) == len(self.pipes))
