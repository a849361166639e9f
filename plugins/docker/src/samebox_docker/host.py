"""What a daemon says of itself: EngineInfo, and which capabilities the host lacks."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability, Isolation
from samebox.engine import EngineInfo
from samebox.engine.oci.limits import no_disk_limit
from samebox.engine.oci.mounts import runc_hides_modes
from samebox.engine.oci.runtimes import gvisor_lacks, runtime_tier, stronger_runtimes
from samebox.errors import ConfigError
from samebox_docker.failure import no_docker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox_docker.address import Address
    from samebox_docker.clients import Greeting

LIMITS = (
    (Capability.MEMORY_LIMIT, "MemoryLimit", "memory"),
    (Capability.CPU_LIMIT, "CpuCfsQuota", "cpu"),
    (Capability.PIDS_LIMIT, "PidsLimit", "pids"),
    (Capability.SWAP_LIMIT, "SwapLimit", "swap"),
)
_NO_SECCOMP = "the daemon or its kernel has no seccomp (SecurityOptions)"
DELEGATION = "https://docs.docker.com/engine/security/rootless/tips/#limiting-resources"


def engine_info(address: Address, greeting: Greeting, info: Mapping[str, Any], runtime: str | None) -> EngineInfo:
    """Say what a daemon is.

    Args:
        address: Where it is.
        greeting: What it says of itself.
        info: Its answer to /info.
        runtime: The OCI runtime that was asked for, or None.

    Raises:
        ConfigError: The daemon has no such runtime.
        EngineUnavailableError: It is no Docker daemon with Linux containers.
    """
    if info.get("OSType") != "linux":
        remedy = "Switch the daemon to Linux containers."
        raise no_docker(address, f"its containers are those of {info.get('OSType')}", remedy)
    runtimes = info.get("Runtimes") or {}
    if runtime is not None and runtime not in runtimes:
        have = ", ".join(sorted(runtimes))
        raise ConfigError(
            f"wrong options for engine 'docker': runtime = {runtime!r}: the daemon at {address.url} has no such "
            f"runtime; it has: {have}"
        )
    security = [str(option) for option in info.get("SecurityOptions") or ()]
    rootless = any(option.split(",")[0] == "name=rootless" for option in security)
    used = runtime or str(info.get("DefaultRuntime") or "")
    usual = Isolation.ROOTLESS if rootless else Isolation.CONTAINER
    isolation = runtime_tier(used, _program(runtimes.get(used) or {})) or usual
    return EngineInfo(
        name="docker",
        version=str(info.get("ServerVersion") or ""),
        isolation=isolation,
        address=address.url,
        rootless=rootless,
        missing=_missing(info) | _lacks(info, security) | _gvisor(runtimes.get(used) or {}, isolation),
        details={
            "address from": address.source,
            "API version": greeting.api_version,
            "runtime": used,
            "storage driver": str(info.get("Driver") or ""),
            "cgroup": f"v{info.get('CgroupVersion') or '1'}, driver {info.get('CgroupDriver') or 'none'}",
            "architecture": str(info.get("Architecture") or ""),
            "kernel": str(info.get("KernelVersion") or ""),
        },
    )


def hides_tmpfs_modes(info: Mapping[str, Any], runtime: str | None) -> bool:
    """Tell whether the daemon's runtime is a runc before 1.1.9; see `samebox_docker.tmpfs.keep_modes`.

    Args:
        info: The daemon's answer to /info.
        runtime: The OCI runtime that was asked for, or None.
    """
    name = runtime or info.get("DefaultRuntime")
    runc = name in {"runc", "io.containerd.runc.v2"}
    return runc and runc_hides_modes(str((info.get("RuncCommit") or {}).get("ID")))


def stronger(address: Address, info: Mapping[str, Any]) -> list[str]:
    """Return the daemon's runtimes whose walls are stronger than that of its default one, the weakest first.

    The daemon does not look whether a runtime's program is there; of a daemon on this host it is seen here.

    Args:
        address: Where the daemon is.
        info: Its answer to /info.
    """
    programs = {name: _program(runtime or {}) for name, runtime in (info.get("Runtimes") or {}).items()}
    default = str(info.get("DefaultRuntime") or "")
    found = stronger_runtimes(programs, runtime_tier(default, programs.get(default, "")) or Isolation.ROOTLESS)
    here = address.scheme == "unix" and info.get("Name") == gethostname()
    return [name for name in found if not (here and programs[name][:1] == "/" and not Path(programs[name]).exists())]


def _program(runtime: Mapping[str, Any]) -> str:
    return str(runtime.get("path") or runtime.get("runtimeType") or "")


def _missing(info: Mapping[str, Any]) -> dict[Capability, str]:
    missing: dict[Capability, str] = {}
    none = info.get("CgroupDriver") == "none"
    for capability, field, controller in LIMITS:
        if none:
            missing[capability] = (
                "the daemon uses no cgroups, as a rootless one without cgroup v2 and delegation, so limits would be "
                f"ignored. Set up delegation: {DELEGATION}"
            )
        elif info.get(field) is False:
            missing[capability] = (
                f"the daemon has no {controller} controller to use ({field} is false), so the limit would be ignored. "
                f"For a rootless daemon delegate it: {DELEGATION}; else enable it in the kernel's command line"
            )
    return missing


def _lacks(info: Mapping[str, Any], security: list[str]) -> dict[Capability, str]:
    """Return what depends on the daemon's host, its storage and its settings."""
    names = {option.split(",")[0].removeprefix("name=") for option in security}
    missing: dict[Capability, str] = {}
    if "seccomp" not in names:
        missing |= dict.fromkeys((Capability.SECCOMP, Capability.SECCOMP_PROFILE), _NO_SECCOMP)
    if "apparmor" not in names:
        missing[Capability.APPARMOR] = "the daemon's host has no AppArmor switched on (SecurityOptions)"
    if "selinux" not in names:
        missing[Capability.SELINUX] = "the daemon does not use SELinux (SecurityOptions; --selinux-enabled)"
    if "userns" not in names:
        missing[Capability.USERNS] = (
            "the daemon gives no user namespaces of their own to containers (--userns-remap), so there is no mode"
        )
    if not _has_gpus(info):
        missing[Capability.GPUS] = (
            "the daemon has no NVIDIA runtime and no GPU by CDI; install the NVIDIA Container Toolkit on its host"
        )
    if (reason := _no_quota(info)) is not None:
        missing[Capability.DISK_LIMIT] = reason
    return missing


