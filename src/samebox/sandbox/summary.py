"""summary: what was chosen for a sandbox, in one line for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.config.model import SandboxConfig
    from samebox.engine.selection import Selection


def summary(config: SandboxConfig, selection: Selection) -> str:
    """Return in one line the engine, the tier of its wall, the limits that hold, and what is not enforced here."""
    info = selection.info
    runtime = info.details.get("runtime")
    tier = f"{info.isolation}, runtime {runtime}" if runtime else str(info.isolation)
    lacks = ", ".join(sorted(selection.unenforced))
    words = [", ".join(_limits(config, selection)), f"not enforced here: {lacks}" if lacks else ""]
    return f"{info.name} {info.version} ({tier}): {'; '.join(filter(None, words))}"


def _limits(config: SandboxConfig, selection: Selection) -> Iterator[str]:
    if config.network is not False:
        yield f"network {config.network}" if isinstance(config.network, str) else "network"
    elif Capability.NETWORK_NONE not in selection.unenforced:
        yield "no network"
    if config.read_only:
        yield "read-only root"
    if Capability.MEMORY_LIMIT not in selection.unenforced:
        yield f"memory {_size(config.memory)}" if config.memory is not None else "memory unlimited"
    if Capability.PIDS_LIMIT not in selection.unenforced:
        yield f"{config.pids_limit} processes"
    if config.cpus is not None:
        yield f"{config.cpus:g} processors"
    if config.disk is not None:
        yield f"disk {_size(config.disk)}"
    if config.max_lifetime is not None:
        yield f"at most {config.max_lifetime:g} s"


def _size(number: int) -> str:
    for unit, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)
