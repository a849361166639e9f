"""Seccomp profiles in Docker's JSON format: which one a config asks for, read from this host."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTION = "seccomp="
UNCONFINED = "unconfined"
_LARGEST = 1 << 20
"""How much a profile may have, in bytes; Docker's default has 20 KiB."""


def chosen_profile(options: Sequence[str]) -> str | None:
    """Return the path of the profile that a config asks for, "unconfined", or None where the engine's own applies.

    Args:
        options: The config's `security_opt`.

    Raises:
        ConfigError: Two are named.
    """
    chosen = [option.removeprefix(OPTION) for option in options if option.startswith(OPTION)]
    if len(chosen) > 1:
        named = ", ".join(chosen)
        msg = f"wrong config: security_opt: one seccomp profile at a time, not {len(chosen)} ({named})"
        raise ConfigError(msg)
    return chosen[0] if chosen else None


def check_profile(options: Sequence[str]) -> str | None:
    """Refuse a profile that can't be read, and return what `chosen_profile` does.

    Args:
        options: The config's `security_opt`.

    Raises:
        ConfigError: It can't be read, is none, or two are named.
    """
    path = chosen_profile(options)
    if path is not None and path != UNCONFINED:
        read_profile(path)
    return path


def read_profile(path: str) -> dict[str, Any]:
    """Return a profile from its file on this host.

    Raises:
        ConfigError: It can't be read, or is none.
    """
    try:
        return _profile(_content(path))
    except OSError as error:
        why = f"it can't be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        why = str(error)
    msg = f"wrong config: security_opt = {OPTION + path!r}: {why}"
    raise ConfigError(msg)


def _content(path: str) -> bytes:
    # O_NONBLOCK: a FIFO by that name must not make us wait for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            msg = "it is not a regular file"
            raise ValueError(msg)
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        msg = f"a profile has at most {_LARGEST} bytes"
        raise ValueError(msg)
    return data


def _profile(data: bytes) -> dict[str, Any]:
    try:
        profile = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"it is no JSON: {error}"
        raise ValueError(msg) from None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        msg = "it has no defaultAction; what is accepted is a profile in Docker's JSON format"
        raise ValueError(msg)
    return profile
