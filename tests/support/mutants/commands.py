"""Mutants that get commands and their results wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import change_output, change_result, wrap
from samebox.agent.guest import AgentGuest
from samebox.errors import PathNotFoundError
from samebox.guest.results import CommandFailedError

if TYPE_CHECKING:
    import pytest

    from mutants.results import Operation
    from samebox.engine.local import LocalEngine


@mutant("exec/exit-code-is-a-result[42]", "exec/missing-program-is-127")
def loses_the_exit_code(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The exit code of every command is 0."""
    change_result(patch, lambda _: {"exit_code": 0})


@mutant("exec/death-by-signal-is-128-and-more[9-SIGKILL]")
def reports_signals_as_negative(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Death by signal n is -n, as subprocess has it."""
    change_result(patch, lambda result: {"exit_code": 128 - result.exit_code} if result.signal else {})


@mutant("exec/exit-code-above-128-is-no-signal")
def guesses_the_signal(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """An exit code over 128 is taken for death by a signal."""
    change_result(patch, lambda result: {"signal": "SIGKILL"} if result.exit_code == 137 else {})


@mutant("exec/exit-code-is-a-result[1]", "exec/sh-runs-a-script")
def raises_on_failure(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A command that fails raises."""

    async def exec_checked(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        result = await original(self, argv, **settings)
        if not result.ok:
            raise CommandFailedError(f"exit code {result.exit_code}", result)
        return result

    wrap(patch, AgentGuest, "exec", exec_checked)


@mutant("exec/missing-program-is-127", "exec/missing-path-is-127")
def raises_on_a_missing_program(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A missing program raises."""

    async def exec_raising(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        result = await original(self, argv, **settings)
        if result.exit_code == 127 and argv[0] != "sh":
            raise PathNotFoundError(2, "No such file", argv[0])
        return result

    wrap(patch, AgentGuest, "exec", exec_raising)


@mutant("exec/output-is-byte-exact")
def decodes_output(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Output is decoded as text and encoded again."""
    change_output(patch, lambda data: data.decode(errors="replace").encode())


@mutant("exec/line-ends-are-kept")
def converts_line_ends(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Line ends of output are converted."""
    change_output(patch, lambda data: data.replace(b"\r\n", b"\n"))


@mutant("exec/sh-runs-a-script", "exec/quick-output-is-never-lost")
def strips_the_last_newline(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The last line end of output is stripped."""
    change_output(patch, lambda data: data.removesuffix(b"\n"))


@mutant("exec/output-is-byte-exact")
def cuts_output_at_nul(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Output ends at its first NUL."""
    change_output(patch, lambda data: data.partition(b"\0")[0])


@mutant("exec/both-streams-may-be-large")
def cuts_output_at_a_chunk(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Output is cut after 64 KiB, in silence."""
    change_output(patch, lambda data: data[: 64 << 10])


@mutant("exec/streams-stay-apart")
def mixes_stderr_into_stdout(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Stderr comes with stdout."""
    change_result(patch, lambda result: {"stdout": result.stdout + result.stderr, "stderr": b""})


@mutant("exec/duration-is-measured")
def measures_milliseconds(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The duration is in milliseconds."""
    change_result(patch, lambda result: {"duration": result.duration * 1000})


@mutant("exec/argv-is-literal")
def runs_argv_through_a_shell(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """The argv is joined to a line for a shell."""

    async def exec_by_shell(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        # Only what the catching test gives: what it expands and runs (`id`, echo) harms nothing.
        if argv and argv[0] == "printf":
            argv = ["sh", "-c", " ".join(argv)]
        return await original(self, argv, **settings)

    wrap(patch, AgentGuest, "exec", exec_by_shell)


@mutant("exec/empty-argument-is-kept")
def drops_empty_arguments(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Empty arguments are dropped."""

    async def exec_without(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        return await original(self, [word for word in argv if word], **settings)

    wrap(patch, AgentGuest, "exec", exec_without)


@mutant(
    "exec/background-child-does-not-hold-up",
    patience=2,
)
def waits_for_background_children(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A call returns when the pipe of its output is closed, however late that is."""
    script = 'exec 3>&1; code=$( { { "$@"; echo $? >&4; } | cat >&3; } 4>&1 ); exit $code'

    async def exec_to_the_end(original: Operation, self: Any, argv: Any, **settings: Any) -> Any:
        return await original(self, ["sh", "-c", script, "sh", *argv], **settings)

    wrap(patch, AgentGuest, "exec", exec_to_the_end)


@mutant("exec/long-script-runs")
def hands_a_script_over_in_one(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A script is one argument, however long it is."""
    patch.setattr("samebox.guest.guest.shell_argv", lambda script: ["sh", "-c", script])
