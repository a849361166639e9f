"""HostMount: what of the host a sandbox is given, and what it can't be given without a hole in the wall."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.engine.mistakes import no_source, no_workdir
from samebox.engine.program import MOUNT_POINT
from samebox.errors import ConfigError, UnsupportedError
from samebox_bubblewrap.paths import components, resolve_inside
from samebox_bubblewrap.stage import HostPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from samebox.config.model import SandboxConfig
    from samebox.config.mounts import Mount
    from samebox.engine.oci.users import Identity
    from samebox_bubblewrap.bwrap import Word
    from samebox_bubblewrap.rootfs import Rootfs

__all__ = ["HostMount", "check_workdir", "host_mounts", "is_inside"]

_ENGINE = "bubblewrap"
_CAPABILITY = {"bind": Capability.BIND_MOUNTS, "volume": Capability.VOLUMES}


@dataclass(frozen=True, slots=True)
class HostMount:
    """One path of the host at a path inside."""

    source: str
    """On the host."""
    target: str
    """Inside, without links."""
    read_only: bool
    setting: str
    """The setting behind it, for errors."""
    owner: tuple[int, int]
    """The uid and gid of the sandbox's user, who has the same ones on the host where root makes the sandbox."""
    linkless: bool
    """Whether the source has no link on it."""

    @property
    def words(self) -> list[Word]:
        """The words for bwrap: with all that is mounted below the source, without devices and setuid programs."""
        return [
            "--ro-bind" if self.read_only else "--bind",
            HostPath(self.source, self.owner, self.linkless),
            self.target,
        ]


def host_mounts(
    config: SandboxConfig, rootfs: Rootfs, identity: Identity, volume: Callable[[str], Path]
) -> Sequence[HostMount]:
    """Check the config's mounts, and find out what each is on the host.

    Args:
        config: The sandbox's config.
        rootfs: Its root file system.
        identity: Who its processes are.
        volume: Tells where a volume's files are, or will be.

    Returns:
        The mounts, parents first.

    Raises:
        ConfigError: A source is not there, or a target can't be used.
        UnsupportedError: An option or a place can't be had on this engine.
    """
    found = [_host_mount(mount, rootfs, identity, volume) for mount in config.mounts]
    places = [(mount.target, mount.setting) for mount in found]
    places += [(rootfs.resolve(path), f"tmpfs[{path!r}]") for path in config.tmpfs]
    if config.shm_size is not None:
        places.append(("/dev/shm", f"shm_size={config.shm_size}"))  # noqa: S108 - inside
    for target, setting in places:
        if (place := rootfs.fixed(target)) and not os.path.exists(target):  # noqa: PTH110 - as on the host
            raise ConfigError(f"{setting}: {target} is not there, and can't be made in the host's {place}")
    for number, (target, setting) in enumerate(places):
        if other := next((words for path, words in places[:number] if path == target), None):
            raise ConfigError(f"{setting} and {other} are at the same place, {target}")
    for target, setting in places:
        for mount in found:
            if target != mount.target and is_inside(target, [mount.target]):
                reason = (
                    f"{setting} would be inside {mount.setting}, and bwrap follows what links another sandbox puts "
                    "there at that moment, out of the sandbox; mount it beside, and link to it"
                )
                raise UnsupportedError(Capability.BIND_MOUNTS, _ENGINE, reason)
    return found


def _host_mount(mount: Mount, rootfs: Rootfs, identity: Identity, volume: Callable[[str], Path]) -> HostMount:
    setting = f"the mount {mount.source!r} at {mount.target!r}"
    if mount.selinux is not None:
        reason = f"files are not relabelled for SELinux ({setting}); leave z and Z out"
        raise UnsupportedError(Capability.SELINUX, _ENGINE, reason)
    if mount.chown:
        reason = f"the host's files are not given to others ({setting}); leave U out"
        raise UnsupportedError(_CAPABILITY[mount.type], _ENGINE, reason)
    target = rootfs.resolve(mount.target)
    own = ("/proc", "/dev", MOUNT_POINT)
    if target == "/" or (is_inside(target, own) and target != "/dev/shm"):  # noqa: S108 - inside
        raise ConfigError(f"{setting}: {target} is the sandbox's own; choose another path")
    source = str(volume(mount.source)) if mount.type == "volume" else _bind_source(mount, setting)
    owner = (identity.uid, identity.gid)
    return HostMount(source, target, mount.read_only, setting, owner, linkless=mount.type == "bind")


def _bind_source(mount: Mount, setting: str) -> str:
    """Return where a bind mount's source really is."""
    real = os.path.realpath(mount.source)
    try:
        device = os.stat(real).st_dev  # noqa: PTH116
    except OSError as error:
        raise no_source(mount.source, error.strerror or str(error)) from None
    # For root these are the host itself, without any capability: sysctls, the helpers that the kernel runs.
    if real == "/" or device in {os.stat("/proc").st_dev, os.stat("/sys").st_dev} or is_inside(real, ("/proc", "/sys")):  # noqa: PTH116
        reason = f"the host's /proc and /sys are never given, and they are in {real} ({setting}); name what is needed"
        raise UnsupportedError(Capability.BIND_MOUNTS, _ENGINE, reason)
    return real


def check_workdir(workdir: str, rootfs: Rootfs, mounts: Iterable[HostMount], tmpfs: Iterable[str]) -> None:
    """Check that a workdir can be written, and is there if it is inside a mount: to make it is not our business there.

    Args:
        workdir: Its path, resolved.
        rootfs: The sandbox's root file system.
        mounts: The mounts of the config.
        tmpfs: Its memory file systems, resolved.

    Raises:
        ConfigError: It is not there, among the host's programs, or no directory.
    """
    if (place := rootfs.fixed(workdir)) and not is_inside(workdir, [*tmpfs, *(mount.target for mount in mounts)]):
        raise ConfigError(f"workdir={workdir!r} is in the host's {place}, where nothing can be written; choose another")
    if not is_inside(workdir, [*tmpfs, *(mount.target for mount in mounts)]) and rootfs.blocked(workdir):
        raise no_workdir(workdir)
    for mount in mounts:
        if is_inside(workdir, [mount.target]):
            rest = "/".join(components(workdir)[len(components(mount.target)) :])
            place = mount.source + resolve_inside(mount.source, rest)
            # A new volume is made later on, and is a directory.
            if (rest or os.path.exists(mount.source)) and not os.path.isdir(place):  # noqa: PTH110, PTH112
                raise ConfigError(f"workdir={workdir!r} is inside {mount.setting}, which has no such directory")


def is_inside(path: str, directories: Iterable[str]) -> bool:
    """Tell whether a path is one of the directories, or below one."""
    return any(f"{path}/".startswith(f"{directory}/") for directory in directories)
