"""Tar archives as streams of bytes, neither held in memory nor on disk, and the fingerprint of a tree."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 256 << 10
END = tarfile.NUL * (tarfile.BLOCKSIZE * 2)
"""What an archive ends with."""


def entry(info: tarfile.TarInfo, content: IO[bytes] | None = None) -> Iterator[bytes]:
    """Return one member's bytes: header, content, padding.

    Args:
        info: Its header.
        content: Where its content is read from; what is too short (a file that shrinks meanwhile) is filled up with
            zeros.
    """
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if content is None:
        return
    left = info.size
    while left:
        chunk = content.read(min(left, _CHUNK)) or tarfile.NUL * min(left, _CHUNK)
        left -= len(chunk)
        yield chunk
    yield tarfile.NUL * (-info.size % tarfile.BLOCKSIZE)


def tree(root: Path) -> Iterator[bytes]:
    """Return a directory's tree as an archive; links are kept, sockets left out.

    What belongs to the calling ordinary user belongs to root in the archive: who unpacks a root file system without
    being root owns all of it, and the sandbox's root could not write in any directory of it.

    Raises:
        OSError: Something can't be read.
    """
    user, group = os.geteuid(), os.getegid()
    with tarfile.open(
        fileobj=io.BytesIO(), mode="w"
    ) as headers:  # never written to: it makes headers, and knows hard links again
        for name in _names(root):
            path = os.path.join(root, name)  # noqa: PTH118 - names may be no text
            info = headers.gettarinfo(path, name)
            if info is None:
                continue
            info.uid, info.gid = (0 if info.uid == user else info.uid), (0 if info.gid == group else info.gid)
            info.uname = info.gname = ""
            if info.isreg():
                with open(path, "rb") as content:  # noqa: PTH123
                    yield from entry(info, content)
            else:
                yield from entry(info)
    yield END


def fingerprint(root: Path) -> str:
    """Return a digest of all that `lstat` tells of a tree.

    It changes whenever anything in the tree does, as nobody can set a ctime.

    Raises:
        OSError: Something can't be read.
    """
    digest = hashlib.sha256()
    for name in _names(root):
        status = os.lstat(os.path.join(root, name))  # noqa: PTH118
        facts = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
        )
        digest.update(os.fsencode(name) + repr(facts).encode() + b"\0")
    return digest.hexdigest()


def _names(root: Path, below: str = ".") -> Iterator[str]:
    """Walk through a tree, each directory before what is in it, in one order."""
    yield below
    with os.scandir(os.path.join(root, below)) as found:  # noqa: PTH118
        entries = sorted(found, key=lambda entry: entry.name)
    for item in entries:
        name = f"{below}/{item.name}"
        if item.is_dir(follow_symlinks=False):
            yield from _names(root, name)
        else:
            yield name
