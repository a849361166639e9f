"""Mutants that get spawned processes and terminals wrong."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import change_call, wrap
from samebox.agent.guest import AgentGuest
from samebox.agent.process import AgentProcess, _Input, _Output
from samebox.guest.operation import Pause
from samebox.guest.process import Process

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


async def _nothing(*_args: Any, **_settings: Any) -> None:
    """Do nothing."""


@mutant("streams/closing-stdin-is-seen", patience=1.5)
def never_ends_stdin(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Closing stdin is not told to the process."""
    patch.setattr(_Input, "close", _nothing)


@mutant("streams/output-comes-as-it-is-written", patience=1.5)
def collects_until_the_end(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Output of a process comes when it has ended."""

    async def next_at_the_end(original: Operation, self: _Output) -> Any:
        while not self._call.over:
            await Pause(0.02)
        return await original(self)

    wrap(patch, _Output, "_next", next_at_the_end)


@mutant("streams/read-takes-at-most-its-size")
def drops_the_rest_of_a_read(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`read(size)` drops what is over its size."""

    async def read_part(original: Operation, self: _Output, size: int = -1, **settings: Any) -> Any:
        return (await self._next(None))[:size] if size > 0 else await original(self, size, **settings)

    wrap(patch, _Output, "read", read_part)


@mutant("streams/poll-tells-the-end")
def polls_in_vain(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`poll` says that a process runs when it has ended."""
    patch.setattr(AgentProcess, "poll", _nothing)


@mutant("streams/wait-timeout-leaves-it-running")
def kills_on_a_short_wait(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A `wait` that is over ends the process."""

    async def wait_and_kill(original: Operation, self: AgentProcess, timeout: float | None = None) -> Any:
        try:
            return await original(self, timeout)
        except TimeoutError:
            await self.kill()
            raise

    wrap(patch, AgentProcess, "wait", wait_and_kill)


@mutant("streams/signal-reaches-the-process")
def kills_for_every_signal(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Every signal is SIGKILL to all that the command has started."""

    async def kill(_original: Operation, self: AgentProcess, _signal: int) -> None:
        await self.kill()

    wrap(patch, AgentProcess, "send_signal", kill)


@mutant("streams/terminate-lets-it-clean-up")
def terminates_by_sigkill(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`terminate` begins with SIGKILL."""
    patch.setattr(AgentProcess, "terminate", AgentProcess.kill)


@mutant("streams/leaving-the-block-ends-it", patience=1.5)
def leaves_the_process_of_a_block(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Leaving a process's block leaves the process."""
    patch.setattr(Process, "__exit__", lambda *_: None)


@mutant("streams/pid-is-the-one-inside")
def tells_another_pid(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`pid` is another one than inside."""

    async def spawn_elsewhere(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        process = await original(self, argv, **settings)
        process.pid += 1_000_000
        return process

    wrap(patch, AgentGuest, "spawn", spawn_elsewhere)


@mutant("tty/size-is-as-asked")
def ignores_the_terminals_size(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A terminal has a size of its own choice."""
    change_call(patch, "spawn", rows=24, columns=80)


@mutant("tty/streams-are-a-terminal")
def makes_no_terminal(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`tty` is ignored."""
    change_call(patch, "spawn", tty=False)


@mutant("tty/resize-is-seen", "tty/resize-without-a-terminal-raises", patience=1.5)
def ignores_resize(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`resize` does nothing."""
    patch.setattr(AgentProcess, "resize", _nothing)


@mutant("async/cancelled-line-loses-nothing")
def loses_what_a_read_had(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A read that is cancelled takes what it has with it."""
    patch.setattr(_Output, "_kept", lambda _self, _chunks: contextlib.nullcontext())


@mutant("streams/block-that-is-left-drops-unread-output", patience=2)
def waits_for_a_reader_that_left(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Leaving the block of a process leaves its unread output on the way."""

    async def leave(self: AgentProcess) -> None:
        if await self.poll() is None:
            await self.kill()

    patch.setattr(AgentProcess, "leave", leave)
