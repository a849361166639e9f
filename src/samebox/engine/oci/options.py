"""Types of an engine's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _existing(path: Path) -> Path:
    found = path.expanduser()
    if not found.is_file():
        msg = "there is no such file"
        raise ValueError(msg)
    return found


ExistingFile = Annotated[Path, AfterValidator(_existing)]
"""A file of this host, as a key or a certificate; a path may begin with ~."""
