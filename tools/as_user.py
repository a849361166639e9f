#!/usr/bin/env python3
"""Run a command as an ordinary user, from a root shell, with this Python and in this directory.

    python3 tools/as_user.py USER CMD...

An ordinary user cannot use files below a directory that is root's alone, as a Python in /root is. So the command gets a
view of its own of the file system, where this Python and this directory are there for everyone and the rest of such a
private directory is not there at all. Nothing on disk is changed, and no other process sees this view.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path


def private_root(path: Path) -> Path | None:
    """Return the topmost directory that keeps everyone but root from a path."""
    return next((above for above in [*reversed(path.parents), path] if not above.stat().st_mode & 0o001), None)


def mount(*arguments: str | Path) -> None:
    """Mount a file system with the system's own program."""
    subprocess.run(["mount", *arguments], check=True)  # noqa: S607 - the program's path differs between systems


def open_up(needed: list[Path]) -> None:
    """Make the needed paths reachable for everyone, in this process's own mount namespace.

    Raises:
        SystemExit: A needed path is itself a private directory.
    """
    handles = {path: os.open(path, os.O_PATH) for path in needed}
    for path in sorted(needed):
        while root := private_root(path):
            if root == path:
                sys.exit(f"as_user.py: {root} is root's alone; chmod o+rx {root}")
            mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
            below = [other for other in needed if other.is_relative_to(root)]
            for other in below:
                # A path inside another needed path comes along with it; a private directory between the two has its
                # turn later.
                if not set(other.parents).intersection(below):
                    other.mkdir(parents=True, exist_ok=True)
                    mount("--no-canonicalize", "--bind", f"/proc/{os.getpid()}/fd/{handles[other]}", other)
            mount("-o", "remount,ro", root)
    for handle in handles.values():
        os.close(handle)


def main(user: str, command: list[str]) -> None:
    """Become the user, then the command.

    Raises:
        SystemExit: There is no such user, or this process does not run as root.
    """
    if os.geteuid() != 0:
        sys.exit("as_user.py: only root can become another user")
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        sys.exit(f"as_user.py: there is no user {user!r}; `tools/engines.py up` makes one and sets SAMEBOX_TEST_USER")
    needed = {Path.cwd(), *(Path(path).resolve() for path in (sys.prefix, sys.base_prefix))}
    open_up(list(needed))
    os.chdir(Path.cwd())  # The path now leads through the new mounts, not to the old directory.
    kept = {name: value for name, value in os.environ.items() if name not in {"XDG_RUNTIME_DIR", "XDG_CACHE_HOME"}}
    home = account.pw_dir if Path(account.pw_dir).is_dir() else "/tmp"  # noqa: S108 - for a user without a home
    environment = {**kept, "HOME": home, "USER": user, "LOGNAME": user, "PYTHONDONTWRITEBYTECODE": "1"}
    # pytest refuses /tmp/pytest-of-USER where an earlier user of that name, with another uid, has left one.
    environment["PYTEST_DEBUG_TEMPROOT"] = home
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--inside"]:
        main(arguments[1], arguments[2:])
    if len(arguments) < 2:
        sys.exit(__doc__)
    # The namespace comes from unshare(1), as os.unshare came with Python 3.12.
    again = [sys.executable, str(Path(__file__).resolve()), "--inside", *arguments]
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", *again])  # noqa: S606, S607 - no shell
