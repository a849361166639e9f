"""Ulimits: resource limits of each process, put on a sandbox's first one and inherited by all."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.capabilities import Capability
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samebox.config.units import Ulimit

__all__ = ["Limits", "resource_limits"]

Limits = dict[int, tuple[int, int]]
"""Soft and hard limits by the number of the resource."""

_CAP_SYS_RESOURCE = 24
_LOCKS = 10  # RLIMIT_LOCKS, which Python has no name for, as it does nothing since Linux 2.4.25


def resource_limits(ulimits: Mapping[str, Ulimit]) -> Limits:
    """Return the limits for `prlimit`.

    Args:
        ulimits: The config's.

    Returns:
        The limits.

    Raises:
        UnsupportedError: This process may not give such a limit, or the kernel would not keep it.
    """
    return {number(name): _limit(name, ulimit) for name, ulimit in ulimits.items()}


def number(name: str) -> int:
    """Return a resource's number."""
    return int(getattr(resource, f"RLIMIT_{name.upper()}", _LOCKS))


def _limit(name: str, ulimit: Ulimit) -> tuple[int, int]:
    most = resource.getrlimit(number(name))[1]
    asked = f"ulimits[{name!r}] asks for {_shown(ulimit.hard)}"
    if not _may_raise() and _larger(ulimit.hard, most):
        raise UnsupportedError(
            Capability.ULIMITS, "bubblewrap", f"{asked}, and the hard limit of this process is {_shown(most)}"
        )
    if name == "nofile" and _larger(ulimit.hard, largest := _most_files()):
        raise UnsupportedError(Capability.ULIMITS, "bubblewrap", f"{asked}, and the kernel's fs.nr_open is {largest}")
    return ulimit.soft, ulimit.hard


def _larger(one: int, other: int) -> bool:
    return other != resource.RLIM_INFINITY and (one == -1 or one > other)


def _shown(value: int) -> str:
    return "no limit" if value in {-1, resource.RLIM_INFINITY} else str(value)


def _may_raise() -> bool:
    """Tell whether this process may raise hard limits: by the capability, which root in a container may lack."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = status.partition("\nCapEff:")[2].split(maxsplit=1)[0]
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def _most_files() -> int:
    return int(Path("/proc/sys/fs/nr_open").read_text(encoding="ascii"))
