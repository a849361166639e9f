"""Mutants that ignore limits, or keep them wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import change_call, change_result
from samebox.agent import guest
from samebox.agent.guest import AgentGuest
from samebox.agent.output import Collector

if TYPE_CHECKING:
    import pytest

    from samebox.engine.local import LocalEngine


@mutant("limits/output-of-exactly-the-limit-is-whole")
def ignores_the_output_limit(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call's `output_limit` is ignored."""
    change_call(patch, "exec", output_limit=None)


@mutant("limits/output-over-the-limit-keeps-both-ends")
def truncates_in_silence(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Output over the limit is cut, and nothing says so."""
    change_result(patch, lambda _: {"truncated_stdout": False, "truncated_stderr": False})


@mutant("limits/output-over-the-limit-keeps-both-ends")
def keeps_the_beginning_alone(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Of output over the limit only the beginning is kept."""

    def collector(limit: int) -> Collector:
        made = Collector(limit)
        made._head_limit, made._tail_limit = limit, 0
        return made

    patch.setattr(guest, "Collector", collector)


@mutant("limits/output-limit-is-per-stream")
def shares_the_output_limit(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Both streams share one limit."""
    change_result(patch, lambda result: {"stdout": b""} if len(result.stderr) > 4000 else {})


@mutant("limits/output-limit-of-the-config")
def ignores_the_configs_limits(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The config's limits are ignored."""

    def unlimited(connections: Any, _file_limit: int, _output_limit: int) -> AgentGuest:
        return AgentGuest(connections, 1 << 30, 1 << 30)

    patch.setattr("samebox.sandbox.lifecycle.AgentGuest", unlimited)


@mutant("files/read-over-the-limit-raises")
def ignores_the_file_limit(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A read's `limit` is ignored."""
    change_call(patch, "read_bytes", limit=1 << 30)
