"""The console of all commands: the streams that they print to, and the end after a failure."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from samebox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_FAILURE = 125
"""The exit code of a failure of samebox itself, as docker has it, apart from the usual exit codes of commands."""

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
wide = Console(highlight=False, soft_wrap=True, width=10_000)
"""The console for tables whose lines end where the terminal ends them, so that names can be copied from there."""
live = Console(stderr=True, highlight=False)
"""The console for output that is redrawn, as a progress bar, which has to know where its lines end."""


def fail(message: str, code: int = OWN_FAILURE) -> NoReturn:
    """Print an error message and end with an exit code."""
    err.print(f"samebox: {message}", style="red" if err.is_terminal else None, markup=False)
    sys.exit(code)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Leave blocks at SIGTERM and SIGHUP too, so that nothing stays, with the exit code of a death by the signal.

    Both come as KeyboardInterrupt, by way of SIGINT, which operations hold back where they must not be left halfway.
    """
    ended: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def end(number: int, _frame: object) -> None:
        ended.append(number)
        signal.raise_signal(signal.SIGINT)

    def interrupt(_number: int, _frame: object) -> None:
        if ended or callable(before):  # else SIGINT is ignored, as in the background of a shell script
            raise KeyboardInterrupt

    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: end, signal.SIGHUP: end}
    replaced = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except KeyboardInterrupt:
        if not ended:
            raise
        sys.exit(128 + ended[0])
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn samebox's errors, and the host's errors of files, into a line on stderr and exit code 125."""
    try:
        yield
    except (SandboxError, OSError, ValueError) as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
        fail(f"{error}{notes}")
