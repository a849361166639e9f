"""Bind mounts and named volumes of a container, in the words of Docker's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.engine.labels import MANAGED
from samebox.engine.oci.agent_volume import check_volume_names
from samebox.engine.oci.mounts import RELABEL, mount_above
from samebox.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig
    from samebox.config.mounts import Mount


def check_mounts(config: SandboxConfig) -> None:
    """Refuse mounts that Docker can't make.

    Raises:
        UnsupportedError: One asks for its files to be given to the user.
        ConfigError: A path can't be written in Docker's words, or a volume's name is one of the agent's.
    """
    check_volume_names(config)
    for mount in config.mounts:
        if mount.chown:
            capability = Capability.BIND_MOUNTS if mount.type == "bind" else Capability.VOLUMES
            reason = f"Docker can't give the files of a mount to the user; leave out U from the mount at {mount.target}"
            raise UnsupportedError(capability, "docker", reason)
        if mount.selinux is not None and ":" in mount.source + mount.target:
            msg = f"wrong config: mounts: a path with a colon can't be relabelled by Docker ({mount.source!r})"
            raise ConfigError(msg)


def device_mounts(config: SandboxConfig) -> list[dict[str, Any]]:
    """Return the devices as mounts, for a rootless daemon.

    That can't make nodes, so its runtime binds those of the host; but runc looks for them there under the path that
    they have inside (opencontainers/runc, `bindMountDeviceNode` in libcontainer/rootfs_linux.go).

    Raises:
        UnsupportedError: One is not to be read and written alike, and without root there is no filter to see to that.
    """
    for device in config.devices:
        if set(device.permissions) != set("rwm"):
            reason = (
                f"a rootless daemon can't filter what is done with a device; leave out {device.permissions!r} from "
                f"{device.source}"
            )
            raise UnsupportedError(Capability.DEVICES, "docker", reason)
    return [
        {"Type": "bind", "Source": device.source, "Target": device.target, "ReadOnly": False}
        for device in config.devices
    ]


def targets(config: SandboxConfig) -> tuple[str, ...]:
    """Return where something is mounted."""
    return tuple(mount.target for mount in config.mounts)


def mount_of(config: SandboxConfig, path: str) -> Mount | None:
    """Return the mount that a path inside is on, or None."""
    above = mount_above(path, targets(config))
    return next((mount for mount in config.mounts if mount.target == above), None)


def split_mounts(config: SandboxConfig, *, selinux: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Return Mounts and Binds.

    Only Binds can relabel for SELinux; but for one of those the daemon makes a missing directory of its host, as root,
    where a mount is an error. So they are used only where there is something to relabel.

    Args:
        config: What the sandbox is asked to be.
        selinux: Whether the daemon's host has SELinux.
    """
    relabelled = [mount for mount in config.mounts if selinux and mount.selinux is not None]
    return [_mount(mount) for mount in config.mounts if mount not in relabelled], [_bind(each) for each in relabelled]


def _mount(mount: Mount) -> dict[str, Any]:
    # Docker makes an absent volume, with these labels; one that is there keeps its own.
    more: dict[str, Any] = {"VolumeOptions": {"Labels": {MANAGED: "1"}}} if mount.type == "volume" else {}
    return {"Type": mount.type, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only, **more}


def _bind(mount: Mount) -> str:
    options = ("ro," if mount.read_only else "") + RELABEL[str(mount.selinux)]
    return f"{mount.source}:{mount.target}:{options}"
