"""Descent: the directories below a directory of this host, opened without following links."""

from __future__ import annotations

import os

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STRIDE = 16


class Descent:
    """Opens directories below a root, one component after the other, whatever becomes of the tree meanwhile.

    Of the directories on the way to the current one, every 16th stays open: then the way to the next directory of a
    deep tree is short, and the tree costs few descriptors.

    Args:
        root: The root's descriptor, which is closed with the others.
        where: What the tree is to the caller, for messages.
    """

    def __init__(self, root: int, where: str) -> None:
        self._where = where
        self._way = [(b"", 0, root)]
        """Open directories with their paths and depths: the root, some on the way, and the current one."""

    def enter(self, path: bytes) -> int:
        """Return the descriptor of a directory, which is open until the next call.

        Args:
            path: The directory's path from the root, b"" being the root; without `.`, `..` and empty components.

        Raises:
            OSError: The directory is not there, or a component is a link.
        """
        way = self._way
        while way[-1][0] not in (b"", path) and not path.startswith(way[-1][0] + b"/"):
            os.close(way.pop()[2])
        base, depth, current = way[-1]
        for part in path[len(base) :].strip(b"/").split(b"/") if path != base else ():
            try:
                below = os.open(part, FLAGS, dir_fd=current)
            except OSError as error:
                words = f"{error.strerror} (links in the {self._where} are not followed)"
                raise OSError(error.errno, words, os.fsdecode(path)) from None
            if depth % _STRIDE:
                os.close(way.pop()[2])
            base, depth, current = base + b"/" + part if base else part, depth + 1, below
            way.append((base, depth, current))
        return current

    def close(self) -> None:
        """Close all descriptors."""
        while self._way:
            os.close(self._way.pop()[2])
