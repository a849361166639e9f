"""Bind mounts and named volumes of a container, in the words of Podman's API, and how its inspect tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.engine.oci.mounts import RELABEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.model import SandboxConfig
    from samebox.config.mounts import Mount
    from samebox_podman.settings import Comparison

_SAFE = ("nosuid", "nodev")


def volume_mounts(config: SandboxConfig) -> list[dict[str, Any]]:
    """Return the request's `volumes` for named ones."""
    return [
        {"Name": mount.source, "Dest": mount.target, "Options": [*_options(mount), *_SAFE, "exec"]}
        for mount in config.mounts
        if mount.type == "volume"
    ]


def bind_mounts(config: SandboxConfig) -> list[dict[str, Any]]:
    """Return the request's `mounts` for paths of the host.

    Without "exec" or "noexec" the kernel keeps what the host's file system has. What is mounted on the host below a
    source is there as well, but not with "ro": that word makes the topmost mount alone read-only.
    """
    return [
        {
            "destination": mount.target,
            "type": "bind",
            "source": mount.source,
            "options": [*_options(mount), *_SAFE, "bind" if mount.read_only else "rbind"],
        }
        for mount in config.mounts
        if mount.type == "bind"
    ]


def _options(mount: Mount) -> list[str]:
    options = ["ro" if mount.read_only else "rw"]
    if mount.selinux is not None:
        options.append(RELABEL[mount.selinux])
    if mount.chown:
        options.append("U")
    return options


def binds_compared(spec: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Comparison]:
    """Yield the request's bind mounts beside what Podman's inspect tells of the container."""
    binds = {mount["Destination"]: mount for mount in found.get("Mounts") or [] if mount.get("Type") == "bind"}
    for mount in spec["mounts"]:
        if mount["type"] == "bind":
            there = binds.get(mount["destination"], {})
            asked = (mount["source"], "rw" in mount["options"])
            yield f"bind mount at {mount['destination']}", asked, (there.get("Source"), there.get("RW")), None
