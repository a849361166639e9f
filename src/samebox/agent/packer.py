"""TreePacker: the host's end of an upload (docs/protocol.md, section 7)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from samebox.agent.descent import Descent
from samebox.agent.records import END_OF_TREE, encode_item
from samebox.guest.results import TreeCount

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from samebox.agent.records import Field

_CHUNK = 64 << 10
# Without O_NONBLOCK, opening a FIFO would wait for its writer.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TreePacker:
    """Reads a file or tree of this host as a tree stream.

    Everything below the source is opened from its directory's descriptor, and no link is followed, also where another
    process swaps a directory or file for a link meanwhile: a sandbox may write to the tree through a mount.

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
        self._check(os.stat(source))

    def __iter__(self) -> Generator[bytes, None, None]:
        root = os.open(self._source, _OPEN)
        if stat.S_ISDIR(os.fstat(root).st_mode):
            yield from self._tree(root)
        else:
            try:
                self._check(os.fstat(root))
                yield from self._file(root, b"")
                self._tell(b"")
            finally:
                os.close(root)
        yield END_OF_TREE

    @property
    def count(self) -> TreeCount:
        """The numbers of files, directories, links and bytes packed so far."""
        return TreeCount(self.files, self.directories, self.links, self.bytes, tuple(self.skipped))

    def _check(self, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            raise OSError(errno.EINVAL, "neither a regular file nor a directory", os.fsdecode(self._source))

    def _tree(self, root: int) -> Iterator[bytes]:
        descent = Descent(root, "source")
        left = [b""]
        """The paths that are still to be packed, the next one at the end."""
        try:
            while left:
                path = left.pop()
                try:
                    yield from self._entry(descent, path, left)
                except OSError as error:
                    where = os.fsdecode(os.path.join(self._source, path))
                    raise OSError(error.errno, error.strerror, where) from None
                self._tell(path)
        finally:
            descent.close()

    def _entry(self, descent: Descent, path: bytes, left: list[bytes]) -> Iterator[bytes]:
        parent, _, name = path.rpartition(b"/")
        above = descent.enter(parent)
        info = os.stat(name or b".", dir_fd=above, follow_symlinks=False)
        if stat.S_ISREG(info.st_mode):
            file = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=above)
            try:
                yield from self._file(file, path)
            finally:
                os.close(file)
        elif stat.S_ISDIR(info.st_mode):
            entries = os.listdir(descent.enter(path))
            left.extend(path + b"/" + entry if path else entry for entry in sorted(map(os.fsencode, entries))[::-1])
            self.directories += 1
            yield encode_item([*_facts(path, info), ("file_type", "d")])
        elif stat.S_ISLNK(info.st_mode):
            target = os.readlink(name, dir_fd=above)
            self.links += 1
            yield encode_item([*_facts(path, info), ("file_type", "l"), ("target", target)])
        else:
            self.skipped.append(f"{os.fsdecode(path)}: neither a file, a directory nor a link")

    def _file(self, file: int, path: bytes) -> Iterator[bytes]:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "no regular file any more")
        size = left = info.st_size
        self.files += 1
        head = encode_item([*_facts(path, info), ("file_type", "f"), ("size", size)])
        first = os.read(file, min(left, _CHUNK))
        left -= len(first)
        self.bytes += len(first)
        yield head + first
        while left:
            # A file that shrinks meanwhile is filled up, as its size was sent already.
            data = os.read(file, min(left, _CHUNK)) or bytes(min(left, _CHUNK))
            left -= len(data)
            self.bytes += len(data)
            yield data

    def _tell(self, path: bytes) -> None:
        if self._progress is not None:
            self._progress(os.fsdecode(path), self.bytes)


def _facts(path: bytes, info: os.stat_result) -> list[Field]:
    return [("name", path), ("mode", stat.S_IMODE(info.st_mode) & 0o777), ("mtime", info.st_mtime_ns)]
