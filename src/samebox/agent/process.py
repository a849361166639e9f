"""AgentProcess: a running command inside a sandbox, through its agent."""

from __future__ import annotations

import contextlib
import signal as signals
import struct
import time
from typing import TYPE_CHECKING

from samebox.agent import frames
from samebox.errors import ConnectionLostError, ProtocolError, SandboxError
from samebox.guest.guest import GRACE
from samebox.guest.operation import Blocking
from samebox.guest.process import InputCore, OutputCore, ProcessCore
from samebox.guest.results import ExecResult, ExecTimeoutError, display, signal_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from samebox.agent.call import Call
    from samebox.agent.files import AgentCaller
    from samebox.agent.output import Collector, Pipe
    from samebox.agent.records import Record
    from samebox.guest.files import Path


_SIGNALS = 64
"""The highest signal of Linux."""
_SLACK = 1.0
"""How much later than a command's timeout and grace the agent's answer may come, in seconds."""


class AgentProcess(ProcessCore):
    """A command that was started with `spawn`."""

    def __init__(
        self,
        caller: AgentCaller,
        call: Call,
        argv: tuple[str | bytes, ...],
        stdout: Pipe,
        stderr: Pipe,
        *,
        user: str | None,
        timeout: float | None,
        tty: bool,
        output_limit: int,
    ) -> None:
        self._caller = caller
        self._call = call
        self._argv = argv
        self._pipes = {frames.STDOUT: stdout, frames.STDERR: stderr}
        self._user = user
        self._timeout = timeout
        self._tty = tty
        self._output_limit = output_limit
        self._began = time.perf_counter()
        self._ended = 0.0
        call.finished.add_done_callback(self._note_end)
        self.stdin = _Input(call)
        self.stdout = _Output(self, call, frames.STDOUT, stdout)
        self.stderr = _Output(self, call, frames.STDERR, stderr)

    def _note_end(self, _future: object) -> None:
        self._ended = time.perf_counter()

    async def begun(self, started: Future[Record], cwd: Path | None) -> None:
        """Wait until the command runs; raises the errors of `Guest.spawn`."""
        try:
            record = await self._caller._settled(self._call, started, cwd, self._user)  # noqa: SLF001
        except BaseException:
            self._call.cancel()
            raise
        self.pid = record.number("pid", 0)

    async def explained(self, error: ConnectionLostError) -> SandboxError:
        """Return the error that the end of the connection means."""
        return await Blocking(lambda: self._caller._connections.explain(error, self._user))  # noqa: SLF001

    async def wait(self, timeout: float | None = None) -> ExecResult:
        """See `ProcessCore.wait`."""
        for channel, pipe in self._pipes.items():
            self._call.credit(channel, pipe.release(self._output_limit))
        last = deadline(self._timeout)
        left = None if last is None else last - (time.perf_counter() - self._began)
        record = await self._caller._ended(self._call, None, self._user, left, timeout)  # noqa: SLF001
        if record is None:
            raise not_ended(self._argv, (self._pipes[frames.STDOUT], self._pipes[frames.STDERR]), self._timeout)
        return self._result(record)

    async def poll(self) -> ExecResult | None:
        """See `ProcessCore.poll`."""
        if not self._call.finished.done():
            return None
        return self._result(await self._caller._settled(self._call, self._call.outcome(), None, self._user))  # noqa: SLF001

    def _result(self, record: Record) -> ExecResult:
        streams = (self._pipes[frames.STDOUT], self._pipes[frames.STDERR])
        return exec_result(record, self._argv, streams, duration=self._ended - self._began, timeout=self._timeout)

    async def send_signal(self, signal: int) -> None:
        """See `ProcessCore.send_signal`."""
        self._call.control(
            frames.SIGNAL, struct.pack(">I", signals.Signals(signal) if signal < signals.SIGRTMIN else signal)
        )

    async def kill(self) -> None:
        """See `ProcessCore.kill`."""
        self._call.control(frames.CANCEL, struct.pack(">I", 0))

    async def leave(self) -> None:
        """See `ProcessCore.leave`."""
        if not self._call.over:
            await self.kill()
            for channel, pipe in self._pipes.items():
                self._call.credit(channel, pipe.release(0))

    async def terminate(self) -> None:
        """See `ProcessCore.terminate`."""
        self._call.cancel()

    async def resize(self, rows: int, columns: int) -> None:
        """See `ProcessCore.resize`."""
        if not self._tty:
            msg = f"resize: {display(self._argv)} has no terminal; start it with tty=True"
            raise SandboxError(msg)
        self._call.control(frames.RESIZE, struct.pack(">HH", rows, columns))


