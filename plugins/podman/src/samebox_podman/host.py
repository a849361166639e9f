"""PodmanHost: what this process knows of one Podman service, and what that service's host lacks."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import PurePath
from socket import gethostname
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability, Isolation
from samebox.engine import EngineInfo
from samebox.engine.oci.limits import no_disk_limit
from samebox.engine.oci.mounts import runc_hides_modes
from samebox.engine.oci.runtimes import gvisor_lacks, runtime_tier, stronger_runtimes
from samebox.errors import ConfigError
from samebox_podman.failure import unavailable
from samebox_podman.gpus import no_gpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.engine.oci.image_facts import ImageFacts
    from samebox.engine.oci.path_stat import PathStat
    from samebox_podman.client import PodmanClient

OLDEST = (4, 0)
"""The first version whose API and behaviour were read; 4.3 is the first that the tests run on."""
TAKES_RUNTIMES = (6, 0)
"""The first version that heeds the `oci_runtime` of a request: https://github.com/containers/podman/pull/28454."""
_CONTROLLERS = (
    ("memory", Capability.MEMORY_LIMIT),
    ("memory", Capability.SWAP_LIMIT),
    ("cpu", Capability.CPU_LIMIT),
    ("pids", Capability.PIDS_LIMIT),
)
_NO_CGROUP_V2 = (
    "rootless Podman can set no limits on cgroup v1; boot its host with cgroup v2 "
    "(systemd.unified_cgroup_hierarchy=1), or use a rootful Podman"
)
_NO_SESSION = (
    "rootless Podman has no systemd user session on its host, which would give it a cgroup of its own; log in as that "
    "user, or `loginctl enable-linger` it"
)
_NOT_DELEGATED = (
    "the cgroup controller {!r} is not delegated to the user of rootless Podman; delegate it with a drop-in for "
    "user@.service: [Service] Delegate=cpu cpuset io memory pids"
)


@dataclass(slots=True)
class PodmanHost:
    """What is known of one service, for all engines of this process that use it.

    An engine is made for each sandbox, and Podman's `info` takes 160 ms on Debian (it asks dpkg for the packages of its
    helpers), so what does not change is asked once.
    """

    info: dict[str, Any] | None = None
    info_of: str = ""
    """The version that the service called itself when `info` was asked."""
    whole_agents: dict[str, str] = field(default_factory=dict)
    """By the names of the agent volumes that were seen to be whole, their paths on the service's host."""
    proven_agents: set[str] = field(default_factory=set)
    """Those of them that were read and compared."""
    images: dict[str, ImageFacts] = field(default_factory=dict)
    """By id."""
    present: dict[tuple[str, str], PathStat | None] = field(default_factory=dict)
    """What images, by id, have at a path; None: nothing."""
    runs: dict[str, str] = field(default_factory=dict)
    """Why programs for a machine other than the host's own can't be run, by machine; "": they can."""
    exposure: str | None = None
    """Why sandboxes with a network reach one another; "": they don't; None: not known yet."""
    ulimits: Mapping[str, tuple[int, int]] | None = None
    """The limits, soft and hard, of a container that asks for none; None: not known yet."""

    @property
    def version(self) -> tuple[int, ...]:
        """The service's version, as (5, 8, 2)."""
        return version_numbers(str(((self.info or {}).get("version") or {}).get("Version", "")))

    @property
    def machine(self) -> str:
        """The host's processor architecture, as Podman calls it."""
        return str(((self.info or {}).get("host") or {}).get("arch") or "")

    @property
    def rootless(self) -> bool:
        """Whether the service is."""
        return bool((((self.info or {}).get("host") or {}).get("security") or {}).get("rootless"))

    @property
    def runtime(self) -> tuple[str, str]:
        """The name and path of the OCI runtime of containers that ask for none."""
        own = ((self.info or {}).get("host") or {}).get("ociRuntime") or {}
        return str(own.get("name", "")), str(own.get("path", ""))

    def runtime_name(self, asked: str | None) -> str:
        """Return how the service calls the OCI runtime asked for; None: its own."""
        name, path = self.runtime
        return name if asked is None or asked == path else asked

    def hides_modes(self, runtime: str | None) -> bool:
        """Return whether a tmpfs gets the mode of the directory that it hides, whatever its options say.

        runc did so before 1.1.9; Debian 12 has 1.1.5. The version of any runtime but the service's own is not known.

        Args:
            runtime: The runtime asked for; None: the service's own.
        """
        own = ((self.info or {}).get("host") or {}).get("ociRuntime") or {}
        name = str(own.get("name", "")) if runtime is None else PurePath(runtime).name
        if name != own.get("name"):
            return name == "runc"
        return name == "runc" and runc_hides_modes(str(own.get("version", "")))


