"""Checks of environments and build arguments, and what is shown of them: names, never values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_env(env: Mapping[Any, Any], what: str = "an environment") -> None:
    """Check the names and values of an environment, or of what is like one.

    Args:
        env: The values by name.
        what: What the values belong to, for messages.

    Raises:
        ValueError: A name is empty or has '=' or NUL, a value has NUL, or one of them is no text or has a surrogate
            that stands for no byte; the error's text shows no value.
    """
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            # What follows a "=" is a value that was put into the name by mistake.
            found = name.partition("=")[0] + "=..." if isinstance(name, str) and "=" in name else name
            raise ValueError(f"a name of {what} is a text, not empty, and has no '=' or NUL (found {found!r})")
        if not isinstance(value, str):
            raise ValueError(f"the value of {name} is {type(value).__name__}; {what} has texts")  # noqa: TRY004 - as for every other value
        if "\0" in value:
            raise ValueError(f"the value of {name} has a NUL")
        if not _is_encodable(name) or not _is_encodable(value):
            raise ValueError(
                f"the name or value of {name!r} has a lone surrogate, which is no character and stands for no byte; "
                "decode bytes with errors='surrogateescape'"
            )


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False  # the error itself has the value
    return True


def masked(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names with stars in place of the values."""
    return dict.fromkeys(values, "***")
