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
"""What a daemon gets of the caller's environment: how to reach the outside, and whom to trust there."""


@dataclass(frozen=True)
class ProcessRecord:
    """A process, told from every other that ever had its number."""

    pid: int
    start_time: int
    """In clock ticks since boot: field 22 of /proc/PID/stat."""
    boot: str
    """The boot in which it was started."""

    @classmethod
    def of(cls, pid: int) -> ProcessRecord | None:
        """Look a process up.

        Returns:
            Its record; None if there is no such process, or only its zombie.
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
            # A child of this process that nobody waits for would stay as a zombie.
            os.waitpid(self.pid, os.WNOHANG)
        return ProcessRecord.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if this very process still runs.

        A pidfd means the process itself: should it end and another get its number between look and signal, none is hit.
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
        """Return the record as it stands in the state file."""
        return asdict(self)


def boot_id() -> str:
    """Return what names this boot of the machine: pids and start times mean nothing in another."""
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
        log: What it writes to stdout and stderr is appended to this file.
        env: Its whole environment.
        user: Run it as this uid and gid.

    Returns:
        Its record. Whether it comes up is for the caller to find out.

    Raises:
        TestbedError: It cannot be started, or ended at once.
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
    # It is not for this object to wait for; without this, Python warns about that.
    child.returncode = 0
    return record


def tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log, for the text of an error."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) or "its log is empty"
    except OSError as error:
        return f"no log ({error})"


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll a condition, and return whether it came true within `timeout` seconds."""
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
    """End processes: by SIGTERM, and those that are left after a grace by SIGKILL.

    Args:
        records: The processes. If another has the number of one meanwhile, it is left alone.
        grace: In seconds.

    Raises:
        TestbedError: One survived both.
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
