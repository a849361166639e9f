"""The ordinary user that owns the rootless engine."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.failure import TestbedError, run
from testbed.process import ProcessRecord, end_processes, processes

if TYPE_CHECKING:
    from testbed.layout import Layout

__all__ = ["ensure_user", "find_user", "remove_user"]

#: How many subordinate ids a user namespace needs to hold any image's owners.
RANGE = 65536


def find_user(layout: Layout) -> tuple[int, int] | None:
    """:returns: uid and gid of the user that the bed made; None when there is none

    :raises TestbedError: when there is a user of that name who was there before
    """
    try:
        entry = pwd.getpwnam(layout.user)
    except KeyError:
        return None
    if Path(entry.pw_dir) != layout.home:
        found = f"a user of that name exists with the home {entry.pw_dir}, so this tool did not make it"
        raise TestbedError(f"use the user {layout.user}", found, "Set SAMEBOX_TESTBED_USER to a name that is free.")
    return entry.pw_uid, entry.pw_gid


def ensure_user(layout: Layout) -> tuple[int, int]:
    """Make the user, with subordinate ids, unless it is there.

    :returns: its uid and gid

    :raises TestbedError: when it cannot be made
    """
    found = find_user(layout)
    if found is None:
        remedy = "Look into /etc/passwd, /etc/group and /etc/login.defs."
        options = ["--user-group", "--shell", "/bin/sh", "--no-create-home", "--home-dir", layout.home]
        run(["useradd", *options, layout.user], remedy=remedy)
        found = find_user(layout)
        if found is None:
            raise TestbedError(f"useradd {layout.user}", "it succeeded, and there is no such user", remedy)
    for file, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        # useradd gives ranges only where login.defs says so.
        if not _ranges(Path(file), layout.user):
            first = max((end for _, end in _ranges(Path(file))), default=100_000)
            run(["usermod", option, f"{first}-{first + RANGE - 1}", layout.user])
    layout.home.mkdir(parents=True, exist_ok=True)
    os.chown(layout.home, *found)
    layout.home.chmod(0o755)
    return found


def _ranges(file: Path, user: str | None = None) -> list[tuple[int, int]]:
    """:returns: first and end of the subordinate ids that a file gives to one user, or to all"""
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


def remove_user(layout: Layout) -> None:
    """End every process of the user and of its subordinate ids, and remove it. No such user is no error.

    :raises TestbedError: when a process survives, or userdel fails
    """
    found = find_user(layout)
    if found is None:
        return
    ranges = [(found[0], found[0] + 1), *_ranges(Path("/etc/subuid"), layout.user)]

    def owned(record: ProcessRecord) -> bool:
        try:
            uid = Path(f"/proc/{record.pid}").stat().st_uid
            # A set-uid helper, and a process that is not dumpable, shows another owner than its real uid.
            status = Path(f"/proc/{record.pid}/status").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        real = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), uid)
        return any(first <= real < end for first, end in ranges)

    end_processes([record for record in processes().values() if owned(record)], grace=5)
    run(["userdel", layout.user], remedy="End the user's processes; `ps -u` lists them.")
    shutil.rmtree(layout.home, ignore_errors=True)
