"""Mutants that mistake the end of a sandbox, of its agent and of a command for one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent.call import Call
from samebox.agent.client import Connection
from samebox.agent.connections import AgentConnections
from samebox.agent.guest import AgentGuest
from samebox.agent.process import AgentProcess
from samebox.errors import ConnectionLostError, EngineError, SandboxError, SandboxGoneError
from samebox.guest.operation import Wait
from samebox.guest.results import ExecResult

if TYPE_CHECKING:
    from concurrent.futures import Future

    import pytest

    from mutants.results import Operation
    from samebox.engine import ByteStream
    from samebox.engine.local import LocalEngine


@mutant(
    "gone/running-command-is-told[removed]",
    "gone/later-calls-are-told[stopped]",
)
def reports_gone_as_137(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox that is gone is a command with exit code 137."""

    async def exec_killed(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        try:
            return await original(self, argv, **settings)
        except SandboxGoneError:
            return ExecResult(137)

    wrap(patch, AgentGuest, "exec", exec_killed)


@mutant("gone/running-command-is-told[removed]")
def takes_gone_for_lost(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The end of a sandbox is taken for its agent's."""
    patch.setattr(AgentConnections, "explain", lambda _self, error, _user: error)


@mutant("gone/killed-agent-is-replaced")
def takes_lost_for_gone(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The end of an agent is taken for the sandbox's."""

    def explain(_self: AgentConnections, error: ConnectionLostError, _user: str | None) -> SandboxError:
        return SandboxGoneError(str(error))

    patch.setattr(AgentConnections, "explain", explain)


@mutant("gone/killed-agent-is-replaced")
def never_replaces_the_agent(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An agent that was killed is not replaced."""
    connect = engine.connect
    connected: set[str] = set()

    def connect_once(self: LocalEngine, sandbox_id: str, user: str | None = None) -> ByteStream:
        if sandbox_id in connected:
            raise SandboxGoneError("its agent has ended")
        connected.add(sandbox_id)
        return connect(self, sandbox_id, user)

    patch.setattr(engine, "connect", connect_once)


@mutant("once/lost-command-is-not-repeated")
def repeats_a_lost_call(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call that was lost with its agent is made again."""

    async def exec_again(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        try:
            return await original(self, argv, **settings)
        except ConnectionLostError:
            return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_again)


@mutant(
    "gone/later-calls-are-told[removed]",
    "gone/reason-is-told",
)
def raises_the_engines_own_error(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A sandbox that is gone raises the engine's own error."""
    connect = engine.connect

    def connect_or_fail(self: LocalEngine, sandbox_id: str, user: str | None = None) -> ByteStream:
        try:
            return connect(self, sandbox_id, user)
        except SandboxError as error:
            raise EngineError("500 Server Error: Internal Server Error") from error

    patch.setattr(engine, "connect", connect_or_fail)


@mutant("gone/close-after-the-end-is-quiet[removed]")
def raises_at_the_close_of_what_is_gone(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Closing a sandbox that is gone raises."""
    remove = engine.remove

    def remove_what_is_there(self: LocalEngine, sandbox_id: str) -> None:
        self._get(sandbox_id)
        remove(self, sandbox_id)

    patch.setattr(engine, "remove", remove_what_is_there)


@mutant("gone/stopped-agent-is-given-up")
def trusts_a_stopped_agent(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An agent that says nothing is waited for, whatever it was asked."""

    async def answered(_self: Call, _within: float) -> bool:
        return True

    patch.setattr(Connection, "tend", lambda _self: 1.0)
    patch.setattr(Call, "answered", answered)


@mutant("gone/stopped-agent-keeps-no-reader")
def forgets_the_timeout_of_a_reader(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Whoever reads a process's output waits for the agent alone, whatever the process's timeout."""

    async def await_output(self: AgentProcess, waiter: Future[None]) -> None:
        await self._call.until(waiter)

    patch.setattr(AgentProcess, "await_output", await_output)


@mutant("gone/stopped-agent-keeps-no-file-call")
def forgets_the_timeout_of_a_file_call(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The timeout of a file call is taken and not kept."""
    patch.setattr(Wait, "within", lambda self, _seconds: self)
