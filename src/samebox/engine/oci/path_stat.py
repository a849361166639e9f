"""PathStat: what Docker's and Podman's archive calls say of a path in a container, whose files are hostile."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Literal

from samebox.engine.oci.status import timestamp
from samebox.errors import EngineError

HEADER = "X-Docker-Container-Path-Stat"
"""The header of an answer that has it."""
# Go's own numbering of file modes.
_DIRECTORY, _LINK = 1 << 31, 1 << 27
_SPECIAL = {1 << 23: 0o4000, 1 << 22: 0o2000, 1 << 20: 0o1000}
"""Setuid, setgid and sticky."""


@dataclass(frozen=True, slots=True)
class PathStat:
    """What a path in a container is, without who owns it, which is not said without the content."""

    kind: Literal["directory", "link", "other"]
    mode: int
    """Permission bits."""
    size: int = 0
    modified: float = 0.0
    """Seconds since 1970."""
    target: str = ""
    """Where a link leads to in the end, as an absolute path; "" for what is no link."""


def parse_path_stat(header: str) -> PathStat:
    """Read the header.

    Args:
        header: JSON in base64, with the mode as Go's os.FileMode.

    Raises:
        EngineError: It can't be read.
    """
    try:
        stat = json.loads(base64.b64decode(header))
        mode = int(stat["mode"])
        kind: Literal["directory", "link", "other"]
        kind = "link" if mode & _LINK else "directory" if mode & _DIRECTORY else "other"
        bits = mode & 0o777 | sum(bit for flag, bit in _SPECIAL.items() if mode & flag)
        return PathStat(kind, bits, int(stat["size"]), timestamp(str(stat["mtime"])), str(stat["linkTarget"]))
    except (KeyError, ValueError, TypeError) as error:
        msg = f"the engine answered with a path's state that can't be read: {error}"
        raise EngineError(msg) from None
