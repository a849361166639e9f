"""Write docs/reliability.md from what the tests of faults have seen: `python tests/faults/document.py TABLE.json`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
ENGINES = ("bubblewrap", "dockerd", "podman", "podman-rootless")
_HEAD = """# When something breaks

What happens when something breaks under samebox. The tables are written by `tox -e faults`, which has engines of its
own to break, and of which every row is a test that fails where the promise is not kept.

Of each fault is promised: the call ends with its result or with an error of `samebox.errors`, at the latest 5 seconds
after its timeout; a call without a timeout ends at the latest 13 seconds after its sandbox has fallen silent, and 20
seconds after it asked for a new connection. Nothing hangs. What was acknowledged before is there afterwards. The same
process can go on, with the same sandbox unless that is gone. No container, volume, network, process, thread,
descriptor, mount, control group or temporary file is left.

`SandboxGoneError` means that the engine has said that the sandbox is gone. Where the engine can't be asked, as while a
link to it is cut, it is `ConnectionLostError`, or `EngineUnavailableError` where the call was not begun: the sandbox
may be there again when the link is.

A cell says how the call ended, or what was seen; "refused before" and "not tried" come with the reason.
"""
_NOT_TRIED = """
## What is not tried, and why

* The machine's real clock is not set: it belongs to everybody on the machine, and time_namespaces(7) gives a process
  monotonic clocks of its own alone. samebox measures by the monotonic clock, which nobody sets; `time.time()` of the
  process is set back and forward above.
* Bytes that a proxy reorders: every link is a stream of bytes in order, or broken.
* The store of an engine full: what the engine says then is an `EngineError` with its words, as of each refusal.
* Bubblewrap has no service, and so no link to cut.
* bubblewrap's volumes and images are directories of the user's: who may remove them by force may do more than that.
"""


@dataclass(frozen=True)
class Section:
    """A table of the page."""

    title: str
    text: str
    prefixes: tuple[str, ...]
    """What the faults of the table begin with; () for those of no other table."""


SECTIONS = (
    Section(
        "The engine's service",
        "It is killed (SIGKILL), stopped (SIGSTOP for 20 seconds, then SIGCONT) or restarted (SIGTERM, then started "
        "anew) while a command runs, files are written or uploaded, nothing happens before the next command, sandboxes "
        "are made one after the other, an image is built or pulled.",
        ("service ",),
    ),
    Section(
        "The link to a service",
        "A proxy cuts it after every byte of the first 120 of an answer, every seventh until 400, and at random later; "
        "stalls it; and delays each part of an answer. An sshd of the tests' own ends its sessions.",
        ("link ",),
    ),
    Section(
        "A sandbox, from outside",
        "With the command line of its engine; on bubblewrap with signals to its processes.",
        ("sandbox ",),
    ),
    Section(
        "What runs out",
        "Inside a sandbox, and in the process that uses it.",
        ("memory", "workdir", "root", "inodes", "pids", "descriptors"),
    ),
    Section(
        "The process that uses sandboxes",
        "What is left by a process that was killed ends by itself within the sandbox's `idle_timeout`, and "
        "`samebox prune` finds it.",
        ("process ",),
    ),
    Section(
        "What a sandbox is made of", "Removed or damaged behind its back.", ("image", "volume", "network", "agent")
    ),
    Section("Everything else", "", ()),
)


def page(rows: list[dict[str, str]]) -> str:
    """Return the page's text."""
    known = tuple(prefix for section in SECTIONS for prefix in section.prefixes)
    parts = [_HEAD]
    for section in SECTIONS:
        of_this = [row for row in rows if row["fault"].startswith(section.prefixes or known) is bool(section.prefixes)]
        parts.append(f"\n## {section.title}\n")
        if section.text:
            parts.append(f"\n{section.text}\n")
        parts.append(f"\n{table(of_this)}\n")
    return "".join([*parts, _NOT_TRIED])


def table(rows: list[dict[str, str]]) -> str:
    """Return a table of some rows."""
    lines = ["| fault | promised | " + " | ".join(ENGINES) + " |", "|---" * (len(ENGINES) + 2) + "|"]
    for fault in dict.fromkeys(row["fault"] for row in rows):
        seen = {row["engine"]: row["seen"] for row in rows if row["fault"] == fault}
        promised = next(row["promised"] for row in rows if row["fault"] == fault)
        cells = [_cell(seen[engine]) if engine in seen else "-" for engine in ENGINES]
        lines.append(f"| {fault} | {promised} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(seen: str) -> str:
    return seen.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(Path(sys.argv[1]).read_text("utf-8"))), encoding="utf-8")
