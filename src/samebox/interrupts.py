"""InterruptShield: keeps Ctrl-C out of code that must not be left halfway."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    # The functions that those of `signal` wrap. `signal` turns handlers into enums and back, which takes ten times as
    # long as all the rest of the shield, and a measurable part of each small request.
    from _signal import getsignal, signal  # type: ignore[import-not-found]
except ImportError:  # only CPython and PyPy have it
    from signal import getsignal, signal

_INTERRUPT = 2


class InterruptShield:
    """Holds SIGINT's handler back while this thread is inside the `with` block, except while the shield is lifted.

    Python runs the handler in the main thread, between any two instructions, and the usual handler raises there. In
    other threads the shield does nothing.
    """

    __slots__ = ("_handler", "_late", "is_lifted")

    def __init__(self) -> None:
        self.is_lifted = False
        self._handler: Callable[[int, Any], Any] | None = None
        self._late: tuple[int, Any] | None = None

    def __enter__(self) -> Self:
        if threading.get_ident() == threading.main_thread().ident and callable(handler := getsignal(_INTERRUPT)):
            with contextlib.suppress(ValueError):  # the main thread of another interpreter gets no signals
                signal(_INTERRUPT, self._handle)
                self._handler = handler
        return self

    def __exit__(self, *_: object) -> None:
        self.is_lifted = False
        if self._handler is None:
            return
        if getsignal(_INTERRUPT) == self._handle:  # else somebody has set another handler meanwhile
            signal(_INTERRUPT, self._handler)
        if self._late is not None:
            self._handler(*self._late)

    def lift(self) -> None:
        """Let SIGINT's handler run from now on, and at once if a signal was held back."""
        self.is_lifted = True
        if self._late is not None:
            late, self._late = self._late, None
            self._handle(*late)

    def lower(self) -> None:
        """Hold SIGINT's handler back again."""
        self.is_lifted = False

    def _handle(self, number: int, frame: Any) -> None:
        if not self.is_lifted or self._handler is None:
            self._late = (number, frame)
            return
        # Whoever has lifted the shield gets no chance to lower it when the handler raises.
        self.is_lifted = False
        self._handler(number, frame)
        self.is_lifted = True
