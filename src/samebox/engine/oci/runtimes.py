"""The OCI runtimes that make a wall of their own, known by their names: gVisor, Kata Containers and krun."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from samebox.capabilities import Capability, Isolation

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIERS = {"runsc": Isolation.USER_KERNEL, "kata": Isolation.VM, "krun": Isolation.VM}
_ORDINARY = frozenset({"runc", "crun", "youki"})
_GVISOR = "gVisor serves system calls with a kernel of its own; no {} stands in the sandbox"
_OVERLAY = (
    # https://gvisor.dev/docs/user_guide/filesystem/#overlayfs
    "gVisor keeps what a sandbox writes in an overlay of its own, which ends with the sandbox's processes"
)


def runtime_tier(name: str, program: str) -> Isolation | None:
    """Return the tier of a runtime that is stronger than an ordinary container; None for any other runtime.

    Args:
        name: The engine's name of the runtime, which anyone may have chosen: `kata-qemu`, `gvisor`.
        program: The runtime's program or shim, as `/usr/bin/runsc` or `io.containerd.kata.v2`, which is believed first;
            "" if it is not known.
    """
    for text in (program.rpartition("/")[2], name.rpartition("/")[2]):
        words = re.split(r"[^a-z0-9]+", text.lower())
        for word in words:
            if word in _TIERS:
                return _TIERS[word]
        if _ORDINARY & set(words):
            return None
    return None


def stronger_runtimes(programs: Mapping[str, str], than: Isolation) -> list[str]:
    """Return the names of the runtimes whose tier is above another one, the weakest tier first, then by name.

    Args:
        programs: The programs of all runtimes, by name.
        than: The tier.
    """
    tiers = {name: runtime_tier(name, program) for name, program in programs.items()}
    found = [(tier.rank, name) for name, tier in tiers.items() if tier is not None and tier > than]
    return [name for _, name in sorted(found)]


def gvisor_lacks(*, layered: bool, hint: str = "") -> dict[Capability, str]:
    """Return what no sandbox under gVisor has, each capability with the reason.

    Args:
        layered: Whether what a sandbox writes is known to lie in the container's own layer (`--overlay2=none`).
        hint: What to do about it where it does not.
    """
    missing = {
        Capability.SECCOMP: _GVISOR.format("filter"),
        Capability.SECCOMP_PROFILE: _GVISOR.format("filter"),
        Capability.APPARMOR: _GVISOR.format("AppArmor profile"),
        Capability.SELINUX: _GVISOR.format("SELinux label"),
    }
    if not layered:
        missing |= dict.fromkeys((Capability.SNAPSHOT, Capability.PERSISTENT), f"{_OVERLAY}{hint}")
    return missing
