"""Settings with a word of their own in Podman's API: ports, names, limits, devices, labels, user namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from samebox.capabilities import Capability
from samebox.engine.oci import settings
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from samebox.config.model import SandboxConfig

    Comparison: TypeAlias = tuple[str, Any, Any, Callable[[Any, Any], bool] | None]
    """What is compared, what was asked for, what there is, and how if not by equality."""

UNLIMITED = (1 << 64) - 1
"""How Podman's API is told of no limit, where its inspect says -1."""
_JOINED = ("container", "ns")
"""Network modes that join what somebody else has made."""
OWN_NETWORKS = frozenset({"none", "bridge", "private", "slirp4netns", "pasta"})
"""Network modes in which the sandbox has a network namespace to itself."""
_MODES = OWN_NETWORKS | {"host"}


def network_mode(network: bool | str) -> str:  # noqa: FBT001 - the config's field
    """Return a network's mode: "none", "private", one of Podman's, or "bridge" for networks by name."""
    if isinstance(network, bool):
        return "private" if network else "none"
    mode, _, value = network.partition(":")
    if mode in _JOINED:
        return mode if value else "bridge"
    return mode if mode in _MODES else "bridge"


def check_settings(config: SandboxConfig, *, rootless: bool) -> None:
    """Refuse what Podman would take and not do.

    Args:
        config: What the sandbox is asked to be.
        rootless: Whether the service is.

    Raises:
        ConfigError: Two settings don't go together.
        UnsupportedError: Podman has no way to honour a setting.
    """
    settings.check_settings(config, "podman")
    _check_devices(config, rootless=rootless)
    _check_userns(config.userns, rootless=rootless)


def _check_devices(config: SandboxConfig, *, rootless: bool) -> None:
    for device in config.devices:
        # https://github.com/containers/podman/blob/v5.8.2/pkg/specgen/generate/oci_linux.go: neither is an error there.
        if config.privileged and device.source != device.target:
            reason = f"a privileged container has all of the host's devices, by their own names and not {device.target}"
            raise UnsupportedError(Capability.DEVICES, "podman", reason)
        if rootless and not {"r", "w"} <= set(device.permissions):
            reason = (
                f"rootless Podman can't keep to {device.permissions!r} for {device.source}: it mounts the device, and "
                "who may write the device itself may write it there. Leave the permissions out"
            )
            raise UnsupportedError(Capability.DEVICES, "podman", reason)


def _check_userns(userns: str | None, *, rootless: bool) -> None:
    mode, _, value = (userns or "host").partition(":")
    if mode in {"keep-id", "nomap"} and not rootless:
        reason = f"userns={userns!r} is of rootless Podman alone; on a rootful one there are 'auto' and 'host'"
    elif mode not in {"host", "auto", "keep-id", "nomap", "container"}:
        reason = f"userns={userns!r} is none of the modes keep-id, auto, nomap, host and container:NAME"
    elif mode == "auto" and value and not (value.startswith("size=") and value[5:].isdecimal()):
        reason = f"userns={userns!r} has an option that Podman's API has no word for; it has auto:size=NUMBER"
    else:
        return
    raise UnsupportedError(Capability.USERNS, "podman", reason)


