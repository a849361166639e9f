"""Mutants that tell of output too late, in the wrong order or not at all, and take what is no argument."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import change_result, wrap
from samebox.agent.guest import AgentGuest
from samebox.agent.process import AgentProcess, _Output
from samebox.guest.results import ExecResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


@mutant("output/stderr-may-come-with-stdout")
def keeps_streams_apart(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """`stderr="stdout"` is accepted and ignored."""
    patch.setattr("samebox.agent.guest._merge", lambda _stderr: 0)


@mutant("output/output-is-told-as-it-comes")
def tells_at_the_end(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The functions that are to be told of output are told at the end."""

    async def exec_then_tell(
        original: Operation, self: Any, argv: Any, *, on_stdout: Any = None, on_stderr: Any = None, **settings: Any
    ) -> Any:
        result = await original(self, argv, **settings)
        for tell, data in ((on_stdout, result.stdout), (on_stderr, result.stderr)):
            if tell is not None and data:
                tell(data)
        return result

    wrap(patch, AgentGuest, "exec", exec_then_tell)


@mutant("output/error-of-who-is-told-ends-the-command")
def swallows_errors(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """What a function raises that is told of output is swallowed."""
    _change_told(patch, _quietly)


def _quietly(tell: Any, data: bytes) -> None:
    with contextlib.suppress(Exception):
        tell(data)


@mutant("output/large-output-is-told-whole")
def tells_what_is_kept(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """No more is told than the result keeps."""
    _change_told(patch, lambda tell, data: tell(data[:1000]))


def _change_told(patch: pytest.MonkeyPatch, change: Any) -> None:
    async def exec_telling(
        original: Operation, self: Any, argv: Any, *, on_stdout: Any = None, on_stderr: Any = None, **settings: Any
    ) -> Any:
        for name, tell in (("on_stdout", on_stdout), ("on_stderr", on_stderr)):
            if tell is not None:
                settings[name] = lambda data, tell=tell: change(tell, data)
        return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_telling)


@mutant("output/iteration-over-both-streams")
def gives_stdout_first(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Iteration gives all of stdout, and then all of stderr."""

    async def arrival(self: AgentProcess, timeout: Any = None) -> Any:
        for name, stream in (("stdout", self.stdout), ("stderr", self.stderr)):
            if data := await stream.read(1 << 20, timeout=timeout):
                return name, data
        return None

    patch.setattr(AgentProcess, "arrival", arrival)


@mutant("output/read-has-a-deadline")
def loses_what_it_had(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A read that is given up drops what it had."""

    @contextlib.contextmanager
    def lost(_self: _Output, _taken: bytearray) -> Iterator[None]:
        yield

    patch.setattr(_Output, "_kept", lost)


@mutant("output/each-stream-tells-that-it-was-cut")
def marks_both(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Both streams are said to be cut where one of them is."""
    change_result(patch, lambda result: {"truncated_stdout": result.truncated, "truncated_stderr": result.truncated})


@mutant("output/error-of-the-start-is-told")
def guesses_the_error(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The error of the start is made of the exit code."""
    change_result(patch, lambda result: {"start_error": {126: 13, 127: 2}.get(result.exit_code)})


@mutant("output/result-is-no-truth")
def is_always_true(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A result is true."""
    patch.setattr(ExecResult, "__bool__", lambda _self: True)


@mutant("output/wrong-argument-is-named")
def takes_any_output_limit(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An output limit that is none is ignored."""
    patch.setattr("samebox.agent.guest._limit", lambda _asked, default: default)


@mutant("output/wrong-content-is-named")
def takes_any_content(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A number is written as so many NULs."""
    patch.setattr("samebox.agent.files.content", lambda data: bytes(data or 0))


@mutant("output/argv-takes-paths")
def takes_no_paths(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An argument that is a path object is a TypeError."""
    patch.setattr("samebox.agent.guest.words", lambda argv: [word + "" for word in argv])


@mutant("environment/own-user-may-be-named")
def knows_no_own_user(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call that names the sandbox's own user is refused."""
    patch.setattr("samebox.agent.connections.is_own_user", lambda *_: False)


@mutant("environment/user-of-a-call-is-spelt-as-one")
def takes_any_user(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """What is no user's name is the engine's business."""
    patch.setattr("samebox.agent.guest.check_user", lambda _user: None)
