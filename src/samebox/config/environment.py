"""Checks of environments and build arguments, and what is shown of them: names, never values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


def check_env(env: Mapping[Any, Any], what: str = "an environment") -> None:
    """Check the names and values of an environment, or of what is like one.

    Args:
        env: The values by name.
        what: What the values belong to, for messages.

    Raises:
        ValueError: A name is empty or has '=' or NUL, a value has NUL, or one of them is no text or has a surrogate
            that stands for no byte; or it is no mapping. The error's text shows no value.
    """
    if not isinstance(env, Mapping):
        raise ValueError(f"{what} is a mapping of names to texts, not {type(env).__name__}")  # noqa: TRY004 - as below
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


def without_values(error: ValueError, title: str) -> ValidationError:
    """Return pydantic's error without what was given, which the original has in `errors()` also where it hides it.

    Args:
        error: The error, or that of a check.
        title: What was validated.
    """
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_context=False, include_input=False)
        found = [(detail["type"], detail["msg"], detail["loc"]) for detail in details]
    else:
        found = [("value_error", f"Value error, {error}", ())]
    lines = [InitErrorDetails(type=PydanticCustomError(kind, text), loc=loc, input=None) for kind, text, loc in found]
    return ValidationError.from_exception_data(title, lines, hide_input=True)


def without_password(text: str) -> str:
    """Return a text with stars in place of the passwords of URLs in it."""
    return re.sub(r"(://[^\s/@:]*):[^\s/@]*@", r"\1:***@", text)
