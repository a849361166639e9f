"""ImageStore: what the config's `image` leads to on this engine, and the cache of unpacked archives."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.config.reference import image_capability
from samebox.engine.oci.bounded import ArchiveError
from samebox.engine.program import agent_program
from samebox.errors import ConfigError, EngineError, ImageNotFoundError, UnsupportedError
from samebox_bubblewrap.archive import unpack_archive
from samebox_bubblewrap.hostroot import HostLayerRootfs, HostRootfs
from samebox_bubblewrap.named import ImageContent, NamedImages, check_name
from samebox_bubblewrap.rootfs import ImageRootfs, Rootfs
from samebox_bubblewrap.unpack import check_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox_bubblewrap.directories import DirectoryUse

__all__ = ["HOST", "ImageStore"]

HOST = "host"
_ARCHIVE = re.compile(r"sha256:[0-9a-f]{64}")
_MADE = "made:"
# Of what a cached image looks like; another one is unpacked anew.
_FORMAT = "2"


class ImageStore:
    """Images by reference: `host`, `dir:PATH`, `tar:PATH`, and the names of those that were made here.

    An archive is unpacked once, into a directory named by its content's digest. It appears there whole or not at all,
    and two processes that want it at once unpack it once.

    Args:
        directory: The cache. None: samebox/bubblewrap below $XDG_CACHE_HOME or ~/.cache.
    """

    def __init__(self, directory: Path | None = None) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or ""
        # XDG's base directory specification: a relative path there is to be ignored.
        default = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
        self.directory = (
            directory.expanduser().absolute() if directory is not None else default / "samebox" / "bubblewrap"
        )
        self.images = self.directory / f"images-{_FORMAT}"
        self.named = NamedImages(self.images, self.directory / "names")

    def capability(self, reference: str | None) -> Capability | None:
        """Return what a reference asks for: a name is a container image's, unless an image made here has it."""
        found = image_capability(reference)
        made = found is Capability.CONTAINER_IMAGE and reference is not None and self.named.find(reference) is not None
        return Capability.SNAPSHOT if made else found

    def ensure(self, reference: str, progress: Callable[[str], None]) -> str:
        """Make an image available.

        Args:
            reference: The config's `image`.
            progress: Told what takes its time.

        Returns:
            What `rootfs` takes.

        Raises:
            ConfigError: It is another kind of reference, or the archive is broken or hostile.
            ImageNotFoundError: There is nothing under that path.
            EngineError: The archive can't be unpacked, or the cache can't be written.
        """
        if reference == HOST:
            return HOST
        kind, _, path = reference.partition(":")
        if kind not in {"dir", "tar"}:
            if (made := self.made(reference)) is None:
                reason = (
                    f"image={reference!r}: no snapshot and no build of this user has that name; other images of this "
                    "engine are 'host', 'dir:/path' (a root file system) and 'tar:/path' (a root file system, "
                    "`docker save` or OCI archive), and engines docker and podman have container images by name"
                )
                raise UnsupportedError(Capability.CONTAINER_IMAGE, "bubblewrap", reason)
            return made
        if not path:
            raise ConfigError(f"image={reference!r}: a path is missing, as in '{kind}:/path'")
        place = Path(path).expanduser().absolute()
        if kind == "dir":
            if not place.is_dir():
                raise ImageNotFoundError(
                    f"image={reference!r}: there is no directory {place}; unpack a root file system there"
                )
            return f"dir:{place}"
        return self._ensure_archive(place, reference, progress)

    def made(self, name: str) -> str | None:
        """Return what `rootfs` takes for the image of that name that was made here; None if there is none."""
        found = self.named.find(name)
        return None if found is None else _MADE + found

    def name(self, image: str, name: str) -> None:
        """Give an image that was made here a further name.

        Raises:
            ConfigError: The name is none.
            EngineError: It can't be written.
        """
        check_name(name)
        try:
            self.named.name(image.removeprefix(_MADE), name)
        except OSError as error:
            raise EngineError(f"the image can't be called {name!r} in the cache {self.directory} ({error})") from error

    def use(self, image: str) -> DirectoryUse | None:
        """Keep what `ensure` returned from being removed while a sandbox has it; None where nothing removes it.

        Raises:
            ImageNotFoundError: It is not there any more.
        """
        if not image.startswith(_MADE) and not _ARCHIVE.fullmatch(image):
            return None
        if (use := self.named.use(image.partition(":")[2])) is None:
            raise ImageNotFoundError(f"{image} was removed meanwhile")
        return use

    def _ensure_archive(self, place: Path, reference: str, progress: Callable[[str], None]) -> str:
        try:
            file = place.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ImageNotFoundError(
                f"image={reference!r}: no file {place} ({error.strerror}); `docker save -o FILE IMAGE` makes one"
            ) from error
        except OSError as error:
            raise ImageNotFoundError(f"image={reference!r}: {place} can't be read ({error.strerror})") from error
        with file:
            try:
                digest = self._digest(file)
                target = self.images / digest
                if not target.is_dir():
                    with self._locked(digest):
                        if not target.is_dir():
                            progress(f"unpacking {place}")
                            self._unpack(file, digest)
            except OSError as error:
                raise EngineError(
                    f"image={reference!r}: the cache {self.directory} can't be used ({error}); "
                    "options.cache_dir chooses another"
                ) from error
            except ArchiveError as error:
                raise ConfigError(f"wrong config: image={reference!r}: {place} can't be unpacked: {error}") from error
            except EngineError as error:
                raise type(error)(f"image={reference!r}: {place} can't be unpacked: {error}") from error
        return f"sha256:{digest}"

    @staticmethod
    def identity(name: str) -> str:
        """Return what `rootfs` takes for the image in the directory of that name."""
        return f"sha256:{name}" if _ARCHIVE.fullmatch(f"sha256:{name}") else _MADE + name

    def forget_digests(self) -> None:
        """Remove the notes on archives that are not unpacked here any more."""
        for note in (self.directory / "digests").glob("[0-9a-f]" * 64):  # not those that are being written
            with contextlib.suppress(OSError, ValueError):
                if not (self.images / note.read_text(encoding="ascii")).is_dir():
                    note.unlink()

    def _digest(self, file: IO[bytes]) -> str:
        """Return the content's digest, which is kept by the file's identity: a large archive takes seconds to read."""
        status = os.fstat(file.fileno())
        identity = f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        note = self.directory / "digests" / hashlib.sha256(identity.encode()).hexdigest()
        with contextlib.suppress(OSError):
            known = note.read_text(encoding="ascii")
            if _ARCHIVE.fullmatch(f"sha256:{known}"):
                return known
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        file.seek(0)
        self._make(note.parent)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False, encoding="ascii") as temporary:
            temporary.write(digest)
        Path(temporary.name).rename(note)
        return digest

    @contextlib.contextmanager
    def _locked(self, digest: str) -> Iterator[None]:
        """Hold off other processes that unpack the same; the kernel lets go of it when this one dies."""
        directory = self.directory / "locks"
        self._make(directory)
        path = directory / digest
        with contextlib.ExitStack() as stack:
            while True:
                lock = stack.enter_context(path.open("w", encoding="ascii"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                        break  # else its holder has removed it meanwhile
            stack.callback(path.unlink, missing_ok=True)
            yield

    def _unpack(self, file: IO[bytes], digest: str) -> None:
        def fill(rootfs: Path) -> ImageContent:
            before = os.fstat(file.fileno())
            check_room(str(rootfs), before.st_size)  # unpacked, an archive is no smaller
            config = unpack_archive(file, rootfs, agent_program().machine)
            after = os.fstat(file.fileno())
            if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
                raise EngineError("it was changed meanwhile; try again")
            owned = {str(uid): paths for uid, paths in config.owned.items()}
            return ImageContent(config.environment, config.user, owned)

        self.named.put(digest, fill)

    def _make(self, directory: Path) -> None:
        # For nobody else: an image may have files that its owner would not show to everyone.
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.mkdir(exist_ok=True, mode=0o700)

    def rootfs(self, image: str) -> Rootfs:
        """Return the root file system of what `ensure` returned.

        Raises:
            ImageNotFoundError: It is not there any more.
        """
        if image == HOST:
            return HostRootfs()
        if image.startswith("dir:"):
            root = image.removeprefix("dir:")
            if not os.path.isdir(root):  # noqa: PTH112
                raise ImageNotFoundError(f"the directory {root} is not there any more")
            return ImageRootfs(root)
        if not _ARCHIVE.fullmatch(image) and not image.startswith(_MADE):
            raise ConfigError(f"{image!r} is no image of engine 'bubblewrap'; ensure_image makes one of a reference")
        directory = self.images / image.partition(":")[2]
        try:
            config = json.loads((directory / "image.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ImageNotFoundError(f"{image} is not in the cache {self.directory} ({error})") from error
        kind = HostLayerRootfs if config.get("host") else ImageRootfs
        return kind(str(directory / "rootfs"), config["environment"], config["user"], config["owned"])
