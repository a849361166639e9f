"""ProcessInfo: what runs inside a sandbox, read from its /proc."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.errors import FileTooLargeError, SandboxOSError

if TYPE_CHECKING:
    from samebox.guest.files import Files

__all__ = ["ProcessInfo", "processes"]

_LONGEST = 64 << 10
"""How much is read of each file of /proc, in bytes."""
_PAGE = 4096
_FIELDS = 22
"""How many fields of /proc/PID/stat are needed after the name."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process inside a sandbox, as its /proc shows it: code of the same user can change its own `argv` and `name`."""

    pid: int
    parent: int
    """The parent's process id; 0: none inside."""
    uid: int
    name: str
    """The name of the program, at most 15 bytes."""
    argv: tuple[str, ...]
    """The program and its arguments; empty for a process that has ended and is not waited for."""
    state: str
    """The letter of ps: R runs, S sleeps, D waits for a disk, T is stopped, Z has ended."""
    threads: int
    memory: int
    """The memory that is resident, in bytes."""


async def processes(files: Files) -> list[ProcessInfo]:
    """Return the processes inside, by their ids.

    Args:
        files: The sandbox's files.

    Raises:
        SandboxOSError: There is no /proc.
    """
    found = []
    for entry in await files.list_dir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            stat = await files.read_bytes(f"/proc/{entry.name}/stat", limit=_LONGEST)
            words = await _cut(files, f"/proc/{entry.name}/cmdline")
        except SandboxOSError:
            continue  # it has ended meanwhile
        if (process := _parsed(int(entry.name), entry.uid, stat, words)) is not None:
            found.append(process)
    return sorted(found, key=lambda process: process.pid)


async def _cut(files: Files, path: str) -> bytes:
    """Return a command line; "" for one that is longer than anybody reads."""
    try:
        return await files.read_bytes(path, limit=_LONGEST)
    except FileTooLargeError:
        return b""


def _parsed(pid: int, uid: int, stat: bytes, words: bytes) -> ProcessInfo | None:
    """Return what proc(5) says; None for what is no line of it."""
    # The name may have spaces and parentheses itself.
    name = stat[stat.find(b"(") + 1 : stat.rfind(b")")]
    fields = stat[stat.rfind(b")") + 1 :].split()
    if len(fields) < _FIELDS or not all(fields[number].isdigit() for number in (1, 17, 21)):
        return None
    return ProcessInfo(
        pid,
        int(fields[1]),
        uid,
        name.decode(errors="surrogateescape"),
        tuple(word.decode(errors="surrogateescape") for word in words.rstrip(b"\0").split(b"\0")) if words else (),
        fields[0].decode(errors="replace"),
        int(fields[17]),
        int(fields[21]) * _PAGE,
    )
