"""The one error of the test bed, and running a command so that its failure explains itself."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["TestbedError", "run"]

#: What a failing command printed is cut to this many last lines: the reason stands at the end.
TAIL_LINES = 15


class TestbedError(Exception):
    """A part of the test bed could not be made or removed.

    :param tried: what was being done
    :param found: what happened instead
    :param remedy: what to do next
    """

    __test__ = False

    def __init__(self, tried: str, found: str, remedy: str) -> None:
        super().__init__(f"{tried}: {found}. {remedy}")
        self.tried = tried
        self.found = found
        self.remedy = remedy


def run(  # noqa: PLR0913 - each is one choice of subprocess.run that callers here do make
    argv: Sequence[str | Path],
    *,
    remedy: str = "Run the command by hand to see all of what it says.",
    env: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
    timeout: float = 600,
) -> str:
    """Run a command to its end.

    :param argv: the command, passed literally
    :param remedy: what a person should do when it fails
    :param env: the whole environment; this process's own by default
    :param user: run as this uid
    :param group: run as this gid, and in no other group
    :param timeout: seconds after which it is killed

    :returns: what it wrote to stdout

    :raises TestbedError: when it is missing, fails or takes too long; the last lines of its output are in the text
    """
    command = shlex.join(str(word) for word in argv)
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            user=user,
            group=group,
            extra_groups=None if group is None else [],
            # An ordinary user may not be allowed to stand in root's current directory.
            cwd=None if user is None else "/",
            timeout=timeout,
        )
    except OSError as error:
        raise TestbedError(command, f"it does not start: {error}", remedy) from error
    except subprocess.TimeoutExpired as error:
        raise TestbedError(command, f"no end after {timeout:g} s", remedy) from error
    if done.returncode != 0:
        said = "\n".join((done.stderr + done.stdout).strip().splitlines()[-TAIL_LINES:])
        raise TestbedError(command, f"exit code {done.returncode}: {said or 'no output'}", remedy)
    return done.stdout
