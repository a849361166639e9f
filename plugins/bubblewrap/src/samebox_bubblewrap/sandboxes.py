"""Registry: the sandboxes that this process has made, for all of its engine objects.

A forked child can use its parent's and end none of them; at exit a process ends its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from samebox.engine import SandboxStatus, State
from samebox.errors import SandboxExistsError, SandboxNotFoundError

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig
    from samebox_bubblewrap.directories import DirectoryUse
    from samebox_bubblewrap.hostuser import HostUser
    from samebox_bubblewrap.plan import Plan
    from samebox_bubblewrap.process import SandboxProcess

__all__ = ["Registry", "SandboxRecord", "registry"]


@dataclass
class SandboxRecord:
    """One sandbox."""

    id: str
    name: str
    image: str
    labels: dict[str, str]
    plan: Plan
    config: SandboxConfig
    created: float
    """Seconds since 1970."""
    uses: list[DirectoryUse | HostUser] = field(default_factory=list)
    """Its volumes, its image and its user of the host, until it is removed."""
    user: HostUser | None = None
    """The user of the host that its processes are; None: the caller."""
    process: SandboxProcess | None = None
    """The last one that was started."""
    removed: bool = False
    """Whether it can't be started any more."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while it is started or stopped."""

    @property
    def status(self) -> SandboxStatus:
        """What is known of it."""
        process = self.process
        state: State = "created" if process is None else "running" if process.running else "stopped"
        return SandboxStatus(
            id=self.id,
            name=self.name,
            state=state,
            image=self.image,
            labels=self.labels,
            exit_code=process.exit_code if process is not None else None,
            out_of_memory=process.out_of_memory if process is not None else False,
            created=self.created,
        )

    def leave(self) -> None:
        """Use its volumes, its image and its user of the host no more. May be called again."""
        for use in self.uses:
            use.close()

    def end(self, grace: float = 0.0) -> None:
        """End its processes; nothing happens if there are none."""
        with self.lock:
            if self.process is not None and self.process.running and not self.process.borrowed:
                self.process.end(grace)


class Registry:
    """The sandboxes of this process, by id."""

    def __init__(self) -> None:
        self._records: dict[str, SandboxRecord] = {}
        self._lock = threading.Lock()

    def add(self, record: SandboxRecord) -> None:
        """Add a sandbox.

        Raises:
            SandboxExistsError: Its name is taken.
        """
        with self._lock:
            if any(other.name == record.name for other in self._records.values()):
                raise SandboxExistsError(
                    f"this process has a sandbox named {record.name!r} on engine 'bubblewrap' already"
                )
            self._records[record.id] = record

    def find(self, sandbox_id: str) -> SandboxRecord:
        """Return the sandbox of that id or name.

        Raises:
            SandboxNotFoundError: It is not there.
        """
        with self._lock:
            record = self._records.get(sandbox_id)
            named = (other for other in self._records.values() if other.name == sandbox_id)
            if record is None and (record := next(named, None)) is None:
                raise SandboxNotFoundError(
                    f"this process has no sandbox {sandbox_id!r} on engine 'bubblewrap'; "
                    "its sandboxes end with the process that made them"
                )
            return record

    def remove(self, sandbox_id: str) -> None:
        """End and forget a sandbox; nothing happens if it is not there."""
        with contextlib.suppress(SandboxNotFoundError):
            record = self.find(sandbox_id)
            if record.process is not None and record.process.borrowed:
                record.process.give_back()
            record.removed = True
            record.end()
            record.leave()
            with self._lock:
                self._records.pop(record.id, None)

    def records(self) -> list[SandboxRecord]:
        """Return all that this process itself has made."""
        with self._lock:
            return [r for r in self._records.values() if r.process is None or not r.process.borrowed]

    def after_fork(self) -> None:
        """Leave the parent's sandboxes to the parent, in a forked child, which may only go on using them."""
        self._lock = threading.Lock()  # this copy may be held for ever
        for record in list(self._records.values()):
            record.lock = threading.Lock()
            record.leave()
            if record.process is None:
                del self._records[record.id]
            else:
                record.process.borrow()

    def end_all(self) -> None:
        """End what is left at exit, for its control groups: its processes would end with this one anyway."""
        for record in self.records():
            with contextlib.suppress(Exception):
                self.remove(record.id)


registry = Registry()
os.register_at_fork(after_in_child=registry.after_fork)
atexit.register(registry.end_all)
