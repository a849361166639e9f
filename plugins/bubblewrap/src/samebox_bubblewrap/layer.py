"""LayerCopy: copies the files of a running sandbox, which is hostile, into a directory of the host.

They are read through /proc/PID/root. Nothing is followed: directories are opened one component after the other, a file
is opened only once it is known to be one, and what lies on a mount that is not the sandbox's own is left out, whatever
the sandbox renames meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_bubblewrap.paths import open_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from samebox_bubblewrap.hostuser import HostUser

__all__ = ["LayerCopy", "own_mounts"]

_MOST_ENTRIES = 2_000_000
_MOST_COMPONENTS = 256
_CHUNK = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What opening says of an entry that the sandbox has replaced since it was listed."""
_OWN_KINDS = ("overlay", "tmpfs")


def own_mounts(pid: int, sources: Iterable[str]) -> frozenset[int]:
    """Return the ids of the mounts that a sandbox has for itself: memory and layers that this process does not see.

    A path of the host that is mounted there is on a file system of the host, which this process sees too.

    Args:
        pid: A process in the sandbox.
        sources: What of the host is mounted there: where this process is in a chroot, it does not see its own root
            among the mounts.

    Raises:
        OSError: It has ended.
    """
    known = {fields[2] for fields, _ in _mounts("self")}
    for source in sources:
        for path in (source, os.path.dirname(source)):  # noqa: PTH120
            with contextlib.suppress(OSError):
                device = os.stat(path).st_dev  # noqa: PTH116
                known.add(f"{os.major(device)}:{os.minor(device)}")
    return frozenset(int(fields[0]) for fields, kind in _mounts(pid) if kind in _OWN_KINDS and fields[2] not in known)


def _mounts(pid: int | str) -> Iterator[tuple[list[str], str]]:
    text = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        yield before.split(), after.partition(" ")[0]


