"""Settings of a container that have a word of their own in Docker's API: ports, names, limits, security, devices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.engine.oci import settings
from samebox.engine.oci.default_profile import default_profile_text, writes_last
from samebox.engine.oci.seccomp import OPTION, UNCONFINED, check_profile, chosen_profile, read_profile
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from samebox.config.model import SandboxConfig


def check_settings(config: SandboxConfig) -> None:
    """Refuse what Docker would take and not do.

    Raises:
        ConfigError: Two settings don't go together, or a seccomp profile can't be read.
        UnsupportedError: Docker has no way to honour a setting.
    """
    settings.check_settings(config, "docker")
    if config.userns not in {None, "host"}:
        reason = f"the daemon decides on the user namespace; userns={config.userns!r} is not 'host', the one other mode"
        raise UnsupportedError(Capability.USERNS, "docker", reason)
    check_capabilities(config, config.user)
    if check_profile(config.security_opt) not in {None, UNCONFINED} and config.privileged:
        reason = "a privileged container has no filter, whatever the profile; leave out the profile or privileged"
        raise UnsupportedError(Capability.SECCOMP_PROFILE, "docker", reason)


def check_capabilities(config: SandboxConfig, user: str | None) -> None:
    """Refuse capabilities for a user who would not get them.

    Docker puts them into the bounding set of such a user's processes alone, where they are without effect: its API has
    no ambient set. https://github.com/moby/moby/issues/8460

    Args:
        config: What the sandbox is asked to be.
        user: Who its processes are, the image's user among them; None: not known yet.

    Raises:
        UnsupportedError: `cap_add` names capabilities, and the user is not root.
    """
    name = (user or "").partition(":")[0]
    if config.cap_add and not config.privileged and name not in {"", "root"} and name.strip("0"):
        reason = (
            f"Docker gives capabilities to root alone, and the user is {user}; leave out cap_add, choose user='root', "
            "or engine podman, which gives them to every user"
        )
        raise UnsupportedError(Capability.CAP_ADD, "docker", reason)


def security_options(config: SandboxConfig, *, seccomp: bool = True) -> list[str]:
    """Return SecurityOpt; a seccomp profile is sent by its content, as its file is on this host.

    Args:
        config: What the sandbox is asked to be.
        seccomp: Whether the daemon takes a profile; samebox's own is left out where it does not.

    Raises:
        ConfigError: The profile can't be read, or is none.
    """
    options = ["no-new-privileges:true"] if config.no_new_privileges else []
    if seccomp and not config.privileged and chosen_profile(config.security_opt) is None:
        options.append(OPTION + default_profile_text(lasting=writes_last(config)))
    for option in config.security_opt:
        path = option.removeprefix(OPTION)
        options.append(OPTION + json.dumps(read_profile(path)) if path not in {option, UNCONFINED} else option)
    return options


def exposed_ports(config: SandboxConfig) -> dict[str, Any]:
    """Return ExposedPorts; a binding without one is dropped."""
    return {port: {} for port in config.ports}


def port_bindings(config: SandboxConfig) -> dict[str, list[dict[str, str]]]:
    """Return PortBindings; an empty port is any free one."""
    return {port: [{"HostIp": host.address, "HostPort": str(host.port or "")}] for port, host in config.ports.items()}


def host_settings(config: SandboxConfig, *, rootless: bool = False) -> dict[str, Any]:
    """Return the part of HostConfig for settings that were asked for; nothing for what was not.

    Args:
        config: What the sandbox is asked to be.
        rootless: Whether the daemon is an ordinary user's; its devices are among the mounts.
    """
    words: dict[str, Any] = {
        "PortBindings": port_bindings(config),
        "Dns": list(config.dns),
        "ExtraHosts": [f"{name}:{address}" for name, address in config.extra_hosts.items()],
        "Ulimits": [
            {"Name": name, "Soft": ulimit.soft, "Hard": ulimit.hard} for name, ulimit in config.ulimits.items()
        ],
        "ShmSize": config.shm_size,
        "StorageOpt": {"size": str(config.disk)} if config.disk is not None and not config.read_only else None,
        "Privileged": config.privileged,
        "Devices": [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            }
            for device in (() if rootless else config.devices)
        ],
        "DeviceRequests": _gpus(config.gpus),
        "UsernsMode": config.userns,
    }
    return {name: value for name, value in words.items() if value}


def _gpus(gpus: tuple[str, ...]) -> list[dict[str, Any]]:
    if not gpus:
        return []
    which: dict[str, Any] = {"Count": -1} if "all" in gpus else {"DeviceIDs": list(gpus)}
    return [{**which, "Capabilities": [["gpu"]]}]
