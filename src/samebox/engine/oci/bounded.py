"""ArchiveError, BoundedFile and decompressed: archives of anybody, read with limits."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import lzma
import os
import sys
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, Any

from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 64 << 30
"""How much an archive may hold, in bytes."""
_LONGEST_HEADER = 1 << 20
_LONGEST_GLOBALS = 64 << 10
"""How much the PAX headers that hold for all later members may have together, in bytes."""
_CHUNK = 1 << 20
_MOST_DICTIONARY = 128 << 20
"""The memory in bytes that decompressing may take: `xz -9` needs 65 MiB, and libzstd has the same limit of its own."""
_ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard")
_BROKEN = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, zlib.error, lzma.LZMAError)


class ArchiveError(EngineError):
    """An archive can't be read, is broken, or wants something that no image needs."""


class BoundedFile:
    """A file for tarfile, which would read a header of any size into memory and seek as far as the archive says.

    Args:
        file: The file, maybe a decompressing one.
        limit: Its longest content in bytes.
    """

    def __init__(self, file: IO[bytes], limit: int = MOST_BYTES) -> None:
        self._file = file
        self._limit = limit
        self._header: int | None = _LONGEST_HEADER
        """How much may be read for the headers of one member, while they are read."""

    def next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """Return the next member of an archive that reads this file, with no more than a member needs.

        A member may have any number of headers before its own, each of which is held until the last is read.

        Raises:
            ArchiveError: Its headers are too long, or those that hold for all members.
        """
        self._header = _LONGEST_HEADER
        try:
            member = tar.next()
        finally:
            self._header = None
        if sum(len(name) + len(value) for name, value in tar.pax_headers.items()) > _LONGEST_GLOBALS:
            msg = f"headers for all members of more than {_LONGEST_GLOBALS} bytes"
            raise ArchiveError(msg)
        tar.members.clear()  # type: ignore[attr-defined]  # a list of all of them is not needed, and may be long
        return member

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes.

        Raises:
            ArchiveError: That is more than a header may have.
        """
        if self._header is not None:
            self._header -= size
        if not 0 <= size <= _LONGEST_HEADER or (self._header is not None and self._header < 0):
            msg = f"a header of more than {_LONGEST_HEADER} bytes, the most for one member"
            raise ArchiveError(msg)
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a place.

        Raises:
            ArchiveError: It is behind the limit.
        """
        if whence == os.SEEK_SET and not 0 <= position <= self._limit:
            msg = f"more than {self._limit} bytes of content"
            raise ArchiveError(msg)
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Say yes: a decompressing file goes back by beginning anew."""
        return True


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Make an `ArchiveError` of what is raised in a `with` because an archive is broken.

    An error of the disk stays what it is.

    Args:
        what: What is wrong then, as "it is no tar archive".

    Raises:
        ArchiveError: The archive is broken.
    """
    try:
        yield
    except _broken() as error:
        msg = f"{what} ({str(error) or type(error).__name__})"
        raise ArchiveError(msg) from error
    except OSError as error:
        if error.errno is not None:
            raise
        msg = f"{what} ({error})"  # as gzip and bz2 call what they can't decompress
        raise ArchiveError(msg) from error


def _broken() -> tuple[type[Exception], ...]:
    return *_BROKEN, *(sys.modules[name].ZstdError for name in _ZSTD_MODULES if name in sys.modules)


def decompressed(file: IO[bytes]) -> IO[bytes]:
    """Return a file itself, or one that decompresses it, by its first bytes: gzip, bzip2, xz or zstd.

    Args:
        file: At its beginning.

    Raises:
        ArchiveError: It is compressed with zstd, and nothing here can decompress that.
    """
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\0"):
        return io.BufferedReader(_Xz(file), _CHUNK)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(file)
    return file


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what is in a decompressed file, from its beginning.

    Raises:
        ArchiveError: It is broken, or there is more than an archive may hold.
    """
    left = MOST_BYTES
    with reading("it can't be decompressed"):
        file.seek(0)
        while data := file.read(_CHUNK):
            left -= len(data)
            if left < 0:
                msg = f"more than {MOST_BYTES} bytes of content"
                raise ArchiveError(msg)
            yield data


class _Xz(io.RawIOBase):
    """What an xz file holds, as `lzma.LZMAFile` gives it, which lets the file say how much memory that takes.

    Args:
        file: The compressed file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._place = 0
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_DICTIONARY)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Decompress some bytes; none are left where it returns 0."""
        while True:
            raw = b""
            if self._stream.eof:
                raw = self._stream.unused_data or self._file.read(_CHUNK)
                while raw and not raw.strip(b"\0"):  # streams are padded
                    raw = self._file.read(_CHUNK)
                if not raw:
                    return 0
                raw = raw.lstrip(b"\0")
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_DICTIONARY)
            elif self._stream.needs_input:
                raw = self._file.read(_CHUNK)
                if not raw:
                    raise EOFError("the file ends before its last stream does")
            data = self._stream.decompress(raw, len(buffer))
            if data:
                buffer[: len(data)] = data
                self._place += len(data)
                return len(data)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as far as the content goes; back is from the beginning."""
        if whence == os.SEEK_CUR:
            position += self._place
        elif whence == os.SEEK_END:
            position += self._place + sum(map(len, iter(lambda: self.read(_CHUNK), b"")))
        if position < self._place:
            self._begin()
        while self._place < position and self.read(min(_CHUNK, position - self._place)):
            pass
        return self._place

    def tell(self) -> int:
        return self._place


def _zstd(file: IO[bytes]) -> IO[bytes]:
    for name in _ZSTD_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        opened: IO[bytes] = module.open(file, "rb")
        return opened
    msg = (
        "it is compressed with zstd, which needs Python 3.14 or the distribution backports.zstd; "
        "install that, or save the image with gzip or uncompressed"
    )
    raise ArchiveError(msg)
