"""The sandbox's /dev: bwrap's own, but with nodes that the sandbox does not own.

bwrap binds the host's nodes, and it can't bind them read-only and as devices at once. Where the caller owns them, as
root does, the sandbox's uid is their owner outside: a chmod of /dev/null from inside would take it from the whole host.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import cache
from pathlib import Path

from samebox.errors import EngineUnavailableError

__all__ = ["device_words"]

_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_NOBODY = 65534


@cache
def device_words(directory: Path, shm_size: int | None = None) -> tuple[str, ...]:
    """Return bwrap's words for /dev.

    Args:
        directory: Where nodes of our own are made, if they are needed.
        shm_size: The size of /dev/shm; None: the kernel's default, half of the memory.

    Returns:
        The words.

    Raises:
        EngineUnavailableError: They are needed and can't be made there.
    """
    words = ["--dev", "/dev"]
    if Path("/dev/null").stat().st_uid == os.geteuid():
        try:
            for name in _NODES:
                words += ["--dev-bind", str(_node(directory, name)), f"/dev/{name}"]
        except OSError as error:
            raise EngineUnavailableError(
                "bubblewrap as root needs device nodes of its own, or a sandbox could change the mode of the host's; "
                f"they can't be made in {directory} ({error}). Run as an ordinary user, or set options.cache_dir to a "
                "directory on a file system that is mounted without nodev."
            ) from error
    size = ["--size", str(shm_size)] if shm_size is not None else []
    return (*words, *size, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108


def _node(directory: Path, name: str) -> Path:
    """Make a node that belongs to nobody, unless it is there, and see that it works: nodev would forbid it."""
    path = directory / name
    number = Path("/dev", name).stat().st_rdev
    try:
        found = path.lstat()
    except FileNotFoundError:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = directory / f".{name}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        os.mknod(temporary, stat.S_IFCHR | 0o600, number)
        os.chown(temporary, _NOBODY, _NOBODY)
        temporary.chmod(0o666)
        temporary.rename(path)
        found = path.lstat()
    if (
        not stat.S_ISCHR(found.st_mode)
        or found.st_rdev != number
        or found.st_uid != _NOBODY
        or found.st_mode & 0o777 != 0o666
    ):
        raise OSError(f"{path} is there and is not what it should be; remove it")
    if name != "tty":  # which can't be opened without a terminal
        os.close(os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    return path
