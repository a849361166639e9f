"""Watch: decides who reads a channel, a thread that waits for it or the transport's."""

from __future__ import annotations

import select
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from samebox.engine import transport as transports
from samebox.interrupts import InterruptShield

if TYPE_CHECKING:
    from concurrent.futures import Future

    from samebox.engine.transport import Transport

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Channel(Protocol):
    """A connection that is read and written. At most one thread is in `readable`, and one thread in `writable`."""

    def fileno(self) -> int | None:
        """Return the descriptor to wait on, or None."""

    @property
    def expects(self) -> bool:
        """Whether an answer is to come that a thread may wait for."""

    def readable(self) -> bool:
        """Read what has come; return False when the connection is over. Raises only what interrupted the thread."""

    def writable(self) -> bool:
        """Write what is queued; return whether part of the queue is left."""

    def tend(self) -> float:
        """Do what is due when nothing has come for a while; return when to come again, in seconds."""

    def closed(self) -> None:
        """Close the connection's stream itself: no thread reads the stream any more."""


class Watch:
    """Decides who reads a channel: a thread that waits for an answer, else the transport's thread, else nobody.

    A thread that reads its own answer saves the way through the transport's thread, which costs as much as a small
    request.

    Args:
        transport: The transport whose thread reads the channel while no other thread does.
        channel: The channel to read and write.
    """

    def __init__(self, transport: Transport, channel: Channel) -> None:
        self._transport = transport
        self._channel = channel
        self._descriptor = channel.fileno()
        self._lock = threading.RLock()  # a signal's handler may call samebox while this thread has the lock
        self._events = 0
        self._reader: int | None = None
        self._inside = False
        self._removed = False
        self._closed = False
        self._bell: transports.Bell | None = None
        self._thread: threading.Thread | None = None

    def keep_reading(self) -> None:
        """Have another thread read the channel while no waiting thread does, as the caller itself does not read."""
        with self._lock:
            if self._descriptor is not None:
                if self._reader is None:  # else the thread that reads sees to the next reader on leaving
                    self._expect(_IN)
            elif self._thread is None:
                self._thread = threading.Thread(target=self._read_blocking, name="samebox-reader", daemon=True)
                self._thread.start()
                self._transport.attend(self)

    def want_write(self) -> None:
        """Call `writable` as soon as the channel takes data again."""
        if self._descriptor is None:
            threading.Thread(target=self._write_blocking, name="samebox-writer", daemon=True).start()
        else:
            with self._lock:
                self._expect(_OUT)

    def remove(self) -> None:
        """Read and write no more, and close the channel as soon as no thread is reading it."""
        with self._lock:
            if self._descriptor is not None:
                self._expect(0, no_more=_IN | _OUT)
            self._removed = True
            if self._bell is not None:
                self._bell.ring()
        self._transport.forget(self)
        self._close()

    def tend(self) -> None:
        """Let the channel do what is due, in the transport's thread, unless a thread that waits sees to it."""
        if self._reader is None or self._descriptor is None:
            self._channel.tend()

    def catch_up(self) -> None:
        """Read what has come while no thread read, as the end of the stream."""
        if self._descriptor is None or self._reader is not None or self._events & _IN:
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if poll.poll(0):
            with InterruptShield():
                if self._enter():
                    try:
                        self._read()
                    finally:
                        self._leave()

    def ready(self, events: int) -> None:
        """Serve the channel, in the transport's thread."""
        if events & ~_IN and self._events & _OUT:
            with self._lock:
                # Before `writable`: data that is queued while `writable` returns asks for another call.
                self._expect(0, no_more=_OUT)
            if self._channel.writable():
                self.want_write()
        if events & ~_OUT and self._events & _IN and self._enter():
            try:
                self._read()
            finally:
                self._leave()

    def read_until(self, future: Future[Any], timeout: float | None) -> None:
        """Read the channel in this thread until a future is resolved, unless another thread reads it.

        Args:
            future: The result that this thread waits for; when `expects` is false, only the channel's end resolves the
                future.
            timeout: The longest wait, in seconds; None waits for ever.

        Raises:
            TimeoutError: The time is over.
            RuntimeError: This thread is reading the channel further up its stack, as when a finalizer or a signal's
                handler interrupted the read.
        """
        if future.done():
            return
        if self._descriptor is None:
            self.keep_reading()
            return
        # A signal's handler that interrupts this thread's wait further up the stack reads in place of the waiting call.
        nested = self._reader == threading.get_ident()
        if nested and self._inside:
            msg = "this thread was interrupted while it read the answers that it is now to wait for"
            raise RuntimeError(msg)
        with InterruptShield() as shield:
            if not nested and not self._enter():
                return
            try:
                self._wait(self._descriptor, future, timeout, shield)
            finally:
                if nested:
                    self._own_bell().ring()
                else:
                    self._leave()

    def _wait(self, channel: int, future: Future[Any], timeout: float | None, shield: InterruptShield) -> None:
        with self._lock:
            self._expect(0, no_more=_IN)
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        bell = self._own_bell()
        poll.register(bell.descriptor, select.POLLIN)
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        due = now + transports.TICK
        while not future.done() and not self._removed:
            now = time.monotonic()
            if deadline is not None and deadline <= now:
                raise TimeoutError
            if due <= now:
                due = now + min(self._channel.tend(), transports.TICK)
                continue
            shield.lift()
            found = poll.poll(((due if deadline is None else min(due, deadline)) - now) * 1000)
            shield.lower()
            for descriptor, _ in found:
                if descriptor == channel:
                    self._read()
                else:
                    bell.hear()

    def _own_bell(self) -> transports.Bell:
        with self._lock:
            if self._bell is None:
                self._bell = transports.Bell()
            return self._bell

    def _enter(self) -> bool:
        with self._lock:
            if self._reader is not None or self._removed:
                return False
            self._reader = threading.get_ident()
            return True

    def _leave(self) -> None:
        with self._lock:
            self._reader = None
            # Under the lock: a thread that begins to expect an answer after this point finds no reader.
            if self._channel.expects:
                self._expect(_IN)
        self._close()

    def _read(self) -> None:
        more = False
        self._inside = True
        try:
            more = self._removed or self._channel.readable()
        finally:
            self._inside = False
            if not more:
                self.remove()

    def _expect(self, events: int, *, no_more: int = 0) -> None:
        """Change the events that the transport waits for; the caller holds the lock."""
        if not self._removed and self._descriptor is not None:
            events |= self._events & ~no_more
            if events != self._events:
                self._transport.expect(self, self._descriptor, self._events, events)
                self._events = events

    def _close(self) -> None:
        """Close the channel when it is removed and unread; once only, as its descriptor's number may be used anew."""
        with self._lock:
            if not self._removed or self._closed or (self._reader is not None and self._descriptor is not None):
                return
            self._closed = True
            self._bell = None
        self._channel.closed()  # wakes the thread that blocks in reading a channel without a descriptor

    def _read_blocking(self) -> None:
        while not self._removed:
            self._read()

    def _write_blocking(self) -> None:
        while self._channel.writable():
            pass
