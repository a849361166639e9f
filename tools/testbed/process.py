"""ProcessRecord: a daemon that outlives this program, and is ended only if it is provably the one that was started."""

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

PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir", "curl_ca_bundle")
"""The variables of the caller's environment that a daemon gets: proxies, and the certificates to trust."""


@dataclass(frozen=True)
class ProcessRecord:
    """A process, told from every other process that ever had its pid."""

    pid: int
    start_time: int
    """The process's start, in clock ticks since boot: field 22 of /proc/PID/stat."""
    boot: str
    """The id of the boot in which the process was started."""

    @classmethod
    def of(cls, pid: int) -> ProcessRecord | None:
        """Look a process up.

        Returns:
            The process's record; None if there is no such process, or only its zombie.
        """
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The program's name in parentheses may have spaces and parentheses itself.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return None if fields[0] in {b"Z", b"X"} else cls(pid, int(fields[19]), boot_id())

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        with contextlib.suppress(ChildProcessError):
            # A child of this process would stay as a zombie without a wait.
            os.waitpid(self.pid, os.WNOHANG)
        return ProcessRecord.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if this very process still runs.

        A pidfd refers to the process itself: if the process ends and another process gets its pid between the check and
        the signal, neither gets the signal.
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

    def to_dict(self) -> dict[str, int | str]:
        """Return the record as plain values, for the state file."""
        return asdict(self)


def boot_id() -> str:
    """Return the id of this boot of the machine; pids and start times mean nothing in another boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def daemon_environment() -> dict[str, str]:
    """Return the environment of a daemon: a fixed PATH, and the caller's proxies and certificates."""
    passed = {name: value for name, value in os.environ.items() if name.lower() in PASSED_ON}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **passed}


def start(
    argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str], user: tuple[int, int] | None = None
) -> ProcessRecord:
    """Start a daemon that outlives this program and its terminal.

    Args:
        argv: The command, passed literally.
        log: The file that the daemon's stdout and stderr are appended to.
        env: The daemon's whole environment.
        user: The uid and gid that the daemon runs as; None: this process's own.

    Returns:
        The daemon's record. The caller has to find out whether the daemon comes up.

    Raises:
        TestbedError: The daemon cannot be started, or ended at once.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    uid, gid = user or (None, None)
    tried = f"start {argv[0]}"
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
                extra_groups=None if user is None else [],
                umask=0o022,
            )
    except OSError as error:
        raise TestbedError(tried=tried, found=str(error), remedy="Install it; `up` does, with apt.") from error
    record = ProcessRecord.of(child.pid)
    if record is None:
        raise TestbedError(tried=tried, found=f"it ended at once: {tail(log)}", remedy=f"All that it said is in {log}.")
    # This object does not wait for the daemon; without a return code, Python would warn that the child still runs.
    child.returncode = 0
    return record


def tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log, for the text of an error."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) or "its log is empty"
    except OSError as error:
        return f"no log ({error})"


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll a condition, and return whether the condition came true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def processes() -> list[ProcessRecord]:
    """Return every process that runs now."""
    found = (ProcessRecord.of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [record for record in found if record is not None]


def find_processes(program: str, *words: str) -> list[ProcessRecord]:
    """Return the processes of a program that have all these words on their command line, each in full."""
    found = []
    for record in processes():
        try:
            command = Path(f"/proc/{record.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if Path(command[0]).name == program and set(words) <= set(command[1:]):
            found.append(record)
    return found


def end_processes(records: Sequence[ProcessRecord], *, grace: float = 10) -> None:
    """End processes by SIGTERM, and those that are left after a grace by SIGKILL.

    Args:
        records: The processes. Another process that has one of their pids meanwhile is left alone.
        grace: How long processes may take to end after SIGTERM, in seconds.

    Raises:
        TestbedError: A process survived both signals.
    """
    for record in records:
        record.send(signal.SIGTERM)
    if wait_until(lambda: not any(record.alive for record in records), grace):
        return
    for record in records:
        record.send(signal.SIGKILL)
    if not wait_until(lambda: not any(record.alive for record in records), 5):
        left = ", ".join(str(record.pid) for record in records if record.alive)
        remedy = f"It hangs in the kernel: /proc/{left.split(',')[0]}/stack says where."
        raise TestbedError(tried=f"end process {left}", found="it survived SIGKILL", remedy=remedy)
