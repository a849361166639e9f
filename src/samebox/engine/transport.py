"""Transport and Watch: which thread reads a connection, the one that waits on it or one that serves all connections."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from samebox.interrupts import InterruptShield

if TYPE_CHECKING:
    from concurrent.futures import Future

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
TICK = 1.0
"""How often what is due is looked for while nothing comes, in seconds."""


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


class _Bell:
    """Wakes the thread that reads a channel."""

    descriptor = -1

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        os.eventfd_write(self.descriptor, 1)

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


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
        self._bell: _Bell | None = None
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
        deadline = None if timeout is None else time.monotonic() + timeout
        wait = due = TICK
        while not future.done() and not self._removed:
            if deadline is not None and (wait := min(due, deadline - time.monotonic())) <= 0:
                raise TimeoutError
            shield.lift()
            found = poll.poll(wait * 1000)
            shield.lower()
            if not found:
                due = wait = min(self._channel.tend(), TICK)
            for descriptor, _ in found:
                if descriptor == channel:
                    self._read()
                else:
                    bell.hear()

    def _own_bell(self) -> _Bell:
        with self._lock:
            if self._bell is None:
                self._bell = _Bell()
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


class Transport:
    """Serves channels from one daemon thread, which starts with the first channel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoll = select.epoll()
        self._watches: dict[int, Watch] = {}
        self._blocking: set[Watch] = set()
        self._bell = _Bell()
        self._asleep = False
        self._thread: threading.Thread | None = None
        self._epoll.register(self._bell.descriptor, _IN)

    def expect(self, watch: Watch, descriptor: int, before: int, events: int) -> None:
        """Serve a watch at the events `events` of its descriptor, in place of the events `before`; 0: no events."""
        if not events:
            del self._watches[descriptor]
            self._epoll.unregister(descriptor)
        elif before:
            self._epoll.modify(descriptor, events)
        else:
            self._watches[descriptor] = watch
            self._epoll.register(descriptor, events)
            self._begin()

    def attend(self, watch: Watch) -> None:
        """Look after a watch that has a thread of its own to read its channel."""
        self._blocking.add(watch)
        self._begin()

    def forget(self, watch: Watch) -> None:
        """Look after such a watch no longer."""
        self._blocking.discard(watch)

    def _begin(self) -> None:
        """Have the thread serve what was added, the first time and after a time without anything."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="samebox-transport", daemon=True)
                self._thread.start()
            elif self._asleep:
                self._bell.ring()

    def _serve(self) -> None:
        due = time.monotonic() + TICK
        while True:
            self._asleep = True  # first: what is added after the look rings the bell
            self._asleep = not (self._watches or self._blocking)
            for descriptor, events in self._epoll.poll(None if self._asleep else max(0.0, due - time.monotonic())):
                watch = self._watches.get(descriptor)
                if watch is not None:
                    watch.ready(events)
                elif descriptor == self._bell.descriptor:
                    self._bell.hear()
            if time.monotonic() >= due:
                for watch in [*self._watches.values(), *self._blocking]:
                    watch.tend()
                due = time.monotonic() + TICK


_current: Transport | None = None
_current_lock = threading.Lock()


def transport() -> Transport:
    """Return this process's transport."""
    global _current  # noqa: PLW0603 - one per process is the point
    with _current_lock:
        if _current is None:
            _current = Transport()
        return _current


def _after_fork_in_child() -> None:
    # The transport's thread stays in the parent; a selector shared with the parent would steal the parent's events.
    global _current, _current_lock  # noqa: PLW0603
    _current = None
    _current_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
