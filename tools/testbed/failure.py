"""TestbedError, and running a command so that its failure explains itself."""

from __future__ import annotations

import shlex
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 15
"""Of what a failing command printed, this many last lines are told: the reason stands at the end."""


class TestbedError(Exception):
    """A part of the test bed could not be made or removed.

    Args:
        tried: What was being done.
        found: What happened instead.
        remedy: What to do next.
    """

    __test__ = False

    def __init__(self, *, tried: str, found: str, remedy: str) -> None:
        super().__init__(f"{tried}: {found}. {remedy}")
        self.found = found


class Commands:
    """The commands that run now, so that they can be ended together when this program is told to end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._interrupted = False

    def interrupt(self) -> None:
        """End every running command, and let no other start.

        For a signal handler: it takes no lock, as the interrupted code may hold it.
        """
        self._interrupted = True
        for process in list(self._running):
            process.terminate()

    def resume(self) -> None:
        """Let commands start again, those that clean up."""
        self._interrupted = False

    def call(self, process: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
        """Wait for a command.

        Args:
            process: The command.
            timeout: In seconds; then it is killed.

        Returns:
            What it wrote to stdout and to stderr.

        Raises:
            subprocess.TimeoutExpired: The time was over.
        """
        with self._lock:
            self._running.add(process)
        if self._interrupted:
            process.terminate()
        try:
            return process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        finally:
            with self._lock:
                self._running.discard(process)


COMMANDS = Commands()
"""Those of this process."""


def run(
    argv: Sequence[str | Path],
    *,
    remedy: str = "Run the command by hand to see all of what it says.",
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    timeout: float = 600,
) -> str:
    """Run a command to its end.

    Args:
        argv: The command, passed literally.
        remedy: What a person should do when it fails.
        env: Its whole environment; this process's own by default.
        user: Run it as this uid and gid, in no other group.
        timeout: In seconds; then it is killed.

    Returns:
        What it wrote to stdout.

    Raises:
        TestbedError: It is missing, failed or took too long; the last lines of its output are in the text.
    """
    command = shlex.join(str(word) for word in argv)
    uid, gid = user or (None, None)
    try:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            user=uid,
            group=gid,
            extra_groups=None if user is None else [],
            # An ordinary user may not be allowed to stand in root's current directory.
            cwd=None if user is None else "/",
        )
        output, errors = COMMANDS.call(process, timeout)
    except OSError as error:
        raise TestbedError(tried=command, found=f"it does not start: {error}", remedy=remedy) from error
    except subprocess.TimeoutExpired as error:
        raise TestbedError(tried=command, found=f"no end after {timeout:g} s", remedy=remedy) from error
    if process.returncode != 0:
        said = "\n".join((errors + output).strip().splitlines()[-TAIL_LINES:]) or "no output"
        raise TestbedError(tried=command, found=f"exit code {process.returncode}: {said}", remedy=remedy)
    return output
