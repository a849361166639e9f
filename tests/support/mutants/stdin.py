"""Mutants that get stdin wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import change_call, wrap
from samebox.agent import frames
from samebox.agent.call import Call
from samebox.agent.guest import AgentGuest, _Feeder

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


@mutant("stdin/bytes-arrive-exactly[bytes]")
def drops_stdin(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Input is dropped: stdin is always at its end."""
    change_call(patch, "exec", input=None)


@mutant("stdin/bytes-arrive-exactly[bytes]")
def converts_stdin(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Input is sent as text with another system's line ends."""

    async def exec_text(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        if isinstance(settings.get("input"), bytes):
            settings["input"] = settings["input"].replace(b"\n", b"\r\n")
        return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_text)


@mutant("stdin/stdin-is-at-its-end", patience=1.5)
def leaves_stdin_open(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Without input, stdin is open and never ends."""

    async def begin_open(
        original: Operation, self: Any, operation: int, fields: Any, *args: Any, **settings: Any
    ) -> Any:
        if operation == 1 and ("flags", 0) in fields:
            fields = [field if field != ("flags", 0) else ("flags", 1) for field in fields]
        return await original(self, operation, fields, *args, **settings)

    wrap(patch, AgentGuest, "_begin", begin_open)


@mutant("stdin/large-input-is-whole")
def forgets_the_rest_of_a_write(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """What one write does not take is taken for sent."""

    def pump(self: Call) -> bytes:
        out, _ = self._chunks(self._pending)
        self._pending, self._pending_end = memoryview(b""), False
        return out + frames.frame(frames.EOF, self.stream, b"\0")

    patch.setattr(Call, "_pump", pump)


@mutant("stdin/iterable-that-raises-ends-the-command")
def swallows_errors_of_iterables(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An error of the caller's iterable is lost."""
    run = _Feeder._run

    def quiet(self: _Feeder) -> None:
        run(self)
        self.error = None

    patch.setattr(_Feeder, "_run", quiet)
