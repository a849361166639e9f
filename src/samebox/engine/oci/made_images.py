"""MadeImages: the images of a service that samebox has made, known by names that nobody else gives.

Labels alone do not tell them: an image that somebody builds on one of them inherits its labels. So each has a name in
one of samebox's own repositories as well, and the label says that all of its other names are samebox's too. An archive
of an image is loaded as it is, without the label: it may be the very image that somebody has pulled, and then only
samebox's own name is taken away again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from samebox.engine.images import BUILDS, ImageKind, ImageStatus, find_image, in_use
from samebox.engine.labels import MADE
from samebox.engine.oci.local_images import ARCHIVES, DIRECTORIES
from samebox.engine.oci.reference import LOCAL, has_registry
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import text_labels
from samebox.errors import EngineError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from samebox.engine.oci.image_facts import ImageFacts

SNAPSHOTS = "localhost/samebox-snapshot"
"""Snapshots, beside the names that they were given; the tag is a random one."""
_KINDS: dict[str, ImageKind] = {
    ARCHIVES: "archive",
    DIRECTORIES: "directory",
    BUILDS: "build",
    SNAPSHOTS: "snapshot",
}


class NamedImages(Protocol):
    """What an engine does with the images of its service, and with their names."""

    @property
    def engine(self) -> str:
        """Which engine and where, for errors: "Docker at unix:///run/docker.sock"."""

    def find(self, name: str) -> ImageFacts | None:
        """Return what is known of an image; None if it is not there."""

    def images(self) -> Iterable[Mapping[str, Any]]:
        """Return the service's list of images: Id, RepoTags, Labels, Created and Size of each."""

    def containers(self) -> Iterable[Mapping[str, Any]]:
        """Return the service's list of all containers, whoever made them: ImageID and Names of each."""

    def tag(self, image: str, name: str) -> None:
        """Give an image, named by its id, a further name; whatever has the name loses it."""

    def untag(self, name: str) -> None:
        """Take a full name away, and with the last one the image; nothing happens if nothing has the name.

        Raises:
            RefusedError: It is the last one, and a container has the image.
        """


class MadeImages:
    """The images of one service that samebox has made.

    Args:
        store: The service's images.
        local: Whether the service gives names without a registry the beginning `localhost/`, as Podman does.
    """

    def __init__(self, store: NamedImages, *, local: bool = False) -> None:
        self._store = store
        self._local = local

    def list(self) -> list[ImageStatus]:
        """Return all of them, by their names."""
        users = _users(self._store)
        found = []
        for row in sorted(self._store.images(), key=_names):
            kinds = [kind for name in _names(row) if (kind := _kind(name)) is not None]
            if kinds:
                found.append(self._status(row, kinds[0], users.get(str(row["Id"]), ())))
        return found

    def remove(self, name: str) -> None:
        """Remove one of them with all of its names, or of an image that is not samebox's alone samebox's name.

        Args:
            name: One of its names, or its id.

        Raises:
            ImageNotFoundError: It is not there.
            EngineError: A container has it, or samebox did not make it.
        """
        engine = self._store.engine
        try:
            found = find_image(self.list(), name, engine)
        except ImageNotFoundError:
            if self._store.find(name) is None:
                raise
            msg = f"the image {name!r} on {engine} was not made by samebox, and is not removed"
            raise EngineError(msg) from None
        if found.used_by:
            raise in_use(name, engine, found.used_by)
        self._untag(found.id, name)
        with contextlib.suppress(OSError, RuntimeError):
            _note(found.id).unlink()

    def keep(self, name: str, commit: Callable[[str], str]) -> None:
        """Make a snapshot, and give it its name; one that has lost the name by that is removed unless it is in use.

        Args:
            name: The full name.
            commit: Makes an image of the name that it is told, and returns its id.
        """
        before = self._store.find(name)
        own = f"{SNAPSHOTS}:{secrets.token_hex(16)}"
        identity = commit(own)
        try:
            self._store.tag(identity, name)
        except BaseException:
            self._store.untag(own)
            raise
        for each in self.list():
            if before is not None and each.id == before.id != identity and not each.names:
                with contextlib.suppress(EngineError):  # it stays in the list
                    self.remove(each.id)

    def _untag(self, image: str, called: str) -> None:
        """Take away the names one by one, samebox's own last; all of them come back if a container is faster."""
        gone: list[str] = []
        for name in _names_to_go(self._store, image):
            try:
                self._store.untag(name)
            except RefusedError as error:
                for each in gone:
                    with contextlib.suppress(RefusedError):
                        self._store.tag(image, each)
                users = _users(self._store).get(image)
                if users:
                    raise in_use(called, self._store.engine, users) from None
                msg = f"{self._store.engine} could not remove the image {called!r}: {error.words}"
                raise EngineError(msg) from None
            gone.append(name)

    def _status(self, row: Mapping[str, Any], kind: ImageKind, users: Iterable[str]) -> ImageStatus:
        identity = str(row["Id"])
        return ImageStatus(
            id=identity,
            kind=kind,
            names=tuple(self._shown(name) for name in sorted(_ours(row)) if not name.startswith(f"{SNAPSHOTS}:")),
            size=int(row.get("Size") or 0),
            created=max(float(row["Created"]), 0.0) or None,  # an archive's image may say the year 1
            used=last_use(identity),
            used_by=tuple(users),
        )

    def _shown(self, name: str) -> str:
        """Return a name as the config's `image` has it."""
        short = name.removesuffix(":latest")
        plain = short.removeprefix(LOCAL)
        return plain if self._local and _kind(name) is None and not has_registry(plain) else short


def _users(store: NamedImages) -> dict[str, list[str]]:
    """Return the names of the containers of each image, by its id."""
    users: dict[str, list[str]] = {}
    for container in store.containers():
        name = str((container.get("Names") or [container.get("Id")])[0]).removeprefix("/")
        users.setdefault(str(container.get("ImageID")), []).append(name)
    return users


def _names_to_go(store: NamedImages, image: str) -> list[str]:
    """Return the full names of an image that are samebox's, those that only samebox gives last."""
    for row in store.images():
        if row["Id"] == image:
            return _ours(row)
    return []


def _ours(row: Mapping[str, Any]) -> list[str]:
    names = _names(row)
    own = [name for name in names if _kind(name) is not None]
    return [*(name for name in names if name not in own and MADE in text_labels(row)), *own]


def note_use(facts: ImageFacts, reference: str = "") -> None:
    """Note that a sandbox or a build begins with an image, if samebox has made that: services do not tell.

    It is a file of this user on this host, whose time counts. What others use on the same service is not known.

    Args:
        facts: What is known of the image.
        reference: What the config calls it.
    """
    if MADE not in facts.labels and not reference.startswith("tar:"):
        return
    with contextlib.suppress(OSError, RuntimeError):  # without a home, its age is that of the image
        note = _note(facts.id)
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        note.touch()


def last_use(image: str) -> float | None:
    """Return when this user last made a sandbox of an image, in seconds since 1970; None: not known."""
    try:
        return _note(image).stat().st_mtime
    except (OSError, RuntimeError):
        return None


def _note(image: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return cache / "samebox" / "used" / image.removeprefix("sha256:")


def _names(row: Mapping[str, Any]) -> list[str]:
    return sorted(str(name) for name in row.get("RepoTags") or () if not str(name).startswith("<none>"))


def _kind(name: str) -> ImageKind | None:
    return _KINDS.get(name.rpartition(":")[0])
