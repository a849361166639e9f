"""TreePacker and TreeUnpacker: the host's ends of an upload and a download (docs/protocol.md, section 7)."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import struct
from typing import TYPE_CHECKING

from samebox.agent.records import END_OF_TREE, MAX_ITEM, Record, decode_record, encode_item
from samebox.errors import ProtocolError, SandboxError
from samebox.guest.results import TreeCount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LENGTH = struct.Struct(">I")
_CHUNK = 64 << 10
_ITEM_COST = 512
"""The bytes that an item counts for beside its content, as empty files fill a disk too."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class TreePacker:
    """Reads a file or tree of this host as a tree stream.

    Args:
        source: The file or directory; a link at this path is followed, links below a directory are packed as links.
        progress: Called with each path and the bytes read so far.

    Raises:
        OSError: The file or directory can't be read.
    """

    def __init__(self, source: bytes, progress: Callable[[str, int], None] | None = None) -> None:
        self._source = source
        self._progress = progress
        self.files = self.directories = self.links = self.bytes = 0
        self.skipped: list[str] = []
        kind = os.stat(source).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise OSError(errno.EINVAL, "neither a regular file nor a directory", os.fsdecode(source))

    def __iter__(self) -> Iterator[bytes]:
        yield from self._item(self._source, b"", os.stat(self._source))
        yield END_OF_TREE

    @property
    def count(self) -> TreeCount:
        """The numbers of files, directories, links and bytes packed so far."""
        return TreeCount(self.files, self.directories, self.links, self.bytes, tuple(self.skipped))

    def _item(self, path: bytes, name: bytes, info: os.stat_result) -> Iterator[bytes]:
        fields: list[tuple[str, int | bytes | str]] = [
            ("name", name),
            ("mode", stat.S_IMODE(info.st_mode) & 0o777),
            ("mtime", info.st_mtime_ns),
        ]
        if stat.S_ISREG(info.st_mode):
            self.files += 1
            yield from self._file(path, fields)
        elif stat.S_ISDIR(info.st_mode):
            self.directories += 1
            yield encode_item([*fields, ("file_type", "d")])
            for entry in sorted(os.scandir(path), key=lambda found: found.name):
                yield from self._item(
                    entry.path, name + b"/" + entry.name if name else entry.name, entry.stat(follow_symlinks=False)
                )
        elif stat.S_ISLNK(info.st_mode):
            self.links += 1
            yield encode_item([*fields, ("file_type", "l"), ("target", os.readlink(path))])
        else:
            self.skipped.append(f"{os.fsdecode(name)}: neither a file, a directory nor a link")
        if self._progress is not None:
            self._progress(os.fsdecode(name), self.bytes)

    def _file(self, path: bytes, fields: list[tuple[str, int | bytes | str]]) -> Iterator[bytes]:
        with open(path, "rb", buffering=0) as file:
            size = left = os.fstat(file.fileno()).st_size
            head = encode_item([*fields, ("file_type", "f"), ("size", size)])
            first = file.read(min(left, _CHUNK))
            left -= len(first)
            self.bytes += len(first)
            yield head + first
            while left:
                # A file that shrinks meanwhile is filled up, as its size was sent already.
                data = file.read(min(left, _CHUNK)) or bytes(min(left, _CHUNK))
                left -= len(data)
                self.bytes += len(data)
                yield data


