"""Use engines for a long time, and show that nothing grows: `python benchmarks/soak.py --minutes 60`.

Each round has commands, files, processes that are left in the middle of their output, cancelled calls and a sandbox of
its own. Every minute gives a line for each engine: memory, threads and descriptors of this process, sandboxes on the
engine, latency of a command. It ends with 1 where the last minutes hold more than the first ones did.

Engines are reached as in bench.py: `python tools/engines.py run -- python benchmarks/soak.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from measure import status
from raw import raw_engine

from samebox import AsyncSandbox, Sandbox, SandboxConfig, SandboxError
from samebox.engine.registry import make_engine

TARGETS = ("bubblewrap", "docker", "podman", "podman-rootless")
GROWTH = 8 << 20
"""How much memory may grow from the first third of a run to the last, in bytes: what allocators keep."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is held at one moment, and how long a command took since the moment before."""

    memory: int
    threads: int
    descriptors: int
    sandboxes: int
    p50: float
    p99: float

    def __str__(self) -> str:
        held = f"{self.memory / 2**20:7.1f} MiB {self.threads:3} threads {self.descriptors:4} descriptors"
        return f"{held} {self.sandboxes:3} sandboxes   exec p50 {self.p50 * 1000:.2f} ms, p99 {self.p99 * 1000:.2f} ms"


def one_round(box: Sandbox, settings: dict[str, object], directory: Path) -> float:
    """Do a bit of everything, and return how long a command took, in seconds."""
    began = time.perf_counter()
    box.exec(["true"]).check()
    took = time.perf_counter() - began
    box.write_bytes("dir/file", b"x" * 10_000)
    assert box.read_bytes("dir/file") == b"x" * 10_000
    box.upload(directory / "tree", "tree")
    box.download("tree", directory / "copy")
    with box.spawn(["sh", "-c", "while :; do echo yes; done"]) as process:
        process.stdout.read(10)
    with contextlib.suppress(TimeoutError):
        box.exec(["sleep", "10"], timeout=0.01)
    asyncio.run(cancelled(settings, directory))
    return took


async def cancelled(settings: dict[str, object], directory: Path) -> None:
    """Cancel half of what is under way in a sandbox of its own."""
    async with AsyncSandbox(SandboxConfig(**settings)) as box:
        await box.exec(["true"])
        await box.upload(directory / "tree", "tree")
        tasks = [asyncio.create_task(box.exec(["sleep", "0.02"])) for _ in range(10)]
        tasks += [asyncio.create_task(box.download("tree", directory / f"copy{number}")) for number in range(4)]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def soak(target: str, minutes: float) -> list[Line]:
    """Use one engine for so long, and return a line for each minute, at least three."""
    settings, _ = raw_engine(target)
    engine = make_engine(settings["engine"], settings["options"])
    lines: list[Line] = []
    each = min(60.0, minutes * 60 / 3)
    with tempfile.TemporaryDirectory() as name, Sandbox(SandboxConfig(**settings)) as box:
        directory = Path(name)
        (directory / "tree" / "sub").mkdir(parents=True)
        for number in range(50):
            (directory / "tree" / "sub" / str(number)).write_bytes(b"x" * 1000)
        ends = time.monotonic() + minutes * 60
        while time.monotonic() < ends:
            times = []
            minute = time.monotonic() + each
            while time.monotonic() < minute:
                times.append(one_round(box, settings, directory))
                for copy in directory.glob("copy*"):
                    shutil.rmtree(copy)
            lines.append(look(engine.list(), times))
            print(f"{target:16} {lines[-1]}", flush=True)
    engine.close()
    return lines


def look(sandboxes: list[object], times: list[float]) -> Line:
    """Return what is held now."""
    return Line(
        status("VmRSS"),
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
        len(sandboxes),
        statistics.median(times),
        sorted(times)[int(len(times) * 0.99)],
    )


def growth(lines: list[Line]) -> list[str]:
    """Return what grew from the first third of the lines to the last, in words."""
    third = max(1, len(lines) // 3)
    first, last = lines[:third], lines[-third:]
    grown = []
    for name, allowed in (("memory", GROWTH), ("threads", 1), ("descriptors", 2), ("sandboxes", 0)):
        before, after = (max(getattr(line, name) for line in part) for part in (first, last))
        if after > before + allowed:
            grown.append(f"{name} from {before} to {after}")
    return grown


def main() -> int:
    """Soak every engine that can be reached, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=TARGETS, help=f"which of {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=60, help="for each engine")
    arguments = parser.parse_args()
    failed = False
    for target in arguments.engines:
        try:
            grown = growth(soak(target, arguments.minutes))
        except SandboxError as error:
            grown = [f"it ended: {type(error).__name__}: {error}"]
        print(f"{target:16} {'; '.join(grown) or 'flat'}", flush=True)
        failed = failed or bool(grown)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
