"""What hostile sandboxes make this process hold: ten shapes, each in a process of its own.

Prints a table of each shape's memory, and exits with 1 if one is over 32 MiB and what its caller asked to keep.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samebox import OutputLimitError, Sandbox, SandboxOSError, SandboxTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND = 32 << 20
MIB = 1 << 20
REFUSED = (OutputLimitError, SandboxOSError, SandboxTimeoutError)


def readline(box: Sandbox) -> None:
    """Read a line that never ends."""
    with box.spawn(["cat", "/dev/zero"]) as process:
        process.stdout.readline()


def small_writes(box: Sandbox) -> None:
    """Take output that comes in pieces of two bytes."""
    box.sh("i=0; while [ $i -lt 100000 ]; do printf xx; i=$((i+1)); done", timeout=60)


def flood(box: Sandbox) -> None:
    """Take errors without an end."""
    with contextlib.suppress(TimeoutError):
        box.sh("cat /dev/zero >&2", timeout=3)


def deep_tree(box: Sandbox) -> None:
    """Download a tree that is 1,000 directories deep."""
    box.sh("i=0; while [ $i -lt 1000 ]; do mkdir d && cd d; i=$((i+1)); done")
    download(box, "d")


def deep_links(box: Sandbox) -> None:
    """Download 8,000 links in a deep path."""
    box.sh(
        "d=$(printf %0200d 0); mkdir t; cd t; for i in 1 2 3 4 5 6 7 8 9 10; do mkdir $d; cd $d; done; "
        "i=0; while [ $i -lt 8000 ]; do echo $i; i=$((i+1)); done | xargs -n 500 sh -c "
        "'for i; do ln -s $0 $i; done' target",
        timeout=120,
    )
    download(box, "t")


def wide(box: Sandbox, ask: Callable[[Sandbox], object]) -> None:
    """Ask for a directory of 20,000 long names."""
    box.sh("mkdir w; cd w; n=$(printf %0150d 0); seq 20000 | sed s/^/$n/ | xargs touch", timeout=120)
    ask(box)


def grep_flood(box: Sandbox) -> None:
    """Search a file of which every line matches."""
    box.sh("yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -n 1000000 > f", timeout=60)
    box.grep("a", "f", limit=1000)


def sparse(box: Sandbox) -> None:
    """Download a file of 1 TiB without content, with a limit."""
    box.sh("dd if=/dev/null of=huge bs=1 seek=1099511627776 2>/dev/null || dd if=/dev/zero of=huge bs=1M count=64")
    download(box, "huge")


def download(box: Sandbox, path: str) -> None:
    """Download something with a limit of 16 MiB."""
    with tempfile.TemporaryDirectory() as place:
        box.download(path, Path(place) / "got", limit=16 << 20)


SHAPES: dict[str, tuple[Callable[[Sandbox], object], int]] = {
    "a line without an end": (readline, MIB),
    "output in pieces of two bytes": (small_writes, MIB),
    "a flood of errors": (flood, MIB),
    "a deep tree": (deep_tree, 0),
    "8,000 links in a deep path": (deep_links, 16 * MIB),
    "a listing of 20,000 long names": (lambda box: wide(box, lambda box: box.list_dir("w")), 16 * MIB),
    "a walk of them": (lambda box: wide(box, lambda box: box.walk("w")), 16 * MIB),
    "a glob of them": (lambda box: wide(box, lambda box: box.glob("*", "w")), 16 * MIB),
    "a search that always matches": (grep_flood, MIB),
    "a sparse file of 1 TiB": (sparse, 0),
}
"""What is done, and how much the caller asked to keep, in bytes."""


def most() -> int:
    """Return the most memory that this process has had, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) << 10


def measure(name: str, engine: str) -> None:
    """Print how much memory one shape takes, in bytes, and how it ended."""
    with Sandbox(engine=engine, output_limit=MIB) as box:
        box.exec(["true"])
        before, how = most(), "taken"
        try:
            SHAPES[name][0](box)
        except REFUSED as error:
            how = type(error).__name__
        print(most() - before, how)


def main() -> int:
    """Measure each shape, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--shape", choices=SHAPES, help="measure this one in this process")
    asked = parser.parse_args()
    if asked.shape:
        measure(asked.shape, asked.engine)
        return 0
    over = 0
    print(f"{'shape':32} {'MiB':>7} {'bound':>6} {'s':>6}  how it ended")
    for name, (_, kept) in SHAPES.items():
        began = time.monotonic()
        argv = [sys.executable, __file__, "--engine", asked.engine, "--shape", name]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr[-2000:]}")
        grown, how = done.stdout.split()
        over += int(grown) > BOUND + kept
        took = time.monotonic() - began
        print(f"{name:32} {int(grown) / MIB:7.1f} {(BOUND + kept) / MIB:6.0f} {took:6.1f}  {how}", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
