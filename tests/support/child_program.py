"""ChildProgram: a program that uses samebox in a process of its own, which may be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from pathlib import Path

_HEAD = """
import gc, json, os, resource, signal, sys, threading, time
from samebox import *

SETTINGS = json.loads(sys.argv[1])
"""


class ChildProgram:
    """A Python program with the settings of a sandbox in `SETTINGS`, in a file, so that it can be imported.

    Args:
        directory: Where the file is made.
        code: What it does; it may print lines.
        settings: The settings of a sandbox.
        environment: Variables that it has beside this process's.
    """

    def __init__(
        self, directory: Path, code: str, settings: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        file = directory / f"program{len(list(directory.glob('program*')))}.py"
        file.write_text(_HEAD + code, encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", str(file), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """Return the next line that it prints; "" at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = 60) -> tuple[int, str, str]:
        """Wait for its end, and return its exit code, the rest of what it printed, and its stderr."""
        out, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, errors
