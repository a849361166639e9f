"""Leftovers: what a sandbox leaves on the host when it is closed."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    import pytest

    from samebox.conformance.contract.harness import Harness


def children() -> set[int]:
    """Return the ids of this process's children, those that have ended and were not waited for included."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8", errors="replace")
            if int(text.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


def use(harness: Harness) -> None:
    """Make a sandbox, use it and close it."""
    with harness.sandbox() as box:
        box.write_text("file", "x")
        assert box.exec(["cat", "file"], timeout=DEADLINE).stdout == b"x"
        box.spawn(["sleep", "300"])


def test_no_process_is_left(harness: Harness) -> None:
    """Sandboxes that were used and closed leave no process of this one, not even a zombie.

    Why: helpers of an engine (a shim, a network's, a client's) pile up until the host has no process left to give.
    Check: what the engine starts beside the sandbox, and that it waits for what it has started.
    """
    use(harness)
    gc.collect()
    before = children()
    for _ in range(3):
        use(harness)
    gc.collect()
    deadline = time.monotonic() + min(5, DEADLINE)
    while (left := children() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = []
    for pid in left:
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes() or b"a zombie")
    assert not left, f"processes that were not there before: {lines}"


def test_no_temporary_file_is_left(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes that were used and closed leave nothing in the host's directory for temporary files.

    Why: workdirs, sockets and unpacked images that stay fill the disk, and hold what the sandbox held.
    Check: what the engine makes by tempfile, and when it removes that.
    """
    # A short name of its own: sockets have paths of a hundred bytes, and others use the usual place at the same time.
    place = tempfile.mkdtemp(prefix="sb")
    try:
        monkeypatch.setattr(tempfile, "tempdir", place)
        monkeypatch.setenv("TMPDIR", place)
        use(harness)  # what is made once for all sandboxes may stay
        before = len(os.listdir(place))  # noqa: PTH208 - no need for paths
        for _ in range(3):
            use(harness)
        gc.collect()
        left = os.listdir(place)  # noqa: PTH208
        assert len(left) <= before, f"{before} entries after the first sandbox, and later: {left}"
    finally:
        shutil.rmtree(place, ignore_errors=True)
