"""Feed frames to a connection with many calls, guided by the coverage of the host's side: `tox -e fuzz`.

The arguments are libFuzzer's, as `-max_total_time=60` (seconds) or a directory of inputs.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["samebox.agent", "samebox.guest"]):
    from hostile_frames import survive


def main() -> None:
    """Run until libFuzzer ends, with an exit code that is not 0 if an input made a call fail or hang."""
    atheris.Setup(sys.argv, survive)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
