"""Creation: how a config becomes the record of a sandbox, with everything that it uses checked and kept for it."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.engine.labels import MANAGED
from samebox.errors import UnsupportedError
from samebox_bubblewrap.devices import device_words
from samebox_bubblewrap.hostuser import allocate
from samebox_bubblewrap.mounts import is_inside
from samebox_bubblewrap.plan import make_plan
from samebox_bubblewrap.sandboxes import SandboxRecord
from samebox_bubblewrap.stage import HostPath, check_owners

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.model import SandboxConfig
    from samebox_bubblewrap.directories import DirectoryUse
    from samebox_bubblewrap.hostuser import HostUser
    from samebox_bubblewrap.images import ImageStore
    from samebox_bubblewrap.plan import Plan
    from samebox_bubblewrap.rootfs import Rootfs
    from samebox_bubblewrap.volumes import VolumeStore

__all__ = ["capability_of", "make_record"]


def make_record(
    config: SandboxConfig,
    image: str,
    name: str,
    labels: Mapping[str, str],
    *,
    images: ImageStore,
    volumes: VolumeStore,
) -> SandboxRecord:
    """Work out what to run, and take what it uses: its image, its volumes, and its user of the host.

    Args:
        config: The sandbox's config.
        image: What `ImageStore.ensure` returned.
        name: Its name.
        labels: Its labels.
        images: Where images are.
        volumes: Where volumes are.

    Returns:
        The record, which nobody else knows of yet.

    Raises:
        UnsupportedError: A setting can't be honoured.
        ConfigError: A setting is wrong.
        EngineError: A volume can't be made, or no user of the host is left. Nothing is kept.
    """
    uses: list[DirectoryUse | HostUser] = [use] if (use := images.use(image)) is not None else []
    try:
        if (user := allocate()) is not None:
            uses.append(user)
        rootfs = images.rootfs(image)
        identity = rootfs.identity(config.user)
        devices = device_words(images.directory / "dev", config.shm_size or config.files_in_memory, config.devices)
        plan = make_plan(config, rootfs, identity, devices, name, volume=volumes.data)
        _check_owners(plan, image, user, volumes)
        owner = (identity.uid, identity.gid) if user is not None else None
        for volume in _volumes(config, rootfs, owner, volumes):
            uses += [volume]
    except BaseException:
        for used in uses:
            used.close()
        raise
    return SandboxRecord(secrets.token_hex(16), name, image, dict(labels), plan, config, time.time(), uses, user)


def _volumes(
    config: SandboxConfig, rootfs: Rootfs, owner: tuple[int, int] | None, volumes: VolumeStore
) -> Iterator[DirectoryUse]:
    """Yield the uses of volumes: a new one belongs to the sandbox's user, as does a workdir in one, whosever it was."""
    mounts = [mount for mount in config.mounts if mount.type == "volume"]
    for name in {mount.source for mount in mounts}:
        yield volumes.use(name, {**config.labels, MANAGED: "1"}, owner)
    workdir = rootfs.resolve(config.workdir)
    for mount in mounts:
        target = rootfs.resolve(mount.target)
        if owner is not None and not mount.read_only and is_inside(workdir, [target]):
            volumes.give(mount.source, workdir.removeprefix(target), owner)


def _check_owners(plan: Plan, image: str, user: HostUser | None, volumes: VolumeStore) -> None:
    """Refuse what would have to be mounted with other owners, and can't be."""
    for source in (word for word in plan.options if isinstance(word, HostPath)):
        if reason := check_owners(source, user):
            capability = Capability.BIND_MOUNTS if source.path in plan.sources else capability_of(image)
            if Path(source.path).is_relative_to(volumes.directory):
                capability = Capability.VOLUMES
            setting = plan.settings.get(source.path, f"image {image!r}")
            raise UnsupportedError(capability, "bubblewrap", f"{setting}: {reason}")


def capability_of(image: str) -> Capability:
    """Return what a kind of image that `ImageStore.ensure` has returned asks for."""
    kinds = {"dir": Capability.DIRECTORY_IMAGE, "sha256": Capability.ARCHIVE_IMAGE}
    return kinds.get(image.partition(":")[0], Capability.SNAPSHOT)
