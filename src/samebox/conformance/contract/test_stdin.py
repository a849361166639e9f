"""Stdin of commands that run to their end."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.sandbox.sandbox import Sandbox

EVERY_BYTE = bytes(range(256))


def test_stdin_is_at_its_end(box: Sandbox) -> None:
    """Without `input`, a command's stdin is at its end.

    Why: an exec with an open stdin hangs `cat`, and every program that reads for a password, for ever.
    Check: what the agent opens as descriptor 0.
    """
    result = box.sh("cat; echo $?", timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"0\n"), result


@pytest.mark.parametrize(
    "given",
    [EVERY_BYTE, bytearray(EVERY_BYTE), memoryview(EVERY_BYTE)],
    ids=["bytes", "bytearray", "memoryview"],
)
def test_bytes_arrive_exactly(box: Sandbox, given: bytes) -> None:
    """Every byte of `input` reaches the command, counted and dumped inside.

    Why: text-mode transports and terminals change bytes 0, 3, 4, 10, 13 and 26 on the way in.
    Check: by od inside the sandbox, so that two wrongs don't make a right.
    """
    result = box.exec(["od", "-An", "-v", "-tx1"], input=given, timeout=DEADLINE)
    assert bytes.fromhex(result.text) == EVERY_BYTE, result


def test_text_is_utf8(box: Sandbox) -> None:
    """A text as `input` is sent as UTF-8, surrogate escapes as the bytes that they stand for.

    Why: the platform's encoding differs from host to host.
    Check: that the encoding is named where the text is encoded.
    """
    result = box.exec(["od", "-An", "-v", "-tx1"], input="ä€\udcff\n", timeout=DEADLINE)
    assert bytes.fromhex(result.text) == b"\xc3\xa4\xe2\x82\xac\xff\n", result


@pytest.mark.parametrize("given", [b"", "", (), io.BytesIO()], ids=["bytes", "text", "tuple", "file"])
def test_empty_input_is_the_end(box: Sandbox, given: Any) -> None:
    """An empty `input` gives a stdin that is at its end at once.

    Why: `if input:` takes it for no input at all, and in some libraries that leaves stdin open: a hang.
    Check: comparisons with None instead of truth.
    """
    result = box.exec(["wc", "-c"], input=given, timeout=DEADLINE)
    assert result.stdout.strip() == b"0", result


def test_file_is_read_to_its_end(box: Sandbox, tmp_path: Any) -> None:
    """A binary file as `input` is read from where it stands to its end.

    Why: reading it into memory first costs as much memory as it has bytes, and seeking changes what was meant.
    Check: that only `read` is called.
    """
    path = tmp_path / "input"
    path.write_bytes(b"skip" + b"x" * 300_000)
    with path.open("rb") as file:
        file.seek(4)
        result = box.exec(["wc", "-c"], input=file, timeout=DEADLINE)
    assert int(result.stdout) == 300_000, result


def test_iterable_is_streamed(box: Sandbox) -> None:
    """An iterable of bytes as `input` is sent piece by piece.

    Why: joining it first needs all of it in memory, and never begins if it does not end.
    Check: that each piece is sent before the next is asked for.
    """
    pieces = (b"%d\n" % n for n in range(1000))
    result = box.exec(["tail", "-n", "1"], input=pieces, timeout=DEADLINE)
    assert result.stdout == b"999\n", result


def test_iterable_that_raises_ends_the_command(box: Sandbox) -> None:
    """What the caller's iterable raises is raised by the call, and the command is ended.

    Why: an error in a feeding thread is printed and lost, and the command waits for its stdin for ever.
    Check: that the error is handed over and the operation cancelled.
    """

    def pieces() -> Iterator[bytes]:
        yield b"one"
        msg = "from the caller"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="from the caller"):
        box.sh("cat; sleep 30", input=pieces(), timeout=DEADLINE)


def test_large_input_is_whole(box: Sandbox) -> None:
    """Twenty megabytes of stdin arrive whole and in order.

    Why: one write to a socket takes what fits, and code that ignores its result loses the rest.
    Check: by cksum of both ends; flow control towards the agent.
    """
    data = os.urandom(1 << 20) * 20
    result = box.exec(["sha256sum"], input=data, timeout=DEADLINE)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest(), result


def test_large_echo_does_not_deadlock(box: Sandbox) -> None:
    """A command that writes while it reads gets all its stdin, and all its output comes back.

    Why: sending all input before reading any output fills both pipes, and both sides wait for ever.
    Check: that input and output move at the same time.
    """
    data = os.urandom(1 << 16) * 96
    result = box.exec(["cat"], input=data, timeout=DEADLINE, output_limit=16 << 20)
    assert (len(result.stdout), result.stdout == data) == (len(data), True), result.exit_code


def test_early_close_breaks_nothing(box: Sandbox) -> None:
    """A command that reads a little of its stdin, or nothing, and exits is a success.

    Why: the writer gets EPIPE or a reset stream, which is the command's right and not an error.
    Check: how the agent treats a failed write to the command.
    """
    data = b"first\n" + b"x" * (4 << 20)
    some = box.exec(["head", "-n", "1"], input=data, timeout=DEADLINE)
    none = box.exec(["true"], input=data, timeout=DEADLINE)
    assert (some.exit_code, some.stdout) == (0, b"first\n"), some
    assert (none.exit_code, none.stdout) == (0, b""), none
    assert box.exec(["echo", "on"], timeout=DEADLINE).stdout == b"on\n"


def test_closed_stdin_does_not_end_the_command(box: Sandbox) -> None:
    """A command that closes its stdin and works on is waited for.

    Why: taking the broken pipe for the end of the command loses its result.
    Check: that only the child's exit ends the operation.
    """
    result = box.sh("exec <&-; sleep 0.3; echo later", input=b"x" * (2 << 20), timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"later\n"), result


def test_input_is_not_echoed(box: Sandbox) -> None:
    """Stdin does not appear in the output by itself.

    Why: a terminal echoes, and some engines attach one whenever stdin is attached.
    Check: that no terminal is made.
    """
    result = box.exec(["sh", "-c", "read line; test -t 0 || echo quiet"], input=b"secret\n", timeout=DEADLINE)
    assert result.stdout == b"quiet\n", result


def test_background_child_does_not_steal_stdin(box: Sandbox) -> None:
    """The end of one command's stdin is seen though an earlier background child still runs.

    Why: a descriptor that a child inherits keeps the pipe open, and the reader never sees its end.
    Check: close-on-exec on the agent's ends of the pipes.
    """
    left = box.sh("sleep 30 & echo $!", timeout=DEADLINE).stdout.strip()
    result = box.exec(["cat"], input=b"all", timeout=DEADLINE)
    box.exec(["kill", left], timeout=DEADLINE)
    assert result.stdout == b"all", result
