"""Stage: where a sandbox's bwrap finds the paths of the host that it is given, if it runs as another user.

That user may reach none of root's directories, and what root gives is to be the sandbox's own. So each such path is
mounted once more in a mount namespace of bwrap's own, with other owners where they are to be others, and bwrap is told
of that place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from samebox.errors import EngineError
from samebox_bubblewrap.descriptors import above_stdio
from samebox_bubblewrap.hostuser import RUN
from samebox_bubblewrap.idmap import attach, open_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox_bubblewrap.hostuser import HostUser

__all__ = ["HostPath", "Stage", "check_owners", "open_to_all"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_SLAVE = 2, 4, 0x4000, 0x80000


@dataclass(frozen=True, slots=True)
class HostPath:
    """A word of bwrap's command line: a path of the host that root may give although the sandbox could not reach it."""

    path: str
    owner: tuple[int, int] | None = None
    """The uid and gid whose files in it are the sandbox user's inside, and who gets what is written there. None: files
    stay whose they are."""
    linkless: bool = False
    """Whether it had no link on it when the config was looked at; one that is there later was put there, and not by who
    asked for the path."""

    def __str__(self) -> str:
        return self.path


class Stage:
    """The places of one sandbox's paths.

    Args:
        user: Who bwrap runs as; None: the caller, who is told of each path itself.
    """

    def __init__(self, user: HostUser | None) -> None:
        self._user = user
        self._sources: list[HostPath] = []

    def command(self, bwrap: str) -> list[str]:
        """Return the words that begin bwrap's command line."""
        return [*(self._user.words if self._user is not None else []), self.place(HostPath(bwrap))]

    def place(self, source: HostPath) -> str:
        """Return the path for bwrap."""
        if self._user is None:
            return source.path
        found, rest = source.path, ""
        if source.owner is None:
            real = os.path.realpath(source.path)
            if (length := _closed(real)) is None:
                return source.path if _closed(source.path) is None else real
            # From the first directory below it on, so that a program finds its libraries beside itself.
            parts = real.split("/")
            found, rest = "/".join(parts[: length + 1]), "".join(f"/{part}" for part in parts[length + 1 :])
        number = len(self._sources)
        self._sources.append(replace(source, path=found))
        return f"{RUN}/{number}{rest}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have everything in its place, for what the calling thread starts meanwhile.

        Raises:
            EngineError: The kernel refuses, a path is not there any more, or can't be mounted with other owners.
        """
        with contextlib.ExitStack() as stack:
            if self._user is not None and self._sources:
                self._set_up(stack, self._user)
            yield

    def _set_up(self, stack: contextlib.ExitStack, user: HostUser) -> None:
        try:
            stack.enter_context(_mount_namespace())
            self._mount(user)
        except OSError as error:
            paths = ", ".join(map(str, self._sources))
            raise EngineError(
                f"root can't mount {paths} for another uid of the host ({error}): it lacks CAP_SYS_ADMIN, or {RUN} "
                "can't be written; give it these, or run samebox as an ordinary user"
            ) from error

    def _mount(self, user: HostUser) -> None:
        with contextlib.ExitStack() as stack:
            trees = [_opened(source, user) for source in self._sources]
            for tree in trees:
                stack.callback(os.close, tree)
            # Over it, as whoever made it may have had a umask that closes it to others.
            _mount("tmpfs", str(RUN), "tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0755,size=1m")
            for number, tree in enumerate(trees):
                point = f"{RUN}/{number}"
                if stat.S_ISDIR(os.fstat(tree).st_mode):
                    os.mkdir(point)  # noqa: PTH102 - Path costs more than the call
                else:
                    os.close(os.open(point, os.O_CREAT | os.O_CLOEXEC))
                attach(tree, point)


def check_owners(source: HostPath, user: HostUser | None) -> str:
    """Return why a path can't be given with other owners; "" if it can."""
    if user is None or source.owner is None:
        return ""
    there = source.path
    while not os.path.lexists(there):  # a volume that is made later on
        there = os.path.dirname(there)  # noqa: PTH120
    try:
        os.close(_opened(replace(source, path=there), user))
    except EngineError as error:
        return str(error)
    return ""


def _opened(source: HostPath, user: HostUser) -> int:
    try:
        mapping = user.mapping(source.owner) if source.owner is not None else None
        return open_tree(source.path, mapping, follow=not source.linkless)
    except FileNotFoundError as error:
        raise EngineError(f"{source.path} is not there any more") from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise EngineError(
                f"{source.path} has become a path through a link since the config was looked at"
            ) from error
        if source.owner is None:
            raise
        why = (
            "this process lacks CAP_SYS_ADMIN or CAP_SETFCAP: give it these"
            if error.errno == errno.EPERM
            else "this kernel, or a file system there, has no idmapped mounts. Linux 5.19 has them on ext4, xfs and "
            "btrfs, and 6.3 on tmpfs: use a path on one of these"
        )
        raise EngineError(
            f"{source.path} can't be mounted with other owners ({error}): root's sandboxes run as another uid of the "
            f"host, and {why}, or run samebox as an ordinary user"
        ) from error


def open_to_all(path: str) -> bool:
    """Tell whether everybody on this host may read a path that has no links in it."""
    try:
        return _closed(path) is None and bool(os.stat(path).st_mode & stat.S_IROTH)  # noqa: PTH116
    except OSError:
        return False


def _closed(path: str) -> int | None:
    """Return how many components lead to the last directory on a path that only some may pass, None without one."""
    parts = path.split("/")
    try:
        for length in range(len(parts) - 1, 0, -1):
            if not os.stat("/".join(parts[:length]) or "/").st_mode & stat.S_IXOTH:  # noqa: PTH116
                return length
    except OSError:  # it is not there any more, as bwrap says
        pass
    return None


@contextlib.contextmanager
def _mount_namespace() -> Iterator[None]:
    """Be in a new mount namespace with the calling thread alone, which has a working directory of its own from then on.

    It goes with the last process in it. What is mounted on the host later comes along where the host shares its mounts.
    """
    before = above_stdio(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    try:
        _checked("unshare", _LIBC.unshare(_CLONE_NEWNS))
        try:
            _mount(None, "/", None, _MS_REC | _MS_SLAVE, None)
            yield
        finally:
            _checked("setns", _LIBC.setns(before, _CLONE_NEWNS))
    finally:
        os.close(before)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: bytes | None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    _checked("mount", _LIBC.mount(*words, ctypes.c_ulong(flags), options))


def _checked(call: str, answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
