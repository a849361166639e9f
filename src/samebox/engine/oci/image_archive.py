"""ImageArchive and SavedImage: what `tar:` may lead to, a root file system or an image, told apart and read safely.

An image is what `docker save` and `podman save` write, or an OCI archive. Nothing in it is trusted: headers and
documents have limits, blobs have to be of their digests, links lead from one member to another, and none is written
anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from samebox.engine.oci.bounded import ArchiveError, BoundedFile, chunks, decompressed, reading
from samebox.engine.oci.tar_stream import END, entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_IMAGE_NAMES = re.compile(
    r"manifest\.json|index\.json|oci-layout|repositories|[0-9a-f]{64}\.json|[0-9a-f]{64}(/(json|VERSION|layer\.tar)?)?"
    r"|[0-9a-f]{64}\.tar(\.gz)?|blobs(/.*)?|\.?"
)
_DIGEST = re.compile(r"([a-z0-9]+):([0-9a-f]{32,128})")
_BLOB = re.compile(r"blobs/([a-z0-9]+)/([0-9a-f]+)")
_JSON_LIMIT = 1 << 20
_MOST_NAMES = 10_000
_MOST_NAME_BYTES = 8 << 20
_MOST_LINKS = 8
_MOST_INDEXES = 4
_REFERENCE = "org.opencontainers.image.ref.name"
_ALGORITHMS = frozenset({"sha256", "sha512"})
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class SavedImage:
    """The one image in an archive.

    Args:
        archive: Where it is.
        config: The name of the member with its config.
        layers: The names of the members with its layers, the lowest one first.
    """

    def __init__(self, archive: ImageArchive, config: str, layers: Sequence[str]) -> None:
        self._archive = archive
        self._config = config
        self._layers = layers

    def config(self) -> Any:
        """Return its config, whatever that is.

        Raises:
            ArchiveError: It is no JSON, or too long.
        """
        return self._archive.json(self._config)

    def layers(self) -> Iterator[IO[bytes]]:
        """Yield its layers, compressed or not, each closed before the next.

        Raises:
            ArchiveError: One is not there.
        """
        for name in self._layers:
            with self._archive.open(name) as layer:
                yield layer

    def stream(self, name: str) -> Iterator[bytes]:
        """Return it as an archive that any Docker or Podman loads under one name.

        The names in the archive stay out: loading must not move a tag that the service's owner has. And Docker below 25
        loads no OCI archives.

        Args:
            name: The name and tag.

        Raises:
            ArchiveError: A part of it is not there.
        """
        manifest = json.dumps([{"Config": self._config, "RepoTags": [name], "Layers": list(self._layers)}]).encode()
        for member in dict.fromkeys([self._config, *self._layers]):
            with self._archive.open(member) as content:
                yield from entry(_header(member, content.seek(0, os.SEEK_END)), _rewound(content))
        yield from entry(_header("manifest.json", len(manifest)), io.BytesIO(manifest))
        yield END


class ImageArchive:
    """A tar archive's members by name.

    Args:
        file: The archive, decompressed. Of a root file system with many files only the first names are looked at.

    Raises:
        ArchiveError: It is no tar archive.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._members: dict[str, tarfile.TarInfo] = {}
        self._checked: set[str] = set()
        self._strange = False
        """Whether there is a name that neither `docker save` nor OCI's tools give."""
        size = 0
        with reading("it is no tar archive"):
            file.seek(0)
            bounded: Any = BoundedFile(file)
            self._tar = tarfile.open(fileobj=bounded, mode="r:")  # noqa: SIM115 - the file is the caller's
            while (member := bounded.next(self._tar)) is not None and len(self._members) < _MOST_NAMES:
                if member.issparse():  # whose list of holes may be long
                    self._strange = True
                    continue
                # They may be long, and nobody asks for them.
                member.pax_headers, member.uname, member.gname = {}, "", ""
                size += len(member.name) + len(member.linkname)
                if size > _MOST_NAME_BYTES:
                    break
                name = member.name.removeprefix("./")
                self._strange = self._strange or _IMAGE_NAMES.fullmatch(name) is None
                self._members[name] = member

    @property
    def kind(self) -> str:
        """What it is: "docker" for what `docker save` writes, "oci", or "" for a root file system.

        Newer ones of `docker save` are OCI archives as well. A root file system may have files of these names too, but
        not with that in them.
        """
        if "manifest.json" in self._members and (not self._strange or self._says_image()):
            return "docker"
        if "index.json" in self._members and (not self._strange or "oci-layout" in self._members):
            return "oci"
        return ""

    def image(self, architecture: str) -> SavedImage | None:
        """Return the image in the archive; None: it is a root file system.

        Args:
            architecture: As `uname -m` or images name it, to choose from an image for several.

        Raises:
            ArchiveError: It is broken, has several images, or none for that architecture.
        """
        if not self.kind:
            return None
        return self._docker() if self.kind == "docker" else self._oci(_ARCHITECTURES.get(architecture, architecture))

    def open(self, name: str) -> IO[bytes]:
        """Open a member; docker save writes a layer that it has already as a link.

        Raises:
            ArchiveError: There is no such file, or its content is not what its digest says.
        """
        member = self._members.get(name.removeprefix("./"))
        for _ in range(_MOST_LINKS):
            if member is None or not (member.issym() or member.islnk()):
                break
            base = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
            parts: list[str] = []
            for part in (base / member.linkname).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            member = self._members.get("/".join(parts))
        data: IO[bytes] | None = None
        if member is not None and member.isreg():
            with reading(f"{name!r} can't be read"):
                data = self._tar.extractfile(member)
        if data is None:
            msg = f"it has no file {name!r}"
            raise ArchiveError(msg)
        if (blob := _BLOB.fullmatch(name)) is not None and name not in self._checked:
            _check_digest(data, blob[1], blob[2])
            self._checked.add(name)
        return data

    def json(self, name: str) -> Any:
        """Read a JSON member.

        Raises:
            ArchiveError: There is none, it is too long, or no JSON.
        """
        with self.open(name) as data, reading(f"{name!r} is not JSON"):
            if data.seek(0, os.SEEK_END) <= _JSON_LIMIT:
                return json.loads(_rewound(data).read())
        msg = f"{name!r} is longer than {_JSON_LIMIT} bytes"
        raise ArchiveError(msg)

    def _says_image(self) -> bool:
        try:
            manifest = self.json("manifest.json")
        except ArchiveError:
            return False
        return isinstance(manifest, list) and all(isinstance(each, dict) and "Layers" in each for each in manifest)

    def _docker(self) -> SavedImage:
        manifest = self.json("manifest.json")
        try:
            if len(manifest) != 1:
                tags = ", ".join(str((image.get("RepoTags") or ["untagged"])[0]) for image in manifest)
                raise _several(len(manifest), tags)
            return SavedImage(self, str(manifest[0]["Config"]), [str(layer) for layer in manifest[0]["Layers"]])
        except (LookupError, TypeError, AttributeError) as error:
            msg = f"its manifest.json is not as `docker save` writes it ({error!r})"
            raise ArchiveError(msg) from error

    def _oci(self, architecture: str) -> SavedImage:
        document = self.json("index.json")
        try:
            for _ in range(_MOST_INDEXES):
                if "manifests" not in document:
                    return SavedImage(self, _blob(document["config"]), [_blob(layer) for layer in document["layers"]])
                document = self.json(_blob(_choose(document["manifests"], architecture)))
        except (LookupError, TypeError, AttributeError) as error:
            msg = f"its index or manifest is not as OCI tools write it ({error!r})"
            raise ArchiveError(msg) from error
        msg = "its indexes are nested too deeply"
        raise ArchiveError(msg)


