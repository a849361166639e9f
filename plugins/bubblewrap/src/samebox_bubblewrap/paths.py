"""Paths inside a root file system that is not ours: resolved as from inside it, so that no link leads to the host.

bwrap makes its mount points by path while the host's files are still there, below /oldroot: a link in a hostile image
would let it create directories on the host. So every mount point is resolved here first, and bwrap gets a path without
links.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["components", "open_below", "read_inside", "resolve_inside"]

_MOST_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def components(path: str) -> list[str]:
    """Split a path, without empty and `.` components."""
    return [part for part in path.split("/") if part not in {"", "."}]


def resolve_inside(root: str, path: str) -> str:
    """Resolve a path as if `root` were /: absolute links begin there, `..` does not leave it.

    What does not exist is kept as it is. The answer has no link in it, as long as nobody changes the tree meanwhile.

    Args:
        root: The root file system on the host.
        path: A path inside, absolute or relative to /.

    Returns:
        The absolute path inside.

    Raises:
        EngineError: There are more than 40 links on the way.
    """
    todo = components(path)[::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        try:
            target = os.readlink(os.path.join(root, *done, part))  # noqa: PTH115, PTH118 - bytes of names, not Path
        except OSError:  # not a link, or not there
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise EngineError(f"{path!r} in {root} goes through more than {_MOST_LINKS} symbolic links")
        if target.startswith("/"):
            done = []
        todo.extend(components(target)[::-1])
    return "/" + "/".join(done)


def read_inside(root: str, path: str, limit: int) -> bytes | None:
    """Read a regular file inside a root file system, following links only inside it.

    Args:
        root: The root file system on the host.
        path: The file's path inside.
        limit: How many bytes are read at most.

    Returns:
        Its first `limit` bytes; None if there is no such regular file.
    """
    *parents, name = components(resolve_inside(root, path)) or [""]
    if not name:
        return None
    fds: list[int] = []
    try:
        for fd in _walk(root, parents):
            fds.append(fd)  # noqa: PERF402 - a list() would lose what was opened before an error
        # O_NONBLOCK: a FIFO by that name must not make us wait for its writer.
        fds.append(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fds[-1]))
        if not stat.S_ISREG(os.fstat(fds[-1]).st_mode):
            return None
        with os.fdopen(fds.pop(), "rb") as file:
            return file.read(limit)
    except OSError:
        return None
    finally:
        for fd in fds:
            os.close(fd)


def open_below(top: int, parts: Sequence[str]) -> int:
    """Open a directory by its path below another one, following no link, and not to read it.

    Raises:
        OSError: It is not there, or there is something else on the way.
    """
    fd = os.open(".", _DIRECTORY, dir_fd=top)
    for part in parts:
        try:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _walk(root: str, parents: list[str]) -> Iterator[int]:
    """Open a directory below the other, following no link."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    yield fd
    for part in parents:
        fd = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        yield fd
