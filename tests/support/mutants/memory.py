"""Mutants that keep no limit of memory, or tell wrongly what the kernel killed for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mutants.mutant import mutant
from mutants.results import change_result
from samebox.agent.process import AgentProcess
from samebox.capabilities import Capability
from samebox.config import units
from samebox.engine import requirements

if TYPE_CHECKING:
    import pytest

    from samebox.engine.local import LocalEngine


@mutant("memory/memory-limit-by-default", "memory/kill-for-memory-is-told", "memory/end-for-memory-names-the-limit")
def claims_a_limit_of_memory(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """MEMORY_LIMIT and TMPFS are claimed, and nothing is limited or mounted."""
    engine.capabilities |= {Capability.MEMORY_LIMIT, Capability.TMPFS}


@mutant("memory/memory-can-be-unlimited")
def misses_a_limit_that_nobody_wants(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """That memory has no limit is listed as unenforced where none was wanted."""
    engine.capabilities |= {Capability.MEMORY_LIMIT}
    patch.setattr(requirements, "hardening_lacking", lambda *_: {Capability.MEMORY_LIMIT: "no limit"})


@mutant("memory/files-in-memory-are-bounded")
def claims_memory_file_systems(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """TMPFS and READ_ONLY_ROOT are claimed, and nothing is mounted."""
    engine.capabilities |= {Capability.TMPFS, Capability.READ_ONLY_ROOT}


@mutant("memory/other-kills-are-not-for-memory")
def takes_every_kill_for_one_for_memory(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`out_of_memory` is set for whatever ends with 137."""
    change_result(patch, lambda result: {"out_of_memory": result.exit_code == 137})


@mutant("memory/kill-for-memory-is-not-told-of-others")
def tells_a_kill_of_every_command(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`out_of_memory` is set for every command."""
    engine.capabilities |= {Capability.MEMORY_LIMIT}
    change_result(patch, lambda _: {"out_of_memory": True})
    result = AgentProcess._result
    patch.setattr(AgentProcess, "_result", lambda self, record: replace(result(self, record), out_of_memory=True))


@mutant("memory/too-small-limits-are-refused")
def takes_any_limit(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Limits with which nothing can start are accepted."""
    patch.setattr(units, "LEAST_MEMORY", 0)
    patch.setattr(units, "LEAST_PIDS", 0)


@mutant("memory/smallest-limits-are-enough")
def needs_more_than_it_says(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The smallest limits that are accepted are too small for the engine."""
    engine.capabilities |= {Capability.MEMORY_LIMIT, Capability.PIDS_LIMIT}
    change_result(patch, lambda result: {"stdout": b""} if result.stdout == b"on\n" else {})
