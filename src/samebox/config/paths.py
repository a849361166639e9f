"""absolute_path: the check of a sandbox's path that a setting names."""

from __future__ import annotations

import re


def absolute_path(path: str, *, root: bool = False) -> str:
    """Return an absolute path without needless slashes.

    Args:
        path: The path as it was given.
        root: Whether "/" itself is accepted.

    Raises:
        ValueError: The path is relative, has `.` or `..` components, or has a NUL, comma, colon or line end, at which
            mount options would split.
    """
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or (not parts and not root) or {".", ".."} & set(parts) or re.search(r"[\0,:\n]", path):
        below = "" if root else " below '/'"
        msg = f"it is an absolute path{below}, without '.', '..', ',', ':' or line ends (found {path!r})"
        raise ValueError(msg)
    return "/" + "/".join(parts)
