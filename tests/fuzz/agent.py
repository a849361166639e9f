"""Build the agent's parsers for libFuzzer and let it run: `tox -e fuzz`.

The arguments are libFuzzer's, as `-max_total_time=60` (seconds) or a directory of inputs. Clang has libFuzzer, gcc has
not: on Debian `apt install clang libclang-rt-14-dev`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "src" / "samebox" / "agent" / "csrc"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
LEFT_OUT = {"main.c", "connection.c"}
"""libFuzzer has a `main`, and agent.c includes the other."""


def main() -> int:
    """Return what the fuzzer ends with: 0 if no input broke a parser."""
    clang = os.environ.get("CLANG") or shutil.which("clang")
    if clang is None:
        print("the agent's parsers are fuzzed with clang, found: none; install clang and its runtime", file=sys.stderr)
        return 1
    sources = [HERE / "agent.c", *sorted(path for path in SOURCES.glob("*.c") if path.name not in LEFT_OUT)]
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "fuzzer")
        subprocess.run([clang, *FLAGS, SANITIZERS, f"-I{SOURCES}", *sources, "-o", program], check=True)
        # What breaks a parser is kept where the fuzzer was started.
        return subprocess.run([program, "-timeout=10", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
