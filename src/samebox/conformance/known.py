"""parse_known: the known failures, tests that fail on an engine and have an issue open about their failure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ID = re.compile(r"[a-z0-9-]+/[^\s=]+")
_URL = re.compile(r"https?://\S+")


def parse_known(values: Iterable[str]) -> dict[str, str]:
    """Read the values of `--known`: `ID=URL`, or a file with a line `ID URL` for each test and comments after `#`.

    Args:
        values: The option's values.

    Returns:
        The issues' URLs by the tests' ids.

    Raises:
        ValueError: A value has no id or no URL, and is no file; the error's text says which.
    """
    known: dict[str, str] = {}
    for value in values:
        name, equals, url = value.partition("=")
        if equals and _ID.fullmatch(name):
            known.update([_entry(name, url, "--known")])
            continue
        try:
            lines = Path(value).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            msg = (
                f"--known {value}: neither ID=URL, as in exec/argv-is-literal=https://..., nor a file that can be read "
                f"({error.strerror})"
            )
            raise ValueError(msg) from None
        for number, line in enumerate(lines, 1):
            words = re.sub(r"(^|\s)#.*", "", line).split()
            if words:
                where = f"{value}, line {number}"
                if len(words) != 2:
                    msg = f"{where}: a line is an id and the issue's URL, found {line.strip()!r}"
                    raise ValueError(msg)
                known.update([_entry(words[0], words[1], where)])
    return known


def _entry(name: str, url: str, where: str) -> tuple[str, str]:
    if not _ID.fullmatch(name) or not _URL.fullmatch(url):
        msg = f"{where}: a known failure is a test's id and its issue's URL, found {name!r} and {url!r}"
        raise ValueError(msg)
    return name, url
