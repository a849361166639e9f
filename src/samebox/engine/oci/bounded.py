"""ArchiveError, BoundedFile and decompressed: archives of anybody, read with limits."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import lzma
import os
import tarfile
import zlib
from typing import IO, TYPE_CHECKING

from samebox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 64 << 30
"""How much an archive may hold, in bytes."""
_LONGEST_HEADER = 1 << 20
_CHUNK = 1 << 20
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

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes.

        Raises:
            ArchiveError: That is more than a header may have.
        """
        if not 0 <= size <= _LONGEST_HEADER:
            msg = f"a header of {size} bytes; {_LONGEST_HEADER} is the most"
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
    except _BROKEN as error:
        msg = f"{what} ({str(error) or type(error).__name__})"
        raise ArchiveError(msg) from error
    except OSError as error:
        if error.errno is not None:
            raise
        msg = f"{what} ({error})"  # as gzip and bz2 call what they can't decompress
        raise ArchiveError(msg) from error


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
        return lzma.LZMAFile(file)
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
