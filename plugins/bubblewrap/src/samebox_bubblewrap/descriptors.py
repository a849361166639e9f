"""Descriptors: the files and pipes that a bwrap gets for its start, and that are closed when it has them."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time

__all__ = ["Descriptors", "above_stdio", "pipe", "read_all", "socket_pair"]

_MOST = 8192
_STDIO = 3


def above_stdio(fd: int) -> int:
    """Return a descriptor, or another one in its place where it is one of 0 to 2.

    A caller that has closed its stdin or stdout gets their numbers for what it opens next; a program that it starts
    takes these for its own stdin and stdout, and a `print` of the caller's writes to them.
    """
    if fd >= _STDIO:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDIO)
    finally:
        os.close(fd)


def pipe(flags: int = 0) -> tuple[int, int]:
    """Return a new pipe's ends, the one to read from first; none of them is one of 0 to 2."""
    end, other = os.pipe2(os.O_CLOEXEC | flags)
    return above_stdio(end), above_stdio(other)


def socket_pair(kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets of this host; none of them is one of 0 to 2."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return _above(one), _above(other)


def _above(sock: socket.socket) -> socket.socket:
    return sock if sock.fileno() >= _STDIO else socket.socket(fileno=above_stdio(sock.detach()))


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
        fd = above_stdio(os.memfd_create("samebox", os.MFD_CLOEXEC))
        self.adopt(fd)
        self.files.append(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def pipe(self) -> tuple[int, int]:
        """Return a new pipe's ends, the one to read from first."""
        ends = pipe()
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
