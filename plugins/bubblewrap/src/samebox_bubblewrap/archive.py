"""ImageArchive: what `tar:` may lead to: a root file system, or an image as `docker save` and OCI tools write it."""

from __future__ import annotations

import bz2
import gzip
import importlib
import json
import lzma
import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from samebox.errors import EngineError
from samebox_bubblewrap.unpack import MOST_BYTES, BoundedFile, Unpacker, UnpackError

__all__ = ["ImageConfig", "unpack_archive"]

_IMAGE_NAMES = re.compile(
    r"(\./)?(manifest\.json|index\.json|oci-layout|repositories|[0-9a-f]{64}\.json|[0-9a-f]{64}(/(json|VERSION|layer\.tar)?)?"
    r"|[0-9a-f]{64}\.tar(\.gz)?|blobs(/.*)?)"
)
_DIGEST = re.compile(r"([a-z0-9]+):([0-9a-f]{32,128})")
_JSON_LIMIT = 1 << 20
_MOST_NAMES = 10_000
_MOST_ENV = 128 << 10
_ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about the processes in it."""

    environment: dict[str, str]
    user: str
    owned: dict[int, list[str]]
    """The topmost directories of users other than root, by uid."""


def unpack_archive(file: IO[bytes], target: Path, machine: str) -> ImageConfig:
    """Unpack an archive.

    Args:
        file: The archive, at its beginning; maybe compressed with gzip, bzip2, xz or zstd.
        target: An empty directory for the root file system.
        machine: "x86_64" or "aarch64", to choose from an image for several.

    Returns:
        What the image says about processes.

    Raises:
        EngineError: It is broken, hostile, for another processor, or of an unknown kind.
    """
    unpacker = Unpacker(target)
    plain = _decompressed(file)
    if not _is_image(plain):
        plain.seek(0)
        unpacker.add(plain, layer=False)
        return ImageConfig({}, "", unpacker.owned)
    with tempfile.TemporaryFile(dir=target.parent) as copy:
        if plain is not file:
            # Layers are read in another order than they are stored in, which a compressed file does not allow.
            plain.seek(0)
            _copy(plain, copy)
            plain = copy
        image = _Image(plain)
        config, layers = image.docker() if "manifest.json" in image.names else image.oci(machine)
        for layer in layers:
            with image.open(layer) as data:
                unpacker.add(_decompressed(data), layer=True)
    return _config(config, unpacker.owned)


def _open(file: IO[bytes]) -> tarfile.TarFile:
    bounded: Any = BoundedFile(file, MOST_BYTES)
    return tarfile.open(fileobj=bounded, mode="r:")


def _is_image(file: IO[bytes]) -> bool:
    """Tell an image from a root file system: an image has nothing but the names that the two formats define."""
    found = False
    file.seek(0)
    try:
        with _open(file) as tar:
            for _ in range(_MOST_NAMES):
                member = tar.next()
                if member is None:
                    break
                if member.name not in {"", "."} and not _IMAGE_NAMES.fullmatch(member.name):
                    return False
                found |= member.name.removeprefix("./") in {"manifest.json", "index.json"}
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise UnpackError(f"it is no tar archive ({str(error) or type(error).__name__})") from error
    return found


class _Image:
    """An image's archive, with its members by name."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self._tar = _open(file)
        self.names: dict[str, tarfile.TarInfo] = {}
        while (member := self._tar.next()) is not None and len(self.names) < _MOST_NAMES:
            self.names[member.name.removeprefix("./")] = member

    def open(self, name: str) -> IO[bytes]:
        """Open a member; docker save writes a layer that it has already as a link."""
        member = self.names.get(name)
        for _ in range(8):
            if member is None or not (member.issym() or member.islnk()):
                break
            base = Path(member.name).parent if member.issym() else Path()
            parts: list[str] = []
            for part in (base / member.linkname).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            member = self.names.get("/".join(parts))
        data: IO[bytes] | None = self._tar.extractfile(member) if member is not None and member.isreg() else None
        if data is None:
            raise UnpackError(f"it has no file {name!r}")
        return data

    def json(self, name: str) -> Any:
        """Read a JSON member."""
        with self.open(name) as data:
            text = data.read(_JSON_LIMIT + 1)
        if len(text) > _JSON_LIMIT:
            raise UnpackError(f"{name!r} is longer than {_JSON_LIMIT} bytes")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnpackError(f"{name!r} is not JSON ({error})") from error

    def docker(self) -> tuple[Any, list[str]]:
        """Return the config and the layers' names of a `docker save` archive."""
        manifest = self.json("manifest.json")
        try:
            if len(manifest) != 1:
                tags = ", ".join(str((image.get("RepoTags") or ["untagged"])[0]) for image in manifest)
                raise UnpackError(f"it holds {len(manifest)} images ({tags[:500]}); save one alone")
            return self.json(str(manifest[0]["Config"])), [str(layer) for layer in manifest[0]["Layers"]]
        except (LookupError, TypeError, AttributeError) as error:
            raise UnpackError(f"its manifest.json is not as `docker save` writes it ({error!r})") from error

    def oci(self, machine: str) -> tuple[Any, list[str]]:
        """Return the config and the layers' names of an OCI archive."""
        document = self.json("index.json")
        try:
            for _ in range(4):
                if "manifests" not in document:
                    return self.json(_blob(document["config"])), [_blob(layer) for layer in document["layers"]]
                document = self.json(_blob(_choose(document["manifests"], machine)))
        except (LookupError, TypeError, AttributeError) as error:
            raise UnpackError(f"its index or manifest is not as OCI tools write it ({error!r})") from error
        raise UnpackError("its indexes are nested too deeply")


