"""Timeouts and cancellation: what a command has started ends, and nothing else."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import SandboxError
from samebox.guest.results import ExecTimeoutError

if TYPE_CHECKING:
    from samebox.sandbox.sandbox import AsyncSandbox, Sandbox

SHORT = 0.5
"""A timeout that a command is meant to run into, in seconds: enough to start a few processes."""


def state_of(pid: str) -> str:
    """Return a script that prints the state of a process, if the process is there and no zombie."""
    assert pid.isdecimal(), f"its id was not written in time, found {pid!r}"
    return f"grep -s '^State' /proc/{pid}/status | grep -v Z"


def assert_gone(box: Sandbox, here: str, *names: str) -> None:
    """Assert that the processes whose ids are in files of a directory are there no more."""
    for name in names:
        pid = box.read_text(f"{here}/{name}").strip()
        state = box.sh(state_of(pid), timeout=DEADLINE).text
        assert not state, f"process {pid} ({name}) is still there: {state}"


async def assert_ends(box: AsyncSandbox, *paths: str) -> None:
    """Assert that the processes whose ids are in files are there no more before long."""
    deadline = time.monotonic() + DEADLINE
    for path in paths:
        pid = (await box.read_text(path)).strip()
        while state := (await box.sh(state_of(pid), timeout=DEADLINE)).text:
            assert time.monotonic() < deadline, f"process {pid} ({path}) is still there: {state}"
            await asyncio.sleep(0.05)


def test_timeout_raises_timeout_error(box: Sandbox) -> None:
    """A command that runs into its timeout raises ExecTimeoutError, which is a TimeoutError, in about that time.

    Why: docker-py and podman-py have no timeout for an exec at all; others return an exit code of 124 or -1.
    Check: who keeps the time, and what is raised.
    """
    began = time.monotonic()
    with pytest.raises(ExecTimeoutError, match=r"sleep 300.*0\.5 s") as caught:
        box.exec(["sleep", "300"], timeout=SHORT)
    took = time.monotonic() - began
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, SandboxError)
    assert SHORT <= took < DEADLINE, f"raised after {took:.1f} s"


def test_timeout_kills_the_command(box: Sandbox, here: str) -> None:
    """After a timeout the command is not running any more when the call returns.

    Why: a timeout on the client's side alone leaves it running inside: the most repeated bug of all sandboxes.
    Check: that the kill happens inside the sandbox and is waited for.
    """
    with pytest.raises(ExecTimeoutError):
        box.sh("echo $$ > pid; exec sleep 300", cwd=here, timeout=SHORT)
    assert_gone(box, here, "pid")


def test_timeout_kills_children(box: Sandbox, here: str) -> None:
    """A timeout ends the children of the command too, though the command itself ends at once by SIGTERM.

    Why: killing the shell leaves what it started; `sh -c 'a; b'` has always a child (inspect_ai #1357, #2779).
    Check: that all descendants are signalled, and waited for.
    """
    with pytest.raises(ExecTimeoutError):
        box.sh("sleep 300 & echo $! > one; sleep 300 & echo $! > two; wait", cwd=here, timeout=SHORT)
    assert_gone(box, here, "one", "two")


def test_timeout_kills_setsid_child(box: Sandbox, here: str) -> None:
    """A timeout ends a child that has made a session of its own.

    Why: killing the process group misses it: servers and browsers call setsid.
    Check: how descendants are found: groups and sessions are not enough.
    """
    with pytest.raises(ExecTimeoutError):
        box.sh("setsid sh -c 'echo $$ > pid; exec sleep 300' & wait; sleep 300", cwd=here, timeout=SHORT)
    assert_gone(box, here, "pid")


def test_timeout_kills_double_forked_child(box: Sandbox, here: str) -> None:
    """A timeout ends a daemon: a grandchild in a session of its own whose parent has ended.

    Why: its parent is PID 1 then, so neither the tree of parents nor the process group leads to it.
    Check: that the command's supervisor is a child subreaper.
    """
    script = "(setsid sh -c '(echo $$ > mid; sh -c \"echo \\$\\$ > pid; exec sleep 300\") &' &) ; sleep 300"
    with pytest.raises(ExecTimeoutError):
        box.sh(script, cwd=here, timeout=SHORT)
    assert_gone(box, here, "pid")


def test_timeout_kills_those_that_ignore_sigterm(box: Sandbox, here: str) -> None:
    """A command, or a child of it, that ignores SIGTERM is ended by SIGKILL after a short grace.

    Why: one signal is not enough for a program that cleans up for ever, or that hides.
    Check: the second signal.
    """
    script = (
        "trap '' TERM; echo $$ > pid; (trap '' TERM; sh -c 'echo $$ > child; exec sleep 300') & "
        "while :; do sleep 1; done"
    )
    with pytest.raises(ExecTimeoutError) as caught:
        box.sh(script, cwd=here, timeout=SHORT)
    assert_gone(box, here, "pid", "child")
    assert caught.value.result is not None
    assert caught.value.result.signal == "SIGKILL", caught.value.result


def test_timeout_begins_with_sigterm(box: Sandbox, here: str) -> None:
    """A timeout's first signal is SIGTERM, so that a command can clean up in the grace.

    Why: SIGKILL at once leaves locks, temporary files and half-written results.
    Check: the order of signals.
    """
    script = "trap 'sleep 0.2; echo clean > mark; exit 0' TERM; while :; do sleep 0.05; done"
    with pytest.raises(ExecTimeoutError):
        box.sh(script, cwd=here, timeout=SHORT)
    assert box.read_text(f"{here}/mark") == "clean\n"


def test_timeout_ends_stopped_processes(box: Sandbox, here: str) -> None:
    """A timeout ends a child that is stopped.

    Why: a stopped process does not act on SIGTERM before it is continued.
    Check: SIGCONT after SIGTERM, and the SIGKILL at the end.
    """
    with pytest.raises(ExecTimeoutError):
        box.sh("sleep 300 & echo $! > pid; kill -STOP $!; wait; sleep 300", cwd=here, timeout=SHORT)
    assert_gone(box, here, "pid")


def test_timeout_has_partial_output(box: Sandbox) -> None:
    """The error of a timeout has what both streams had until then.

    Why: it is what tells why the command hung, and most libraries throw it away.
    Check: that the streams are drained after the kill, and handed to the error.
    """
    with pytest.raises(ExecTimeoutError) as caught:
        box.sh("echo out; echo err >&2; sleep 300", timeout=SHORT)
    assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n"), caught.value.result


def test_timeout_has_output_of_the_grace(box: Sandbox) -> None:
    """What a command writes while it cleans up belongs to the partial output.

    Why: a stack trace on SIGTERM is the best word on why it hung.
    Check: that the pipes are read during the grace.
    """
    script = "trap 'echo cleaning; exit 0' TERM; echo working; while :; do sleep 0.05; done"
    with pytest.raises(ExecTimeoutError) as caught:
        box.sh(script, timeout=SHORT)
    assert caught.value.stdout == b"working\ncleaning\n", caught.value.result


def test_timeout_of_a_flood(box: Sandbox) -> None:
    """A command that writes without end runs into its timeout all the same, with its beginning and end kept.

    Why: a loop that reads as long as there is something never looks at the clock.
    Check: that the deadline does not depend on the output's pauses.
    """
    with pytest.raises(ExecTimeoutError) as caught:
        box.exec(["yes"], timeout=SHORT, output_limit=64 << 10)
    result = caught.value.result
    assert result is not None
    assert (result.truncated, result.stdout[:4], len(result.stdout) <= (64 << 10) + 200) == (True, b"y\ny\n", True)


def test_timeout_leaves_others_alone(box: Sandbox) -> None:
    """A timeout ends nothing but what the command has started: other commands run on.

    Why: restarting the sandbox, or `kill -1`, is the easy way to be sure, and ends everything.
    Check: which processes are signalled.
    """
    with box.spawn(["sh", "-c", "echo up; read x; echo still"], timeout=DEADLINE) as other:
        assert other.stdout.readline() == b"up\n"
        with pytest.raises(ExecTimeoutError):
            box.sh("setsid sleep 300 & sleep 300", timeout=SHORT)
        other.stdin.write(b"\n")
        assert other.stdout.readline() == b"still\n"
        assert other.wait(DEADLINE).exit_code == 0


def test_timeout_leaves_earlier_background_alone(box: Sandbox) -> None:
    """A timeout leaves what an earlier command has left in the background.

    Why: a server that was started on purpose dies when another command is slow.
    Check: that descendants are those of this command only.
    """
    pid = box.sh("sleep 300 & echo $!", timeout=DEADLINE).stdout.strip().decode()
    with pytest.raises(ExecTimeoutError):
        box.exec(["sleep", "300"], timeout=SHORT)
    alive = box.exec(["kill", "-0", pid], timeout=DEADLINE).ok
    box.exec(["kill", "-9", pid], timeout=DEADLINE)
    assert alive, "a background process of an earlier command was ended"


def test_state_survives_a_timeout(box: Sandbox, here: str) -> None:
    """The sandbox and its files are as they were after a timeout.

    Why: engines that restart the container on a timeout lose what is not in a volume.
    Check: that nothing but the command is ended.
    """
    box.write_text(f"{here}/before", "kept")
    started = box.sh("cut -d ' ' -f 22 /proc/1/stat", timeout=DEADLINE).stdout
    with pytest.raises(ExecTimeoutError):
        box.exec(["sleep", "300"], timeout=SHORT)
    assert box.read_text(f"{here}/before") == "kept"
    assert box.sh("cut -d ' ' -f 22 /proc/1/stat", timeout=DEADLINE).stdout == started, "the first process is new"


def test_quick_command_has_no_timeout(box: Sandbox) -> None:
    """A command that ends in time is not touched by its timeout.

    Why: a timer that is not disarmed raises later, or in another call.
    Check: what ends the timer.
    """
    results = [box.sh("sleep 0.1; echo ok", timeout=5).stdout for _ in range(3)]
    assert results == [b"ok\n"] * 3
    assert box.exec(["sleep", "0.3"]).exit_code == 0


def test_background_child_outlives_the_timeout_of_its_command(box: Sandbox) -> None:
    """A background child of a command that ended in time lives on after that command's timeout would have come.

    Why: a timer left behind in the agent kills the server that the command was there to start.
    Check: what becomes of the timer when the direct child has exited.
    """
    pid = box.sh("sleep 300 & echo $!", timeout=SHORT).stdout.strip().decode()
    time.sleep(SHORT + 0.3)
    alive = box.exec(["kill", "-0", pid], timeout=DEADLINE).ok
    box.exec(["kill", "-9", pid], timeout=DEADLINE)
    assert alive, "the background child was ended by a timeout that never came"


def test_timeout_is_a_time(box: Sandbox) -> None:
    """What is no time above 0 is refused as a mistake of the caller, and nothing runs.

    Why: 0 is no limit to some and over at once to others, NaN is never over, and -1 on the wire is a limit of years.
    Check: the guest's check of its arguments.
    """
    told = r"^timeout is a number of seconds above 0, a text such as '90s', '5m' or '1h', or None for no limit, not "
    times: tuple[Any, ...] = (0, -1, float("nan"), float("inf"), True, "5", "soon", [5])
    for timeout in times:
        for call in (box.exec, box.spawn):
            with pytest.raises(ValueError, match=told + re.escape(repr(timeout))):
                call(["touch", "ran"], timeout=timeout)
        with pytest.raises(ValueError, match=told):
            box.write_text("ran", "x", timeout=timeout)
    assert not box.exists("ran")


def test_timeout_may_be_spelt(box: Sandbox) -> None:
    """A timeout is taken as "300ms" or "5m" too, of commands and of files.

    Why: a text that is compared with a number is a TypeError in the middle of a call.
    Check: the guest's check of its arguments.
    """
    began = time.monotonic()
    with pytest.raises(ExecTimeoutError):
        box.exec(["sleep", "300"], timeout="300ms")
    assert time.monotonic() - began < DEADLINE
    assert box.exec(["true"], timeout="5m").ok
    assert box.read_text("/etc/passwd", timeout="1h")


def test_timeout_while_input_is_fed(box: Sandbox) -> None:
    """A command that does not read its stdin runs into its timeout though the host still has input for it.

    Why: a blocking write of the input comes before the wait that keeps the time.
    Check: that feeding and waiting are not one after the other.
    """
    with pytest.raises(ExecTimeoutError):
        box.exec(["sleep", "300"], input=b"x" * (4 << 20), timeout=SHORT)


def test_timeouts_of_many_at_once(box: Sandbox, here: str) -> None:
    """Several commands that run into their timeouts at the same time are each ended, and no more than those.

    Why: a shared marker, or a lookup by name, mixes them up.
    Check: that each command has a supervisor of its own.
    """
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            box.sh(f"setsid sh -c 'echo $$ > p{number}; exec sleep 300' & sleep 300", cwd=here, timeout=1)
        except ExecTimeoutError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(errors) == 6, errors
    assert_gone(box, here, *(f"p{number}" for number in range(6)))


def test_cancel_ends_the_command(abox: AsyncSandbox) -> None:
    """Cancelling an awaited command ends it, with what it has started.

    Why: asyncio's cancel gives up the wait; the command runs on inside, unseen.
    Check: that CancelledError reaches the operation, which cancels in the agent.
    """

    async def scenario() -> None:
        await abox.make_dir("cancelled")
        script = "setsid sh -c 'echo $$ > child; exec sleep 300' & echo $$ > pid; exec sleep 300"
        task = asyncio.create_task(abox.sh(script, cwd="cancelled"))
        await asyncio.sleep(SHORT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_ends(abox, "cancelled/pid", "cancelled/child")
        await abox.remove("cancelled", recursive=True)

    asyncio.run(scenario())


def test_asyncio_timeout_ends_the_command(abox: AsyncSandbox) -> None:
    """A timeout of asyncio around a command ends it too, and the sandbox goes on.

    Why: `async with asyncio.timeout` is how async callers set limits, and it is a cancellation.
    Check: that CancelledError reaches the operation, which cancels in the agent.
    """

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await abox.sh("echo $$ > pid-of-timeout; exec sleep 300")
        await assert_ends(abox, "pid-of-timeout")
        await abox.remove("pid-of-timeout")

    asyncio.run(scenario())


def test_interrupt_ends_the_command(box: Sandbox, here: str) -> None:
    """A KeyboardInterrupt while a command is waited for ends the command, and the sandbox goes on.

    Why: Ctrl-C at the prompt leaves the command running inside, where nobody sees it.
    Check: that any exception of the wait cancels the operation.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # A signal to this very thread: a signal that only sets Python's own flag would not interrupt a wait for a lock.
    timer = threading.Timer(SHORT, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    began = time.monotonic()
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            # A timeout that comes after the deadline below, so that it is not what ends the command.
            box.sh("echo $$ > pid; exec sleep 300", cwd=here, timeout=2 * DEADLINE)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < DEADLINE, "the interrupt came only when the command's own timeout was over"
    deadline = time.monotonic() + DEADLINE
    pid = box.read_text(f"{here}/pid").strip()
    while state := box.sh(state_of(pid), timeout=DEADLINE).text:
        assert time.monotonic() < deadline, f"process {pid} is still there: {state}"
        time.sleep(0.05)
