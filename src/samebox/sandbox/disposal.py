"""Disposal: the removal of a sandbox that nobody closed, when its holder is collected or the process ends."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import queue
import threading
import time
import warnings
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WORKERS = 4
"""How many threads remove sandboxes at once."""
_LAST = 10.0
"""How long the end of the process waits for removals that are under way, in seconds."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long a removal that failed waits for each further try, in seconds: an engine's service may be starting anew."""


class Disposal:
    """Looks after a sandbox until it is removed.

    Args:
        holder: What has to be alive for the sandbox to stay; None: nobody holds the sandbox, see `persist_soon`.
        remove: Removes the sandbox, and may be called again if that fails. It must not hold the holder.
        release: Gives back what the removal needs, where nobody else does.
        name: The sandbox's, for the warning.
    """

    def __init__(
        self, holder: object | None, remove: Callable[[], None], release: Callable[[], None], name: str
    ) -> None:
        self._remove = remove
        self._release = release
        self._failed = False
        self._finalizer = None
        if holder is not None:
            self._finalizer = weakref.finalize(holder, _collected, os.getpid(), self, name)
            self._finalizer.atexit = False  # `_at_exit` removes what is left, without a warning for each
        _left.add(self)

    def dispose(self) -> None:
        """Remove the sandbox, once. When this raises, the sandbox is still looked after, and this may be repeated.

        Raises:
            SandboxError: The sandbox could not be removed.
        """
        if self in _left:
            self._failed = True
            self._remove()
            self._failed = False
            _left.discard(self)
            if self._finalizer is not None:
                self._finalizer.detach()

    def finish(self) -> None:
        """Remove the sandbox, and give back what that needs: nobody else will."""
        self.dispose()
        self._release()

    def persist(self) -> None:
        """Finish; where the removal fails, try again for a minute, or until the process ends."""
        for pause in _PAUSES:
            try:
                return self.finish()
            except Exception:  # noqa: BLE001 - nobody is there to be told; what stays is found by prune
                if _ending.wait(pause):
                    return None
        return self.finish()

    def persist_soon(self) -> None:
        """Have another thread `persist`."""
        hand_over(self.persist)

    def complaint(self, name: str) -> str:
        """Return the warning about a sandbox whose holder is gone before the sandbox is."""
        if self._failed:
            return f"sandbox {name!r} could not be removed when it was closed; its removal is tried again"
        return f"sandbox {name!r} was never closed: leave a `with` block, or call close()"


_left: set[Disposal] = set()
_queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_workers: set[int] = set()
_ending = threading.Event()
"""Set when the process ends, which tries what is left once more."""


def hand_over(call: Callable[[], None]) -> None:
    """Have a call made soon by another thread; what the call raises is dropped.

    A finalizer runs in whatever thread the garbage collector comes by, under whatever locks that thread holds: a
    removal there may wait for itself. So nothing here takes a lock, as `threading.Thread` does.
    """
    _queue.put(call)
    if len(_workers) < _WORKERS:
        token = time.monotonic_ns()
        _workers.add(token)
        try:
            _thread.start_new_thread(_work, (token,))
        except RuntimeError:  # at the end of the process, which removes what is left
            _workers.discard(token)


def _work(token: int) -> None:
    while True:
        with contextlib.suppress(queue.Empty):
            call = _queue.get_nowait()
            with contextlib.suppress(Exception):
                call()
            continue
        _workers.discard(token)
        if _queue.empty():  # a look after the leave: who has put something meanwhile may have counted on this worker
            return
        _workers.add(token)


def _collected(pid: int, disposal: Disposal, name: str) -> None:
    if pid == os.getpid():  # a forked child has no say over its parent's sandbox
        complaint = disposal.complaint(name)
        hand_over(disposal.persist)
        warnings.warn(complaint, ResourceWarning, stacklevel=2)


def _at_exit() -> None:
    _ending.set()
    deadline = time.monotonic() + _LAST
    while _workers and time.monotonic() < deadline:
        time.sleep(0.01)
    for disposal in list(_left):
        with contextlib.suppress(Exception):
            disposal.finish()


def _after_fork_in_child() -> None:
    global _queue  # noqa: PLW0603 - its lock may be held by a thread that stayed with the parent
    _queue = queue.SimpleQueue()
    _workers.clear()
    _left.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
