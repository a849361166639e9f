"""TreeUnpacker: the host's end of a download (docs/protocol.md, section 7)."""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from typing import TYPE_CHECKING

from samebox.agent.budget import Budget, held
from samebox.agent.descent import Descent, open_directory
from samebox.agent.names import link_target, relative_path, shown
from samebox.agent.records import MAX_ITEM, Record, decode_record
from samebox.errors import OutputLimitError, ProtocolError
from samebox.guest.results import TreeCount

if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH_LIMIT = 256
"""The most components of a path in a download; deeper trees break programs that recurse."""
MEMORY_LIMIT = 256 << 20
"""The most memory that is used for what a download can do only at its end, in bytes."""
_LENGTH = struct.Struct(">I")
_ITEM_COST = 512
"""The bytes that an item counts for beside its content, as empty files fill a disk too."""


class TreeUnpacker:
    """Writes a tree stream of a sandbox, which is hostile, to this host.

    Every name is checked and every directory is opened without following links, so nothing is written outside the
    destination. Links are made last, and only links that cannot lead out of the tree.

    Args:
        destination: The path of the file or directory to make; its parents are made too.
        limit: The most bytes to accept in all; each item counts for 512 more, and for the memory that it takes.
        progress: Called with each path and the bytes written so far.
        follow_links: Whether the way to the destination may go through any link (`open_directory`).
    """

    def __init__(
        self,
        destination: bytes,
        limit: int,
        progress: Callable[[str, int], None] | None = None,
        *,
        follow_links: bool = False,
    ) -> None:
        self._destination = os.path.abspath(destination)
        self._limit = Budget(
            limit, "the download is larger than its limit of {limit} bytes; give a larger `limit` if it is expected"
        )
        self._memory = Budget(
            MEMORY_LIMIT, "the download's links and directories take more than {limit} bytes of memory; download parts"
        )
        self._progress = progress
        self._follow_links = follow_links
        self._buffer = bytearray()
        self._descent: Descent | None = None
        self._directory = self._file = -1
        self._name = b""
        self._temp = b""
        self._current = Record()
        self._left = 0
        self._started = self._is_file = self._done = False
        self._links: list[tuple[bytes, bytes, int]] = []
        self._times: list[tuple[bytes, int]] = []
        self.files = self.directories = self.links = self.bytes = 0
        self.skipped: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream.

        Raises:
            ProtocolError: The bytes are no tree, or a name in them leads out of the destination.
            OutputLimitError: The tree is larger than the limit, or deeper than 256 directories.
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
        """Make the links and set the times of directories; return the numbers of what was written."""
        if not self._done:
            msg = "the agent's tree ends before its end"
            raise ProtocolError(msg)
        for name, target, mtime in self._links:
            self._link(name, target, mtime)
        for name, mtime in reversed(self._times):
            self._enter(name)
            os.utime(self._directory, ns=(mtime, mtime))
        self.close()
        return TreeCount(self.files, self.directories, self.links, self.bytes, tuple(self.skipped))

    def close(self) -> None:
        """Close all descriptors, and remove a file that is not whole."""
        if self._file >= 0:
            os.close(self._file)
            with contextlib.suppress(OSError):
                os.unlink(self._temp, dir_fd=self._directory)
        if self._descent is not None:
            self._descent.close()
        self._descent, self._file = None, -1

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
        self._limit.take(_ITEM_COST)
        # Nothing lies below a file: it would be written beside the destination.
        if bool(name) != self._started or self._is_file:
            msg = f"the agent's tree has its root twice, late, or a file as root and more: {shown(name)}"
            raise ProtocolError(msg)
        if name:
            relative_path(name)
            if name.count(b"/") >= DEPTH_LIMIT:
                where = os.fsdecode(name[:100])
                msg = f"the download is deeper than {DEPTH_LIMIT} directories, the most for one, at {where!r}..."
                raise OutputLimitError(msg)
        self._current, self._name = record, name
        if not self._started:
            self._begin(kind)
        if kind == b"d":
            self._make_directory(name)
        elif kind == b"f":
            self._open_file(name)
        elif kind == b"l" and name:
            link = (name, record.get("target", b""), record.number("mtime", 0))
            link_target(link[1])
            self._hold(link)
            self._links.append(link)
        else:
            msg = f"the agent's tree has an item of type {shown(kind or b'')}"
            raise ProtocolError(msg)
        self._tell()

    def _hold(self, item: object) -> None:
        size = held(item)
        self._limit.take(size)
        self._memory.take(size)

    def _begin(self, kind: bytes | None) -> None:
        self._started, self._is_file = True, kind != b"d"
        top = self._destination if kind == b"d" else os.path.dirname(self._destination)
        mode = 0o777 if self._is_file else self._mode() | 0o700
        self._descent = Descent(open_directory(top, follow_links=self._follow_links, mode=mode), "destination")

    def _mode(self) -> int:
        """Return the permission bits of the current item; who makes a file or directory with them loses the umask's."""
        return self._current.number("mode") & 0o777

    def _enter(self, name: bytes) -> None:
        """Make `_directory` the existing directory of a relative name, without following a link."""
        assert self._descent is not None  # noqa: S101 - the first item, and only that, opens the root
        self._directory = self._descent.enter(name)

    def _make_directory(self, name: bytes) -> None:
        if name:
            parent, _, last = name.rpartition(b"/")
            self._enter(parent)
            with contextlib.suppress(FileExistsError):
                os.mkdir(last, self._mode() | 0o700, dir_fd=self._directory)
        self._enter(name)
        self.directories += 1
        times = (name, self._current.number("mtime", 0))
        self._hold(times)
        self._times.append(times)

    def _open_file(self, name: bytes) -> None:
        self._enter(name.rpartition(b"/")[0])
        self._left = self._current.number("size")
        if self._left < 0:
            msg = "the agent's tree has a file of a negative size"
            raise ProtocolError(msg)
        self._limit.take(self._left)
        self._temp = b".samebox-" + secrets.token_hex(8).encode()
        self._file = os.open(
            self._temp,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            self._mode(),
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
        os.utime(self._file, ns=(mtime, mtime))
        name = self._name.rpartition(b"/")[2] or os.path.basename(self._destination)
        # The new file replaces a link of that name, never the link's target.
        os.replace(self._temp, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.close(self._file)
        self._file = -1

    def _link(self, name: bytes, target: bytes, mtime: int) -> None:
        if not stays_inside(name, target):
            words = f"{os.fsdecode(name)}: a link that leads out, to {os.fsdecode(target)!r}"
            self._hold(words)
            self.skipped.append(words)
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
