"""Transport: the one thread of a process that serves the channels for which no thread waits."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Protocol

from samebox.errors import descriptor_error

_WAITING = "this process can't wait for answers of a sandbox"
TICK = 1.0
"""How often what is due is looked for while nothing comes, in seconds."""


class Served(Protocol):
    """What the transport's thread serves: the watch of a channel."""

    def ready(self, events: int) -> None:
        """Serve the channel at these events of its descriptor."""

    def tend(self) -> None:
        """Let the channel do what is due."""


class Bell:
    """Wakes a thread that waits for descriptors."""

    descriptor = -1

    def __init__(self) -> None:
        try:
            self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError as error:
            raise descriptor_error(error, _WAITING) from None

    def ring(self) -> None:
        """Wake the thread, now or when it waits next."""
        os.eventfd_write(self.descriptor, 1)

    def hear(self) -> None:
        """Be quiet until the next ring."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Transport:
    """Serves channels from one daemon thread, which starts with the first channel."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler that calls samebox may come while this thread has it
        try:
            self._epoll = select.epoll()
        except OSError as error:
            raise descriptor_error(error, _WAITING) from None
        self._watches: dict[int, Served] = {}
        self._blocking: set[Served] = set()
        self._bell = Bell()
        self._asleep = False
        self._thread: threading.Thread | None = None
        self._epoll.register(self._bell.descriptor, select.EPOLLIN)

    def expect(self, watch: Served, descriptor: int, before: int, events: int) -> None:
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

    def attend(self, watch: Served) -> None:
        """Look after a watch that has a thread of its own to read its channel."""
        self._blocking.add(watch)
        self._begin()

    def forget(self, watch: Served) -> None:
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
_current_lock = threading.RLock()


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
    _current_lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
