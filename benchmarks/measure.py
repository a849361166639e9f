"""Timing: medians of calls taken in turn, concurrent commands, and how far a flood makes this process grow."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox import Sandbox


def _time(call: Callable[[], float | None]) -> float:
    """Return how long a call took, or what it says itself: cleaning up is not part of what is measured."""
    began = time.perf_counter()
    own = call()
    return time.perf_counter() - began if own is None else own


def once(call: Callable[[], float | None], samples: int) -> float:
    """Return the median time of a call, in seconds."""
    return statistics.median(_time(call) for _ in range(samples))


def in_turn(
    ours: Callable[[], float | None], raw: Callable[[], float | None], samples: int, raw_samples: int
) -> tuple[float, float]:
    """Return the median times of both sides, in seconds; a few of ours go with each of the raw side's."""
    our_times, raw_times = [], []
    for _ in range(raw_samples):
        our_times += [_time(ours) for _ in range(max(1, samples // raw_samples))]
        raw_times.append(_time(raw))
        time.sleep(0.2)  # what a call leaves to the daemon is not counted on either side
    return statistics.median(our_times), statistics.median(raw_times)


def concurrent(box: Sandbox, commands: int, seconds: float) -> float:
    """Return how long so many sleeping commands take when they are started at once, in seconds."""
    threads = [threading.Thread(target=lambda: box.exec(["sleep", str(seconds)])) for _ in range(commands)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def flood(box: Sandbox, size: int, limit: int) -> tuple[float, int]:
    """Run a command that writes `size` bytes to stdout.

    Returns:
        Its time in seconds, and this process's growth in bytes.
    """
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    began = time.perf_counter()
    result = box.sh(f"head -c {size} /dev/zero", output_limit=limit)
    took = time.perf_counter() - began
    assert result.ok, result
    assert result.truncated, result
    assert len(result.stdout) == limit, len(result.stdout)
    return took, status("VmHWM") - before


def status(name: str) -> int:
    """Return a figure of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    raise LookupError(name)
