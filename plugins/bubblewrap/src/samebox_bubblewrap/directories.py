"""Directories that sandboxes of several processes use: locked while they do, and removed once nobody does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path

from samebox_bubblewrap.descriptors import above_stdio

__all__ = ["DirectoryUse", "lock_directory", "lockers", "remove_tree"]


class DirectoryUse:
    """A directory in use: as long as this is open, in this process or a forked one, it is not removed.

    Args:
        fd: The directory, locked.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """Use it no more. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def lock_directory(path: Path, how: int) -> int | None:
    """Lock a directory and return its descriptor; None if it is not there any more.

    Args:
        path: The directory.
        how: LOCK_SH to use it, LOCK_EX to remove it.

    Raises:
        BlockingIOError: It is in use.
    """
    try:
        fd = above_stdio(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.lstat()):
                return fd
    except BlockingIOError:
        if how == fcntl.LOCK_EX:
            os.close(fd)
            raise
        time.sleep(0.01)  # it is about to be removed
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def lockers(path: Path) -> set[int]:
    """Return the ids of the processes that have locked a directory, of those that this one sees (proc_locks(5))."""
    found = set()
    with contextlib.suppress(OSError):
        info = path.stat()
        place = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if "FLOCK" in fields and "->" not in fields and fields[-3] == place:
                found.add(int(fields[-4]))
    return found


def remove_tree(root: Path) -> None:
    """Remove a directory that a sandbox has filled: of any depth, whatever modes and links it has.

    Each directory in it is moved up to the top first, so that no path gets long; no link is followed.

    Args:
        root: A directory that nobody else uses any more.

    Raises:
        OSError: Something in it can't be removed, as what belongs to another user.
    """
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        waiting = ["."]
        while waiting:
            name = waiting.pop()
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            try:
                for entry in list(os.scandir(fd)):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=fd)
                        continue
                    # To list it, and to change its `..`.
                    os.chmod(entry.name, 0o700, dir_fd=fd)
                    moved = f".{secrets.token_hex(8)}"
                    os.rename(entry.name, moved, src_dir_fd=fd, dst_dir_fd=top)
                    waiting.append(moved)
            finally:
                os.close(fd)
            if name != ".":
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    root.rmdir()