class TreeUnpacker:
    """Writes a tree stream of a sandbox, which is hostile, to this host.

    Every name is checked and every directory is opened without following links, so nothing is written outside the
    destination. Links are made last, and only links that cannot lead out of the tree.

    Args:
        destination: The path of the file or directory to make; its parents are made too.
        limit: The most bytes to accept in all; each item counts for 512 more.
        progress: Called with each path and the bytes written so far.
    """

    def __init__(self, destination: bytes, limit: int, progress: Callable[[str, int], None] | None = None) -> None:
        self._destination = os.path.abspath(destination)
        self._limit = self._left_in_all = limit
        self._progress = progress
        self._buffer = bytearray()
        self._root = self._directory = self._file = -1
        self._directory_name = b""
        self._name = b""
        self._temp = b""
        self._current = Record()
        self._left = 0
        self._started = self._done = False
        self._links: list[tuple[bytes, bytes, int]] = []
        self._modes: list[tuple[bytes, int, int]] = []
        self.files = self.directories = self.links = self.bytes = 0
        self.skipped: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream.

        Raises:
            ProtocolError: The bytes are no tree, or a name in them leads out of the destination.
            SandboxError: The tree is larger than the limit.
            OSError: The host refuses a write.
        """
        position = 0
        while position < len(data):
            if self._left:
                part = data[position : position + self._left]
                position += len(part)
                self._content(part)
                continue
            # The buffer collects an item's head, of which a piece of the stream may have only a part.
            need = self._needed() - len(self._buffer)
            self._buffer += data[position : position + need]
            position += need
            if len(self._buffer) >= _LENGTH.size and len(self._buffer) == self._needed():
                head, self._buffer = bytes(self._buffer[_LENGTH.size :]), bytearray()
                self._item(head)

    def finish(self) -> TreeCount:
        """Make the links and set the modes of directories; return the numbers of what was written."""
        if not self._done:
            msg = "the agent's tree ends before its end"
            raise ProtocolError(msg)
        for name, target, mtime in self._links:
            self._link(name, target, mtime)
        for name, mode, mtime in reversed(self._modes):
            self._enter(name)
            os.fchmod(self._directory, mode & 0o777 | 0o700)
            os.utime(self._directory, ns=(mtime, mtime))
        self.close()
        return TreeCount(self.files, self.directories, self.links, self.bytes, tuple(self.skipped))

    def close(self) -> None:
        """Close all descriptors, and remove a file that is not whole."""
        if self._file >= 0:
            os.close(self._file)
            with contextlib.suppress(OSError):
                os.unlink(self._temp, dir_fd=self._directory)
        for descriptor in {self._root, self._directory} - {-1}:
            os.close(descriptor)
        self._root = self._directory = self._file = -1

    def _needed(self) -> int:
        if len(self._buffer) < _LENGTH.size:
            return _LENGTH.size
        (length,) = _LENGTH.unpack_from(self._buffer)
        if self._done or length > MAX_ITEM:
            msg = "the agent's tree has an item that is too long, or one after its end"
            raise ProtocolError(msg)
        return _LENGTH.size + int(length)

    def _item(self, head: bytes) -> None:
        if not head:
            self._done = True
            return
        record = decode_record(head)
        name, kind = record.get("name", b""), record.get("file_type")
        self._take(_ITEM_COST)
        parts = name.split(b"/") if name else []
        if any(part in (b"", b".", b"..") or b"\0" in part for part in parts) or bool(parts) != self._started:
            msg = f"the agent's tree has a name that leads out: {name!r}"
            raise ProtocolError(msg)
        self._current, self._name = record, name
        if not self._started:
            self._begin(kind)
        if kind == b"d":
            self._make_directory(name)
        elif kind == b"f":
            self._open_file(parts)
        elif kind == b"l" and parts:
            self._links.append((name, record.get("target", b""), record.number("mtime", 0)))
        else:
            msg = f"the agent's tree has an item of type {kind!r}"
            raise ProtocolError(msg)
        self._tell()

    def _begin(self, kind: bytes | None) -> None:
        self._started = True
        top = self._destination if kind == b"d" else os.path.dirname(self._destination)
        os.makedirs(top, exist_ok=True)
        self._root = os.open(top, _DIRECTORY)

    def _enter(self, name: bytes) -> None:
        """Make `_directory` the existing directory of a relative name, without following a link."""
        if self._directory >= 0 and self._directory_name == name:
            return
        current = os.dup(self._root)
        try:
            for part in name.split(b"/") if name else []:
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = below
        except OSError as error:
            os.close(current)
            raise OSError(
                error.errno, f"{error.strerror} (links in the destination are not followed)", os.fsdecode(name)
            ) from None
        if self._directory >= 0:
            os.close(self._directory)
        self._directory, self._directory_name = current, name

    def _make_directory(self, name: bytes) -> None:
        if name:
            parent, _, last = name.rpartition(b"/")
            self._enter(parent)
            with contextlib.suppress(FileExistsError):
                os.mkdir(last, 0o700, dir_fd=self._directory)
        self._enter(name)
        self.directories += 1
        self._modes.append((name, self._current.number("mode"), self._current.number("mtime", 0)))

    def _open_file(self, parts: list[bytes]) -> None:
        self._enter(b"/".join(parts[:-1]))
        self._left = self._current.number("size")
        if self._left < 0:
            msg = "the agent's tree has a file of a negative size"
            raise ProtocolError(msg)
        self._take(self._left)
        self._temp = b".samebox-" + secrets.token_hex(8).encode()
        self._file = os.open(
            self._temp,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=self._directory,
        )
        self.files += 1
        if not self._left:
            self._close_file()

    def _content(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self._left -= len(data)
        self.bytes += len(data)
        if not self._left:
            self._close_file()
        self._tell()

    def _close_file(self) -> None:
        mtime = self._current.number("mtime", 0)
        os.fchmod(self._file, self._current.number("mode") & 0o777)
        os.utime(self._file, ns=(mtime, mtime))
        name = self._name.rpartition(b"/")[2] or os.path.basename(self._destination)
        # The new file replaces a link of that name, never the link's target.
        os.replace(self._temp, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.close(self._file)
        self._file = -1

    def _link(self, name: bytes, target: bytes, mtime: int) -> None:
        if not stays_inside(name, target):
            self.skipped.append(f"{os.fsdecode(name)}: a link that leads out, to {os.fsdecode(target)!r}")
            return
        parent, _, last = name.rpartition(b"/")
        self._enter(parent)
        temp = b".samebox-" + secrets.token_hex(8).encode()
        os.symlink(target, temp, dir_fd=self._directory)
        try:
            os.utime(temp, ns=(mtime, mtime), dir_fd=self._directory, follow_symlinks=False)
            os.replace(temp, last, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:
            os.unlink(temp, dir_fd=self._directory)
            raise
        self.links += 1

    def _take(self, size: int) -> None:
        self._left_in_all -= size
        if self._left_in_all < 0:
            msg = (
                f"the download is larger than its limit of {self._limit} bytes; give a larger `limit` if it is expected"
            )
            raise SandboxError(msg)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(os.fsdecode(self._name), self.bytes)


def stays_inside(name: bytes, target: bytes) -> bool:
    """Whether a link of a relative name with a given target cannot lead out of the link's tree.

    `..` is accepted only at the target's start and only as often as the link lies deep: the directories above the link
    are real directories, so each `..` goes up by one of them. After another component, `..` could follow a second link
    and go up from wherever the second link leads.
    """
    if not target or target.startswith(b"/") or b"\0" in target:
        return False
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    return ups <= name.count(b"/") and b".." not in parts[ups:]
