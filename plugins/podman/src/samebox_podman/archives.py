"""Archives: images from `tar:` and `dir:`, brought to the service once and named by a digest of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from samebox.errors import EngineError, ImageNotFoundError
from samebox_podman.images import inspect_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import stat_result

    from samebox_podman.client import PodmanClient
    from samebox_podman.images import ImageFacts

ARCHIVES = "localhost/samebox-tar"
DIRECTORIES = "localhost/samebox-dir"
SEND_WITHIN = 1800.0
"""How long the service may take to unpack an archive, in seconds."""
_CHUNK = 1 << 20
_MOST_METADATA = 4 << 20
_digests: dict[tuple[Path, int, int, int, int], str] = {}

Kind = Literal["rootfs", "docker", "oci"]


def archive_image(client: PodmanClient, path: Path, progress: Callable[[str], None]) -> ImageFacts:
    """Return the image of an archive: a root file system, what `docker save` writes, or an OCI archive.

    Args:
        client: The service.
        path: The archive on this host, compressed by gzip, bzip2 or xz, or not.
        progress: Told what is being done.

    Raises:
        ImageNotFoundError: It can't be read, or holds no image or more than one.
        EngineError: The service refused it.
    """
    try:
        name = f"{ARCHIVES}:{_digest(path)[:24]}"
        if (facts := inspect_image(client, name)) is not None:
            return facts
        with tarfile.open(path) as archive:
            kind = _kind(archive)
        progress(f"bringing {path} to Podman")
        if kind == "rootfs":
            return _import(client, name, _members(path, _as_it_is))
        rewrite = _docker_named(name) if kind == "docker" else _oci_named(name)
        return _load(client, name, _members(path, rewrite))
    except (OSError, tarfile.TarError) as error:
        if isinstance(error, EngineError):
            raise
        raise ImageNotFoundError(
            f"image 'tar:{path}' can't be read: {error}. It has to be a tar archive (gzip, bzip2, xz or none) on this "
            "host: a root file system, what `docker save` or `podman save` writes, or an OCI archive."
        ) from error


def directory_image(client: PodmanClient, path: Path, progress: Callable[[str], None]) -> ImageFacts:
    """Return the image of a directory that holds a root file system; the directory itself is never written to.

    It is imported rather than used in place (Podman's `rootfs`), as that needs the directory on the service's host and
    readable there by the containers' user.

    Args:
        client: The service.
        path: The directory on this host.
        progress: Told what is being done.

    Raises:
        ImageNotFoundError: It can't be read.
        EngineError: The service refused it.
    """
    try:
        if not path.is_dir():
            raise NotADirectoryError(20, "not a directory", str(path))
        entries = [_Entry(each, each.lstat()) for each in _walk(path)]
        name = f"{DIRECTORIES}:{_directory_digest(path, entries)[:24]}"
        if (facts := inspect_image(client, name)) is not None:
            return facts
        progress(f"bringing {path} to Podman")
        return _import(client, name, _packed(path, entries))
    except OSError as error:
        if isinstance(error, EngineError):
            raise
        raise ImageNotFoundError(
            f"image 'dir:{path}' can't be read: {error}. It has to be a directory on this host that holds a root file "
            "system, readable by this user."
        ) from error


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, read again only when it has changed."""
    stat = path.stat()
    key = (path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[key]


def _kind(archive: tarfile.TarFile) -> Kind:
    names = {}
    for member in archive:
        names[_plain(member.name)] = member
    if "manifest.json" in names:
        manifest = _metadata(archive, names["manifest.json"])
        if isinstance(manifest, list) and all(isinstance(each, dict) and "Layers" in each for each in manifest):
            if len(manifest) != 1:
                raise tarfile.TarError(f"it holds {len(manifest)} images; save one alone")
            return "docker"
    if {"index.json", "oci-layout"} <= names.keys():
        found = len(_metadata(archive, names["index.json"]).get("manifests", []))
        if found != 1:
            raise tarfile.TarError(f"it holds {found} images; save one alone")
        return "oci"
    return "rootfs"


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _metadata(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = archive.extractfile(member) if member.isreg() and member.size <= _MOST_METADATA else None
    if file is None:
        return None
    with file:
        try:
            return json.loads(file.read())
        except ValueError:
            return None


def _as_it_is(_name: str, data: bytes) -> bytes | None:
    return data


def _docker_named(name: str) -> Callable[[str, bytes], bytes | None]:
    """Return what names the image in an archive of `docker save`: loaded as it is, it would take over its old names."""

    def rewrite(member: str, data: bytes) -> bytes | None:
        if member == "manifest.json":
            manifest = json.loads(data)
            manifest[0]["RepoTags"] = [name]
            return json.dumps(manifest).encode()
        # Docker 25 saves both forms in one archive, and this one's names are not those.
        return None if member in {"repositories", "index.json", "oci-layout"} else data

    return rewrite


def _oci_named(name: str) -> Callable[[str, bytes], bytes | None]:
    def rewrite(member: str, data: bytes) -> bytes | None:
        if member != "index.json":
            return data
        index = json.loads(data)
        index["manifests"][0]["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
        }
        return json.dumps(index).encode()

    return rewrite


_NAMING = frozenset({"manifest.json", "repositories", "index.json", "oci-layout"})


def _members(path: Path, rewrite: Callable[[str, bytes], bytes | None]) -> Iterator[bytes]:
    """Yield an archive anew, uncompressed, with what names its images rewritten or left out."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if _plain(member.name) in _NAMING and member.isreg() and member.size <= _MOST_METADATA:
                file = archive.extractfile(member)
                data = rewrite(_plain(member.name), file.read() if file else b"")
                if data is None:
                    continue
                member.size = len(data)
                yield from _framed(member, iter([data]))
            elif member.isreg():
                file = archive.extractfile(member)
                yield from _framed(member, _blocks(file))
            else:
                yield from _framed(member, iter(()))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _blocks(file: IO[bytes] | None) -> Iterator[bytes]:
    while file is not None and (block := file.read(_CHUNK)):
        yield block


def _framed(member: tarfile.TarInfo, content: Iterator[bytes]) -> Iterator[bytes]:
    """Yield one member of an archive; exactly `member.size` bytes of content, whatever a file that changes has."""
    yield member.tobuf(tarfile.PAX_FORMAT)
    left = member.size if member.isreg() else 0
    for part in content:
        yield part[:left]
        left -= min(left, len(part))
        if not left:
            break
    while left:
        yield bytes(min(left, _CHUNK))
        left -= min(left, _CHUNK)
    yield bytes(-(member.size if member.isreg() else 0) % tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    stat: stat_result


def _walk(directory: Path) -> Iterator[Path]:
    """Yield what is below a directory, in a fixed order, never following a link."""

    def fail(error: OSError) -> None:
        raise error

    for parent, directories, files in os.walk(directory, onerror=fail):
        directories.sort()
        yield from (Path(parent, name) for name in sorted([*directories, *files]))


def _directory_digest(directory: Path, entries: list[_Entry]) -> str:
    """Digest what a change of the tree changes: names, owners, modes, sizes and the times of the last change."""
    digest = hashlib.sha256()
    for entry in entries:
        stat = entry.stat
        name = os.fsencode(entry.path.relative_to(directory))
        facts = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size, stat.st_rdev, stat.st_mtime_ns, stat.st_ctime_ns)
        digest.update(repr((name, stat.st_ino, facts)).encode())
    return digest.hexdigest()


def _packed(directory: Path, entries: list[_Entry]) -> Iterator[bytes]:
    """Yield a directory as an archive; sockets have no place in one."""
    archive = tarfile.TarFile(os.devnull, "w")
    with archive:
        for entry in entries:
            member = archive.gettarinfo(entry.path, str(entry.path.relative_to(directory)))
            if member is None:
                continue
            if member.isreg():
                with entry.path.open("rb") as file:
                    yield from _framed(member, _blocks(file))
            else:
                yield from _framed(member, iter(()))
    yield bytes(2 * tarfile.BLOCKSIZE)


def directory_archive(mode: int) -> bytes:
    """Return an archive of one directory, the one that it is put into.

    Args:
        mode: Permission bits.
    """
    member = tarfile.TarInfo("./")
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, mode, int(time.time())
    return member.tobuf(tarfile.PAX_FORMAT) + bytes(2 * tarfile.BLOCKSIZE)


def _import(client: PodmanClient, name: str, data: Iterator[bytes]) -> ImageFacts:
    params = {"reference": name}
    client.call("post", "/images/import", params=params, data=data, timeout=SEND_WITHIN)
    return _arrived(client, name)


def _load(client: PodmanClient, name: str, data: Iterator[bytes]) -> ImageFacts:
    client.call("post", "/images/load", data=data, timeout=SEND_WITHIN)
    return _arrived(client, name)


def _arrived(client: PodmanClient, name: str) -> ImageFacts:
    facts = inspect_image(client, name)
    if facts is None:
        raise EngineError(f"Podman at {client.address.url} took an archive, but has no image {name}")
    return facts
