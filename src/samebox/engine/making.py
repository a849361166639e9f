"""Making: one maker of an image at a time, where two would make the same."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def making(key: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock among the processes of this user on this host; the lock's file is removed with the lock.

    Args:
        key: What is made, as a file's name.
        progress: Told if another one is at it.
    """
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "samebox", "builds")
    path = directory / f"{key}.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = _locked(path, progress)
    except OSError:  # no home: to make it twice at once is only wasteful
        yield
        return
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, progress: Callable[[str], None]) -> IO[str]:
    """Return the locked file, once no other process holds the lock."""
    while True:
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process makes the same image; waiting for it")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except BaseException:
                lock.close()
                raise
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        lock.close()  # the lock's holder has removed the file meanwhile