def _choose(manifests: list[dict[str, Any]], machine: str) -> dict[str, Any]:
    """Choose the manifest for this processor; one that names none will do."""
    wanted = _ARCHITECTURES[machine]
    found = [(entry.get("platform") or {}).get("architecture") for entry in manifests]
    for architecture, entry in zip(found, manifests, strict=True):
        if architecture in {wanted, None}:
            return entry
    raise UnpackError(f"it is for {', '.join(map(str, found)) or 'nothing'}, not for {wanted}")


def _blob(descriptor: dict[str, Any]) -> str:
    match = _DIGEST.fullmatch(descriptor["digest"])
    if match is None:
        raise UnpackError(f"a digest {str(descriptor['digest'])[:200]!r}")
    return f"blobs/{match[1]}/{match[2]}"


def _config(document: Any, owned: dict[int, list[str]]) -> ImageConfig:
    """Take from an image's config what processes need, not trusting a word of it."""
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        return ImageConfig({}, "", owned)
    environment: dict[str, str] = {}
    size = 0
    for item in config.get("Env") or ():
        name, equals, value = str(item).partition("=")
        size += len(str(item))
        if size > _MOST_ENV or "\0" in str(item):
            raise UnpackError(f"its Env has more than {_MOST_ENV} bytes or a NUL")
        if name and equals:
            environment[name] = value
    return ImageConfig(environment, str(config.get("User") or "")[:256], owned)


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """Return the file itself, or one that decompresses it, by its first bytes."""
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


def _zstd(file: IO[bytes]) -> IO[bytes]:
    for name in _ZSTD_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        opened: IO[bytes] = module.open(file, "rb")
        return opened
    raise EngineError(
        "it is compressed with zstd, which needs Python 3.14 or the distribution backports.zstd; "
        "install that, or save the image with gzip or uncompressed"
    )


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    left = MOST_BYTES
    while data := source.read(1 << 20):
        left -= len(data)
        if left < 0:
            raise UnpackError(f"more than {MOST_BYTES} bytes of content")
        target.write(data)
    target.seek(0)
