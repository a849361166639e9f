"""Feed random frames to a connection with many calls, until so many frames were taken: `tox -e fuzz`.

Each round has a seed of its own, which is told when the round fails; `--seed N --frames 1` repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from hostile_frames import survive


def main() -> int:
    """Run as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many frames to feed at least")
    parser.add_argument("--seed", type=int, default=int(time.time()) << 20, help="the first round's seed")
    arguments = parser.parse_args()
    done, seed, began = 0, arguments.seed, time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        while done < arguments.frames:
            source = random.Random(seed)  # noqa: S311 - to be repeated
            try:
                done += survive(source.randbytes(source.randrange(1, 3000)), Path(directory))
            except BaseException:
                print(f"failed at seed {seed}, after {done} frames", file=sys.stderr)
                raise
            seed += 1
    print(f"{done} frames in {seed - arguments.seed} rounds, {time.monotonic() - began:.0f} s: every call has ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
