"""Descriptors: the files and pipes that a bwrap gets for its start, and that are closed when it has them."""

from __future__ import annotations

import os
import select
import time

__all__ = ["Descriptors", "read_all"]

_MOST = 8192


class Descriptors:
    """Descriptors that are needed for the start only."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self.files: list[int] = []

    def adopt(self, fd: int) -> None:
        """Close this one too."""
        self._open.add(fd)

    def file(self, data: bytes) -> int:
        """Return a descriptor to read `data` from; one file for each use, as its position is shared."""
        fd = os.memfd_create("samebox", os.MFD_CLOEXEC)
        self.adopt(fd)
        self.files.append(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def pipe(self) -> tuple[int, int]:
        """Return a new pipe's ends, the one to read from first."""
        ends = os.pipe2(os.O_CLOEXEC)
        self._open.update(ends)
        return ends

    def close_only(self, *fds: int) -> None:
        """Close some of them now."""
        for fd in fds:
            os.close(fd)
            self._open.discard(fd)

    def close(self) -> None:
        """Close what is left of them."""
        for fd in self._open:
            os.close(fd)
        self._open.clear()


def read_all(fd: int, limit: float) -> bytes:
    """Read up to the end of a pipe, for `limit` seconds at most."""
    out = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    end = time.monotonic() + limit
    while len(out) < _MOST and poll.poll(max(0.0, end - time.monotonic()) * 1000):
        data = os.read(fd, 4096)
        if not data:
            break
        out += data
    return out
