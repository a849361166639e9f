"""Cleaner: makes texts fit for a report: environment values are redacted, control characters made visible."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 32_000
"""The most characters of one text; the middle of a longer text is left out."""

_OPEN = frozenset(
    [
        "CONTAINER_HOST",
        "DOCKER_HOST",
        "EDITOR",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "LS_COLORS",
        "NO_COLOR",
        "OLDPWD",
        "PAGER",
        "PATH",
        "PWD",
        "PYTHONPATH",
        "SHELL",
        "SHLVL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "XDG_DATA_DIRS",
        "XDG_RUNTIME_DIR",
        "_",
    ]
)
"""Variables whose values a report may show, as the report would be unreadable without these values."""
_SECRET = re.compile(r"(?i)pass|secret|token|credential|auth|api.?key|private")
_SHORT = 8
"""The least length of a value that is redacted, as shorter values are ordinary words too; half of this for a variable
with a secret's name."""

_USERINFO = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/@:]*):[^\s/@]*@")
# _ANSI: colour and cursor sequences. _CONTROL: every other control character, the characters that turn the direction of
# text, and the characters that neither XML nor UTF-8 can hold.
_ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff\ud800-\udfff]"
)


class Cleaner:
    """Makes texts fit for a report that is handed on.

    Args:
        environment: The variables whose values must not be shown; default: this process's.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        shown = {value for name, value in environment.items() if name in _OPEN}
        values: dict[str, str] = {}
        for name, value in sorted(environment.items()):
            least = _SHORT // 2 if _SECRET.search(name) else _SHORT
            if name not in _OPEN and not name.startswith("LC_") and len(value) >= least and value not in shown:
                values.setdefault(value, name)
                # The value as it stands in a repr, too.
                values.setdefault(repr(value)[1:-1], name)
        self._names = values
        longest_first = sorted(values, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if values else None

    def text(self, text: str, most: int = MOST) -> str:
        """Return a text with environment values and passwords in URLs redacted, and control characters visible."""
        text = _ANSI.sub("", text)  # first, as a sequence may stand in the middle of a value
        if self._values is not None:
            text = self._values.sub(lambda match: f"[value of {self._names[match[0]]}]", text)
        text = _USERINFO.sub(r"\1:[redacted]@", text)
        text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        if len(text) > most:
            head, tail = most * 3 // 4, most // 4
            text = f"{text[:head]}\n[{len(text) - most} characters left out]\n{text[-tail:]}"
        return text

    def line(self, text: str, most: int = 600) -> str:
        """Return a text as one cleaned line."""
        return " ".join(self.text(text, most).split())

    def options(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Return an engine's options as texts; the value of an option with a secret's name is redacted."""
        return {
            self.line(name): "[redacted]" if _SECRET.search(name) else self.line(str(value))
            for name, value in options.items()
        }
