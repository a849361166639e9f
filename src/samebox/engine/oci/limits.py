"""Limits: what a container may use, in the numbers that Docker, Podman and the OCI's runtime specification share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebox.capabilities import Capability

if TYPE_CHECKING:
    from collections.abc import Collection

    from samebox.config.model import SandboxConfig

CPU_PERIOD = 100_000
"""The kernel's default, in microseconds."""
_SMALLEST_QUOTA = 1000
"""The least that the kernel takes, in microseconds."""
_LIMITING_DRIVERS = frozenset({"btrfs", "devicemapper", "windowsfilter", "zfs"})


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit."""

    memory: int | None = None
    """In bytes."""
    memory_and_swap: int | None = None
    """Together, in bytes; always with `memory`."""
    cpu_quota: int | None = None
    """Microseconds in each `CPU_PERIOD`."""
    pids: int | None = None
    """How many processes."""


def limits(config: SandboxConfig, missing: Collection[Capability]) -> Limits:
    """Return the limits that a config asks for.

    Args:
        config: What the sandbox is asked to be.
        missing: What this host lacks; the core has refused it where it was asked for, so it is a default that is left
            out.
    """
    memory = config.memory if Capability.MEMORY_LIMIT not in missing else None
    cpus = config.cpus if Capability.CPU_LIMIT not in missing else None
    return Limits(
        memory=memory,
        # Equal, so that no swap is added: unset, a sandbox could use as much swap again.
        memory_and_swap=None if memory is None else config.memory_swap or memory,
        cpu_quota=None if cpus is None else max(_SMALLEST_QUOTA, round(cpus * CPU_PERIOD)),
        pids=config.pids_limit if Capability.PIDS_LIMIT not in missing else None,
    )


def no_disk_limit(driver: str, backing: str) -> str | None:
    """Return why a storage driver can't limit the size of a container's files; None: it can, or a creation tells.

    Args:
        driver: The storage driver's name.
        backing: The file system below it, as the service calls it.
    """
    if driver in _LIMITING_DRIVERS:
        return None
    if driver not in {"overlay", "overlay2"}:
        return f"the storage driver {driver!r} can't limit the size of a container's files"
    if backing != "xfs":
        return (
            f"{driver} limits sizes only on xfs with the mount option pquota, and the service's files are on {backing}"
        )
    return None
