"""The host's own view of its processes, for tests that ask whether a sandbox can see the host."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.sandbox.sandbox import Sandbox


@contextlib.contextmanager
def marked_process() -> Iterator[str]:
    """Run a process on this host with a word in its command line that no other process has, and yield the word."""
    word = f"conformance-{secrets.token_hex(8)}"
    process = subprocess.Popen([sys.executable, "-c", "input()", word], stdin=subprocess.PIPE)
    try:
        yield word
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def assert_cut_off(box: Sandbox) -> None:
    """Assert that a sandbox has a process namespace of its own, before a test does what would harm a host.

    An engine that claims isolation and has none must fail at this assertion, and not take the machine with it.
    """
    inside = box.exec(["readlink", "/proc/self/ns/pid"], timeout=DEADLINE).text.strip()
    outside = str(Path("/proc/self/ns/pid").readlink())
    assert inside.startswith("pid:["), inside
    assert inside != outside, "the sandbox is in the host's own process namespace; refusing to go on"


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no need for paths


def processes_with(word: str) -> list[str]:
    """Return the command lines of this host's processes that have a given word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes()
            if word.encode() in line:
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
