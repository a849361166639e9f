"""The body of Docker's call that creates a container, from a config: hardening, limits, mounts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.engine.oci.kernel_paths import MASKED, READ_ONLY
from samebox.engine.oci.limits import CPU_PERIOD, limits
from samebox.engine.oci.settings import kernel_names
from samebox.engine.program import init_argv
from samebox_docker.network import NAME
from samebox_docker.settings import exposed_ports, host_settings, security_options

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from samebox.config.model import SandboxConfig


def container_body(
    config: SandboxConfig,
    *,
    image: str,
    labels: Mapping[str, str],
    mounts: list[dict[str, Any]],
    binds: list[str],
    tmpfs: Mapping[str, str],
    missing: Collection[Capability],
    runtime: str | None,
    workdir: str,
    rootless: bool = False,
    ipv6: bool = False,
) -> dict[str, Any]:
    """Return what is posted to /containers/create.

    It is written in the API's own words, not through docker-py's `create_container`: that puts the proxies of the
    command line's config.json into the container's environment, and has no word for some fields.
    https://docs.docker.com/reference/api/engine/ (ContainerCreate)

    Args:
        config: What the sandbox is asked to be. Its env stays out.
        image: The image's id.
        labels: All labels.
        mounts: The agent's volume, and all other mounts.
        binds: Mounts that need Docker's older words.
        tmpfs: Memory file systems with Docker's options.
        missing: What this host lacks; the core has refused it where it was asked for, so it is a default that is
            left out.
        runtime: The OCI runtime, or None for the daemon's default.
        workdir: Where the first process starts; Docker makes the directory if it is not there.
        rootless: Whether the daemon is an ordinary user's.
        ipv6: Whether the daemon's kernel is known to have IPv6.
    """
    network = _network_mode(config.network)
    settings = host_settings(config, rootless=rootless)
    hostname = config.hostname
    if network == "none":
        # Docker takes ::1 off a loopback that is alone, and makes an entry for the own name with an address alone.
        if ipv6:
            settings["Sysctls"] = {"net.ipv6.conf.all.disable_ipv6": "0"}
        hostname = hostname or secrets.token_hex(6)  # as Docker's own, the beginning of an id that is not made yet
        settings["ExtraHosts"] = [*settings.get("ExtraHosts", ()), f"{hostname}:127.0.0.1"]
    return {
        "Image": image,
        "Entrypoint": init_argv(config),
        "Cmd": [],
        "WorkingDir": workdir,
        "Labels": dict(labels),
        "StopSignal": "SIGTERM",
        # A health check of the image would run commands in the sandbox by itself.
        "Healthcheck": {"Test": ["NONE"]},
        **({"User": config.user} if config.user is not None else {}),
        **({"Hostname": hostname} if hostname is not None else {}),
        "ExposedPorts": exposed_ports(config),
        "HostConfig": {
            "NetworkMode": network,
            # Docker gives a privileged container all of them, whatever is dropped.
            "CapDrop": [] if config.privileged else kernel_names(config.cap_drop),
            "CapAdd": kernel_names(config.cap_add),
            "SecurityOpt": security_options(config, seccomp=Capability.SECCOMP not in missing),
            "ReadonlyRootfs": config.read_only,
            "Tmpfs": dict(tmpfs),
            "Mounts": mounts,
            "Binds": binds,
            "Init": False,  # the agent's init is one
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            # What the first process says is nobody's; commands have their own streams. A log on disk could be filled
            # from inside.
            "LogConfig": {"Type": "none"},
            **_kernel_view(config),
            **settings,
            **_limits(config, missing),
            **({"Runtime": runtime} if runtime is not None else {}),
        },
    }


def _network_mode(network: bool | str) -> str:  # noqa: FBT001 - the config's field
    if isinstance(network, str):
        return network
    return NAME if network else "none"


def _kernel_view(config: SandboxConfig) -> dict[str, Any]:
    """Return what is shown of the kernel; a privileged container sees all of it, and refuses a private namespace."""
    if config.privileged:
        return {}
    return {"MaskedPaths": [*MASKED], "ReadonlyPaths": [*READ_ONLY], "CgroupnsMode": "private"}


def _limits(config: SandboxConfig, missing: Collection[Capability]) -> dict[str, int]:
    asked = limits(config, missing)
    # Not NanoCpus: Docker refuses one above the host's number of processors, which is no limit, but no mistake either.
    found = {
        "Memory": asked.memory,
        "MemorySwap": asked.memory_and_swap,
        "CpuPeriod": None if asked.cpu_quota is None else CPU_PERIOD,
        "CpuQuota": asked.cpu_quota,
        "PidsLimit": asked.pids,
    }
    return {name: value for name, value in found.items() if value is not None}
