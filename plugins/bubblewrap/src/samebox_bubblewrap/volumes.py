"""VolumeStore: named directories of this user that outlive sandboxes and are shared by them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.config.mounts import VOLUME
from samebox.engine import VolumeStatus
from samebox.errors import EngineError
from samebox_bubblewrap.directories import DirectoryUse, lock_directory, remove_tree
from samebox_bubblewrap.paths import components, open_below, resolve_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["VolumeStore"]

_DATA, _NOTE = "data", "volume.json"
_TRIES = 100


class VolumeStore:
    """Volumes by name, each a directory with its files and a note of what it is.

    A volume appears whole or not at all, and is locked while it is used: the kernel lets go of that when its users die.

    Args:
        directory: Where they are. None: samebox/bubblewrap/volumes below $XDG_DATA_HOME or ~/.local/share.
    """

    def __init__(self, directory: Path | None = None) -> None:
        base = os.environ.get("XDG_DATA_HOME") or ""
        # XDG's base directory specification: a relative path there is to be ignored.
        default = Path(base) if base.startswith("/") else Path("~/.local/share").expanduser()
        self.directory = (
            directory.expanduser().absolute() if directory is not None else default / "samebox/bubblewrap/volumes"
        )

    def data(self, name: str) -> Path:
        """Return where a volume's files are, whether it is there or not."""
        return self.directory / name / _DATA

    def use(self, name: str, labels: Mapping[str, str], owner: tuple[int, int] | None = None) -> DirectoryUse:
        """Use a volume, making it if it is not there.

        Args:
            name: Its name.
            labels: What a new one is labelled with.
            owner: Whose a new one is, by uid and gid; None: the caller's.

        Raises:
            EngineError: It can't be made.
        """
        try:
            for _ in range(_TRIES):
                self._make(name, labels, owner)
                if (fd := lock_directory(self.directory / name, fcntl.LOCK_SH)) is not None:
                    return DirectoryUse(fd)
        except OSError as error:
            raise EngineError(
                f"volume {name!r} can't be used in {self.directory} ({error}); options.volume_dir chooses another place"
            ) from error
        raise EngineError(f"volume {name!r} is removed again and again by another process")

    def _make(self, name: str, labels: Mapping[str, str], owner: tuple[int, int] | None) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (self.directory / name).is_dir():
            return
        temporary = self.directory / f".new-{secrets.token_hex(8)}"
        try:
            temporary.mkdir(mode=0o700)  # for nobody else on the host
            (temporary / _DATA).mkdir()
            (temporary / _DATA).chmod(0o755)
            if owner is not None:
                os.chown(temporary / _DATA, *owner)
            note = json.dumps({"created": time.time(), "labels": dict(labels)})
            (temporary / _NOTE).write_text(note, encoding="utf-8")
            with contextlib.suppress(OSError):  # another process was faster
                temporary.rename(self.directory / name)
        finally:
            if temporary.is_dir():
                remove_tree(temporary)

    def give(self, name: str, path: str, owner: tuple[int, int]) -> None:
        """See that a directory of a volume in use may be written by a user who has no capabilities.

        Args:
            name: The volume's name.
            path: The directory, as from inside the volume.
            owner: The user's uid and gid.

        Raises:
            EngineError: It is not there any more.
        """
        data = str(self.data(name))
        try:
            top = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fd = open_below(top, components(resolve_inside(data, path)))
            finally:
                os.close(top)
            try:
                status = os.fstat(fd)
                if status.st_uid != owner[0] or status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.chown(f"/proc/self/fd/{fd}", *owner)
                    os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(status.st_mode) | stat.S_IRWXU)  # noqa: PTH101
            finally:
                os.close(fd)
        except OSError as error:
            raise EngineError(
                f"volume {name!r}: its directory {path!r} can't be given to the sandbox's user ({error.strerror})"
            ) from error

    def volumes(self) -> Iterator[VolumeStatus]:
        """Yield what is there, by name."""
        for path in sorted(self.directory.iterdir()) if self.directory.is_dir() else ():
            if VOLUME.fullmatch(path.name):
                with contextlib.suppress(OSError, ValueError):  # removed meanwhile, or none of ours
                    note = json.loads((path / _NOTE).read_text(encoding="utf-8"))
                    yield VolumeStatus(path.name, float(note["created"]), dict(note["labels"]))

    def remove(self, name: str) -> None:
        """Remove a volume; nothing happens if it is not there.

        Raises:
            EngineError: It is in use, or can't be removed.
        """
        if not VOLUME.fullmatch(name):
            return
        try:
            fd = lock_directory(self.directory / name, fcntl.LOCK_EX)
            if fd is None:
                return
            try:
                gone = self.directory / f".gone-{secrets.token_hex(8)}"
                (self.directory / name).rename(gone)
                remove_tree(gone)
            finally:
                os.close(fd)
            self._clean()
        except BlockingIOError:
            raise EngineError(f"volume {name!r} is in use by a sandbox; remove that first") from None
        except OSError as error:
            raise EngineError(f"volume {name!r} can't be removed from {self.directory} ({error})") from error

    def _clean(self) -> None:
        """Remove what a remover left that was killed; one that is still at it holds the lock."""
        for left in self.directory.glob(".gone-*"):
            with contextlib.suppress(OSError):
                fd = lock_directory(left, fcntl.LOCK_EX)
                if fd is not None:
                    try:
                        remove_tree(left)
                    finally:
                        os.close(fd)
