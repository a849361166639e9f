"""State: the record of what the bed made on this machine, so that `down` can remove that and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from typing import TYPE_CHECKING, Any

from testbed.failure import TestbedError
from testbed.process import ProcessRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
"""The version of the state file's format; a file of another format is refused."""


class State:
    """The content of the state file. Every change is on disk before the call returns.

    Args:
        path: The file; it need not exist.

    Raises:
        TestbedError: The file is there and is no state file of this format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # The engines are started in parallel, and each engine records its daemons.
        self._lock = threading.Lock()
        self._content: dict[str, Any] = {"format": FORMAT, "daemons": {}}
        with contextlib.suppress(FileNotFoundError):
            try:
                self._content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                remedy = "Remove the file, then run `down`."
                raise TestbedError(tried=f"read {path}", found=str(error), remedy=remedy) from error
            if self._content.get("format") != FORMAT:
                found = f"format {self._content.get('format')!r}, this program writes {FORMAT}"
                remedy = "Run `down` with the version of this program that wrote it."
                raise TestbedError(tried=f"read {path}", found=found, remedy=remedy)

    def get(self, key: str, default: Any = None) -> Any:
        """Return an entry, or the default."""
        return self._content.get(key, default)

    def set(self, **entries: Any) -> None:
        """Change entries."""
        with self._lock:
            self._content.update(entries)
            self._save()

    def daemon(self, name: str) -> ProcessRecord | None:
        """Return the daemon of that name, if it was started and still runs."""
        record = self.recorded(name)
        return record if record is not None and record.alive else None

    def recorded(self, name: str) -> ProcessRecord | None:
        """Return the daemon of that name, if it was started, whether it still runs or not."""
        entry = self._content["daemons"].get(name)
        return None if entry is None else ProcessRecord(**entry)

    def set_daemon(self, name: str, record: ProcessRecord | None) -> None:
        """Record that a daemon was started, or, with None, that it was ended."""
        with self._lock:
            if record is None:
                self._content["daemons"].pop(name, None)
            else:
                self._content["daemons"][name] = record.to_dict()
            self._save()

    def _save(self) -> None:
        write_atomically(self._path, json.dumps(self._content, indent=2, sort_keys=True) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that no reader ever sees a part of the new content; make its directory if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(path)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, and remove its file with the last holder.

    Args:
        path: The lock's file.
        shared: Whether to share the lock with other holders.
        wait: Whether to wait for the lock. Otherwise go on without the lock if another process holds it.

    Yields:
        Whether the lock is held.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, kind)
            # The last holder may have removed the file during the wait, and a lock on a removed file excludes nobody.
            if os.path.samestat(os.fstat(handle), path.stat()):
                break
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(handle)
            yield False
            return
        os.close(handle)
    try:
        yield True
    finally:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        os.close(handle)
