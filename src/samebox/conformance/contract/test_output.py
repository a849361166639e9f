"""Output: both streams as they come, together or apart, told while the command runs, and what a result says of them."""

from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.sandbox.sandbox import Sandbox

TURNS = "for i in 1 2 3; do echo o$i; echo e$i >&2; done"
TOGETHER = b"o1\ne1\no2\ne2\no3\ne3\n"
SLOW_TURNS = "for i in 1 2 3; do echo o$i; sleep 0.1; echo e$i >&2; sleep 0.1; done"


def test_stderr_may_come_with_stdout(box: Sandbox) -> None:
    """With stderr="stdout" both streams come on stdout, in the order in which the command wrote.

    Why: two pipes that are put together afterwards have every error before or after all of the output.
    Check: that the command itself has one pipe as both.
    """
    result = box.sh(TURNS, stderr="stdout", timeout=DEADLINE)
    assert (result.stdout, result.stderr, result.output) == (TOGETHER, b"", TOGETHER.decode()), result
    with box.spawn(["sh", "-c", TURNS], stderr="stdout") as process:
        assert process.stdout.read(timeout=DEADLINE) == TOGETHER
        assert process.stderr.read(timeout=DEADLINE) == b""
        assert process.wait(DEADLINE).ok


def test_output_is_told_as_it_comes(box: Sandbox) -> None:
    """The functions that a call is given get what comes on each stream, in order and while the command runs.

    Why: output that comes at the end is no progress, and two streams that are told one after the other tell no story.
    Check: that the bytes are handed on as frames come, in the caller's thread.
    """
    told: list[bytes] = []
    at: list[float] = []
    threads = set()

    def take(data: bytes) -> None:
        told.append(data)
        at.append(time.monotonic())
        threads.add(threading.get_ident())

    result = box.sh(SLOW_TURNS, on_stdout=take, on_stderr=take, timeout=DEADLINE)
    assert b"".join(told) == TOGETHER
    assert (result.stdout, result.stderr) == (b"o1\no2\no3\n", b"e1\ne2\ne3\n"), result
    assert at[-1] - at[0] > 0.3, "all of it was told at the end"
    assert threads == {threading.get_ident()}
    assert box.sh("echo out; echo err >&2", on_stderr=take, timeout=DEADLINE).stdout == b"out\n"
    assert told[-1] == b"err\n"


def test_error_of_who_is_told_ends_the_command(box: Sandbox, here: str) -> None:
    """What a function raises that is told of output is raised by the call, and the command is ended.

    Why: an error in the thread that reads a connection ends the connection, or is lost.
    Check: in which thread the function is called, and what becomes of the command.
    """

    def refuse(data: bytes) -> None:
        raise LookupError(data)

    with pytest.raises(LookupError, match="first"):
        box.sh("echo first; sleep 5; touch survived", cwd=here, on_stdout=refuse, timeout=DEADLINE)
    assert box.exec(["echo", "next"], timeout=DEADLINE).stdout == b"next\n"
    deadline = time.monotonic() + DEADLINE
    while box.sh("grep -l '[t]ouch survived' /proc/[0-9]*/cmdline", timeout=DEADLINE).ok:
        assert time.monotonic() < deadline, "the command runs on"
        time.sleep(0.05)


def test_large_output_is_told_whole(box: Sandbox) -> None:
    """What is told is all of the output, however long, where the result keeps its beginning and end.

    Why: a limit of what is kept is no limit of what is told.
    Check: the credit that is given for what was told.
    """
    size = 0

    def count(data: bytes) -> None:
        nonlocal size
        size += len(data)

    result = box.sh("head -c 3000000 /dev/zero", on_stdout=count, output_limit=1000, timeout=DEADLINE)
    assert (size, len(result.stdout), result.truncated_stdout) == (3_000_000, 1000, True), result


def test_iteration_over_both_streams(box: Sandbox) -> None:
    """Iterating over a process gives what comes on either stream, in the order of arrival, up to the end of both.

    Why: who reads one stream to its end first waits for ever for the other, or has no order.
    Check: how the order of frames is kept between two pipes.
    """
    with box.spawn(["sh", "-c", SLOW_TURNS], timeout=DEADLINE) as process:
        told = list(process)
        assert process.wait(DEADLINE).ok
    assert b"".join(data for _, data in told) == TOGETHER, told
    assert [name for name, _ in told] == ["stdout", "stderr"] * 3, told


