"""Images from this host's files: `tar:PATH` and `dir:PATH`, brought to a service once for each content."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from samebox.engine.labels import MADE
from samebox.engine.making import making
from samebox.engine.oci import tar_stream
from samebox.engine.oci.bounded import ArchiveError, chunks
from samebox.engine.oci.image_archive import open_archive
from samebox.engine.oci.refusal import RefusedError
from samebox.errors import ConfigError, EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from samebox.engine.oci.image_facts import ImageFacts

ARCHIVES = "localhost/samebox-tar"
"""Images made from archives; the tag is the archive's digest."""
DIRECTORIES = "localhost/samebox-dir"
"""Images made from directories; the tag stands for the path."""
CONTENT = "samebox.content"
"""The label with the fingerprint of the directory that an image was made from."""
SEND_WITHIN = 3600.0
"""How long a service may take for an archive, in seconds."""
_digests: dict[tuple[str, int, int, int, int], str] = {}


class ImageStore(Protocol):
    """What an engine does with an image that comes from this host."""

    @property
    def engine(self) -> str:
        """Which engine and where, for errors: "Docker at unix:///run/docker.sock"."""

    def find(self, name: str) -> ImageFacts | None:
        """Return what is known of an image; None if it is not there."""

    def architecture(self) -> str:
        """Return that of the service's host, as `uname -m` or images name it."""

    def load(self, data: Iterable[bytes], progress: Callable[[str], None]) -> None:
        """Load what `docker save` writes.

        Raises:
            RefusedError: The service refused it.
        """

    def import_root(self, name: str, data: Iterable[bytes], labels: Mapping[str, str]) -> None:
        """Make an image of a root file system, and give it a name, even if another image has that.

        Raises:
            RefusedError: The service refused it.
        """

    def tag(self, image: str, name: str) -> None:
        """Give an image, named by its id, a further name."""

    def remove(self, image: str) -> None:
        """Remove an image by its id.

        Raises:
            RefusedError: A container has it.
        """


def local_image(store: ImageStore, reference: str, progress: Callable[[str], None]) -> ImageFacts | None:
    """Make the image of a file or directory of this host available.

    Args:
        store: The service's images.
        reference: What the config's image is.
        progress: Is told of each step.

    Returns:
        What is known of it; None: the reference is neither `tar:PATH` nor `dir:PATH`.

    Raises:
        ImageNotFoundError: There is nothing under that path, or it can't be read.
        ConfigError: It is no archive that can be read, or has several images.
        EngineError: The service refused it.
    """
    kind, _, path = reference.partition(":")
    if kind == "tar":
        return archive_image(store, path, progress)
    return directory_image(store, path, progress) if kind == "dir" else None


def archive_image(store: ImageStore, path: str, progress: Callable[[str], None]) -> ImageFacts:
    """Load or import an archive, unless the service has one of the same digest already.

    Args:
        store: The service's images.
        path: A root file system as tar (compressed by gzip, bzip2, xz, zstd, or not), or what `docker save` writes, or
            an OCI archive; with one image in it.
        progress: Is told of each step.

    Raises:
        ImageNotFoundError: There is no such file, or it can't be read.
        ConfigError: It is no such archive, or has several images.
        EngineError: The service refused it.
    """
    what = f"tar:{path}"
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        hint = f"; it is a directory: write image='dir:{path}'" if file.is_dir() else ""
        msg = f"the image {what!r} is an archive on this host, but there is no file {file}{hint}"
        raise ImageNotFoundError(msg)
    with _reading(what):
        name = f"{ARCHIVES}:{_digest(file)[:40]}"
        if (facts := store.find(name)) is not None:
            return facts
        with making(_key(store, name), progress):
            if (facts := store.find(name)) is not None:
                return facts
            progress(f"bringing {file} to {_service(store)}")
            with (
                file.open("rb") as content,
                open_archive(content, store.architecture()) as (plain, image),
                _accepting(store, what),
            ):
                if image is not None:
                    store.load(_passing(what, image.stream(name)), progress)
                    if (loaded := store.find(name)) is not None:
                        store.tag(loaded.id, name)  # Docker notes when it gets a name, but not by this way
                else:
                    store.import_root(name, _passing(what, chunks(plain)), {MADE: "archive"})
    return _arrived(store, name)


def directory_image(store: ImageStore, path: str, progress: Callable[[str], None]) -> ImageFacts:
    """Import a directory as a root file system, unless it was imported and nothing in it has changed since.

    The directory itself is never written to, and need not be on the service's host.

    Args:
        store: The service's images.
        path: The directory.
        progress: Is told of each step.

    Raises:
        ImageNotFoundError: There is no such directory, or something in it can't be read.
        EngineError: The service refused it.
    """
    what = f"dir:{path}"
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        hint = f"; it is a file: write image='tar:{path}'" if root.is_file() else ""
        msg = f"the image {what!r} is a directory on this host, but there is none at {root}{hint}"
        raise ImageNotFoundError(msg)
    with _reading(what):
        content = tar_stream.fingerprint(root)
        name = f"{DIRECTORIES}:{hashlib.sha256(bytes(root)).hexdigest()[:40]}"
        if (facts := _imported(store, name, content)) is not None:
            return facts
        with making(_key(store, name), progress):
            if (facts := _imported(store, name, content)) is not None:
                return facts
            before = store.find(name)
            progress(f"bringing {root} to {_service(store)}")
            with _accepting(store, what):
                labels = {CONTENT: content, MADE: "directory"}
                store.import_root(name, _passing(what, tar_stream.tree(root)), labels)
            if before is not None:
                try:
                    store.remove(before.id)
                except RefusedError:  # a sandbox has it: with a name of its own it stays in the list of images
                    store.tag(before.id, f"{name[:-12]}{before.id[-12:]}")
    return _arrived(store, name)


def _imported(store: ImageStore, name: str, content: str) -> ImageFacts | None:
    facts = store.find(name)
    return facts if facts is not None and facts.labels.get(CONTENT) == content else None


def _key(store: ImageStore, name: str) -> str:
    return hashlib.sha256(f"{store.engine} {name}".encode()).hexdigest()[:40]


def _service(store: ImageStore) -> str:
    return store.engine.partition(" at ")[0]


def _arrived(store: ImageStore, name: str) -> ImageFacts:
    facts = store.find(name)
    if facts is None:
        msg = f"{store.engine} took an archive, but has no image {name}"
        raise EngineError(msg)
    return facts


def _digest(file: Path) -> str:
    """Return the SHA-256 of a file, read again only when it has changed."""
    status = file.stat()
    key = str(file), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if key not in _digests:
        with file.open("rb") as content:
            _digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
    return _digests[key]


@contextlib.contextmanager
def _accepting(store: ImageStore, what: str) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        msg = f"{store.engine} did not accept the image {what!r}: {error.words}"
        raise EngineError(msg) from None


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        msg = (
            f"wrong config: image = {what!r}: it is no root file system, `docker save` or OCI archive that can be "
            f"read: {error}"
        )
        raise ConfigError(msg) from None
    except OSError as error:
        msg = (
            f"the image {what!r} can't be read: {error.strerror}: {error.filename!r}. Give one that this user may read."
        )
        raise ImageNotFoundError(msg) from None


def _passing(what: str, data: Iterable[bytes]) -> Iterator[bytes]:
    """Hand data on; the HTTP client would take an OSError in here for one of its connection."""
    with _reading(what):
        yield from data
