"""Write docs/reliability.md from what the tests of faults have seen: `python tests/faults/document.py TABLE.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_HEAD = """# When something breaks

What happens to calls when an engine's service breaks under them. The table is written by `tox -e faults`, which has
engines of its own to break: services are killed (SIGKILL), stopped (SIGSTOP for 20 seconds, then SIGCONT) and
restarted (SIGTERM, then started anew) while a command runs, while files are written or uploaded, while nothing
happens before the next command, while sandboxes are made one after the other, and while an image is built.

Of each is promised: the call ends with its result or with an error of `samebox.errors`, at the latest 5 seconds after
its timeout, or after the service answers again where it has none; nothing hangs; the same process can go on with the
service afterwards; no container of the sandbox stays, and no thread of this process.

A cell says what the call ended with: `0` is a command's exit code.
"""


def page(rows: list[dict[str, str]]) -> str:
    """Return the page's text."""
    engines = sorted({row["engine"] for row in rows})
    lines = ["| fault | " + " | ".join(engines) + " |", "|---" * (len(engines) + 1) + "|"]
    for fault in sorted({row["fault"] for row in rows}):
        seen = {row["engine"]: row["seen"] for row in rows if row["fault"] == fault}
        cells = [f"`{seen[engine]}`" if engine in seen else "-" for engine in engines]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return _HEAD + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(Path(sys.argv[1]).read_text("utf-8"))), encoding="utf-8")
