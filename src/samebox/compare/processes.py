"""processes and family: the processes of this host, and those of them that belong to a few sandboxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping


@dataclass(frozen=True, slots=True)
class HostProcess:
    """One process of this host."""

    parent: int
    name: str
    words: tuple[str, ...]
    """The process's command line."""


def processes(proc: Path = Path("/proc")) -> dict[int, HostProcess]:
    """Return every process by its pid."""
    found = {}
    for path in proc.iterdir():
        if path.name.isdigit():
            try:
                name, _, rest = (path / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
                words = (path / "cmdline").read_text(errors="replace").split("\0")
            except OSError:  # the process has ended
                continue
            found[int(path.name)] = HostProcess(int(rest.split()[1]), name, tuple(words))
    return found


def family(now: Mapping[int, HostProcess], before: Container[int], mark: str) -> set[int]:
    """Return the new ancestors of marked processes, and all descendants of these ancestors.

    Args:
        now: All processes.
        before: The pids of the processes that are not new.
        mark: The word in a marked process's command line. Marked processes are not in the family themselves.
    """
    marked = {pid for pid, process in now.items() if mark in process.words}
    found: set[int] = set()
    for pid in marked:
        above = now[pid].parent
        while above in now and above not in before and above not in found:
            found.add(above)
            above = now[above].parent
    below = found
    while below:
        below = {pid for pid, process in now.items() if process.parent in below and pid not in found}
        found |= below
    return found - marked
