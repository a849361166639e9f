"""speed and memory: the times of a sandbox's usual operations, on each engine in turn, and an idle sandbox's memory."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.compare.processes import family, processes
from samebox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samebox.compare.processes import HostProcess
    from samebox.sandbox.sandbox import Sandbox

_SIZE = 16 << 20
_SANDBOXES = 4
"""How many sandboxes are started to find the memory of one sandbox."""


@dataclass(frozen=True)
class Measure:
    """One measure: an operation of a sandbox, or its memory, and the unit of the samples."""

    name: str
    unit: str
    what: str
    factor: float
    """The factor from seconds to the unit; a throughput is the factor divided by the seconds."""
    throughput: bool = False

    def value(self, seconds: float) -> float:
        """Return a time in the measure's unit."""
        return self.factor / seconds if self.throughput else self.factor * seconds


_MIB = _SIZE / (1 << 20)
CREATE = Measure("create", "ms", "A sandbox, from nothing to the end of its first command", 1000)
REMOVE = Measure("remove", "ms", "Ending and removing it", 1000)
EXEC = Measure("exec", "ms", "A command that does nothing", 1000)
WRITE = Measure("write a file", "ms", "A file of 100 bytes", 1000)
READ = Measure("read a file", "ms", "A file of 100 bytes", 1000)
OUTPUT = Measure("output", "MiB/s", "A command that writes 16 MiB to stdout", _MIB, throughput=True)
UPLOAD = Measure("upload", "MiB/s", "A file of 16 MiB to the sandbox", _MIB, throughput=True)
DOWNLOAD = Measure("download", "MiB/s", "A file of 16 MiB from the sandbox", _MIB, throughput=True)
MEASURES = (CREATE, REMOVE, EXEC, WRITE, READ, OUTPUT, UPLOAD, DOWNLOAD)
MEMORY = Measure("memory", "MiB", f"What each of {_SANDBOXES} idle sandboxes costs the host in processes (PSS)", 1)

Samples = dict[str, list[float]]
"""The samples by the measure's name, each in the measure's unit."""


def speed(
    makers: Mapping[str, Callable[[], Sandbox]], samples: int, progress: Callable[[str], None]
) -> dict[str, Samples]:
    """Measure the engines in turn, so that other work of this host hits all engines alike.

    Args:
        makers: The functions that make a sandbox that is not started yet, by label.
        samples: How many samples of a quick operation to take; a slow operation is done fewer times.
        progress: Takes what is done next.

    Returns:
        The samples by label.
    """
    found: dict[str, Samples] = {label: {measure.name: [] for measure in MEASURES} for label in makers}
    slow = max(3, samples // 5)
    for number in range(slow + 1):
        for label, make in makers.items():
            progress(f"{label}: create and remove")
            taken = _lifecycle(make)
            if number:  # the first sandbox may have filled caches and delivered the agent
                _note(found[label], taken)
    with contextlib.ExitStack() as stack:
        boxes = {label: stack.enter_context(make()) for label, make in makers.items()}
        for take, rounds, what in ((_small, samples, "commands and small files"), (_large, slow, "throughput")):
            for number in range(rounds + 1):
                for label, box in boxes.items():
                    progress(f"{label}: {what}")
                    taken = take(box)
                    if number:
                        _note(found[label], taken)
    return found


def memory(make: Callable[[], Sandbox]) -> tuple[float | None, str]:
    """Return the memory of an idle sandbox in MiB, and its processes in words; or None, and why it can't be measured.

    A command with an argument of its own marks each sandbox; other processes that start on this host do not count.
    """
    mark = f"{uuid.uuid4().int >> 70}"
    before = processes()
    boxes: list[Sandbox] = []
    try:
        for _ in range(_SANDBOXES):
            box = make()
            boxes.append(box)
            box.start().spawn(["sleep", mark])
        now = _see(mark)
        ours = family(now, before, mark)
        total = sum(_pss(pid) for pid in ours)
    except PermissionError:
        return None, "this user may not look at the engine's processes"
    except (SandboxError, OSError) as error:
        return None, str(error)
    finally:
        for box in boxes:
            box.close()
    if not ours:
        return None, "its processes are not on this host"
    counts = Counter(now[pid].name for pid in ours)
    each = ", ".join(f"{count / _SANDBOXES:g} {name}" for name, count in sorted(counts.items()))
    return total / _SANDBOXES / (1 << 20), each


def _see(mark: str) -> dict[int, HostProcess]:
    """Return the host's processes as soon as the marked process of each sandbox is there, which takes a moment."""
    for _ in range(30):
        now = processes()
        if sum(mark in process.words for process in now.values()) >= _SANDBOXES:
            break
        time.sleep(0.05)
    return now


def _lifecycle(make: Callable[[], Sandbox]) -> dict[Measure, float]:
    began = time.perf_counter()
    box = make()
    try:
        box.start().exec(["true"]).check()
        created = time.perf_counter()
    finally:
        box.close()
    return {CREATE: created - began, REMOVE: time.perf_counter() - created}


def _small(box: Sandbox) -> dict[Measure, float]:
    data = b"x" * 100
    return {
        EXEC: _time(lambda: box.exec(["true"]).check()),
        WRITE: _time(lambda: box.write_bytes("small", data)),
        READ: _time(lambda: box.read_bytes("small")),
    }


def _large(box: Sandbox) -> dict[Measure, float]:
    data = bytes(_SIZE)
    return {
        OUTPUT: _time(lambda: box.exec(["head", "-c", str(_SIZE), "/dev/zero"], output_limit=1 << 20).check()),
        UPLOAD: _time(lambda: box.write_bytes("large", data)),
        DOWNLOAD: _time(lambda: box.read_bytes("large", limit=_SIZE)),
    }


def _time(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _note(samples: Samples, taken: Mapping[Measure, float]) -> None:
    for measure, seconds in taken.items():
        samples[measure.name].append(round(measure.value(seconds), 4))


def _pss(pid: int) -> int:
    """Return a process's share of memory in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0
