"""A Python of its own, for what a test can't do in its own process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_python(code: str, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run some code, and return what it wrote and how it ended."""
    argv = [sys.executable, *options, "-c", code, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=50)


def printed(code: str, *arguments: str) -> str:
    """Return what some code prints; fail where it fails, with its words."""
    done = run_python(code, *arguments)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout
