"""Processes that are talked to while they run."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import PathNotFoundError
from samebox.guest.results import ExecTimeoutError

if TYPE_CHECKING:
    from samebox.sandbox.sandbox import Sandbox


def test_output_comes_as_it_is_written(box: Sandbox) -> None:
    """What a process writes can be read while it runs.

    Why: clients that collect until the end make a server, or a progress bar, invisible.
    Check: that the agent sends what is there and does not wait for more.
    """
    with box.spawn(["sh", "-c", "echo one; read line; echo two $line"], timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"one\n"
        assert process.poll() is None, "it ended before it was answered"
        process.stdin.write(b"more\n")
        assert process.stdout.readline() == b"two more\n"
        assert process.wait(DEADLINE).exit_code == 0


def test_conversation_of_many_turns(box: Sandbox) -> None:
    """A request and its answer can alternate many times, as a protocol over stdin and stdout does.

    Why: buffering on the way makes every turn of a JSON-RPC server wait for the next.
    Check: that small writes are sent at once.
    """
    script = 'while read line; do echo "got $line"; done'
    with box.spawn(["sh", "-c", script], timeout=DEADLINE) as process:
        for n in range(200):
            process.stdin.write(f"{n}\n")
            assert process.stdout.readline() == b"got %d\n" % n
        process.stdin.close()
        assert process.wait(DEADLINE).exit_code == 0


def test_stderr_is_read_apart(box: Sandbox) -> None:
    """Stderr is a stream of its own, and can be read first.

    Why: engines that multiplex both deliver them in the order of arrival, and a reader of one gets the other.
    Check: that each channel has a window of its own.
    """
    with box.spawn(["sh", "-c", "echo out; echo err >&2"], timeout=DEADLINE) as process:
        assert process.stderr.read() == b"err\n"
        assert process.stdout.read() == b"out\n"


def test_closing_stdin_is_seen(box: Sandbox) -> None:
    """Closing stdin lets the process see its end; closing again does nothing.

    Why: a half close is lost over TLS and over some of the engines' sockets, and `cat` never ends.
    Check: that the end is a message of its own and not the socket's.
    """
    with box.spawn(["cat"], timeout=DEADLINE) as process:
        process.stdin.write(b"x")
        process.stdin.close()
        process.stdin.close()
        assert process.stdout.read() == b"x"
        assert process.wait(DEADLINE).exit_code == 0


def test_write_after_close_raises(box: Sandbox) -> None:
    """Writing to a stdin that was closed raises ValueError, as on a closed file.

    Why: silence makes lost input look like a program that ignores it.
    Check: the stream's own state.
    """
    with box.spawn(["cat"], timeout=DEADLINE) as process:
        process.stdin.close()
        with pytest.raises(ValueError, match="closed"):
            process.stdin.write(b"x")


def test_write_after_exit_is_dropped(box: Sandbox) -> None:
    """What is written to a process that has ended, or has closed its stdin, is dropped without an error.

    Why: whether it has ended yet is a race that no caller can win.
    Check: what the agent does with input for an operation that is over.
    """
    with box.spawn(["true"], timeout=DEADLINE) as process:
        process.wait(DEADLINE)
        process.stdin.write(b"x" * (1 << 20))
        process.stdin.close()


def test_stdin_can_be_left_out(box: Sandbox) -> None:
    """With `stdin=False` a process's stdin is at its end from the start.

    Why: a server that is started in the background must not read from a pipe that nobody closes.
    Check: what the agent opens as descriptor 0.
    """
    with box.spawn(["cat"], stdin=False, timeout=DEADLINE) as process:
        assert process.wait(DEADLINE).exit_code == 0


def test_wait_keeps_what_nobody_read(box: Sandbox) -> None:
    """`wait` returns though nobody reads the output, which can still be read afterwards.

    Why: subprocess's own `wait` deadlocks as soon as the pipe is full.
    Check: that waiting gives the streams the output limit's worth of room.
    """
    with box.spawn(["head", "-c", "1000000", "/dev/zero"], timeout=DEADLINE) as process:
        assert process.wait(DEADLINE).exit_code == 0
        assert len(process.stdout.read()) == 1_000_000


def test_slow_reader_stops_the_writer(box: Sandbox) -> None:
    """A process whose output nobody reads is stopped by its pipe, and goes on when somebody does.

    Why: without flow control, reading eagerly buffers a flood in the host's memory.
    Check: windows: how much of an unread stream travels.
    """
    script = "head -c 3000000 /dev/zero; echo done >&2"
    with box.spawn(["sh", "-c", script], timeout=DEADLINE) as process:
        time.sleep(0.3)
        assert process.poll() is None, "3 MB were taken though nobody read them"
        assert len(process.stdout.read()) == 3_000_000
        assert process.stderr.read() == b"done\n"


def test_slow_reader_holds_up_no_other(box: Sandbox) -> None:
    """A process whose output nobody reads holds up no other command.

    Why: one stream for all commands blocks as soon as one of them is not read.
    Check: that a window is per stream and channel.
    """
    with box.spawn(["cat", "/dev/zero"], timeout=DEADLINE) as process:
        for n in range(20):
            assert box.exec(["echo", str(n)], timeout=DEADLINE).stdout == b"%d\n" % n
        process.kill()
        assert process.wait(DEADLINE).signal == "SIGKILL"


def test_poll_tells_the_end(box: Sandbox) -> None:
    """`poll` returns None while the process runs and its result afterwards.

    Why: an exec id's `Running` lags behind in some engines, and the code is null for a moment.
    Check: that the result is there once it is told.
    """
    with box.spawn(["sh", "-c", "read x; exit 4"], timeout=DEADLINE) as process:
        assert process.poll() is None
        process.stdin.close()
        process.wait(DEADLINE)
        result = process.poll()
        assert result is not None
        assert result.exit_code == 4, result


def test_wait_may_be_called_again(box: Sandbox) -> None:
    """`wait` gives the same result each time.

    Why: a future that was consumed raises at the second call.
    Check: that the result is kept.
    """
    with box.spawn(["sh", "-c", "exit 9"], timeout=DEADLINE) as process:
        assert [process.wait(DEADLINE).exit_code for _ in range(3)] == [9, 9, 9]


def test_wait_timeout_leaves_it_running(box: Sandbox) -> None:
    """`wait(timeout)` raises TimeoutError when the time is over, and the process runs on.

    Why: waiting and the process's own time limit are two things; killing on a short wait loses work.
    Check: that the waiter is given up and not the operation.
    """
    with box.spawn(["sh", "-c", "read x; echo $x"], timeout=DEADLINE) as process:
        with pytest.raises(TimeoutError):
            process.wait(0.1)
        time.sleep(0.3)  # an end by the timeout would need a moment
        process.stdin.write(b"alive\n")
        assert process.stdout.readline() == b"alive\n"
        assert process.wait(DEADLINE).exit_code == 0


def test_signal_reaches_the_process(box: Sandbox) -> None:
    """`send_signal` sends a signal to the process itself, which can catch it.

    Why: engines can only kill containers; signalling the client's process inside does not reach the command.
    Check: that the signal goes to the direct child.
    """
    script = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    with box.spawn(["sh", "-c", script], timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"caught\n"
        assert process.wait(DEADLINE).exit_code == 3


def test_signal_goes_to_no_other(box: Sandbox) -> None:
    """A signal for one process leaves the others alone.

    Why: signalling a process group that the agent shares, or every process of that name, ends the neighbours.
    Check: that each command has a process group of its own.
    """
    with (
        box.spawn(["cat"], timeout=DEADLINE) as one,
        box.spawn(["cat"], timeout=DEADLINE) as other,
    ):
        one.send_signal(signal.SIGTERM)
        assert one.wait(DEADLINE).signal == "SIGTERM"
        other.stdin.write(b"alive\n")
        assert other.stdout.readline() == b"alive\n"


def test_kill_ends_its_children(box: Sandbox, here: str) -> None:
    """`kill` ends the process with everything that it has started, those with a session of their own included.

    Why: killing the direct child leaves what it started: servers, miners, and a full pids limit.
    Check: how descendants are found.
    """
    script = "setsid sh -c 'echo $$ > pid; exec sleep 300' & while [ ! -s pid ]; do sleep 0.02; done; echo up; wait"
    with box.spawn(["sh", "-c", script], cwd=here, timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"up\n"
        process.kill()
        assert process.wait(DEADLINE).signal == "SIGKILL"
    gone = box.sh("kill -0 $(cat pid)", cwd=here, timeout=DEADLINE)
    assert gone.exit_code != 0, "a child of the killed process is still there"


def test_terminate_lets_it_clean_up(box: Sandbox, here: str) -> None:
    """`terminate` begins with SIGTERM, so that a process can put its things in order.

    Why: SIGKILL at once leaves locks and half-written files.
    Check: the order of signals and the grace.
    """
    script = "trap 'echo clean > mark; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    with box.spawn(["sh", "-c", script], cwd=here, timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        process.wait(DEADLINE)
    assert box.read_text(f"{here}/mark") == "clean\n"


def test_leaving_the_block_ends_it(box: Sandbox) -> None:
    """Leaving the `with` block ends a process that still runs.

    Why: a test that fails in the block would leave its server behind.
    Check: `Process.__exit__`.
    """
    # Without a timeout: it would end the process as well, before the deadline below.
    with box.spawn(["sh", "-c", "echo $$; exec sleep 300"]) as process:
        pid = process.stdout.readline().strip().decode()
    deadline = time.monotonic() + DEADLINE
    while box.exec(["kill", "-0", pid], timeout=DEADLINE).ok and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not box.exec(["kill", "-0", pid], timeout=DEADLINE).ok, f"process {pid} is still there"


def test_pid_is_the_one_inside(box: Sandbox) -> None:
    """`pid` is the process's id inside the sandbox.

    Why: Docker reports the host's pid of an exec, which is useless inside (moby #43208).
    Check: where the number comes from.
    """
    with box.spawn(["sh", "-c", "echo $$; read x"], timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"%d\n" % process.pid


def test_missing_program_ends_with_127(box: Sandbox) -> None:
    """A process whose program is not there ends with 127 and a reason on stderr.

    Why: `spawn` must not differ from `exec`.
    Check: what the agent does when execve fails.
    """
    with box.spawn(["samebox-no-such-program"], timeout=DEADLINE) as process:
        assert process.wait(DEADLINE).exit_code == 127
        assert b"samebox-no-such-program" in process.stderr.read()


def test_missing_cwd_is_raised_at_once(box: Sandbox, here: str) -> None:
    """A cwd that is not there is raised by `spawn` itself.

    Why: told only at the wait, the caller has talked to a process that never was.
    Check: that `spawn` waits for the agent's word that it runs.
    """
    with pytest.raises(PathNotFoundError):
        box.spawn(["true"], cwd=f"{here}/nowhere", timeout=DEADLINE)


def test_own_timeout_is_raised_by_wait(box: Sandbox) -> None:
    """A process's own timeout ends it, and `wait` raises ExecTimeoutError.

    Why: a timeout that only the host's side keeps leaves the process running inside.
    Check: that the agent has the timeout.
    """
    with box.spawn(["sleep", "300"], timeout=0.3) as process, pytest.raises(ExecTimeoutError):
        process.wait(DEADLINE)


def test_iteration_gives_everything(box: Sandbox) -> None:
    """Iterating over a stream, or over its lines, gives the whole stream to its end.

    Why: an iterator that ends at the first pause loses the rest.
    Check: that only the stream's end ends the iteration.
    """
    script = "echo a; sleep 0.1; printf b; sleep 0.1; printf 'c\\nd'"
    with box.spawn(["sh", "-c", script], timeout=DEADLINE) as process:
        assert list(process.stdout.lines()) == [b"a\n", b"bc\n", b"d"]
    with box.spawn(["sh", "-c", script], timeout=DEADLINE) as process:
        assert b"".join(process.stdout) == b"a\nbc\nd"


def test_read_takes_at_most_its_size(box: Sandbox) -> None:
    """`read(size)` returns at most that much, and the rest next time.

    Why: dropping what is over the size loses the next message's beginning.
    Check: what is put back.
    """
    with box.spawn(["printf", "abcdef"], timeout=DEADLINE) as process:
        process.wait(DEADLINE)
        parts = [process.stdout.read(4), process.stdout.read(4), process.stdout.read(4)]
        assert (b"".join(parts), len(parts[0]) <= 4, parts[2]) == (b"abcdef", True, b""), parts


def test_block_that_is_left_drops_unread_output(box: Sandbox) -> None:
    """A process whose output nobody reads is gone once its `with` block is left.

    Why: an agent that waits for the reader holds a supervisor, pipes and a stream for each, until there are no more.
    Check: what leaving the block does with the output that is still on its way.
    """
    with box.spawn(["sh", "-c", "exec yes"], timeout=DEADLINE) as process:
        assert process.stdout.read(2) == b"y\n"
        time.sleep(0.5)  # until no more output can be on its way without a reader
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None:
        assert time.monotonic() < deadline, "the process is not over"
        time.sleep(0.01)
