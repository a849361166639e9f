"""Outsider: whoever removes, stops or pauses a sandbox behind the back of the process that uses it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from footprint import descendants

if TYPE_CHECKING:
    from fault_bed import Service
    from samebox import Sandbox
    from samebox.engine import Engine


class CannotError(Exception):
    """The engine can't do it on this host; the text has its own words."""


class Outsider:
    """Does things to a sandbox from outside: with the command line of its service, or with signals.

    Args:
        service: The engine.
        box: The sandbox, on this engine.
    """

    def __init__(self, service: Service, box: Sandbox) -> None:
        self._service = service
        self._box = box

    def _do(self, *words: str) -> None:
        try:
            self._service.program(*words, self._box.id)
        except subprocess.CalledProcessError as error:
            raise CannotError(error.stderr.strip()) from None

    def _signal(self, number: signal.Signals) -> None:
        # What bubblewrap has started for this process is the sandbox, as a test has one.
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def removed(self) -> None:
        """Remove it."""
        if self._service.is_embedded:
            self._inside().remove(self._box.id)
        else:
            self._do("rm", "--force")

    def killed(self) -> None:
        """Kill its first process, and with it all others."""
        if self._service.is_embedded:
            self._signal(signal.SIGKILL)
        else:
            self._do("kill")

    def stopped(self) -> None:
        """Stop it."""
        if self._service.is_embedded:
            self._inside().stop(self._box.id)
        else:
            self._do("stop", "--time", "0")

    def restarted(self) -> None:
        """Stop it and start it again."""
        if self._service.is_embedded:
            self._inside().stop(self._box.id)
            self._inside().start(self._box.id)
        else:
            self._do("restart", "--time", "0")

    def paused(self) -> None:
        """Let none of its processes go on."""
        if self._service.is_embedded:
            self._signal(signal.SIGSTOP)
        else:
            self._do("pause")

    def unpaused(self) -> None:
        """Let them go on."""
        if self._service.is_embedded:
            self._signal(signal.SIGCONT)
        else:
            self._do("unpause")

    def _inside(self) -> Engine:
        assert self._box.engine is not None
        return self._box.engine
