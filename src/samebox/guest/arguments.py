"""Checks of what callers give to operations: a mistake is a ValueError that names the argument and what is accepted."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from samebox.config.units import USER

if TYPE_CHECKING:
    from collections.abc import Sequence

Timeout: TypeAlias = "float | str | None"
"""A number of seconds, or a text such as "90s", "5m" or "1h"; None: no limit."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 1e9
"""Thirty years, in seconds; the agent counts in milliseconds."""


def seconds(value: Timeout, name: str = "timeout", *, zero: bool = False) -> float | None:
    """Return a time in seconds; None for no limit.

    Args:
        value: What the caller gave.
        name: The argument's name.
        zero: Whether 0 is a time: for a wait that may end at once.

    Raises:
        ValueError: It is no time.
    """
    if value is None:
        return None
    found: Any = value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        found = float(match[1]) * _UNITS[match[2]]
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if not number or not math.isfinite(found) or found < 0 or (found == 0 and not zero) or found > _LONGEST:
        least = "from" if zero else "above"
        msg = (
            f"{name} is a number of seconds {least} 0, a text such as '90s', '5m' or '1h', or None for no limit, "
            f"not {value!r}"
        )
        raise ValueError(msg)
    return float(found)


def words(argv: Any) -> list[str | bytes]:
    """Return a program and its arguments as texts and bytes.

    Args:
        argv: Texts, bytes and paths.

    Raises:
        ValueError: It is empty, a text, or has something else in it.
    """
    whole = isinstance(argv, str | bytes | os.PathLike) or not hasattr(argv, "__iter__")
    found: Sequence[Any] = [] if whole else list(argv)
    if not found or not all(isinstance(word, str | bytes | os.PathLike) for word in found):
        accepted = "a list of texts, bytes or paths with at least the program"
        msg = f"argv is {accepted}, not {argv!r}; for a shell's line use sh()"
        raise ValueError(msg)
    return [os.fspath(word) for word in found]


def check_user(user: Any) -> None:
    """Check that a user is spelt as one.

    Raises:
        ValueError: It is not.
    """
    if user is not None and (not isinstance(user, str) or not re.fullmatch(USER, user)):
        msg = f"user is a name, a uid or uid:gid as a text, or None for the sandbox's own user, not {user!r}"
        raise ValueError(msg)


def content(data: Any) -> bytes:
    """Return what is to be written to a file.

    Raises:
        ValueError: It is something else, as a text or a number.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        hint = "; use write_text() for a text" if isinstance(data, str) else ""
        msg = f"data is bytes, not {type(data).__name__}{hint}"
        raise ValueError(msg)  # noqa: TRY004 - as for every other mistake
    return bytes(data)
