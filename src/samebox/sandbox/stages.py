"""Stages: what a log tells of a sandbox's life, with how long each part of it took."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger("samebox.sandbox")


class Stages:
    """Logs the stages of one sandbox. Nothing of a command, a file or the environment gets into it.

    Args:
        sandbox: The sandbox's name or id.
        engine: The engine's name.
    """

    def __init__(self, sandbox: str, engine: str) -> None:
        self._sandbox = sandbox
        self._engine = engine
        self._since = time.perf_counter()

    def over(self, what: str) -> None:
        """Log that a stage is over.

        Args:
            what: As "created".
        """
        now = time.perf_counter()
        _log.info("%s %s on %s in %.3f s", what, self._sandbox, self._engine, now - self._since)
        self._since = now
