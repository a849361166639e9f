"""NamedImages: images that were made here, by snapshots and builds, under the names that they were given."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samebox.errors import ConfigError, EngineError
from samebox_bubblewrap.directories import DirectoryUse, lock_directory, remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["ImageContent", "NamedImages", "check_name"]

_NAME = re.compile(r"[a-z0-9][a-zA-Z0-9._/-]{0,200}(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,50})?")
_KINDS = ("dir:", "tar:")
_ID = re.compile(r"made-[0-9a-f]{32}")
_NEW, _GONE = ".new-", ".gone-"


@dataclass(frozen=True, slots=True)
class ImageContent:
    """What is kept beside an image's files."""

    environment: dict[str, str]
    user: str
    owned: dict[str, list[str]]
    """Directories by their owner's uid."""
    host: bool = False
    """Whether it is a layer over the host's own programs."""

    @property
    def note(self) -> dict[str, Any]:
        """What JSON has of it."""
        return {"environment": self.environment, "user": self.user, "owned": self.owned, "host": self.host}


def check_name(name: str) -> None:
    """Check an image's new name.

    Raises:
        ConfigError: It is none.
    """
    if not _NAME.fullmatch(name) or name == "host" or name.startswith(_KINDS):
        raise ConfigError(
            f"an image that is made has a name as 'name', 'name:tag' or 'team/name', in letters, digits, '.', '_' "
            f"and '-', beginning with a lower case letter or a digit, and is not 'host' or 'dir:' or 'tar:' and a path "
            f"(found {name!r})"
        )


class NamedImages:
    """The images of one cache, with the names of those that were made here.

    An image appears whole or not at all, and is locked while a sandbox has it. A name that is given anew, or removed,
    leaves the old image to those that have it; it is removed when nobody has it any more and the next one is made.

    Args:
        images: The directory of the unpacked images.
        names: The directory of the names.
    """

    def __init__(self, images: Path, names: Path) -> None:
        self._images = images
        self._names = names

    def find(self, name: str) -> str | None:
        """Return the id of the image of that name; None if there is none."""
        note = self._note(self._path(name))
        return str(note["image"]) if note is not None and note.get("name") == name else None

    def names(self) -> dict[str, list[str]]:
        """Return the names of each image that has some, by its id."""
        found: dict[str, list[str]] = {}
        for note in map(self._note, self._names.glob("*.json")):
            if note is not None:
                found.setdefault(str(note["image"]), []).append(str(note["name"]))
        return {identity: sorted(names) for identity, names in found.items()}

    def add(self, name: str, fill: Callable[[Path], ImageContent]) -> str:
        """Make an image.

        Args:
            name: The name that it gets; one that has it already loses it.
            fill: Writes its files into an empty directory, and tells what is kept beside them.

        Returns:
            Its id.

        Raises:
            OSError: It can't be written.
        """
        identity = f"made-{secrets.token_hex(16)}"
        self.put(identity, fill, name)
        self.clean()
        return identity

    def put(self, identity: str, fill: Callable[[Path], ImageContent], name: str | None = None) -> None:
        """Make an image of an id; see `add`."""
        self.clean()
        temporary = self._images / f"{_NEW}{identity}"
        with self._locked():
            temporary.mkdir(mode=0o700)  # for nobody else: files of an image are not for everyone
            fd = lock_directory(temporary, fcntl.LOCK_EX)
        try:
            (temporary / "rootfs").mkdir(mode=0o755)
            content = fill(temporary / "rootfs")
            (temporary / "image.json").write_text(json.dumps(content.note), encoding="utf-8")
            with self._locked():
                temporary.rename(self._images / identity)
                if fd is not None:
                    fcntl.flock(fd, fcntl.LOCK_UN)  # before anyone can find it
                if name is not None:
                    self.name(identity, name)
        finally:
            if temporary.is_dir():
                remove_tree(temporary)
            if fd is not None:
                os.close(fd)

    def name(self, identity: str, name: str) -> None:
        """Give an image a name, or a further one; whatever had it loses it.

        Raises:
            OSError: It can't be written.
        """
        note = {"name": name, "image": identity, "created": time.time()}
        temporary = self._names / f"{_NEW}{secrets.token_hex(8)}"
        temporary.write_text(json.dumps(note), encoding="utf-8")
        temporary.rename(self._path(name))

    def remove(self, name: str) -> None:
        """Take away a name, and the image with the last one; nothing happens if it is not there.

        Raises:
            EngineError: It can't be removed.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path(name).unlink()
            self.clean()
        except OSError as error:
            raise EngineError(f"the image {name!r} can't be removed from {self._images} ({error})") from error

    def use(self, identity: str) -> DirectoryUse | None:
        """Keep an image from being removed, and note the time; None if it is gone."""
        fd = lock_directory(self._images / identity, fcntl.LOCK_SH)
        if fd is None:
            return None
        with contextlib.suppress(OSError):
            os.utime(fd)
        return DirectoryUse(fd)

    def _path(self, name: str) -> Path:
        return self._names / f"{hashlib.sha256(name.encode()).hexdigest()}.json"

    @staticmethod
    def _note(path: Path) -> dict[str, Any] | None:
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note if isinstance(note, dict) and _ID.fullmatch(str(note.get("image"))) else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from cleaning, and from what cleaning would take for garbage."""
        for directory in (self._images, self._names):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._names / "lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def take(self, identity: str) -> None:
        """Remove an image with all of its names; nothing happens if it is not there.

        Raises:
            BlockingIOError: A sandbox has it.
            OSError: It can't be removed.
        """
        with self._locked():
            self._discard(self._images / identity)
            for path in self._names.glob("*.json"):
                if (note := self._note(path)) is not None and note["image"] == identity:
                    path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove images that were made here and have no name and no user, and what dead makers have left.

        Raises:
            OSError: The directories can't be made or listed.
        """
        with self._locked():
            named = {note["image"] for note in map(self._note, self._names.glob("*.json")) if note is not None}
            for path in [*self._images.iterdir()]:
                # Not what archives were unpacked to, which has digests for names.
                if path.name not in named and path.name.startswith((_NEW, _GONE, "made-")):
                    with contextlib.suppress(OSError):  # in use
                        self._discard(path)

    @staticmethod
    def _discard(path: Path) -> None:
        fd = lock_directory(path, fcntl.LOCK_EX)
        if fd is None:
            return
        try:
            gone = path.with_name(f"{_GONE}{secrets.token_hex(8)}")
            path.rename(gone)
            remove_tree(gone)
        finally:
            os.close(fd)
