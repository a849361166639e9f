"""Daemons: started so that they outlive this process, ended only when they are provably the ones that were started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ProcessRecord", "boot_id", "end_processes", "inherited_environment", "processes", "start", "wait_until"]

#: Of the caller's environment a daemon gets only this: how to reach the outside, and whom to trust there.
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir", "curl_ca_bundle")


@dataclass(frozen=True)
class ProcessRecord:
    """A process, told from every other that ever had its number.

    :ivar pid: its number
    :ivar start_time: field 22 of /proc/PID/stat, in clock ticks since boot
    :ivar boot: the boot in which it was started
    """

    pid: int
    start_time: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessRecord | None:
        """Look a running process up.

        :returns: its record; None when there is no such process, or only its zombie
        """
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name in parentheses may hold spaces and parentheses itself.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return None if fields[0] in {b"Z", b"X"} else cls(pid, int(fields[19]), boot_id())

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        with contextlib.suppress(ChildProcessError):
            # Without this, a child of this process stays a zombie.
            os.waitpid(self.pid, os.WNOHANG)
        return ProcessRecord.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if this very process still runs.

        A pidfd names the process itself: should it end and its number be taken between look-up and signal, nothing
        is signalled.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)

    def as_dict(self) -> dict[str, int | str]:
        """The record as it stands in the state file."""
        return asdict(self)


def boot_id() -> str:
    """:returns: what names this boot of the machine; pids and start times mean nothing in another"""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def inherited_environment() -> dict[str, str]:
    """:returns: a daemon's environment: a fixed PATH, and the caller's proxies and certificates"""
    passed = {name: value for name, value in os.environ.items() if name.lower() in PASSED_ON}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **passed}


def start(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    user: tuple[int, int] | None = None,
) -> ProcessRecord:
    """Start a daemon that outlives this process and its terminal.

    :param argv: the command, passed literally
    :param log: its stdout and stderr are appended to this file
    :param env: its whole environment
    :param user: run as this uid and gid

    :returns: its record; whether it comes up is for the caller to find out

    :raises TestbedError: when it ends at once or cannot be started
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    uid, gid = user if user is not None else (None, None)
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd="/",
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if gid is None else [],
                umask=0o022,
            )
    except OSError as error:
        raise TestbedError(f"start {argv[0]}", str(error), "Is it installed? `up` installs what is missing.") from error
    record = ProcessRecord.of(child.pid)
    if record is None:
        raise TestbedError(f"start {argv[0]}", f"it ended at once: {tail(log)}", f"All it said is in {log}.")
    # It is not this process's to wait for; without this, Python warns when the object is collected.
    child.returncode = 0
    return record


def tail(log: Path, lines: int = 8) -> str:
    """:returns: the last lines of a log, for an error's text"""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) or "an empty log"
    except OSError as error:
        return f"no log ({error})"


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Poll a condition.

    :returns: whether it came true within `timeout` seconds
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def processes() -> dict[int, ProcessRecord]:
    """:returns: every process that runs now, by pid"""
    found = (ProcessRecord.of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {record.pid: record for record in found if record is not None}


def end_processes(records: Sequence[ProcessRecord], *, grace: float = 10) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are left after a grace.

    :param records: the processes; one whose number meanwhile belongs to another is left alone
    :param grace: seconds between the two

    :raises TestbedError: when one survives both
    """
    for record in records:
        record.send(signal.SIGTERM)
    if wait_until(lambda: not any(record.alive for record in records), grace):
        return
    for record in records:
        record.send(signal.SIGKILL)
    if not wait_until(lambda: not any(record.alive for record in records), 5):
        left = ", ".join(str(record.pid) for record in records if record.alive)
        raise TestbedError(f"end process {left}", "it survived SIGKILL", "It hangs in the kernel; look at its stack.")
