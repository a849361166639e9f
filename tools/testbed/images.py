"""The test images: built once into a cache, the same bytes and the same image id in every engine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from testbed import rootfs
from testbed.failure import TestbedError, run
from testbed.state import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testbed.api import EngineApi
    from testbed.dockerd import Docker
    from testbed.podman import Podman

__all__ = ["RECIPES", "ImageStore", "Recipe"]

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Raise it when a recipe changes, so that cached images are made anew.
REVISION = 1


@dataclass(frozen=True)
class Recipe:
    """One test image.

    :ivar name: its name in the image directory
    :ivar tags: its names in every engine, in full: Podman takes a short one for localhost's, Docker for docker.io's
    :ivar command: what a container of it runs by default
    """

    name: str
    tags: tuple[str, ...]
    command: tuple[str, ...]


RECIPES = (
    Recipe("busybox", ("localhost/samebox-busybox:latest", "docker.io/library/busybox:latest"), ("sh",)),
    Recipe("scratch", ("localhost/samebox-scratch:latest",), ("/hello",)),
    Recipe("debian", ("localhost/samebox-debian:latest", "docker.io/library/python:3"), ("bash",)),
)


class ImageStore:
    """The directory of images.

    :param directory: for NAME (an unpacked root), NAME.tar (the same as a tar file), NAME.docker.tar and NAME.oci.tar
        (archives that engines wrote) and NAME.load.tar (what the engines load)
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ensure(self, recipe: Recipe) -> str:
        """Build an image unless it is in the cache.

        :returns: its id

        :raises TestbedError: when it cannot be built
        """
        stamp = self._directory / f"{recipe.name}.json"
        wanted = self._fingerprint(recipe)
        try:
            found = json.loads(stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            found = {}
        files = [self._directory / f"{recipe.name}{suffix}" for suffix in ("", ".tar", ".load.tar")]
        if found.get("fingerprint") == wanted and all(path.exists() for path in files):
            return str(found["id"])
        self.discard(recipe)
        self._directory.mkdir(parents=True, exist_ok=True)
        root, archive, load = files
        if recipe.name == "debian":
            rootfs.make_debian(archive)
            root.mkdir()
            run(["tar", "--extract", "--file", archive, "--directory", root, "--numeric-owner"])
        else:
            maker: Callable[[Path], None] = {"busybox": rootfs.make_busybox, "scratch": rootfs.make_scratch}[recipe.name]
            root.mkdir()
            maker(root)
            _pack(root, archive)
        _disarm(root)
        identity = _write_docker_archive(recipe, archive, load)
        write_atomically(stamp, json.dumps({"fingerprint": wanted, "id": identity}) + "\n")
        return identity

    def discard(self, recipe: Recipe) -> None:
        """Remove everything of one image from the cache."""
        for path in self._directory.glob(f"{recipe.name}*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def load(self, recipe: Recipe, engine: Docker | Podman) -> None:
        """Put an image into an engine, unless all its names are there and mean it.

        :raises TestbedError: when the engine refuses it, or knows it by another id afterwards
        """
        identity = self.ensure(recipe)
        if _has(engine.api, recipe, identity):
            return
        prefix = "/images/load"
        engine.api.upload(prefix, self._directory / f"{recipe.name}.load.tar")
        if not _has(engine.api, recipe, identity):
            found = f"{engine.name} doesn't know {' and '.join(recipe.tags)} as {identity}"
            raise TestbedError(f"load the image {recipe.name}", found, "Run `down`, then `up`.")

    def export(self, recipe: Recipe, engine: Docker | Podman, kind: str) -> None:
        """Have an engine write an archive of an image, unless it is there: tools read what engines write, not what we do.

        :param kind: `docker` for what `docker save` writes, `oci` for an OCI archive, which only Podman writes

        :raises TestbedError: when the engine refuses
        """
        destination = self._directory / f"{recipe.name}.{kind}.tar"
        if destination.exists():
            return
        path = f"/images/get?names={recipe.tags[0]}" if kind == "docker" else f"/images/{recipe.tags[0]}/get?format=oci-archive"
        engine.api.download(path, destination)

    def _fingerprint(self, recipe: Recipe) -> str:
        text = repr((REVISION, recipe, rootfs.PACKAGES, rootfs.HELLO, platform.machine()))
        return hashlib.sha256(text.encode()).hexdigest()


def _has(api: EngineApi, recipe: Recipe, identity: str) -> bool:
    """:returns: whether every name of an image means this id"""
    for tag in recipe.tags:
        found: Any = api.find(f"/images/{tag}/json")
        if found is None or found["Id"].removeprefix("sha256:") != identity:
            return False
    return True


def _pack(root: Path, archive: Path) -> None:
    """Write a directory as a tar file in which everything belongs to root and is equally old."""

    def normal(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = 0
        return member

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(os.listdir(root)):
            tar.add(root / name, arcname=name, filter=normal)


def _disarm(root: Path) -> None:
    """Take the set-uid bits from an unpacked root: ordinary users of this machine reach it."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118 - tens of thousands of files
            mode = os.lstat(path).st_mode
            if not os.path.islink(path) and mode & 0o6000:  # noqa: PTH114
                os.chmod(path, mode & 0o1777)  # noqa: PTH101


def _write_docker_archive(recipe: Recipe, layer: Path, destination: Path) -> str:
    """Write what `docker load` and `podman load` read, around one layer.

    :returns: the image's id
    """
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    created = "2020-01-01T00:00:00Z"
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": created,
        "config": {"Env": [PATH], "Cmd": list(recipe.command), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": f"samebox test image {recipe.name}"}],
    }
    encoded = json.dumps(config, sort_keys=True).encode()
    identity = hashlib.sha256(encoded).hexdigest()
    manifest = [{"Config": f"{identity}.json", "RepoTags": list(recipe.tags), "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(destination, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(layer, arcname=f"{digest}/layer.tar", recursive=False)
        for name, content in ((f"{identity}.json", encoded), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(content))
    return identity