class LayerCopy:
    """Copies a tree, but for some paths and all that is mounted in it from elsewhere.

    Permissions, times, links and hard links stay as they are; setuid and setgid bits, devices, sockets and extended
    attributes are left out. Root keeps owners too; for anyone else all files are their own. What another owns and the
    sandbox can't read is empty in the copy.

    Args:
        source: The root directory of the sandbox, open.
        target: An empty directory, open, that nobody else uses.
        base: The root directory of the unpacked image that the sandbox has, open, or None. A file that the sandbox has
            not changed is linked to the one there.
        skipped: Paths inside that are left out.
        mounts: The ids of the sandbox's own mounts.
        limit: How much is written at most, in bytes.
        user: The user of the host that the sandbox's is, whose files are root's in the copy; None: the caller.
    """

    def __init__(
        self,
        source: int,
        target: int,
        base: int | None,
        *,
        skipped: frozenset[str],
        mounts: frozenset[int],
        limit: int,
        user: HostUser | None = None,
    ) -> None:
        self._source, self._target, self._base = source, target, base
        self._skipped = skipped
        self._mounts = mounts
        self._limit = self._left = limit
        self._entries_left = _MOST_ENTRIES
        self._root = os.geteuid() == 0
        self._user = (user.uid, user.gid) if user is not None else None
        self._linked: dict[tuple[int, int], tuple[str, ...]] = {}
        self._directories: list[tuple[tuple[str, ...], os.stat_result]] = []

    def run(self) -> None:
        """Copy it all.

        Raises:
            EngineError: It is too much, or something can't be read.
            OSError: The target can't be written.
        """
        self._directories.append(((), os.fstat(self._source)))
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                source = open_below(self._source, parts)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise self._unreadable(parts, error) from error
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, source)
                target = open_below(self._target, parts)
                stack.callback(os.close, target)
                base = self._open_base(parts)
                if base is not None:
                    stack.callback(os.close, base)
                waiting += self._directory(source, target, base, parts)
        self._finish()

    def _open_base(self, parts: tuple[str, ...]) -> int | None:
        if self._base is None:
            return None
        try:
            return open_below(self._base, parts)
        except OSError:
            return None

    def _directory(self, source: int, target: int, base: int | None, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Copy what is in one directory, and return the directories in it, which are made and empty."""
        if _mount_of(source) not in self._mounts:
            return []  # it was put in the place of the one that was looked at
        below: list[tuple[str, ...]] = []
        try:
            listed = os.open(f"/proc/self/fd/{source}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError as error:
            if os.fstat(source).st_uid != os.geteuid():
                return []
            raise self._unreadable(parts, error) from error
        try:
            with os.scandir(listed) as entries:
                for entry in entries:
                    self._count(parts)
                    inside = (*parts, entry.name)
                    if "/" + "/".join(inside) not in self._skipped and self._entry(source, target, base, inside):
                        below.append(inside)
        finally:
            os.close(listed)
        return below

    def _count(self, parts: tuple[str, ...]) -> None:
        self._entries_left -= 1
        if self._entries_left < 0:
            raise EngineError(f"it has more than {_MOST_ENTRIES} files")
        if len(parts) >= _MOST_COMPONENTS:
            raise EngineError(f"its directories are nested deeper than {_MOST_COMPONENTS}")

    def _entry(self, source: int, target: int, base: int | None, parts: tuple[str, ...]) -> bool:
        """Copy one entry; return whether it is a directory, whose content comes later."""
        name = parts[-1]
        if base is not None and self._link(name, source, base, target):
            return False
        try:
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unreadable(parts, error) from error
        try:
            info = os.fstat(found)
            if _mount_of(found) not in self._mounts:
                return False
            if stat.S_ISDIR(info.st_mode):
                os.mkdir(name, 0o700, dir_fd=target)
                self._directories.append((parts, info))
                return True
            if stat.S_ISREG(info.st_mode):
                self._file(found, info, target, parts)
            elif stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink("", dir_fd=found), name, dir_fd=target)
                self._mark(name, info, target)
            elif stat.S_ISFIFO(info.st_mode):
                os.mkfifo(name, 0o600, dir_fd=target)
                self._mark(name, info, target)
        except FileExistsError:
            return False  # a name that was given anew while the directory was read comes twice
        finally:
            os.close(found)
        return False

    def _file(self, found: int, info: os.stat_result, target: int, parts: tuple[str, ...]) -> None:
        name = parts[-1]
        key = (info.st_dev, info.st_ino)
        if info.st_nlink > 1 and (first := self._linked.get(key)) is not None:
            above = open_below(self._target, first[:-1])
            try:
                os.link(first[-1], name, src_dir_fd=above, dst_dir_fd=target, follow_symlinks=False)
            finally:
                os.close(above)
            return
        out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            with _readable(found, info) as data:
                if data is not None:
                    self._content(data, out, os.fstat(data).st_size)
        finally:
            os.close(out)
        self._mark(name, info, target)
        if info.st_nlink > 1:
            self._linked[key] = parts

    def _content(self, data: int, out: int, size: int) -> None:
        """Copy a file's first `size` bytes, without what was never written of it."""
        place = 0
        while place < size:
            try:
                place = os.lseek(data, place, os.SEEK_DATA)
                end = min(size, os.lseek(data, place, os.SEEK_HOLE))
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # nothing but a hole is left, or it was cut meanwhile
            os.lseek(data, place, os.SEEK_SET)
            os.lseek(out, place, os.SEEK_SET)
            while place < end and (chunk := os.read(data, min(_CHUNK, end - place))):
                self._left -= len(chunk)
                if self._left < 0:
                    raise EngineError(f"it has more than {self._limit} bytes, half of what is free there")
                place += _write(out, chunk)
            if place < end:
                break  # it was cut meanwhile
        os.ftruncate(out, size)

    def _mark(self, name: str, info: os.stat_result, target: int) -> None:
        """Give a copy the owner, the permissions and the time of its original."""
        if self._root and (owner := self._owner(info)) != (0, os.getegid()):
            os.chown(name, *owner, dir_fd=target, follow_symlinks=False)
        if stat.S_ISREG(info.st_mode) or stat.S_ISFIFO(info.st_mode):
            os.chmod(name, stat.S_IMODE(info.st_mode) & 0o777, dir_fd=target)
        os.utime(name, ns=(info.st_mtime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)

    def _finish(self) -> None:
        """Give directories what files have got already, the deepest first: what is in them is complete now."""
        for parts, info in reversed(self._directories):
            fd = open_below(self._target, parts)
            try:
                path = f"/proc/self/fd/{fd}"
                if self._root and (owner := self._owner(info)) != (0, os.getegid()):
                    os.chown(path, *owner)
                # Its owner has to list it, for the next copy and to remove it.
                os.chmod(path, stat.S_IMODE(info.st_mode) & 0o1777 | 0o500)  # noqa: PTH101
                os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))
            finally:
                os.close(fd)

    def _owner(self, info: os.stat_result) -> tuple[int, int]:
        """Return a file's owner in the copy."""
        if self._user is None:
            return info.st_uid, info.st_gid
        uid, gid = self._user
        return 0 if info.st_uid == uid else info.st_uid, 0 if info.st_gid == gid else info.st_gid

    def _link(self, name: str, source: int, base: int, target: int) -> bool:
        """Link a file to the image's own if that is what the sandbox sees there; return whether it was."""
        try:
            info = os.stat(name, dir_fd=source, follow_symlinks=False)
            other = os.stat(name, dir_fd=base, follow_symlinks=False)
            # The time of the last change can't be set, and is later for whatever the sandbox has in its place.
            keys = ("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns")
            same = all(getattr(info, key) == getattr(other, key) for key in keys)
            if not stat.S_ISREG(info.st_mode) or not same or self._owner(info) != (other.st_uid, other.st_gid):
                return False
            os.link(name, name, src_dir_fd=base, dst_dir_fd=target, follow_symlinks=False)
        except OSError:  # it is gone, or the file system has a limit of links
            return False
        return True

    def _unreadable(self, parts: tuple[str, ...], error: OSError) -> EngineError:
        remedy = "give its owner the permission, or remove it"
        return EngineError(f"its {'/' + '/'.join(parts)!r} can't be read ({error.strerror}); {remedy}")


def _mount_of(fd: int) -> int:
    """Return the id of the mount that a descriptor is on."""
    text = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
    return int(text.partition("mnt_id:")[2].split(maxsplit=1)[0])


@contextlib.contextmanager
def _readable(found: int, info: os.stat_result) -> Iterator[int | None]:
    """Open a file for reading; None if the sandbox can't read it either.

    One of our own that says no is made readable for the moment.
    """
    path = f"/proc/self/fd/{found}"
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        data = os.open(path, flags)
    except PermissionError:
        if info.st_uid != os.geteuid():
            yield None
            return
        os.chmod(path, stat.S_IMODE(info.st_mode) | stat.S_IRUSR)  # noqa: PTH101
        try:
            data = os.open(path, flags)
        finally:
            os.chmod(path, stat.S_IMODE(info.st_mode))  # noqa: PTH101
    try:
        yield data
    finally:
        os.close(data)


def _write(out: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]
    return len(data)
