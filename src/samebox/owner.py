"""Owner: the process that a sandbox belongs to, as labels tell it, and whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MANAGED = "samebox.managed"
OWNER = "samebox.owner"
NAME = "samebox.name"
VERSION = "samebox.version"
KEEP = "samebox.keep"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from a later one with the same number by its start time."""

    host: str
    pid: int
    started: int
    """Clock ticks from boot to its start."""

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return _current(os.getpid())

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        """Return the owner that a label names; None if it names none."""
        host, _, rest = label.rpartition("/")
        pid, _, started = rest.partition(".")
        return cls(host, int(pid), int(started)) if host and pid.isdecimal() and started.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}.{self.started}"

    @property
    def alive(self) -> bool | None:
        """Whether it still runs; None if it is of another host, which can't be told from here."""
        if self.host != _host():
            return None
        return _start_time(self.pid) == self.started


@cache
def _current(pid: int) -> Owner:
    return Owner(_host(), pid, _start_time(pid) or 0)


@cache
def _host() -> str:
    # Two hosts of one name are told apart, and a reboot ends every process.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        boot = "unknown"
    return f"{socket.gethostname()}-{boot}"


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])
