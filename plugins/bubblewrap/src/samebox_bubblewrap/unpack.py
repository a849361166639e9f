"""Unpacker: writes the members of tar archives into one directory, and never outside it.

The archive is hostile: absolute names, `..`, links that lead out, members made through links, devices, endless sizes.
Every path is resolved as from inside the directory, which nobody else writes to, and everything is created anew without
following links.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
from typing import IO, TYPE_CHECKING, Any

from samebox.engine.oci.bounded import MOST_BYTES, ArchiveError, BoundedFile, reading
from samebox.errors import EngineError
from samebox_bubblewrap.paths import components, resolve_inside

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Unpacker", "check_room"]

MOST_MEMBERS = 2_000_000
_MOST_COMPONENTS = 256
_MOST_OWNERS = 100
_CHUNK = 256 << 10
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Unpacker:
    """Unpacks archives over one another into a directory.

    Everything belongs to the caller, directories can be written by it, and setuid and setgid bits are left out.

    Args:
        root: The directory; nobody else may write to it.
        most_bytes: How much all files may have together.
        most_members: How many members there may be.
    """

    def __init__(self, root: Path, *, most_bytes: int = MOST_BYTES, most_members: int = MOST_MEMBERS) -> None:
        self._root = str(root)
        self._bytes_left = most_bytes
        self._members_left = most_members
        self._most_bytes = most_bytes
        self._made: set[str] = set()
        self.owned: dict[int, list[str]] = {}
        """The topmost directories of users other than root, by uid."""

    def add(self, file: IO[bytes], *, layer: bool) -> None:
        """Unpack one archive.

        Args:
            file: The archive, decompressed.
            layer: Whether names that begin with .wh. remove what earlier archives have made, as in an image's layers.

        Raises:
            ArchiveError: It is broken or hostile.
            EngineError: The directory can't be written to, or its disk has not the room.
        """
        self._made = set()
        name = ""
        try:
            # Headers and padding come on top of what files have.
            bounded: Any = BoundedFile(file, 2 * self._most_bytes)
            with reading("it can't be read"), tarfile.open(fileobj=bounded, mode="r:") as tar:
                last = -1
                while (member := bounded.next(tar)) is not None:
                    name = member.name
                    self._count(member, last)
                    last = member.offset
                    self._member(tar, member, layer=layer)
        except ArchiveError as error:
            raise ArchiveError(f"{error} (at {name[:200]!r})") from None
        except OSError as error:
            raise EngineError(f"{error} (at {name[:200]!r})") from error

    def _count(self, member: tarfile.TarInfo, last: int) -> None:
        if member.offset <= last or member.size < 0:
            raise ArchiveError("its headers lead backwards")
        self._members_left -= 1
        self._bytes_left -= member.size
        if self._members_left < 0:
            raise ArchiveError("too many members")
        if self._bytes_left < 0:
            raise ArchiveError(f"more than {self._most_bytes} bytes of content")

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, *, layer: bool) -> None:
        parts = components(member.name)
        if ".." in parts or len(parts) > _MOST_COMPONENTS:
            raise ArchiveError("a name with '..' or too many components")
        if not parts:
            if member.isdir():
                os.chmod(self._root, _directory_mode(member))  # noqa: PTH101
            return
        parent = self._directory(parts[:-1])
        if layer and parts[-1].startswith(_WHITEOUT):
            self._whiteout(parent, parts[-1])
            return
        path = f"{parent}/{parts[-1]}"
        if member.isdir():
            self._make_directory(path, _directory_mode(member))
            self._own(path, member.uid)
        elif member.isreg():
            self._make_room(path)
            self._write(tar, member, path)
        elif member.issym():
            self._make_room(path)
            os.symlink(member.linkname, self._root + path)  # noqa: PTH211
        elif member.islnk():
            source = self._link_source(member.linkname)
            self._make_room(path)
            os.link(self._root + source, self._root + path, follow_symlinks=False)
        else:
            return  # devices, which a sandbox may not use, and FIFOs
        self._made.add(path)

    def _directory(self, parts: list[str]) -> str:
        """Return the directory of that name as from inside, made where it is missing."""
        path = ""
        for part in components(resolve_inside(self._root, "/".join(parts))):
            path += "/" + part
            if not stat.S_ISDIR(_mode(self._root + path)):
                self._make_directory(path, 0o755)
                self._made.add(path)
        return path

    def _own(self, path: str, uid: int) -> None:
        known = self.owned.setdefault(uid, []) if uid and len(self.owned) < _MOST_OWNERS else []
        if len(known) < _MOST_OWNERS and not any(path.startswith(f"{above}/") or path == above for above in known):
            known.append(path)

    def _make_directory(self, path: str, mode: int) -> None:
        if not stat.S_ISDIR(_mode(self._root + path)):
            self._make_room(path)
            os.mkdir(self._root + path)  # noqa: PTH102
        os.chmod(self._root + path, mode)  # noqa: PTH101

    def _make_room(self, path: str) -> None:
        """Remove what is there."""
        mode = _mode(self._root + path)
        if stat.S_ISDIR(mode):
            shutil.rmtree(self._root + path)
        elif mode:
            os.unlink(self._root + path)  # noqa: PTH108

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        source = tar.extractfile(member)
        if source is None:
            raise ArchiveError("a file without content")
        check_room(self._root, member.size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with source, os.fdopen(os.open(self._root + path, flags, 0o600), "wb") as target:
            left = member.size
            while left and (data := source.read(min(left, _CHUNK))):
                target.write(data)
                left -= len(data)
            if left:
                raise ArchiveError("the archive ends inside a file")
            target.flush()
            os.fchmod(target.fileno(), member.mode & 0o777)
            with contextlib.suppress(
                OSError, ValueError, OverflowError
            ):  # a time that no clock shows is not worth an error
                os.utime(target.fileno(), (member.mtime, member.mtime))

    def _link_source(self, name: str) -> str:
        """Return the file that a hard link names, which has to be there, inside, and is not followed."""
        parts = components(name)
        if not parts or ".." in parts or len(parts) > _MOST_COMPONENTS:
            raise ArchiveError(f"a hard link to {name[:200]!r}")
        parent = resolve_inside(self._root, "/".join(parts[:-1])).rstrip("/")
        path = f"{parent}/{parts[-1]}"
        mode = _mode(self._root + path)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise ArchiveError(f"a hard link to {name[:200]!r}, which is no file of this archive")
        return path

    def _whiteout(self, parent: str, name: str) -> None:
        """Remove what earlier layers have made; see "Whiteouts" in the OCI image specification's layer.md."""
        if name == _OPAQUE:
            self._clear(parent)
            return
        victim = name.removeprefix(_WHITEOUT)
        if victim in {"", ".", ".."}:
            raise ArchiveError(f"a whiteout of {victim!r}")
        if not victim.startswith(_WHITEOUT) and f"{parent}/{victim}" not in self._made:
            self._make_room(f"{parent}/{victim}")

    def _clear(self, directory: str) -> None:
        for entry in os.listdir(self._root + directory):  # noqa: PTH208
            path = f"{directory}/{entry}"
            if path not in self._made:
                self._make_room(path)
            elif stat.S_ISDIR(_mode(self._root + path)):
                self._clear(path)


def check_room(directory: str, need: int) -> None:
    """Check that a disk has room for so many bytes, before they are written.

    Raises:
        EngineError: It has not.
    """
    have = shutil.disk_usage(directory).free
    if need > have:
        raise EngineError(f"it needs at least {need} bytes, and {directory} has {have} bytes free; make room there")


def _directory_mode(member: tarfile.TarInfo) -> int:
    """Keep what the archive says, but let the owner in, who has to write there and to remove it some day."""
    return member.mode & 0o1777 | 0o700


def _mode(path: str) -> int:
    """Return what is there, following no link; 0 if nothing is."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0
