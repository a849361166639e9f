"""The state file: what the bed made on this machine, so that `down` can undo that and nothing else."""

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

__all__ = ["State", "locked", "write_atomically"]

FORMAT = 1


class State:
    """The state file in memory. Every change is on disk before the call returns.

    :param path: the file; it need not exist

    :raises TestbedError: when the file is there and not readable as a state
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # The engines are started in parallel, and each records its daemons.
        self._lock = threading.Lock()
        self._content: dict[str, Any] = {"format": FORMAT, "daemons": {}}
        with contextlib.suppress(FileNotFoundError):
            try:
                self._content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise TestbedError(f"read {path}", str(error), "Remove the file, then run `down`.") from error
            if self._content.get("format") != FORMAT:
                found = f"format {self._content.get('format')!r}, this tool writes {FORMAT}"
                raise TestbedError(f"read {path}", found, "Run `down` with the version of the tool that wrote it.")

    def get(self, key: str, default: Any = None) -> Any:
        """:returns: one entry, or the default"""
        return self._content.get(key, default)

    def set(self, **entries: Any) -> None:
        """Change entries, and save."""
        with self._lock:
            self._content.update(entries)
            self._save()

    def daemon(self, name: str) -> ProcessRecord | None:
        """:returns: the daemon of that name, if it was started and still runs"""
        entry = self._content["daemons"].get(name)
        record = None if entry is None else ProcessRecord(**entry)
        return record if record is not None and record.alive else None

    def set_daemon(self, name: str, record: ProcessRecord | None) -> None:
        """Record a daemon that was started, or, with None, one that was ended."""
        with self._lock:
            if record is None:
                self._content["daemons"].pop(name, None)
            else:
                self._content["daemons"][name] = record.as_dict()
            self._save()

    def _save(self) -> None:
        write_atomically(self._path, json.dumps(self._content, indent=2, sort_keys=True) + "\n")


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file so that no reader ever sees half of it; its directory is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(mode)
    draft.replace(path)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, and remove it with the last holder.

    :param path: the file
    :param shared: hold it together with others
    :param wait: wait for it; otherwise yield False when another has it

    :returns: a context manager that yields whether the lock is held
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, kind)
            # The last holder may have removed the file while this one waited: a lock on it would exclude nobody.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                break
        except BlockingIOError:
            os.close(handle)
            yield False
            return
        except FileNotFoundError:
            pass
        os.close(handle)
    try:
        yield True
    finally:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        os.close(handle)