def settings_spec(config: SandboxConfig, default_ulimits: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return the request's part for settings that were asked for; nothing for what was not.

    Args:
        config: What the sandbox is asked to be.
        default_ulimits: The service's own limits, soft and hard, which Podman forgets as soon as one is asked for.
    """
    spec: dict[str, Any] = {
        "portmappings": [
            {
                "host_ip": host.address,
                "host_port": host.port or 0,
                "container_port": int(port.partition("/")[0]),
                "protocol": port.partition("/")[2],
            }
            for port, host in config.ports.items()
        ],
        "dns_server": list(config.dns),
        "hostadd": [f"{name}:{address}" for name, address in config.extra_hosts.items()],
        "shm_size": config.shm_size,
        "storage_opts": {"size": str(config.disk)} if config.disk is not None and not config.read_only else None,
        "devices": [{"path": f"{each.source}:{each.target}:{each.permissions}"} for each in config.devices]
        + [{"path": each if "=" in each else f"nvidia.com/gpu={each}"} for each in config.gpus],
        **_security(config.security_opt),
    }
    if config.ulimits:
        asked = {name: (limit.soft, limit.hard) for name, limit in config.ulimits.items()}
        spec["r_limits"] = [
            {"type": name, "soft": soft % (UNLIMITED + 1), "hard": hard % (UNLIMITED + 1)}
            for name, (soft, hard) in {**default_ulimits, **asked}.items()
        ]
    if config.userns is not None:
        spec |= _userns(config.userns)
    return {name: value for name, value in spec.items() if value}


def _security(options: tuple[str, ...]) -> dict[str, Any]:
    """Return the labels; a seccomp profile is for `samebox_podman.seccomp`."""
    labels = [option.removeprefix("label=") for option in options if option.startswith("label=")]
    profiles = [option.removeprefix("apparmor=") for option in options if option.startswith("apparmor=")]
    return {"selinux_opts": labels, "apparmor_profile": profiles[-1] if profiles else None}


def _userns(userns: str) -> dict[str, Any]:
    mode, _, value = userns.partition(":")
    found: dict[str, Any] = {"userns": {"nsmode": mode}}
    if mode == "auto":
        # The mode alone is taken and ignored.
        size = int(value.removeprefix("size=") or 0)
        found["idmappings"] = {"AutoUserNs": True, "AutoUserNsOpts": {"Size": size}}
    elif value:
        found["userns"]["value"] = value
    return found


def settings_compared(spec: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Comparison]:
    """Yield what the request asks for beside what Podman's inspect tells of the container."""
    host = found["HostConfig"]
    if "portmappings" in spec:
        asked = {f"{each['container_port']}/{each['protocol']}": each for each in spec["portmappings"]}
        bound = {port: places for port, places in (host.get("PortBindings") or {}).items() if places}
        yield "ports", asked, bound, _published
    if "dns_server" in spec:
        yield "dns", spec["dns_server"], host.get("Dns"), None
    if "hostadd" in spec:
        yield "extra_hosts", spec["hostadd"], host.get("ExtraHosts"), None
    if "shm_size" in spec:
        yield "shm_size", spec["shm_size"], host.get("ShmSize"), None
    if "r_limits" in spec:
        asked_limits = {(each["type"], each["soft"], each["hard"]) for each in spec["r_limits"]}
        yield "ulimits", sorted(asked_limits), sorted(_ulimits(found)), lambda _, has: asked_limits <= set(has)
    if "apparmor_profile" in spec:
        yield "apparmor", spec["apparmor_profile"], found.get("AppArmorProfile"), None
    yield from _labels(spec.get("selinux_opts", ()), str(found.get("ProcessLabel") or ""))
    if "userns" in spec:
        mode: str = spec["userns"]["nsmode"]
        has = str(host.get("UsernsMode") or "").partition(":")[0]
        if mode in {"host", "container"}:
            yield "userns", mode, has or "host", None
        else:
            yield "userns", mode, has, lambda _, __: bool(host.get("IDMappings"))


def _published(asked: Mapping[str, Any], bound: Mapping[str, Any]) -> bool:
    places = {port: (where[0]["HostIp"], int(where[0]["HostPort"] or 0)) for port, where in bound.items()}
    return asked.keys() == places.keys() and all(
        each["host_ip"] == places[port][0] and each["host_port"] in {0, places[port][1]} for port, each in asked.items()
    )


def _ulimits(found: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    for each in found["HostConfig"].get("Ulimits") or ():
        name = str(each["Name"]).upper().removeprefix("RLIMIT_").lower()
        yield name, int(each["Soft"]) % (UNLIMITED + 1), int(each["Hard"]) % (UNLIMITED + 1)


def inspected_ulimits(found: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return a container's limits, soft and hard, from the answer of inspect."""
    return {name: (soft, hard) for name, soft, hard in _ulimits(found)}


def _labels(options: tuple[str, ...] | list[str], label: str) -> Iterator[Comparison]:
    user, role, kind, level = [*label.split(":", 3), "", "", "", ""][:4]
    has = {"user": user, "role": role, "type": kind, "level": level}
    for option in options:
        name, _, value = option.partition(":")
        if name == "disable":
            yield "SELinux label", "none", label, lambda _, label: not label
        else:
            yield f"SELinux {name}", value, has[name], None
