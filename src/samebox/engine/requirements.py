"""The check of what a config asks of an engine, which refuses before anything has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability, Isolation
from samebox.config.model import STRONGEST
from samebox.config.reference import image_capability
from samebox.errors import ConfigError, IsolationError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from samebox.config.model import SandboxConfig
    from samebox.engine.contract import Engine, EngineInfo


def required(config: SandboxConfig) -> Iterator[tuple[Capability, str]]:
    """Yield each capability that the config explicitly asks for, and the field that needs the capability."""
    asked = config.asked
    if (capability := image_capability(config.image)) is not None:
        yield capability, "image"
    for field, capability, wanted in (
        ("build", Capability.BUILD, config.build is not None),
        ("user", Capability.USER, config.user is not None),
        ("hostname", Capability.HOSTNAME, config.hostname is not None),
        ("memory", Capability.MEMORY_LIMIT, "memory" in asked and config.memory is not None),
        ("cpus", Capability.CPU_LIMIT, config.cpus is not None),
        ("pids_limit", Capability.PIDS_LIMIT, "pids_limit" in asked),
        ("read_only", Capability.READ_ONLY_ROOT, config.read_only),
        ("tmpfs", Capability.TMPFS, bool(config.tmpfs)),
        ("cap_add", Capability.CAP_ADD, bool(config.cap_add)),
        ("cap_drop", Capability.CAP_DROP, "cap_drop" in asked and bool(config.cap_drop)),
        ("no_new_privileges", Capability.NO_NEW_PRIVILEGES, "no_new_privileges" in asked and config.no_new_privileges),
        ("keep", Capability.PERSISTENT, config.keep),
        ("name", Capability.PERSISTENT, config.name is not None),
        ("pull", Capability.PULL, config.pull != "missing"),
        ("platform", Capability.PLATFORM, config.platform is not None),
        ("ports", Capability.PORTS, bool(config.ports)),
        ("dns", Capability.DNS, bool(config.dns)),
        ("extra_hosts", Capability.DNS, bool(config.extra_hosts)),
        ("memory_swap", Capability.SWAP_LIMIT, config.memory_swap is not None),
        ("shm_size", Capability.SHM_SIZE, config.shm_size is not None),
        ("ulimits", Capability.ULIMITS, bool(config.ulimits)),
        # With a read-only root there is no writable layer, and the sizes of memory file systems keep `disk`.
        ("disk", Capability.DISK_LIMIT, config.disk is not None and not config.read_only),
        ("mounts", Capability.BIND_MOUNTS, any(mount.type == "bind" for mount in config.mounts)),
        ("mounts", Capability.VOLUMES, any(mount.type == "volume" for mount in config.mounts)),
        ("volumes_remove", Capability.VOLUMES, config.volumes_remove),
        ("privileged", Capability.PRIVILEGED, config.privileged),
        (
            "security_opt",
            Capability.SECCOMP_PROFILE,
            any(option.startswith("seccomp=") for option in config.security_opt),
        ),
        ("security_opt", Capability.APPARMOR, any(option.startswith("apparmor=") for option in config.security_opt)),
        ("security_opt", Capability.SELINUX, any(option.startswith("label=") for option in config.security_opt)),
        ("devices", Capability.DEVICES, bool(config.devices)),
        ("gpus", Capability.GPUS, bool(config.gpus)),
        ("userns", Capability.USERNS, config.userns is not None),
        ("network", Capability.NETWORK_NONE, "network" in asked and config.network is False),
        ("network", Capability.NETWORK, config.network is True),
        ("network", Capability.NETWORK_NAMED, isinstance(config.network, str)),
    ):
        if wanted:
            yield capability, field


_HARDENING = (
    Capability.ROOT_FILESYSTEM,
    Capability.PROCESS_ISOLATION,
    Capability.NETWORK_NONE,
    Capability.NETWORK_APART,
    Capability.MEMORY_LIMIT,
    Capability.PIDS_LIMIT,
    Capability.CAP_DROP,
    Capability.NO_NEW_PRIVILEGES,
    Capability.SECCOMP,
)


def lacking(engine: Engine, info: EngineInfo, capability: Capability) -> str | None:
    """Return why an engine lacks a capability on this host; None if the engine has the capability."""
    if capability not in engine.capabilities:
        return engine.lacks.get(capability, "no such thing on this engine")
    return info.missing.get(capability)


def weakest(config: SandboxConfig) -> Isolation:
    """Return the weakest tier that a config accepts; "strongest" accepts what the default accepts."""
    return Isolation.PROCESS if config.isolation == STRONGEST else Isolation(config.isolation)


def _check_offline(config: SandboxConfig) -> None:
    # Docker accepts name servers and ports without a network, and drops the name servers.
    if config.ports:
        msg = (
            f"wrong config: ports: nothing is published with network={config.network!r}; "
            "give network=True or the name of a network, or use forward, which needs none"
        )
        raise ConfigError(msg)
    if config.dns:
        msg = (
            f"wrong config: dns: name servers can't be reached with network={config.network!r}; "
            "give it a network, or leave dns out"
        )
        raise ConfigError(msg)


def check(config: SandboxConfig, engine: Engine, info: EngineInfo) -> Mapping[Capability, str]:
    """Check that an engine can honour a config on this host, before anything has started.

    Returns:
        The default hardening that was not asked for and cannot be enforced here, each capability with the reason.

    Raises:
        UnsupportedError: The engine can't honour a setting that was asked for.
        IsolationError: The engine's wall is weaker than the config accepts.
        ConfigError: Neither the engine nor the config names an image; or the config has ports or name servers without a
            network.
    """
    floor = weakest(config)
    if info.isolation < floor:
        runtime = f" (runtime {info.details['runtime']})" if info.details.get("runtime") else ""
        msg = (
            f"engine {engine.name!r} isolates at the tier {info.isolation!s}{runtime}, "
            f"the config asks for {floor!s} at least"
        )
        raise IsolationError(msg, info.isolation)
    for asked, field in required(config):
        capability = (engine.image_capability(config.image) or asked) if field == "image" else asked
        if (reason := lacking(engine, info, capability)) is not None:
            value = getattr(config, field)
            shown = "" if isinstance(value, bool | dict) else f"={value!r}"
            raise UnsupportedError(capability, engine.name, f"{reason} (asked for by {field}{shown})")
    if config.image is None and config.build is None and engine.default_image is None:
        msg = f"engine {engine.name!r} has no default image; name one with image="
        raise ConfigError(msg)
    if config.network is False or config.network == "none":
        _check_offline(config)
    return hardening_lacking(config, engine, info)


def hardening_lacking(config: SandboxConfig, engine: Engine, info: EngineInfo) -> Mapping[Capability, str]:
    """Return the default hardening that the config leaves on and the engine can't enforce here, with the reasons."""
    off = {
        Capability.NETWORK_NONE: config.network is not False,
        Capability.NETWORK_APART: config.network is not True,
        Capability.MEMORY_LIMIT: config.memory is None,
        Capability.CAP_DROP: not config.cap_drop,
        Capability.NO_NEW_PRIVILEGES: not config.no_new_privileges,
    }
    wanted = (capability for capability in _HARDENING if not off.get(capability, False))
    found = {capability: lacking(engine, info, capability) for capability in wanted}
    return {capability: reason for capability, reason in found.items() if reason is not None}
