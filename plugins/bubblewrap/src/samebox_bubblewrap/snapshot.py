"""Snapshots: a running sandbox's files as an image."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from samebox.engine.oci.bounded import MOST_BYTES
from samebox.engine.program import MOUNT_POINT
from samebox.errors import EngineError, SandboxGoneError
from samebox_bubblewrap.hostroot import HostLayerRootfs, HostRootfs, host_mount_points
from samebox_bubblewrap.layer import LayerCopy, own_mounts
from samebox_bubblewrap.named import ImageContent, check_name
from samebox_bubblewrap.namespaces import root_of
from samebox_bubblewrap.rootfs import NAME_FILES, ImageRootfs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from samebox_bubblewrap.images import ImageStore
    from samebox_bubblewrap.rootfs import Rootfs
    from samebox_bubblewrap.sandboxes import SandboxRecord

__all__ = ["commit"]

_HOSTS = (HostRootfs, HostLayerRootfs)
_OTHERS = ("/proc", "/dev", MOUNT_POINT)


def commit(
    record: SandboxRecord,
    images: ImageStore,
    name: str,
    *,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Keep a sandbox's files as an image, without what is in its mounts and memory file systems.

    Its processes go on meanwhile. What is neither changed by the sandbox nor in a directory that the user may change is
    linked, and takes no room.

    Args:
        record: The sandbox.
        images: Where the image goes.
        name: The name that it gets.
        environment: What the image adds to the environment of the sandbox's own image.
        user: The image's user; None: that of the sandbox's own image.

    Returns:
        The image's id.

    Raises:
        ConfigError: The name is none.
        SandboxGoneError: The sandbox does not run.
        EngineError: It can't be read or kept.
    """
    check_name(name)
    rootfs = images.rootfs(record.image)

    def fill(target: Path) -> ImageContent:
        _copy(record, rootfs, target)
        return _content(record, rootfs, environment, user)

    try:
        return images.named.add(name, fill)
    except EngineError as error:
        raise type(error)(f"the image {name!r} can't be made of sandbox {record.name!r}: {error}") from error
    except OSError as error:
        raise EngineError(
            f"the image {name!r} can't be made of sandbox {record.name!r} in the cache {images.directory} ({error}); "
            "options.cache_dir chooses another"
        ) from error


def _copy(record: SandboxRecord, rootfs: Rootfs, target: Path) -> None:
    """Copy a sandbox's files into an empty directory."""
    process = record.process
    if process is None or not process.running:
        raise SandboxGoneError(f"sandbox {record.name!r} does not run, and what it wrote went with it")
    skipped = {rootfs.resolve(path) for path in (*_OTHERS, *NAME_FILES, *record.config.tmpfs)}
    skipped |= {rootfs.resolve(mount.target) for mount in record.config.mounts}
    if isinstance(rootfs, _HOSTS):
        skipped |= {rootfs.resolve(path) for path in host_mount_points()}
    with contextlib.ExitStack() as stack:
        try:
            source, pid = stack.enter_context(root_of(process.pid))
            mounts = own_mounts(pid, ["/usr", *record.plan.sources])
        except OSError as error:
            raise SandboxGoneError(f"sandbox {record.name!r} has ended ({error})") from error
        out = _opened(stack, str(target))
        # Only what lies in the cache stays as it is, so that a file can be shared with it.
        cached = isinstance(rootfs, ImageRootfs) and not record.image.startswith("dir:")
        base = _opened(stack, rootfs.root) if cached and isinstance(rootfs, ImageRootfs) else None
        limit = min(MOST_BYTES, shutil.disk_usage(target).free // 2)
        LayerCopy(source, out, base, skipped=frozenset(skipped), mounts=mounts, limit=limit, user=record.user).run()


def _content(
    record: SandboxRecord, rootfs: Rootfs, environment: Mapping[str, str] | None, user: str | None
) -> ImageContent:
    """Tell what the image says of processes: what the sandbox's own image says, unless it is said otherwise."""
    image = rootfs if isinstance(rootfs, ImageRootfs) else None
    identity = rootfs.identity(record.config.user)
    owned = {uid: [*paths] for uid, paths in image.owned.items()} if image is not None else {}
    if identity.uid != 0:
        # What the sandbox's user could write to stays writable for that user.
        mine = [*rootfs.own_directories(identity), rootfs.resolve(record.config.workdir)]
        owned[str(identity.uid)] = [*dict.fromkeys([*owned.get(str(identity.uid), ()), *mine])]
    if user is None:
        user = image.user if image is not None else "sandbox"
    return ImageContent({**rootfs.environment, **(environment or {})}, user, owned, isinstance(rootfs, _HOSTS))


def _opened(stack: contextlib.ExitStack, path: str) -> int:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd
