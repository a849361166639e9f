"""Owner: the process that a sandbox belongs to, as the sandbox's label names it, and whether it still lives."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_LABEL = re.compile(r"([^/]+)/([^/.]+)\.([0-9]+)/([0-9]+)\.([0-9]+)")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from a later process with the same number, and from processes of other hosts."""

    host: str
    """The host's name and a hash of its machine id, if it has one; the id itself is confidential: machine-id(5)."""
    boot: str
    """The beginning of the id of the host's boot; no process outlives the boot."""
    namespace: str
    """The process namespace that the pid belongs to, as two containers of one host have different namespaces."""
    pid: int
    started: int
    """The clock ticks from the boot to the process's start."""

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return _current(os.getpid())

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        """Return the owner that a label names; None if the label names none."""
        if (match := _LABEL.fullmatch(label)) is None:
            return None
        host, boot, namespace, pid, started = match.groups()
        return cls(host, boot, namespace, int(pid), int(started))

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}.{self.namespace}/{self.pid}.{self.started}"

    @property
    def alive(self) -> bool | None:
        """Whether the process still runs; None if this process can't tell."""
        here = _current(os.getpid())
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            # Without a machine id, this may be another host of the same name.
            return False if self.host.partition("@")[2] else None
        if self.namespace != here.namespace:
            return None
        if (started := _start_time(self.pid)) is not None:
            return started == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return None  # proc(5), hidepid: another user's process is not shown


@cache
def _current(pid: int) -> Owner:
    machine = _read("/etc/machine-id")
    if machine:
        machine = hashlib.sha256(f"samebox {machine}".encode()).hexdigest()[:8]
    boot = _read("/proc/sys/kernel/random/boot_id")[:8] or "unknown"
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return Owner(f"{socket.gethostname()}@{machine}", boot, str(namespace), pid, _start_time(pid) or 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])
