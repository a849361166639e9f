"""Processes on a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import SandboxError

if TYPE_CHECKING:
    from samebox.guest.process import Process
    from samebox.sandbox.sandbox import Sandbox


def until(process: Process, word: bytes) -> bytes:
    """Read a process's output until a word has come, and return all of it."""
    seen = b""
    while word not in seen:
        data = process.stdout.read(4096)
        assert data, f"the output ended with {seen!r}, and {word!r} has not come"
        seen += data
    return seen


def test_streams_are_a_terminal(box: Sandbox) -> None:
    """With `tty=True` stdin, stdout and stderr are a terminal.

    Why: programs ask, and without one give no prompt, no colour and no line editing.
    Check: that the pseudo-terminal is all three descriptors.
    """
    script = "test -t 0 && test -t 1 && test -t 2 && echo yes"
    with box.spawn(["sh", "-c", script], tty=True, timeout=DEADLINE) as process:
        assert until(process, b"\n") == b"yes\r\n"
        assert process.wait(DEADLINE).exit_code == 0


def test_without_tty_there_is_none(box: Sandbox) -> None:
    """Without `tty` no stream is a terminal.

    Why: programs that find one page their output and wait for a key.
    Check: that no pseudo-terminal is made.
    """
    result = box.sh("test -t 0 || test -t 1 || test -t 2 || echo none", timeout=DEADLINE)
    assert result.stdout == b"none\n", result


def test_size_is_as_asked(box: Sandbox) -> None:
    """The terminal has the rows and columns that were asked for, from the start.

    Why: set after the start, a program has drawn its first screen at 0 by 0 (Docker's resize is a second call).
    Check: that the size is set before the program runs.
    """
    with box.spawn(["stty", "size"], tty=True, rows=33, columns=101, timeout=DEADLINE) as process:
        assert until(process, b"\n") == b"33 101\r\n"


def test_resize_is_seen(box: Sandbox) -> None:
    """`resize` changes the size and tells the program by SIGWINCH.

    Why: a resize that goes to the engine's exec and not to the terminal inside is lost.
    Check: that the size is set on the terminal's own side.
    """
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with box.spawn(["sh", "-c", script], tty=True, timeout=DEADLINE) as process:
        until(process, b"ready")
        process.resize(44, 155)
        assert b"44 155" in until(process, b"155")


def test_resize_without_a_terminal_raises(box: Sandbox) -> None:
    """`resize` of a process without a terminal raises.

    Why: ignored, a mistake in the caller shows as a program that draws wrongly.
    Check: the process's own knowledge of its terminal.
    """
    with box.spawn(["cat"], timeout=DEADLINE) as process, pytest.raises(SandboxError, match="tty"):
        process.resize(10, 10)


def test_input_is_echoed_and_line_edited(box: Sandbox) -> None:
    """What is written is echoed by the terminal and read as a line.

    Why: a raw terminal is no terminal to an interactive program.
    Check: the terminal's modes.
    """
    with box.spawn(["sh", "-c", "read line; echo [$line]"], tty=True, timeout=DEADLINE) as process:
        process.stdin.write(b"typpo\x7f\x7fo\n")
        seen = until(process, b"]")
        assert b"[typo]" in seen, seen


def test_terminal_has_a_name(box: Sandbox) -> None:
    """TERM is xterm with `tty=True`, or what the call's `env` says.

    Why: without it `clear`, `less` and every curses program refuse to work; engines set it or leave it to the caller.
    Check: what the agent adds for a terminal.
    """
    for env, expected in (({}, b"xterm\r\n"), ({"TERM": "dumb"}, b"dumb\r\n")):
        script = ["sh", "-c", "echo $TERM"]
        with box.spawn(script, tty=True, env=env, timeout=DEADLINE) as process:
            assert until(process, b"\n") == expected


def test_control_c_interrupts(box: Sandbox) -> None:
    """Ctrl-C, written as byte 3, interrupts what runs in the foreground.

    Why: without a controlling terminal and a session of its own, byte 3 is just a byte.
    Check: setsid and TIOCSCTTY.
    """
    with box.spawn(["sh", "-c", "echo ready; exec sleep 300"], tty=True, timeout=DEADLINE) as process:
        until(process, b"ready")
        process.stdin.write(b"\x03")
        assert process.wait(DEADLINE).signal == "SIGINT"


def test_closing_stdin_is_control_d(box: Sandbox) -> None:
    """Closing stdin is seen as the end of the input, as by Ctrl-D, and the output still comes.

    Why: a terminal has no half close; closing it hangs up and loses what was still to be read.
    Check: that the terminal's end-of-file character is sent.
    """
    with box.spawn(["sh", "-c", "cat > /dev/null; echo over"], tty=True, timeout=DEADLINE) as process:
        process.stdin.write(b"text\n")
        process.stdin.close()
        assert b"over" in until(process, b"over")
        assert process.wait(DEADLINE).exit_code == 0


def test_stderr_comes_with_stdout(box: Sandbox) -> None:
    """On a terminal everything comes on stdout, and stderr is empty.

    Why: there is one terminal; a reader that waits for stderr must see its end.
    Check: that channel 2 ends.
    """
    with box.spawn(["sh", "-c", "echo err >&2"], tty=True, timeout=DEADLINE) as process:
        assert process.stdout.read() == b"err\r\n"
        assert process.stderr.read() == b""


def test_output_is_whole_at_the_end(box: Sandbox) -> None:
    """What was written just before the end is there, though the terminal is gone with its last process.

    Why: reading a terminal whose other side has closed gives EIO, and data that is still in it is lost.
    Check: that the terminal is drained before its end is told.
    """
    with box.spawn(["seq", "1", "20000"], tty=True, timeout=DEADLINE) as process:
        lines = process.stdout.read().split(b"\r\n")
        assert (len(lines), lines[0], lines[-2]) == (20001, b"1", b"20000"), lines[-3:]


def test_many_terminals(box: Sandbox) -> None:
    """Several processes have a terminal each.

    Why: an image without /dev/pts, or one that is the host's, has none to give.
    Check: that the sandbox has a devpts of its own.
    """
    processes = [box.spawn(["sh", "-c", "tty; read x"], tty=True, timeout=DEADLINE) for _ in range(4)]
    try:
        names = {until(process, b"\n").strip() for process in processes}
        assert len(names) == 4, names
    finally:
        for process in processes:
            process.kill()


def test_hang_up_ends_the_session(box: Sandbox) -> None:
    """When the process on a terminal is killed, what else ran on the terminal ends too.

    Why: an abandoned shell's foreground job keeps the terminal, and later ones run out of them.
    Check: that everything the command started is ended.
    """
    with box.spawn(["sh", "-c", "sleep 300 & echo $!; wait"], tty=True, timeout=DEADLINE) as process:
        pid = until(process, b"\n").strip().decode()
        process.kill()
        process.wait(DEADLINE)
    deadline = time.monotonic() + DEADLINE
    while box.exec(["kill", "-0", pid], timeout=DEADLINE).ok and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not box.exec(["kill", "-0", pid], timeout=DEADLINE).ok, f"process {pid} is still there"