class _Output(OutputCore):
    def __init__(self, process: AgentProcess, call: Call, channel: int, pipe: Pipe) -> None:
        self._process = process
        self._call = call
        self._channel = channel
        self._pipe = pipe

    async def _next(self) -> bytes:
        while True:
            try:
                data, credit = self._pipe.take()
            except ConnectionLostError as error:
                raise await self._process.explained(error) from error
            self._call.credit(self._channel, credit)
            if data is not None:
                return data
            await self._call.until(self._pipe.waiter())

    async def read(self, size: int = -1) -> bytes:
        """See `OutputCore.read`."""
        if size == 0:
            return b""
        if size < 0:
            chunks: list[bytes] = []
            with self._kept(chunks):
                while data := await self._next():
                    chunks.append(data)
            return b"".join(chunks)
        data = await self._next()
        if len(data) > size:
            self._pipe.put_back(data[size:])
        return data[:size]

    async def readline(self) -> bytes:
        """See `OutputCore.readline`."""
        chunks: list[bytes] = []
        with self._kept(chunks):
            while data := await self._next():
                line, newline, rest = data.partition(b"\n")
                chunks.append(line + newline)
                if newline:
                    if rest:
                        self._pipe.put_back(rest)
                    break
        return b"".join(chunks)

    @contextlib.contextmanager
    def _kept(self, chunks: list[bytes]) -> Iterator[None]:
        """Give back what was taken if the read is interrupted, so that the next one has it."""
        try:
            yield
        except BaseException:
            if taken := b"".join(chunks):
                self._pipe.put_back(taken)
            raise


class _Input(InputCore):
    def __init__(self, call: Call) -> None:
        self._call = call
        self._closed = False

    async def write(self, data: bytes | str) -> None:
        """See `InputCore.write`."""
        if self._closed:
            msg = "write to a stdin that is closed"
            raise ValueError(msg)
        await self._call.write_all(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)

    async def close(self) -> None:
        """See `InputCore.close`."""
        if not self._closed:
            self._closed = True
            self._call.end_input()


def deadline(timeout: float | None) -> float | None:
    """Return when the agent has ended a command at the latest, in seconds after its begin."""
    return None if timeout is None else timeout + GRACE + _SLACK


def not_ended(
    argv: tuple[str | bytes, ...], streams: tuple[Collector, Collector] | tuple[Pipe, Pipe], timeout: float | None
) -> ExecTimeoutError:
    """Return the error for a command whose agent does not end it."""
    stdout, stderr = streams
    truncated = stdout.truncated or stderr.truncated
    result = ExecResult(137, stdout.data, stderr.data, truncated, timeout or 0, argv)
    how = f"ran into its timeout of {timeout or 0:g} s, and the sandbox's agent did not end it"
    return ExecTimeoutError(f"{display(argv)} {how}", result)


def exec_result(
    record: Record,
    argv: tuple[str | bytes, ...],
    streams: tuple[Collector, Collector] | tuple[Pipe, Pipe],
    *,
    duration: float,
    timeout: float | None,
) -> ExecResult:
    """Return the result of a command from the agent's last answer.

    Raises:
        ExecTimeoutError: The timeout has ended the command.
        ProtocolError: The answer has no exit code.
    """
    number, code = record.number("signal", 0), record.number("exit_code")
    if not 0 <= number <= _SIGNALS or not 0 <= code <= 255 or (number and code != 128 + number):
        msg = f"the agent told of an exit code {code} and a signal {number}, which can't be"
        raise ProtocolError(msg)
    stdout, stderr = streams
    result = ExecResult(
        exit_code=code,
        stdout=stdout.data,
        stderr=stderr.data,
        truncated=stdout.truncated or stderr.truncated,
        duration=duration,
        argv=argv,
        signal=signal_name(number) if number else None,
    )
    if record.text("reason") == "timeout":
        how = f"ran into its timeout of {timeout or 0:g} s; it and everything that it had started are ended"
        msg = f"{display(argv)} {how}"
        raise ExecTimeoutError(msg, result)
    return result
