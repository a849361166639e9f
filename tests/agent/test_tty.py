"""Commands with a terminal."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from wire import RESIZE, SIGNAL, gone

if TYPE_CHECKING:
    from wire import Wire


def test_terminal(wire: Wire) -> None:
    """All three descriptors are one terminal, of 24 lines and 80 columns; it is the controlling one."""
    done = wire.sh("tty; tty <&1 ; tty <&2; stty size; : >/dev/tty && echo controls", tty=1)
    lines = done.stdout.decode().split("\r\n")
    assert lines[0].startswith("/dev/pts/")
    assert lines == [lines[0], lines[0], lines[0], "24 80", "controls", ""]
    assert done.stderr == b""
    assert done.result == {"exit_code": 0}


def test_session(wire: Wire) -> None:
    """The command leads a session and its foreground process group."""
    script = "import os; print(os.getpid() == os.getsid(0) == os.getpgrp() == os.tcgetpgrp(0))"
    done = wire.exec(sys.executable, "-c", script, tty=1)
    done.wait()
    assert done.stdout == b"True\r\n"


def test_size(wire: Wire) -> None:
    """Its size is what was asked for; a new one is told by SIGWINCH."""
    script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.01; done"
    stream = wire.exec("sh", "-c", script, tty=1, rows=10, columns=200)
    stream.until(b"10 200\r\n")
    stream.send(RESIZE, struct.pack(">HH", 50, 132))
    assert stream.wait() == {"exit_code": 3}
    assert stream.stdout.endswith(b"50 132\r\n")


def test_input(wire: Wire) -> None:
    """Input is typed into the terminal, which echoes; EOF is the character for it."""
    stream = wire.exec("cat", tty=1, flags=1)
    stream.data(b"hello\n")
    stream.until(b"hello\r\nhello\r\n")
    stream.eof()
    assert stream.wait() == {"exit_code": 0}


def test_interrupt(wire: Wire) -> None:
    """Control-C interrupts."""
    stream = wire.exec("cat", tty=1, flags=1)  # not a shell, which may be busy starting something just then
    stream.data(b"ready\n")
    stream.until(b"ready\r\nready")
    stream.data(b"\x03")
    assert stream.wait() == {"exit_code": 130, "signal": 2}


def test_signal_goes_to_the_group(wire: Wire) -> None:
    """SIGNAL reaches what runs in the terminal's foreground as well."""
    script = (
        "trap 'echo shell' USR1; (trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.01; done); echo end"
    )
    stream = wire.exec("sh", "-c", script, tty=1)
    stream.until(b"ready")
    stream.send(SIGNAL, struct.pack(">I", 10))
    assert stream.wait() == {"exit_code": 0}
    assert {b"child", b"shell", b"end"} <= set(stream.stdout.split())


def test_all_output(wire: Wire) -> None:
    """What is in the terminal when the command ends is not lost."""
    for _ in range(20):
        done = wire.sh("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done", tty=1)
        assert done.stdout.split() == [str(number).encode() for number in range(2000)]


def test_without_credit(wire: Wire) -> None:
    """The window holds for a terminal too."""
    stream = wire.exec("sh", "-c", "head -c 3000 /dev/zero | tr '\\0' x", tty=1, window=1024, crediting=False)
    while len(stream.stdout) < 1024:
        wire.pump()
    stream.crediting = True
    stream.give(1, 1024)
    assert stream.wait() == {"exit_code": 0}
    assert stream.stdout == b"x" * 3000


def test_background(wire: Wire) -> None:
    """A background process that keeps the terminal holds nothing up."""
    done = wire.sh("(trap '' HUP; sleep 1) & sleep 0.05; echo now", tty=1)
    assert done.result == {"exit_code": 0}
    assert done.stdout.endswith(b"now\r\n")


def test_timeout(wire: Wire) -> None:
    """A timeout ends what runs in the terminal."""
    script = "trap '' HUP TERM; setsid sleep 1000 & echo $!; while :; do sleep 0.01; done"
    done = wire.sh(script, tty=1, timeout=300, grace=100)
    assert done.result == {"exit_code": 137, "signal": 9, "reason": b"timeout"}
    assert gone(int(done.stdout))
