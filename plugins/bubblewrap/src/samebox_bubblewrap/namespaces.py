"""Namespaces of a sandbox's first process, while bwrap is still at work on them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_bubblewrap.descriptors import above_stdio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["entered", "first_process", "namespace", "root_of", "wait_for_setup"]

_NS_GET_USERNS = 0xB701  # ioctl_ns(2)
_LIMIT = 10.0
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def namespace(pid: int, kind: str) -> Iterator[tuple[int, int]]:
    """Open a process's namespace and the user namespace that owns it.

    That is not the process's own one: bwrap's --disable-userns puts another below it, which has no say over the rest.

    Args:
        pid: The process.
        kind: As in /proc/PID/ns.
    """
    found = above_stdio(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
    try:
        user = above_stdio(fcntl.ioctl(found, _NS_GET_USERNS))
        try:
            yield found, user
        finally:
            os.close(user)
    finally:
        os.close(found)


@contextlib.contextmanager
def entered(network: int) -> Iterator[None]:
    """Be in a network namespace with the calling thread alone.

    Raises:
        OSError: The kernel refuses.
    """
    before = above_stdio(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    try:
        _enter(network)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _enter(network: int) -> None:
    if _LIBC.setns(network, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def wait_for_setup(pid: int) -> None:
    """Wait until bwrap has mounted and set up everything: its last part is the ids of the second user namespace.

    Raises:
        EngineError: It takes too long.
        OSError: It has failed meanwhile.
    """
    with namespace(pid, "mnt") as (_, user):
        owner = os.fstat(user).st_ino
    end = time.monotonic() + _LIMIT
    while time.monotonic() < end:
        # Not readable for a moment, while bwrap changes its credentials.
        with contextlib.suppress(PermissionError):
            os.stat(f"/proc/{pid}/ns/mnt")  # noqa: PTH116 - what has ended and was not reaped has none
            second = os.stat(f"/proc/{pid}/ns/user").st_ino != owner  # noqa: PTH116
            if second and Path(f"/proc/{pid}/gid_map").read_bytes():
                return
        time.sleep(0.001)
    raise EngineError(f"bwrap did not set up the sandbox's namespaces within {_LIMIT:.0f} s")


def first_process(bwrap: int) -> int:
    """Return the id of a sandbox's first process, which is the only child of its bwrap.

    Raises:
        ProcessLookupError: It has ended.
    """
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if _parent(path) == bwrap:
                return int(path.parent.name)
    raise ProcessLookupError(f"bwrap {bwrap} has no child")


@contextlib.contextmanager
def root_of(bwrap: int) -> Iterator[tuple[int, int]]:
    """Open a sandbox's root directory, and yield the descriptor and the id of its first process.

    Args:
        bwrap: Its bwrap's id.

    Raises:
        OSError: It has ended.
    """
    pid = first_process(bwrap)
    fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _parent(Path(f"/proc/{pid}/stat")) != bwrap:  # it has ended, and another process has its id
            raise ProcessLookupError(f"process {pid} has ended")
        yield fd, pid
    finally:
        os.close(fd)


def _parent(stat: Path) -> int:
    # The name before it may have spaces and parentheses.
    return int(stat.read_bytes().rpartition(b")")[2].split()[1])
