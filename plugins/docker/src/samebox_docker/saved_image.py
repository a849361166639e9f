"""SavedImage: the one image in what `docker save` writes or an OCI archive, ready to be loaded under another name."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samebox_docker.tar_stream import END, entry, members

if TYPE_CHECKING:
    from collections.abc import Iterator

_JSON_LIMIT = 4 << 20
_INDEXES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class SavedImage:
    """Where an archive has an image's config and layers."""

    config: str
    layers: tuple[str, ...]

    @classmethod
    def find(cls, archive: tarfile.TarFile, architecture: str) -> SavedImage | None:
        """Find the image in an archive.

        Args:
            archive: The archive.
            architecture: The daemon's, for an archive that has an image for several.

        Returns:
            The image; None: the archive is a root file system.

        Raises:
            ValueError: It has several images, or is broken.
            KeyError: A part of it is missing.
        """
        names = set(archive.getnames())
        if "manifest.json" in names:  # also newer ones of `docker save`, which are OCI archives as well
            (found,) = _one(_json(archive, "manifest.json"))
            return cls(str(found["Config"]), tuple(map(str, found["Layers"])))
        if {"oci-layout", "index.json"} <= names:
            return cls._from_index(archive, _json(archive, "index.json"), architecture)
        return None

    @classmethod
    def _from_index(cls, archive: tarfile.TarFile, index: Any, architecture: str) -> SavedImage:
        found = [item for item in index["manifests"] if _fits(item.get("platform"), architecture)]
        (descriptor,) = _one(found)
        content = _json(archive, _blob(descriptor))
        if descriptor.get("mediaType") in _INDEXES or "manifests" in content:
            return cls._from_index(archive, content, architecture)
        return cls(_blob(content["config"]), tuple(map(_blob, content["layers"])))

    def stream(self, archive: tarfile.TarFile, name: str) -> Iterator[bytes]:
        """Return the image as an archive that any Docker loads under one name.

        The names in the archive stay out: loading must not move a tag that the daemon's owner has. And Docker below 25
        loads no OCI archives.

        Args:
            archive: What it was found in.
            name: The name and tag.
        """
        manifest = json.dumps([{"Config": self.config, "RepoTags": [name], "Layers": self.layers}]).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        yield from members(archive, [self.config, *self.layers])
        yield from entry(info, io.BytesIO(manifest))
        yield END


def _one(images: list[Any]) -> list[Any]:
    if len(images) != 1:
        tags = ", ".join(str(tag) for image in images for tag in (image.get("RepoTags") or ()))
        msg = f"it has {len(images)} images that fit{f' ({tags})' if tags else ''}, and one is needed"
        raise ValueError(msg)
    return images


def _fits(platform: Any, architecture: str) -> bool:
    if not isinstance(platform, dict):
        return True
    return platform.get("os") == "linux" and platform.get("architecture") == _ARCHITECTURES.get(
        architecture, architecture
    )


def _blob(descriptor: Any) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    return f"blobs/{algorithm}/{digest}"


def _json(archive: tarfile.TarFile, name: str) -> Any:
    content = archive.extractfile(name)
    if content is None:
        raise KeyError(name)
    data = content.read(_JSON_LIMIT + 1)
    if len(data) > _JSON_LIMIT:
        msg = f"its {name} is larger than {_JSON_LIMIT} bytes"
        raise ValueError(msg)
    return json.loads(data)
