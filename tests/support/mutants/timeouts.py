"""Mutants that get timeouts and cancellation wrong.

What they leave running ends with the sandbox, whose init ends everything in it.
"""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent import caller, frames, guest
from samebox.agent.call import Call
from samebox.agent.guest import AgentGuest
from samebox.guest.results import ExecResult, ExecTimeoutError

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


def _kept_by_the_host(patch: pytest.MonkeyPatch) -> None:
    """Keep timeouts on the host's side alone."""
    original = guest.command_fields
    patch.setattr(guest, "command_fields", lambda argv, cwd, env, _timeout: original(argv, cwd, env, None))
    patch.setattr(guest, "deadline", lambda timeout: timeout)
    patch.setattr(caller, "_BACKSTOP", 0.0)


@mutant(
    "timeouts/timeout-kills-the-command",
    "timeouts/timeout-kills-children",
)
def leaves_the_command_after_a_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout gives up the wait, and the command runs on."""
    _kept_by_the_host(patch)
    patch.setattr(Call, "cancel", lambda _self: None)


@mutant(
    "timeouts/timeout-kills-children",
    "timeouts/timeout-kills-setsid-child",
    "timeouts/timeout-kills-double-forked-child",
)
def leaves_children_after_a_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout kills the command and leaves its children."""
    _kept_by_the_host(patch)
    kill = struct.pack(">I", signal.SIGKILL)
    patch.setattr(Call, "cancel", lambda self: self.control(frames.SIGNAL, kill))


@mutant("timeouts/timeout-begins-with-sigterm")
def gives_no_grace(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout begins with SIGKILL."""
    patch.setattr(guest, "GRACE", 0.0)


@mutant("timeouts/timeout-kills-those-that-ignore-sigterm", patience=2)
def never_sends_sigkill(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout ends with SIGTERM, which can be ignored."""
    patch.setattr(guest, "GRACE", 3600.0)


@mutant("once/command-that-times-out-runs-once")
def restarts_the_command_on_a_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout is tried again."""

    async def exec_twice(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        try:
            return await original(self, argv, **settings)
        except ExecTimeoutError:
            return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_twice)


@mutant("timeouts/timeout-leaves-others-alone")
def ends_others_on_a_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout ends every command of the sandbox."""

    async def exec_alone(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        try:
            return await original(self, argv, **settings)
        except ExecTimeoutError:
            connection = self._connections.current(None)
            if connection is not None:
                connection.close()
            raise

    wrap(patch, AgentGuest, "exec", exec_alone)


def _instead_of_a_timeout(patch: pytest.MonkeyPatch, answer: Any) -> None:
    async def exec_answered(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        try:
            return await original(self, argv, **settings)
        except ExecTimeoutError as error:
            return answer(error)

    wrap(patch, AgentGuest, "exec", exec_answered)


@mutant("timeouts/timeout-raises-timeout-error")
def returns_124_for_a_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout is an exit code of 124."""
    _instead_of_a_timeout(patch, lambda error: ExecResult(124, error.stdout, error.stderr))


@mutant("timeouts/timeout-raises-timeout-error")
def raises_a_plain_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout raises an error that is none of samebox's."""

    def answer(error: ExecTimeoutError) -> None:
        raise TimeoutError(str(error))

    _instead_of_a_timeout(patch, answer)


@mutant(
    "timeouts/timeout-has-partial-output",
    "async/timeout-has-partial-output",
)
def drops_partial_output(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout throws away what was written until then."""

    def answer(error: ExecTimeoutError) -> None:
        raise ExecTimeoutError(str(error))

    _instead_of_a_timeout(patch, answer)


@mutant("timeouts/timeout-is-a-time", patience=1)
def takes_zero_for_no_timeout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout of 0 is no limit."""

    async def exec_unlimited(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        settings["timeout"] = settings.get("timeout") or None
        return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_unlimited)


@mutant("timeouts/timeout-may-be-spelt")
def takes_numbers_alone(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A timeout that is a text is a TypeError."""

    async def exec_numbers(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        if isinstance(settings.get("timeout"), str):
            raise TypeError
        return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_numbers)


@mutant(
    "timeouts/interrupt-ends-the-command",
    "timeouts/cancel-ends-the-command",
    patience=1.5,
)
def leaves_a_cancelled_command(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call that is given up leaves its command."""
    patch.setattr(Call, "cancel", lambda _self: None)
