"""TestbedError, and `run`, which runs a command and turns its failure into a TestbedError that explains it."""

from __future__ import annotations

import shlex
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 15
"""How many last lines of a failing command's output an error has, as the reason stands at the end."""


class TestbedError(Exception):
    """The error for a part of the test bed that could not be made or removed.

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
        """End every running command, and let no other command start.

        A signal handler calls this method, so it takes no lock, which the interrupted code may hold.
        """
        self._interrupted = True
        for process in list(self._running):
            process.terminate()

    def resume(self) -> None:
        """Let commands start again, for cleaning up."""
        self._interrupted = False

    def call(self, process: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
        """Wait for a command to end.

        Args:
            process: The command.
            timeout: The longest time that the command may take, in seconds; then the command is killed.

        Returns:
            The command's stdout and stderr.

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
"""The commands that this process runs."""


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
        remedy: What a person should do when the command fails.
        env: The command's whole environment; default: this process's own.
        user: The uid and gid that the command runs as, in no other group; default: this process's own.
        timeout: The longest time that the command may take, in seconds; then the command is killed.

    Returns:
        The command's stdout.

    Raises:
        TestbedError: The command is missing, failed or took too long; the last lines of its output are in the error's
            text.
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
            # An ordinary user may not be allowed to use root's current directory.
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