def _has_gpus(info: Mapping[str, Any]) -> bool:
    devices = info.get("DiscoveredDevices") or ()
    return "nvidia" in (info.get("Runtimes") or {}) or any("/gpu=" in str(device.get("ID")) for device in devices)


def _no_quota(info: Mapping[str, Any]) -> str | None:
    """Return why the storage driver can't limit a writable layer; None if it may (overlay2 says it when it is used)."""
    driver = str(info.get("Driver") or "")
    facts = {str(fact[0]): str(fact[1]) for fact in info.get("DriverStatus") or () if len(fact) == 2}
    return no_disk_limit(driver, facts.get("Backing Filesystem", ""))


def _gvisor(runtime: Mapping[str, Any], isolation: Isolation) -> dict[Capability, str]:
    """Return what gVisor lacks by itself, and by the arguments that the daemon gives to it."""
    if isolation is not Isolation.USER_KERNEL:
        return {}
    arguments = {str(argument).removeprefix("-").removeprefix("-") for argument in runtime.get("runtimeArgs") or ()}
    missing = gvisor_lacks(
        layered="overlay2=none" in arguments, hint="; give it --overlay2=none in the daemon's runtimeArgs"
    )
    if arguments & {"ignore-cgroups", "ignore-cgroups=true"}:
        missing |= {capability: "the daemon runs gVisor with --ignore-cgroups" for capability, _, _ in LIMITS}
    if "network=none" in arguments:
        reason = "the daemon runs gVisor with --network=none"
        missing |= {Capability.NETWORK: reason, Capability.NETWORK_NAMED: reason, Capability.PORTS: reason}
    return missing