_HOSTS: dict[str, PodmanHost] = {}


def host_at(url: str) -> PodmanHost:
    """Return what this process knows of the service at an address."""
    return _HOSTS.setdefault(url, PodmanHost())


def version_numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, as (5, 8, 2) for "5.8.2-rhel"."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0])[:3])


def probe_host(
    client: PodmanClient, capabilities: frozenset[Capability], *, rootless: bool | None, runtime: str | None = None
) -> EngineInfo:
    """Reach a service and tell what it is.

    Args:
        client: The service.
        capabilities: What the engine claims.
        rootless: What the options ask for.
        runtime: The OCI runtime that the options ask for.

    Raises:
        ConfigError: It takes no runtime from a request.
        EngineUnavailableError: It can't be reached, is no Podman, is too old, or not what the options ask for.
    """
    answer = client.call("get", "/_ping")
    version = answer.headers.get("Libpod-Api-Version", "")
    if not version:
        found = f"what answers there is no Podman (it calls itself {answer.headers.get('Server', 'nothing')!r})"
        raise unavailable(client.address, found, f"Correct {client.address.source}.")
    host = host_at(client.address.url)
    if host.info is None or host.info_of != version:
        host.info, host.info_of = client.json("/info"), version
    if host.version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise unavailable(client.address, f"it is Podman {version}", f"Install Podman {oldest} or newer.")
    is_rootless = host.rootless
    if rootless is not None and rootless != is_rootless:
        kind, asked = ("rootless", "rootful") if is_rootless else ("rootful", "rootless")
        remedy = f"Name a {asked} service with options.url, or leave options.rootless out."
        raise unavailable(client.address, f"it is {kind}, and options.rootless={rootless} asks for {asked}", remedy)
    used = host.runtime_name(runtime)
    if used != host.runtime[0] and host.version < TAKES_RUNTIMES:
        raise ConfigError(
            f"wrong options for engine 'podman': runtime = {runtime!r}: Podman {version} at {client.address.url} makes "
            f"every container with its own runtime, {host.runtime[0]!r}; Podman takes one from a request since 6.0. "
            f"Start a service with it (`podman --runtime {runtime} system service`), or name no service, and samebox "
            "starts one"
        )
    tier = runtime_tier(used, host.runtime[1] if used == host.runtime[0] else "")
    gvisor = _gvisor_lacks() if tier is Isolation.USER_KERNEL else {}
    return EngineInfo(
        name="podman",
        version=str(host.info["version"]["Version"]),
        isolation=tier or (Isolation.ROOTLESS if is_rootless else Isolation.CONTAINER),
        address=client.address.url,
        rootless=is_rootless,
        missing={
            name: reason
            for name, reason in (*_missing(client, host.info, rootless=is_rootless), *gvisor.items())
            if name in capabilities
        },
        details=_details(client, host.info, used),
    )


def stronger(client: PodmanClient) -> list[str]:
    """Return the OCI runtimes of a service whose walls are stronger than that of its own one, the weakest first.

    Podman's own API tells of the runtime in use alone. The one that is Docker's names all that are configured, with the
    first place where each may be; whether it is there is seen here, where the service is on this host.

    Args:
        client: The service, which was probed.
    """
    host = host_at(client.address.url)
    answer = client.decoded(client.call("get", "/info", compatible=True))
    programs = {str(name): str((each or {}).get("path", "")) for name, each in (answer.get("Runtimes") or {}).items()}
    own = runtime_tier(*host.runtime) or Isolation.ROOTLESS
    here = client.address.scheme == "unix" and ((host.info or {}).get("host") or {}).get("hostname") == gethostname()
    return [
        name
        for name in stronger_runtimes(programs, own)
        if not here or os.access(programs[name], os.X_OK) or shutil.which(name)
    ]