@contextlib.contextmanager
def open_archive(
    file: IO[bytes], architecture: str, directory: Path | None = None
) -> Iterator[tuple[IO[bytes], SavedImage | None]]:
    """Open what `tar:` leads to, for a `with`.

    Args:
        file: The archive at its beginning, maybe compressed.
        architecture: As `uname -m` or images name it.
        directory: Where a compressed image is decompressed for that time; None: where the system has temporary files.

    Yields:
        The archive decompressed, and the image in it; None: it is a root file system.

    Raises:
        ArchiveError: It is broken, has several images, none for that architecture, or is compressed in a way that
            nothing here can undo.
    """
    plain = decompressed(file)
    archive = ImageArchive(plain)
    if not archive.kind or plain is file:
        yield plain, archive.image(architecture)
        return
    # Layers are read in another order than they are stored in, which a compressed file does not allow.
    with tempfile.TemporaryFile(dir=directory) as copy:
        copy.writelines(chunks(plain))
        yield copy, ImageArchive(copy).image(architecture)


def _several(number: int, names: str) -> ArchiveError:
    return ArchiveError(f"it holds {number} images ({names[:500]}); save one alone")


def _choose(manifests: list[dict[str, Any]], architecture: str) -> dict[str, Any]:
    """Choose the manifest for an architecture; one that names none will do."""
    platforms = [each.get("platform") or {} for each in manifests]
    fitting = [
        each
        for each, platform in zip(manifests, platforms, strict=True)
        if platform.get("os") in {"linux", None} and platform.get("architecture") in {architecture, None}
    ]
    if len(fitting) > 1:
        names = ", ".join(str((each.get("annotations") or {}).get(_REFERENCE, "untagged")) for each in fitting)
        raise _several(len(fitting), names)
    if fitting:
        return fitting[0]
    found = ", ".join(str(platform.get("architecture")) for platform in platforms) or "nothing"
    msg = f"it is for {found[:500]}, not for {architecture}"
    raise ArchiveError(msg)


def _blob(descriptor: dict[str, Any]) -> str:
    match = _DIGEST.fullmatch(descriptor["digest"])
    if match is None:
        msg = f"a digest {str(descriptor['digest'])[:200]!r}"
        raise ArchiveError(msg)
    return f"blobs/{match[1]}/{match[2]}"


def _check_digest(data: IO[bytes], algorithm: str, expected: str) -> None:
    """Check a blob's content against its name, before anything is made of it; go back to its beginning."""
    if algorithm not in _ALGORITHMS:
        msg = f"a digest by {algorithm[:50]!r}; {' and '.join(sorted(_ALGORITHMS))} can be checked"
        raise ArchiveError(msg)
    with reading(f"the blob {algorithm}:{expected[:12]}... can't be read"):
        found = hashlib.file_digest(data, algorithm).hexdigest()  # type: ignore[arg-type]
        data.seek(0)
    if found != expected:
        msg = f"the blob {algorithm}:{expected[:200]} has other content, of the digest {found}; save the image anew"
        raise ArchiveError(msg)


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def _rewound(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    return file
