"""A forked child of the tests' own process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def true_in_a_fork(check: Callable[[], bool]) -> bool:
    """Return whether a function returns true in a forked child, which ends there without any clean-up."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
