"""Transport: the one thread of a process that reads every connection with a descriptor."""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Channel(Protocol):
    """What the transport serves: a connection."""

    def fileno(self) -> int | None:
        """Return the descriptor to wait on, or None."""

    def readable(self) -> bool:
        """Read what is there; return False when the connection is over. Never raises."""

    def writable(self) -> bool:
        """Write what is queued; return whether something is left."""

    def closed(self) -> None:
        """Close the stream itself: nobody waits on its descriptor any more."""


class Transport:
    """Serves channels from one daemon thread that starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commands: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._selector: selectors.BaseSelector | None = None
        self._wake = -1
        self._channels: dict[Channel, int] = {}

    def add(self, channel: Channel) -> None:
        """Serve a channel from now on; one without a descriptor gets a reader thread of its own."""
        if channel.fileno() is None:
            threading.Thread(target=self._read_blocking, args=(channel,), name="samebox-reader", daemon=True).start()
        else:
            self._command(lambda: self._register(channel))

    def want_write(self, channel: Channel) -> None:
        """Call `writable` as soon as the channel takes data again."""
        if channel.fileno() is None:
            threading.Thread(target=_write_blocking, args=(channel,), name="samebox-writer", daemon=True).start()
        else:
            self._command(lambda: self._modify(channel, selectors.EVENT_READ | selectors.EVENT_WRITE))

    def remove(self, channel: Channel) -> None:
        """Serve a channel no longer, and close it."""
        if channel.fileno() is None:
            channel.closed()
        else:
            self._command(lambda: self._unregister(channel))

    def _command(self, command: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is None:
                self._selector = selectors.DefaultSelector()
                self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._selector.register(self._wake, selectors.EVENT_READ)
                self._thread = threading.Thread(target=self._serve, name="samebox-transport", daemon=True)
                self._thread.start()
            self._commands.append(command)
            if threading.current_thread() is not self._thread:
                os.eventfd_write(self._wake, 1)

    def _serve(self) -> None:
        selector = self._selector
        assert selector is not None  # noqa: S101 - set before the thread starts
        while True:
            while self._commands:
                self._commands.popleft()()
            for key, mask in selector.select():
                if key.data is None:
                    os.eventfd_read(self._wake)
                    continue
                channel: Channel = key.data
                if mask & selectors.EVENT_WRITE and not channel.writable():
                    self._modify(channel, selectors.EVENT_READ)
                if mask & selectors.EVENT_READ and not channel.readable():
                    self._unregister(channel)

    def _register(self, channel: Channel) -> None:
        descriptor = channel.fileno()
        if self._selector is not None and descriptor is not None and descriptor >= 0:
            self._selector.register(descriptor, selectors.EVENT_READ, channel)
            self._channels[channel] = descriptor

    def _modify(self, channel: Channel, events: int) -> None:
        if self._selector is not None and channel in self._channels:
            self._selector.modify(self._channels[channel], events, channel)

    def _unregister(self, channel: Channel) -> None:
        if self._selector is not None and (descriptor := self._channels.pop(channel, None)) is not None:
            self._selector.unregister(descriptor)
        channel.closed()

    @staticmethod
    def _read_blocking(channel: Channel) -> None:
        while channel.readable():
            pass
        channel.closed()


def _write_blocking(channel: Channel) -> None:
    while channel.writable():
        pass


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
    # The thread stays with the parent; a selector that is shared with it would steal its events.
    global _current, _current_lock  # noqa: PLW0603
    _current = None
    _current_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
