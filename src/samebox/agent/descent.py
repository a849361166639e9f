"""Descent: the directories below a directory of this host, opened without following links; and the way to the first."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STRIDE = 16
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""For directories on the way, which need not be readable; macOS has no O_PATH."""


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


def open_directory(path: bytes, *, follow_links: bool, mode: int = 0o777) -> int:
    """Open a directory of this host, and make it and its parents where they are missing.

    Args:
        path: The directory's absolute path, without `.` and `..`.
        follow_links: Whether every link is followed. Otherwise a link is followed only in a directory that this user
            may not write to: a sandbox, which has no more rights, can't have put it there.
        mode: The permission bits of the directory itself if it is made, less the umask.

    Returns:
        The directory's descriptor.

    Raises:
        OSError: The path leads through a link that is not followed (ELOOP) or through a file, or can't be made.
    """
    current = os.open(b"/", _STEP)
    parts = [part for part in path.split(b"/") if part]
    try:
        for number, part in enumerate(parts, 1):
            try:
                below = _step(current, part, mode if number == len(parts) else 0o777, follow_links=follow_links)
            except OSError as error:
                where = os.fsdecode(b"/" + b"/".join(parts[:number]))
                raise OSError(error.errno, error.strerror, where) from None
            os.close(current)
            current = below
        return os.open(b".", FLAGS, dir_fd=current)
    finally:
        os.close(current)


def _step(above: int, name: bytes, mode: int, *, follow_links: bool) -> int:
    """Open the directory of a name, which is made where it is missing."""
    try:
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=above)
    else:
        if stat.S_ISLNK(found.st_mode):
            if not follow_links and os.access(b".", os.W_OK, dir_fd=above):
                words = "The destination goes through a link; give its real path, or follow_links=True if you trust it"
                raise OSError(errno.ELOOP, words)
            return os.open(name, _STEP, dir_fd=above)
    return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=above)
