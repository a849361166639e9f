"""Relay: connects this process's stdin, stdout, stderr, terminal and signals with a command in a sandbox."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty as terminal
from typing import TYPE_CHECKING

from samebox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.guest.process import OutputStream, Process
    from samebox.sandbox.sandbox import Sandbox


_BROKEN_PIPE = 128 + signal.SIGPIPE
"""What a shell makes of a command whose output nobody takes any more."""


class Relay:
    """Runs one command, and passes its input, output and signals on until the command has ended.

    Args:
        box: The sandbox.
        command: The program and its arguments.
        timeout: The longest time that the command may take, in seconds; None: no limit.
        tty: Whether the command runs on a terminal.
    """

    def __init__(self, box: Sandbox, command: list[str], *, timeout: float | None, tty: bool) -> None:
        self._box = box
        self._command = command
        self._timeout = timeout
        self._tty = tty
        self._interrupts = 0
        self._broken = False

    def run(self) -> int:
        """Run the command and return its exit code.

        Raises:
            ExecTimeoutError: The timeout was over.
            SandboxError: As `Sandbox.spawn` and `Process.wait`.
        """
        size = shutil.get_terminal_size()
        process = self._box.spawn(
            self._command, timeout=self._timeout, tty=self._tty, rows=size.lines, columns=size.columns
        )
        # The process is in no `with` block, whose end would wait for a command whose output can't be written any more.
        outputs = [
            threading.Thread(target=self._copy, args=(process, stream, descriptor), daemon=True)
            for stream, descriptor in ((process.stdout, 1), (process.stderr, 2))
        ]
        # The terminal is made raw first, as it would change the line ends of the command's output.
        with self._raw_terminal(), self._signals(process):
            for thread in (*outputs, threading.Thread(target=self._feed, args=(process,), daemon=True)):
                thread.start()
            for thread in outputs:
                while thread.is_alive():
                    thread.join(0.5)  # not for ever, so that signal handlers run
            code = process.wait().exit_code
            return _BROKEN_PIPE if self._broken else code

    def _copy(self, process: Process, stream: OutputStream, descriptor: int) -> None:
        try:
            for data in stream:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            self._broken = True  # nobody reads the output any more, as with `| head`
            process.kill()
            with contextlib.suppress(SandboxError):
                for _ in stream:
                    pass
        except SandboxError:
            pass  # `wait` raises the same error

    def _feed(self, process: Process) -> None:
        with contextlib.suppress(SandboxError, OSError, ValueError):
            while data := os.read(0, 64 << 10):
                process.stdin.write(data)
            process.stdin.close()

    @contextlib.contextmanager
    def _raw_terminal(self) -> Iterator[None]:
        if not self._tty or not sys.stdin.isatty():
            yield
            return
        before = termios.tcgetattr(0)
        terminal.setraw(0)
        try:
            yield
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def _signals(self, process: Process) -> Iterator[None]:
        def resized(_number: int, _frame: object) -> None:
            size = shutil.get_terminal_size()
            process.resize(size.lines, size.columns)

        def interrupted(number: int, _frame: object) -> None:
            self._interrupts += 1
            if self._interrupts > 2:  # the command ignores SIGINT
                process.kill()
            else:
                process.send_signal(number)

        def terminated(_number: int, _frame: object) -> None:
            process.terminate()

        handlers = {signal.SIGINT: interrupted, signal.SIGTERM: terminated, signal.SIGHUP: terminated}
        if self._tty:
            handlers[signal.SIGWINCH] = resized
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
