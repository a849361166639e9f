"""CachedImages: what this user's cache holds, what it takes, who uses it, and how it is removed again."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from samebox.engine.images import BUILDS, ImageKind, ImageStatus, find_image, in_use
from samebox.errors import EngineError
from samebox_bubblewrap.directories import lockers
from samebox_bubblewrap.sandboxes import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from samebox_bubblewrap.images import ImageStore

__all__ = ["CachedImages"]

_IMAGE = re.compile(r"made-[0-9a-f]{32}|[0-9a-f]{64}")


class CachedImages:
    """The images in one cache: unpacked archives, builds and snapshots.

    Args:
        store: The cache.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._where = f"bubblewrap with the cache {store.directory}"

    def remove(self, name: str) -> None:
        """Remove one with all of its names.

        Args:
            name: One of its names, or its id.

        Raises:
            ImageNotFoundError: It is not there.
            EngineError: A sandbox has it, or it can't be removed.
        """
        image = find_image(self.list(), name, self._where)
        try:
            self._store.named.take(image.id.partition(":")[2])
        except BlockingIOError:
            users = self._users(image.id)
            raise in_use(name, self._where, users or ["a sandbox of another process"]) from None
        except OSError as error:
            raise EngineError(f"the image {name!r} can't be removed from {self._store.directory} ({error})") from error
        self._store.forget_digests()

    def _found(self) -> Iterator[ImageStatus]:
        names = self._store.named.names()
        for path in self._store.images.iterdir() if self._store.images.is_dir() else ():
            if _IMAGE.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    yield self._status(path, names.get(path.name, ()))

    def _status(self, path: Path, names: Sequence[str]) -> ImageStatus:
        identity = self._store.identity(path.name)
        built = any(name.startswith(f"{BUILDS}:") for name in names)
        kind: ImageKind = "archive" if identity.startswith("sha256:") else "build" if built else "snapshot"
        return ImageStatus(
            id=identity,
            kind=kind,
            names=tuple(names),
            size=_size(str(path)),
            created=(path / "image.json").stat().st_mtime,
            used=path.stat().st_mtime,
            used_by=tuple(self._users(identity)),
        )

    def _users(self, identity: str) -> list[str]:
        """Return the names of this process's sandboxes of an image, and in words those of others."""
        own = sorted(record.name for record in registry.records() if record.image == identity)
        pids = lockers(self._store.images / identity.partition(":")[2])
        return own + [f"a sandbox of process {pid}" for pid in sorted(pids - {os.getpid()})]

    def list(self) -> list[ImageStatus]:
        """Return all of them, by their names, and remove what dead makers have left."""
        if self._store.images.is_dir():
            with contextlib.suppress(OSError):  # a cache that can be read alone
                self._store.named.clean()
        return sorted(self._found(), key=lambda image: (image.names, image.id))


def _size(root: str) -> int:
    """Return what the files below a directory take, those with several names once."""
    seen: set[int] = set()
    size = 0
    for directory, _, files in os.walk(root):
        for name in files:
            with contextlib.suppress(OSError):
                info = os.lstat(os.path.join(directory, name))  # noqa: PTH118 - for many files
                if stat.S_ISREG(info.st_mode) and (info.st_nlink == 1 or info.st_ino not in seen):
                    seen.add(info.st_ino)
                    size += info.st_blocks * 512
    return size
