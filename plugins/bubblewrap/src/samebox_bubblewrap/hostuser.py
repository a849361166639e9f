"""HostUser: the unprivileged uid and gid of the host that a sandbox of root's has to itself.

bwrap run by root makes sandboxes whose processes are the host's uid 0. So root starts it as the root of a user
namespace that is somebody else outside: a uid that no user of the host has, and no other sandbox that runs.

Not as that uid alone, which may make no user namespaces where the host forbids them to all but root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from samebox.errors import EngineError, EngineUnavailableError
from samebox_bubblewrap.descriptors import above_stdio
from samebox_bubblewrap.idmap import mapping, user_namespace

__all__ = ["RUN", "HostUser", "allocate", "host_users"]

RUN = Path("/run/samebox-bubblewrap")
"""Where the processes of this host's root agree on who has which uid, and bwrap finds what it may not reach."""

_RESERVED = range(2_000_000_000, 2_000_065_536)
"""Nobody's, and in no range of systemd's (its UIDS-GIDS.md) and of useradd's subordinate ids (login.defs(5))."""
_LEAST = 65_536
"""Of /etc/subuid lines are followed that have as many ids, from there on: `root:1000:1`, which LXD asks for, would
make a sandbox one of the host's users."""
_MOST_ID = (1 << 32) - 1
_LOCK = struct.Struct("hhqqi4x")  # struct flock, where pointers have 64 bits


@dataclass
class HostUser:
    """A uid and a gid of the host, locked: when this process dies, the kernel gives them back.

    `close` gives them back, and forgets what was made for them.
    """

    uid: int
    gid: int
    _lock: int
    _namespace: int
    """The user namespace whose root, and only id, they are."""
    _mappings: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """What comes before a command so that it runs as this user, with rights over nothing but what it makes.

        It opens the namespace by this process's descriptor, so that the command does not have it.
        """
        return [_nsenter(), f"--user=/proc/{os.getpid()}/fd/{self._namespace}", "--setuid=0", "--setgid=0", "--"]

    def mapping(self, owner: tuple[int, int]) -> int:
        """Return a user namespace for mounts whose files of `owner`, a uid and a gid, are to be this user's.

        Raises:
            OSError: The kernel refuses.
        """
        if owner not in self._mappings:
            self._mappings[owner] = mapping((owner[0], self.uid), (owner[1], self.gid))
        return self._mappings[owner]

    def close(self) -> None:
        """Give them back. May be called again."""
        fds = [*self._mappings.values(), self._namespace, self._lock]
        self._namespace = self._lock = -1
        self._mappings.clear()
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def allocate() -> HostUser | None:
    """Take a uid and a gid that no other sandbox has; None where this process is not the host's root.

    Raises:
        EngineError: All are taken, or the host can't lock them.
    """
    ranges = host_users()
    if ranges is None:
        return None
    uids, gids = ranges
    count = min(len(uids), len(gids))
    first = secrets.randbelow(count)  # one that was just given back comes late, with whatever was left in its name
    path = RUN / "users"
    try:
        RUN.mkdir(mode=0o755, exist_ok=True)
        fd = above_stdio(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise EngineError(
            f"root's sandboxes need {path}, to have a uid of the host each ({error.strerror}); make {RUN} writable, or "
            "run samebox as an ordinary user"
        ) from error
    try:
        _nsenter()
        for turn in range(count):
            number = (first + turn) % count
            if _locked(fd, uids[number]):
                return HostUser(uids[number], gids[number], fd, _own_namespace(uids[number], gids[number]))
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    raise EngineError(
        f"all {count} uids of the host that root's sandboxes may have are in use; close sandboxes, or give root a "
        "larger range in /etc/subuid and /etc/subgid"
    )


@cache
def host_users() -> tuple[range, range] | None:
    """Return the uids and gids of the host that sandboxes may have; None where this process is not the host's root.

    Raises:
        EngineUnavailableError: It is, but in a user namespace that has none to give.
    """
    if os.geteuid() != 0:
        return None
    uids, gids = (_subordinate(Path("/etc", name)) or _RESERVED for name in ("subuid", "subgid"))
    if all(_has(Path(f"/proc/self/{name}_map"), ids) for name, ids in (("uid", uids), ("gid", gids))):
        return uids, gids
    if _outside(Path("/proc/self/uid_map")) != 0:
        return None  # root of a user namespace, and somebody without rights outside of it
    raise EngineUnavailableError(
        f"this user namespace has the host's root as its own, and not the uids {uids.start}-{uids.stop - 1} for "
        "sandboxes; start it without a user namespace, or as an ordinary user"
    )


def _subordinate(path: Path) -> range | None:
    """Return root's ids in /etc/subuid or /etc/subgid (subuid(5)); None if there is no line with enough of them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if name not in {"root", "0"} or not (start.isdecimal() and count.isdecimal()):
            continue
        if int(count) >= _LEAST and _LEAST <= int(start) <= _MOST_ID - int(count):
            return range(int(start), int(start) + int(count))
    return None


def _has(path: Path, ids: range) -> bool:
    """Tell whether a user namespace's map has all of some ids."""
    spans = [tuple(map(int, line.split())) for line in path.read_text(encoding="ascii").splitlines()]
    return any(first <= ids.start and ids.stop <= first + count for first, _, count in spans)


def _outside(path: Path) -> int | None:
    """Return what a user namespace's id 0 is outside of it."""
    spans = [tuple(map(int, line.split())) for line in path.read_text(encoding="ascii").splitlines()]
    return next((outer for first, outer, _ in spans if first == 0), None)


def _own_namespace(uid: int, gid: int) -> int:
    try:
        return user_namespace(f"0 {uid} 1\n", f"0 {gid} 1\n")
    except OSError as error:
        raise EngineError(
            f"root can't make a user namespace for uid {uid} ({error}): it needs CAP_SETUID and CAP_SETGID, "
            "and one more has to be allowed by `sysctl user.max_user_namespaces`; or run samebox as an ordinary user"
        ) from error


def _locked(fd: int, uid: int) -> bool:
    """Lock the byte of a file that stands for a uid, for this open file, which a process's death closes."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, uid, 1, 0))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise EngineError(f"a uid of the host can't be locked ({error}); is {RUN} on a network file system?") from error
    return True


@cache
def _nsenter() -> str:
    found = shutil.which("nsenter")
    if found is None:
        raise EngineError("root's sandboxes need the program nsenter, to be another user: install util-linux")
    return found
