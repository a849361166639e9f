"""Profiles: named sets of capabilities, for saying in a word what an engine is good for."""

from __future__ import annotations

from samebox.capabilities import Capability

_ISOLATED = frozenset(
    {
        Capability.ROOT_FILESYSTEM,
        Capability.PROCESS_ISOLATION,
        Capability.NETWORK_NONE,
        Capability.CAP_DROP,
        Capability.NO_NEW_PRIVILEGES,
        Capability.SECCOMP,
        Capability.READ_ONLY_ROOT,
    }
)

PROFILES: dict[str, frozenset[Capability]] = {
    "core": frozenset(),
    "isolated": _ISOLATED,
    "limits": frozenset({Capability.MEMORY_LIMIT, Capability.CPU_LIMIT, Capability.PIDS_LIMIT, Capability.TMPFS}),
    "persistent": frozenset({Capability.PERSISTENT}),
    "full": frozenset(Capability),
}
"""What each asks for beyond what every engine owes. An engine conforms to a profile if it claims all of it, this host
lacks none of it, and every test that asks for no more passes."""
