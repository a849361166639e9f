"""ensure_user and remove_user: the ordinary user who owns the rootless engine."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run
from testbed.process import ProcessRecord, end_processes, processes

if TYPE_CHECKING:
    from testbed.layout import Layout

RANGE = 65536
"""How many subordinate ids a user namespace needs for the owners of files in any image."""

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


def find_user(layout: Layout) -> tuple[int, int] | None:
    """Look the bed's user up.

    Returns:
        The user's uid and gid; None if there is no such user.

    Raises:
        TestbedError: There is a user of that name whom the bed did not make.
    """
    try:
        entry = pwd.getpwnam(layout.user)
    except KeyError:
        return None
    if Path(entry.pw_dir) != layout.home:
        found = f"that user's home is {entry.pw_dir}, so this program did not make it"
        remedy = "Set SAMEBOX_TESTBED_USER to a name that is free."
        raise TestbedError(tried=f"use the user {layout.user}", found=found, remedy=remedy)
    return entry.pw_uid, entry.pw_gid


def ensure_user(layout: Layout) -> tuple[int, int]:
    """Make the bed's user, with subordinate ids, unless the user is there already.

    Returns:
        The user's uid and gid.

    Raises:
        TestbedError: The user cannot be made.
    """
    found = find_user(layout)
    if found is None:
        options = ["--user-group", "--shell", "/bin/sh", "--no-create-home", "--home-dir", str(layout.home)]
        run(["useradd", *options, layout.user], remedy="Look into /etc/passwd, /etc/group and /etc/login.defs.")
        entry = pwd.getpwnam(layout.user)
        found = entry.pw_uid, entry.pw_gid
    for file, option in ((SUBUID, "--add-subuids"), (SUBGID, "--add-subgids")):
        # useradd gives ranges only where login.defs says so.
        if not _ranges(file, layout.user):
            first = max((end for _, end in _ranges(file)), default=100_000)
            run(["usermod", option, f"{first}-{first + RANGE - 1}", layout.user])
    layout.home.mkdir(parents=True, exist_ok=True)
    os.chown(layout.home, *found)
    layout.home.chmod(0o755)
    return found


def remove_user(layout: Layout) -> None:
    """End every process of the bed's user and of its subordinate ids, and remove the user if there is one.

    Raises:
        TestbedError: A process survives, or userdel fails.
    """
    found = find_user(layout)
    if found is None:
        return
    ranges = [(found[0], found[0] + 1), *_ranges(SUBUID, layout.user)]

    def owned(record: ProcessRecord) -> bool:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The real uid: a set-uid helper such as newuidmap has another effective uid.
            status = Path(f"/proc/{record.pid}/status").read_text(encoding="utf-8", errors="replace")
            uid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:"))
            return any(first <= uid < end for first, end in ranges)
        return False

    end_processes([record for record in processes() if owned(record)], grace=5)
    run(["userdel", layout.user], remedy=f"End the user's processes: `ps -u {layout.user}` lists them.")


def _ranges(file: Path, user: str | None = None) -> list[tuple[int, int]]:
    """Return the ranges of subordinate ids, as first and end, that a file gives to one user, or to all users."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        name, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.isdigit() and user in {None, name}:
            found.append((int(first), int(first) + int(count)))
    return found
