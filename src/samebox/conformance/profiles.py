"""PROFILES: named sets of capabilities, which say in a word what an engine is good for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.capabilities import Capability

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTRACT = "1.0"
"""The version of the contract, as a badge names it; docs/conformance.md says when the version changes."""

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
"""The capabilities that each profile asks for, beyond what every engine owes. An engine conforms to a profile if it
claims all capabilities of the profile, this host lacks none of them, and every test that asks for no other capability
passes."""


def badge(profiles: Iterable[str]) -> str:
    """Return the words that an engine may put on a badge, or "" if it conforms to no profile."""
    names = ", ".join(profiles)
    return f"samebox conformance {CONTRACT}: {names}" if names else ""