def test_read_has_a_deadline(box: Sandbox) -> None:
    """A read with a timeout is over with TimeoutError, the process runs on, and nothing that came is lost.

    Why: a read for ever can't be given up but by another thread, and one that is given up drops what it had.
    Check: what becomes of the bytes of a line that is not complete.
    """
    with box.spawn(["sh", "-c", "printf begin; read line; echo $line"], timeout=DEADLINE) as process:
        for read in (process.stdout.readline, process.stdout.read, process.arrival):
            if read == process.arrival:
                assert process.arrival(timeout=DEADLINE) == ("stdout", b"begin")
            with pytest.raises(TimeoutError):
                read(timeout=0.2)
        process.stdin.write("end\n")
        assert process.stdout.readline(timeout="1m") == b"end\n"
        assert process.wait(DEADLINE).ok


def test_each_stream_tells_that_it_was_cut(box: Sandbox) -> None:
    """A result tells for each stream whether something of it is missing.

    Why: an error message that is cut and output that is whole are another thing than the other way round.
    Check: that each stream has its own mark.
    """
    cut = box.sh("head -c 100 /dev/zero; head -c 10 /dev/zero >&2", output_limit=50, timeout=DEADLINE)
    assert (cut.truncated_stdout, cut.truncated_stderr, cut.truncated) == (True, False, True), cut
    cut = box.sh("head -c 10 /dev/zero; head -c 100 /dev/zero >&2", output_limit=50, timeout=DEADLINE)
    assert (cut.truncated_stdout, cut.truncated_stderr, cut.truncated) == (False, True, True), cut


def test_error_of_the_start_is_told(box: Sandbox, here: str) -> None:
    """A program that was not run is told from one that exits with 126 or 127, by the errno.

    Why: any command can exit so, and retries or advice that depend on it are for programs that are missing.
    Check: that the errno is the agent's word and not made of the exit code.
    """
    box.write_text(f"{here}/plain", "x")
    missing = box.exec(["no-such-program"], timeout=DEADLINE)
    forbidden = box.exec([f"{here}/plain"], timeout=DEADLINE)
    assert (missing.exit_code, missing.start_error) == (127, errno.ENOENT), missing
    assert (forbidden.exit_code, forbidden.start_error) == (126, errno.EACCES), forbidden
    for code in (0, 126, 127):
        result = box.sh(f"exit {code}", timeout=DEADLINE)
        assert (result.exit_code, result.start_error) == (code, None), result


def test_result_is_no_truth(box: Sandbox) -> None:
    """A result has no truth value.

    Why: `if box.exec(...)` looks as if it asked for success, and would always be true.
    Check: `ExecResult.__bool__`.
    """
    with pytest.raises(TypeError, match="ask for its `ok`"):
        assert box.exec(["false"], timeout=DEADLINE)


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"input": 5}, r"^input is bytes, a text, a binary file, an iterable of bytes, or None for no input, not 5$"),
    ({"output_limit": -1}, r"^output_limit is a number of bytes from 0, or None for the config's, not -1$"),
    ({"output_limit": "1m"}, r"^output_limit is a number of bytes from 0, or None for the config's, not '1m'$"),
    ({"stderr": "pipe"}, r"^stderr is 'stdout', to come with it, or None, to come apart, not 'pipe'$"),
    ({"env": {"A": 1}}, r"^the value of A is int; an environment has texts$"),
)


def test_wrong_argument_is_named(box: Sandbox) -> None:
    """A wrong argument is a ValueError that names the argument and what is accepted, and nothing runs.

    Why: it comes as an AttributeError from within, or is taken for something else.
    Check: the guest's check of its arguments.
    """
    for settings, told in WRONG:
        with pytest.raises(ValueError, match=told):
            box.exec(["touch", "ran"], timeout=DEADLINE, **settings)
    assert not box.exists("ran")


def test_wrong_content_is_named(box: Sandbox) -> None:
    """What is no bytes is not written as bytes.

    Why: `bytes(5)` is five NULs, and a text is written in one encoding or another.
    Check: the guest's check of its arguments.
    """
    contents: tuple[Any, ...] = ("x", 5, None, ["x"])
    for data in contents:
        with pytest.raises(ValueError, match=rf"^data is bytes, not {type(data).__name__}"):
            box.write_bytes("written", data)
    with pytest.raises(ValueError, match=r"^text is a text, not bytes; use write_bytes\(\) for bytes$"):
        box.write_text("written", b"x")  # type: ignore[arg-type]
    assert not box.exists("written")


def test_argv_takes_paths(box: Sandbox, tmp_path: Path) -> None:
    """The program and its arguments may be path objects.

    Why: subprocess takes them, and joining them by hand is how text gets in.
    Check: the guest's check of its arguments.
    """
    assert box.exec(["echo", tmp_path], timeout=DEADLINE).text == f"{tmp_path}\n"
