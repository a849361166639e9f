"""ImageStore: the test images, built once, with the same bytes and the same id in every engine."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed import rootfs
from testbed.failure import TestbedError, run
from testbed.state import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.api import EngineApi
    from testbed.dockerd import Docker
    from testbed.podman import Podman

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CREATED = "2020-01-01T00:00:00Z"
"""The creation time of every image, so that an image that is built again from the same files is the same image."""

REVISION = 2
"""The version of the code that makes images: raised when the code changes, so that cached images are made anew."""


@dataclass(frozen=True)
class Recipe:
    """A test image."""

    name: str
    """The image's name in the image directory."""
    tags: tuple[str, ...]
    """The image's full names in every engine: Podman takes a short name for localhost's, and Docker for docker.io's."""
    command: tuple[str, ...]
    """The command that a container of the image runs by default."""


RECIPES = (
    Recipe("busybox", ("localhost/samebox-busybox:latest", "docker.io/library/busybox:latest"), ("sh",)),
    Recipe("scratch", ("localhost/samebox-scratch:latest",), ("/hello",)),
    Recipe("debian", ("localhost/samebox-debian:latest", "docker.io/library/python:3"), ("bash",)),
)


class ImageStore:
    """The directory with the images.

    Each image has NAME, an unpacked root; NAME.tar, the same root as a tar file; NAME.load.tar, the archive that
    engines load; NAME.json, a digest of the inputs that the image was made from; and some images have NAME.docker.tar
    and NAME.oci.tar, archives that engines wrote.

    Args:
        directory: The directory, made if need be.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ensure(self, recipe: Recipe) -> str:
        """Build an image unless it is there already.

        Returns:
            The image's id.

        Raises:
            TestbedError: The image cannot be built.
        """
        stamp = self._directory / f"{recipe.name}.json"
        inputs = (REVISION, recipe, rootfs.PACKAGES, rootfs.REQUIREMENTS, rootfs.HELLO, platform.machine())
        wanted = hashlib.sha256(repr(inputs).encode()).hexdigest()
        names = (recipe.name, f"{recipe.name}.tar", f"{recipe.name}.load.tar")
        try:
            found = json.loads(stamp.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            found = {}
        if found.get("inputs") == wanted and all((self._directory / name).exists() for name in names):
            return str(found["id"])
        # The new image is made beside the old image, which may be in use and so is missing only while files are
        # renamed.
        draft = self._directory / f".{recipe.name}"
        _discard(draft)
        draft.mkdir(parents=True)
        root, archive, load = (draft / name for name in names)
        root.mkdir()
        if recipe.name == "debian":
            rootfs.make_debian(archive)
            run(["tar", "--extract", "--file", archive, "--directory", root, "--numeric-owner"])
        else:
            {"busybox": rootfs.make_busybox, "scratch": rootfs.make_scratch}[recipe.name](root)
            _pack(root, archive)
        # Ordinary users of this machine can reach the directory, so its programs lose their set-uid bits, which the tar
        # keeps.
        run(["find", root, "-xdev", "-type", "f", "-perm", "/6000", "-exec", "chmod", "a-s", "{}", "+"])
        identity = _write_docker_archive(recipe, archive, load)
        old = self._directory / f".{recipe.name}.old"
        _discard(old)
        old.mkdir()
        for path in self._directory.glob(f"{recipe.name}*"):
            path.rename(old / path.name)
        for path in list(draft.iterdir()):
            path.rename(self._directory / path.name)
        write_atomically(stamp, json.dumps({"inputs": wanted, "id": identity}) + "\n")
        _discard(draft)
        _discard(old)
        return identity

    def load(self, recipe: Recipe, engine: Docker | Podman) -> bool:
        """Put an image into an engine, unless the engine has all its names, and they mean this image.

        Returns:
            Whether the image had to be loaded.

        Raises:
            TestbedError: The image cannot be built, the engine refuses it, or the engine knows it by another id.
        """
        identity = self.ensure(recipe)
        if _has(engine.api, recipe, identity):
            return False
        engine.api.upload("/images/load", self._directory / f"{recipe.name}.load.tar")
        if not _has(engine.api, recipe, identity):
            found = f"{' and '.join(recipe.tags)} do not all mean the image {identity}"
            tried = f"load the image {recipe.name} into {engine.name}"
            raise TestbedError(tried=tried, found=found, remedy="`down`, then `up` makes image and engine anew.")
        return True

    def export(self, recipe: Recipe, engine: Docker | Podman, kind: str) -> None:
        """Have an engine write an archive of an image, unless the archive is there.

        Code that reads archives is to be tested with archives that engines write, not with those of this module.

        Args:
            recipe: The image.
            engine: Docker for the kind `docker`, Podman for the kind `oci`.
            kind: `docker` for an archive as `docker save` writes it, `oci` for an OCI archive.

        Raises:
            TestbedError: The engine refuses.
        """
        destination = self._directory / f"{recipe.name}.{kind}.tar"
        tag = recipe.tags[0]
        path = f"/images/get?names={tag}" if kind == "docker" else f"/images/{tag}/get?format=oci-archive"
        if not destination.exists():
            engine.api.download(path, destination)


def _discard(directory: Path) -> None:
    """Remove a directory, if it is there."""
    if directory.exists():
        shutil.rmtree(directory)


def _has(api: EngineApi, recipe: Recipe, identity: str) -> bool:
    """Return whether every name of an image means the image with this id."""
    found = [api.find(f"/images/{tag}/json") for tag in recipe.tags]
    return all(image is not None and image["Id"].removeprefix("sha256:") == identity for image in found)


def _pack(root: Path, archive: Path) -> None:
    """Write a directory as a tar file in which everything belongs to root and is equally old."""

    def normal(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = 0
        return member

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, arcname=path.name, filter=normal)


def _write_docker_archive(recipe: Recipe, layer: Path, destination: Path) -> str:
    """Write an archive for `docker load` and `podman load`, with one layer.

    Returns:
        The image's id.
    """
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": CREATED,
        "config": {"Env": [PATH], "Cmd": list(recipe.command), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": CREATED, "created_by": f"samebox test image {recipe.name}"}],
    }
    encoded = json.dumps(config, sort_keys=True).encode()
    identity = hashlib.sha256(encoded).hexdigest()
    manifest = [{"Config": f"{identity}.json", "RepoTags": list(recipe.tags), "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(destination, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(layer, arcname=f"{digest}/layer.tar")
        for name, content in ((f"{identity}.json", encoded), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return identity
