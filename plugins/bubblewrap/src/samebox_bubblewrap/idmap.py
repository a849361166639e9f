"""Idmapped mounts: trees of the host's files in which some belong to another, for whoever sees them there.

See mount_setattr(2), "ID-mapped mounts". The map is that of a user namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
from pathlib import Path

from samebox_bubblewrap.descriptors import above_stdio
from samebox_bubblewrap.paths import components, open_below

__all__ = ["attach", "mapping", "open_tree", "user_namespace"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # on every processor
_HERE = -100  # AT_FDCWD
_NO_LINK, _EMPTY_PATH, _RECURSIVE, _CLONE, _CLOEXEC = 0x100, 0x1000, 0x8000, 1, os.O_CLOEXEC
_MOVE_FROM_EMPTY = 4
_IDMAP = 0x00100000
_CLONE_VM, _CLONE_VFORK, _CLONE_NEWUSER = 0x100, 0x4000, 0x10000000
_WAIT_FOR_CLONES = 0x80000000 - (1 << 32)  # __WCLONE
_MOST_ID = (1 << 32) - 1
_STACK = 16 << 10


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def mapping(uid: tuple[int, int], gid: tuple[int, int]) -> int:
    """Make a user namespace that leaves ids as they are, but for one uid and one gid.

    Args:
        uid: The uid that files have, and the one that they are to have.
        gid: Likewise.

    Returns:
        Its descriptor.

    Raises:
        OSError: The kernel refuses.
    """
    return user_namespace(_map(*uid), _map(*gid))


def user_namespace(uid_map: str, gid_map: str) -> int:
    """Make a user namespace with nobody in it.

    Args:
        uid_map: Its map, as in /proc/PID/uid_map.
        gid_map: Likewise.

    Returns:
        Its descriptor.

    Raises:
        OSError: The kernel refuses.
    """
    # Its first process, without which there is none, shares this one's memory and ends at once. It has no signal to
    # tell of its end, so that it stays, as a zombie, until it is waited for here; whoever waits for all children of
    # this process does not get it.
    stack = ctypes.create_string_buffer(_STACK)
    top = (ctypes.addressof(stack) + _STACK) & ~0xF
    end = ctypes.cast(_LIBC["_exit"], ctypes.c_void_p)
    flags = _CLONE_VM | _CLONE_VFORK | _CLONE_NEWUSER
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # whose handlers would run there too
    try:
        pid = _LIBC.clone(end, ctypes.c_void_p(top), flags, None)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    if pid < 0:
        raise _failed("clone")
    try:
        for name, lines in (("uid_map", uid_map), ("gid_map", gid_map)):
            Path(f"/proc/{pid}/{name}").write_text(lines, encoding="ascii")
        return above_stdio(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
    finally:
        os.waitpid(pid, _WAIT_FOR_CLONES)


def _map(own: int, host: int) -> str:
    """Return the lines that make `own` the host's `host`, and leave every other id as it is, but `host`, which goes."""
    lines, at = [f"{own} {host} 1"], 0
    for cut in sorted({own, host}):
        lines += [f"{at} {at} {cut - at}"] if cut > at else []
        at = cut + 1
    return "\n".join([*lines, f"{at} {at} {_MOST_ID - at}"]) + "\n"


def open_tree(path: str, user_namespace: int | None, *, follow: bool = True) -> int:
    """Return a descriptor of a path with all that is mounted below it, as mounts that are nowhere yet.

    Args:
        path: A path of the host.
        user_namespace: The map of its owners; None: they stay as they are.
        follow: Whether links on the path are followed.

    Raises:
        OSError: It is not there; with EINVAL, a file system in it can't be mapped; with ELOOP or ENOTDIR, there is a
            link on the path and none is followed.
    """
    if follow:
        fd = _opened(_HERE, path, 0)
    else:
        *parents, name = components(path)
        top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            above = open_below(top, parents)
        finally:
            os.close(top)
        try:
            fd = _opened(above, name, _NO_LINK)
        finally:
            os.close(above)
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, f"open_tree: {os.strerror(errno.ELOOP)}")
    try:
        if user_namespace is not None:
            wanted = _Attributes(_IDMAP, 0, 0, user_namespace)
            size = ctypes.c_size_t(ctypes.sizeof(wanted))
            if _LIBC.syscall(_MOUNT_SETATTR, fd, b"", _EMPTY_PATH | _RECURSIVE, ctypes.byref(wanted), size) != 0:
                raise _failed("mount_setattr")  # noqa: TRY301 - the descriptor is closed like for any other
    except BaseException:
        os.close(fd)
        raise
    return fd


def _opened(above: int, path: str, flags: int) -> int:
    fd = _LIBC.syscall(_OPEN_TREE, above, os.fsencode(path), _CLONE | _CLOEXEC | _RECURSIVE | flags)
    if fd < 0:
        raise _failed("open_tree")
    return above_stdio(fd)


def attach(tree: int, place: str) -> None:
    """Mount what `open_tree` returned.

    Raises:
        OSError: The kernel refuses.
    """
    if _LIBC.syscall(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(place), _MOVE_FROM_EMPTY) != 0:
        raise _failed("move_mount")


def _failed(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