def _gvisor_lacks() -> dict[Capability, str]:
    """Return what gVisor lacks, and what it may have been told to ignore, as Podman tells no runtime's arguments."""
    reason = "Podman does not tell whether gVisor runs with --ignore-cgroups, so the limit could be ignored"
    return gvisor_lacks(layered=False) | {capability: reason for _, capability in _CONTROLLERS}


def _details(client: PodmanClient, info: dict[str, Any], used: str) -> dict[str, str]:
    host = info["host"]
    runtime = host.get("ociRuntime") or {}
    version = str(runtime.get("version", "")).partition("\n")[0]
    return {
        "found by": client.address.source,
        "runtime": used,
        "runtime version": version if used == runtime.get("name") else "",
        "storage": str((info.get("store") or {}).get("graphDriverName", "")),
        "cgroup": f"{host.get('cgroupVersion', '')} {host.get('cgroupManager', '')}".strip(),
        "kernel": str(host.get("kernel", "")),
    }


def _missing(client: PodmanClient, whole_info: dict[str, Any], *, rootless: bool) -> Iterator[tuple[Capability, str]]:
    info = whole_info["host"]
    yield from _missing_limits(info, rootless=rootless)
    if (reason := no_quota(whole_info.get("store") or {}, rootless=rootless)) is not None:
        yield Capability.DISK_LIMIT, reason
    if (reason := no_gpus(client.address.scheme)) is not None:
        yield Capability.GPUS, reason
    security = info.get("security") or {}
    if not security.get("apparmorEnabled"):
        reason = "AppArmor is not switched on for Podman: its host has none, or it is rootless"
        yield Capability.APPARMOR, reason
    if not security.get("selinuxEnabled"):
        yield Capability.SELINUX, "Podman's host has no SELinux, or containers.conf there switches labels off"
    if not security.get("seccompEnabled"):
        reason = "this Podman was built without seccomp, or the kernel has none"
        yield from ((capability, reason) for capability in (Capability.SECCOMP, Capability.SECCOMP_PROFILE))
    if rootless and not any((info.get(helper) or {}).get("executable") for helper in ("slirp4netns", "pasta")):
        reason = "a rootless network needs slirp4netns or pasta on the host of Podman; install one of them"
        yield from ((capability, reason) for capability in (Capability.NETWORK, Capability.PORTS))


def no_quota(store: dict[str, Any], *, rootless: bool) -> str | None:
    """Return why a storage driver can't limit the size of a container's files; None: it can, or a creation tells.

    https://github.com/containers/storage/blob/v1.43.0/docs/containers-storage.conf.5.md

    Args:
        store: The service's, as `info` tells it.
        rootless: Whether the service is.
    """
    driver = str(store.get("graphDriverName", ""))
    if rootless:
        return "rootless Podman can't limit the size of a container's files: quotas of a file system are root's to set"
    return no_disk_limit(driver, str((store.get("graphStatus") or {}).get("Backing Filesystem")))


def _missing_limits(info: dict[str, Any], *, rootless: bool) -> Iterator[tuple[Capability, str]]:
    """Tell which limits would be accepted and ignored.

    https://github.com/containers/podman/blob/v5.8.2/pkg/specgen/generate/validate_linux.go drops them with a warning
    at best; `inspect` shows what was kept, not what the kernel does.
    """
    controllers = info.get("cgroupControllers") or []
    if not rootless:
        for name, capability in _CONTROLLERS:
            if name not in controllers:
                yield capability, f"the kernel of Podman's host has no cgroup controller {name!r}"
        return
    if info.get("cgroupVersion") != "v2":
        yield from ((capability, _NO_CGROUP_V2) for _, capability in _CONTROLLERS)
    elif info.get("cgroupManager") != "systemd":
        yield from ((capability, _NO_SESSION) for _, capability in _CONTROLLERS)
    else:
        for name, capability in _CONTROLLERS:
            if name not in controllers:
                yield capability, _NOT_DELEGATED.format(name)
