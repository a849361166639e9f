"""The sandbox's /dev: bwrap's own, which binds the host's nodes, and the devices that a config gives.

A node of the host's is never one that the sandbox's user owns outside: a chmod of /dev/null from inside would take it
from the whole host.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.errors import ConfigError, UnsupportedError
from samebox_bubblewrap.stage import HostPath

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samebox.config.mounts import Device
    from samebox_bubblewrap.bwrap import Word

__all__ = ["device_words"]

_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_NOBODY = 65534
_TAKEN = ("console", "core", "fd", "mqueue", "ptmx", "pts", "shm", "stderr", "stdin", "stdout", *_NODES)
"""What is in /dev already."""


def device_words(directory: Path, shm_size: int | None = None, devices: Iterable[Device] = ()) -> list[Word]:
    """Return bwrap's words for /dev.

    Args:
        directory: Where nodes of our own are made, if they are needed.
        shm_size: The size of /dev/shm; None: the kernel's default, half of the memory.
        devices: The host's devices that are given.

    Returns:
        The words.

    Raises:
        ConfigError: A device is not there, or its place is taken.
        UnsupportedError: A device can't be given.
    """
    words: list[Word] = ["--dev", "/dev"]
    for device in devices:
        words += _given(directory, device)
    size = ["--size", str(shm_size)] if shm_size is not None else []
    return [*words, *size, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108


def _given(directory: Path, device: Device) -> list[Word]:
    """Return the words for a device of the host: root gives a node of our own, anyone else the host's."""
    what = f"the device {device.source!r}"
    try:
        found = Path(device.source).stat()
    except OSError as error:
        raise ConfigError(f"{what} can't be given: {error.strerror}") from None
    kind = stat.S_IFMT(found.st_mode)
    if kind not in {stat.S_IFCHR, stat.S_IFBLK}:
        raise ConfigError(f"{what} can't be given: it is no device")
    if PurePosixPath(device.target).parts[2] in _TAKEN:
        raise ConfigError(f"{what} can't be at {device.target!r}, which the sandbox has already; choose another path")
    if not {"r", "w"} <= set(device.permissions):
        raise _refused(f"{what} is given for reading and writing, or not at all (found {device.permissions!r})")
    node = os.path.realpath(device.source)
    if os.geteuid() == 0:
        name = f"{stat.filemode(kind)[0]}{os.major(found.st_rdev)}-{os.minor(found.st_rdev)}"
        try:
            node = str(_node(directory, name, kind, found.st_rdev))
        except OSError as error:
            raise _refused(f"{what} needs a node of our own in {directory}, which can't be made ({error})") from error
    elif found.st_uid == os.geteuid():
        raise _refused(f"{what} belongs to this user, so that the sandbox could change its mode for the whole host")
    elif not os.access(device.source, os.R_OK | os.W_OK):
        raise _refused(f"this user may not read and write {what}; a group may give the right to")
    words: list[Word] = []
    for parent in [str(parent) for parent in PurePosixPath(device.target).parents][-3::-1]:
        words += ["--perms", "0755", "--dir", parent]
    return [*words, "--dev-bind", HostPath(node), device.target]


def _refused(reason: str) -> UnsupportedError:
    return UnsupportedError(Capability.DEVICES, "bubblewrap", reason)


def _node(directory: Path, name: str, kind: int, number: int) -> Path:
    """Make a node that belongs to nobody, unless it is there, and see that it works: nodev would forbid it."""
    path = directory / name
    try:
        found = path.lstat()
    except FileNotFoundError:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = directory / f".{name}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        os.mknod(temporary, kind | 0o600, number)
        os.chown(temporary, _NOBODY, _NOBODY)
        temporary.chmod(0o666)
        temporary.rename(path)
        found = path.lstat()
    if (
        stat.S_IFMT(found.st_mode) != kind
        or found.st_rdev != number
        or found.st_uid != _NOBODY
        or found.st_mode & 0o777 != 0o666
    ):
        raise OSError(f"{path} is there and is not what it should be; remove it")
    if name == "null":  # others may wait, or do something
        os.close(os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    return path
