"""Settings that container engines would take and not do, and words that their APIs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samebox.config.model import SandboxConfig

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a path of the sandbox


def check_settings(config: SandboxConfig, engine: str) -> None:
    """Refuse what Docker and Podman would take and not do.

    Args:
        config: What the sandbox is asked to be.
        engine: The engine's name.

    Raises:
        ConfigError: Two settings don't go together.
        UnsupportedError: There is no way to honour a setting.
    """
    mode, _, value = config.network.partition(":") if isinstance(config.network, str) else ("", "", "")
    joined = mode == "host" or (mode in {"container", "ns"} and value != "")
    if config.ports and joined:
        msg = (
            f"wrong config: ports: nothing is published with network={config.network!r}; "
            "give network=True or the name of a network, or use forward, which needs none"
        )
        raise ConfigError(msg)
    if mode == "container" and value and (config.dns or config.extra_hosts):
        msg = f"wrong config: dns and extra_hosts: with network={config.network!r} they are the other container's"
        raise ConfigError(msg)
    if config.shm_size is not None and SHARED_MEMORY in config.tmpfs:
        msg = f"wrong config: shm_size and tmpfs at {SHARED_MEMORY} both say what is mounted there; give one of them"
        raise ConfigError(msg)
    if config.privileged and "cap_drop" in config.asked and config.cap_drop:
        reason = "a privileged container has every capability, whatever is dropped; give one of cap_drop and privileged"
        raise UnsupportedError(Capability.CAP_DROP, engine, reason)


def check_disk(config: SandboxConfig, volumes: Iterable[str]) -> None:
    """Refuse volumes of an image that could be written to beyond `disk`, which under a read-only root is kept by sizes.

    A `ConfigError`, which no other engine is taken for: an image would else choose the engine.

    Args:
        config: What the sandbox is asked to be.
        volumes: Where the image has volumes.

    Raises:
        ConfigError: There is one, and the config puts nothing else there.
    """
    if config.disk is None or not config.read_only:
        return
    placed = {*config.tmpfs, *(mount.target for mount in config.mounts)}
    if left := sorted(set(volumes) - placed):
        msg = (
            f"wrong config: disk: the image has a volume at {left[0]}, which would have no size; put a memory file "
            f"system there with tmpfs ({left[0]}:size=64m) or a mount, or leave disk out"
        )
        raise ConfigError(msg)


def kernel_names(names: Iterable[str]) -> list[str]:
    """Return Linux capabilities by the names that the kernel has for them; "ALL" is all of them."""
    return [name if name == "ALL" else f"CAP_{name}" for name in names]
