"""Uninterruptible calls: no signal's handler comes between the making of a thing and the keeping of it.

Python runs the handlers of signals in the main thread, between any two instructions, and a handler may raise there, as
that of SIGINT does. What such an exception finds halfway, as a process that nobody knows of yet, is left for ever.
"""

from __future__ import annotations

import contextlib
import threading
from _thread import allocate_lock, start_new_thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

__all__ = ["uninterruptible"]

T = TypeVar("T")
_TURN = 0.05  # s


def uninterruptible(call: Callable[[], T], cancel: Callable[[], object] | None = None) -> T:
    """Make a call, from the main thread in a thread of its own, which no handler of a signal interrupts.

    Args:
        call: What is to be done.
        cancel: Called when the wait for the call is interrupted, to make the call end soon or to undo what it did;
            several times, the last time when the call has ended.

    Returns:
        What the call returns.

    Raises:
        BaseException: What the call raises; or what a signal's handler raises meanwhile, when the call has ended.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return call()
    # Bare locks: an exception that comes in the middle of a Condition's methods would leave the condition locked.
    begun, ended = allocate_lock(), allocate_lock()
    ended.acquire()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        if begun.acquire(blocking=False):
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller's thread
                errors.append(error)
            ended.release()

    try:
        start_new_thread(run, ())
        ended.acquire()
    except BaseException:
        if not begun.acquire(blocking=False):
            _wait(lambda: bool(results or errors), ended, cancel)
        raise
    if errors:
        raise errors.pop()
    return results[0]


def _wait(is_over: Callable[[], bool], ended: LockType, cancel: Callable[[], object] | None) -> None:
    """Wait for a call whose caller was interrupted; a second Ctrl-C is no other wish than the first."""
    over = False
    while not over:
        over = is_over()
        with contextlib.suppress(BaseException):
            if cancel is not None:
                cancel()
            if not over:
                ended.acquire(timeout=_TURN)
