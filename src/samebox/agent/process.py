"""AgentProcess: a running command inside a sandbox, through its agent."""

from __future__ import annotations

import contextlib
import signal as signals
import struct
import time
from typing import TYPE_CHECKING

from samebox.agent import frames
from samebox.agent.caller import ANSWER
from samebox.errors import ConnectionLostError, OutputLimitError, ProtocolError, SandboxError
from samebox.guest.arguments import seconds
from samebox.guest.guest import GRACE
from samebox.guest.operation import Blocking
from samebox.guest.process import InputCore, OutputCore, ProcessCore
from samebox.guest.results import ExecResult, ExecTimeoutError, display, signal_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from samebox.agent.arrivals import Arrivals
    from samebox.agent.call import Call
    from samebox.agent.caller import AgentCaller
    from samebox.agent.output import Collector, Pipe
    from samebox.agent.records import Record
    from samebox.guest.arguments import Timeout
    from samebox.guest.files import Path
    from samebox.guest.process import StreamName


_SIGNALS = 64
"""The highest signal of Linux."""
_PIECE = 64 << 10
"""A size for `read` that an error names, in bytes."""
_START = 60.0
"""How long the start of a command may take, in seconds."""
_SLACK = 1.0
"""How much later than a command's timeout and grace the agent's answer may come, in seconds."""


class AgentProcess(ProcessCore):
    """A command that was started with `spawn`."""

    def __init__(
        self,
        caller: AgentCaller,
        call: Call,
        argv: tuple[str | bytes, ...],
        arrivals: Arrivals,
        *,
        user: str | None,
        timeout: float | None,
        tty: bool,
        output_limit: int,
    ) -> None:
        self._caller = caller
        self._call = call
        self.argv = argv
        self._arrivals = arrivals
        self._pipes = arrivals.pipes
        self._user = user
        self._timeout = timeout
        self._tty = tty
        self._output_limit = output_limit
        self._began = time.perf_counter()
        self._ended = 0.0
        self._late = False
        """Whether the agent was there when the command should have ended; from then on it is waited for."""
        call.finished.add_done_callback(self._note_end)
        self.stdin = _Input(call)
        self.stdout = _Output(self, frames.STDOUT, self._pipes[frames.STDOUT])
        self.stderr = _Output(self, frames.STDERR, self._pipes[frames.STDERR])

    def _note_end(self, _future: object) -> None:
        self._ended = time.perf_counter()

    async def begun(self, started: Future[Record], cwd: Path | None) -> None:
        """Wait until the command runs; raises the errors of `Guest.spawn`."""
        try:
            last = deadline(self._timeout)
            record = await self._caller._settled(  # noqa: SLF001
                self._call, started, cwd, self._user, _START if last is None else min(last, _START)
            )
        except BaseException as error:
            self._call.cancel()
            self._drop_output()
            if isinstance(error, TimeoutError) and not isinstance(error, SandboxError):
                raise self._not_started() from None
            raise
        self.pid = record.number("pid", 0)

    def _not_started(self) -> SandboxError:
        if self._timeout is not None and self._timeout < _START:
            return self._not_ended()
        how = (
            f"was not started within {_START:g} s; its sandbox is overloaded, or what starts commands there was stopped"
        )
        return ConnectionLostError(f"{display(self.argv)} {how}")

    def _drop_output(self) -> None:
        """Let the agent send all of the output, which nobody reads: it ends the command's stream only then."""
        for channel, pipe in self._pipes.items():
            self._call.credit(channel, pipe.release(0))

    async def explained(self, error: ConnectionLostError) -> SandboxError:
        """Return the error that the end of the connection means."""
        return await Blocking(lambda: self._caller._connections.explain(error, self._user))  # noqa: SLF001

    @property
    def returncode(self) -> int | None:
        """See `ProcessCore.returncode`."""
        finished = self._call.finished
        known = finished.done() and not finished.cancelled() and finished.exception() is None
        return finished.result().number("exit_code", 0) if known else None

    async def wait(self, timeout: Timeout = None) -> ExecResult:
        """See `ProcessCore.wait`."""
        least = seconds(timeout, zero=True)
        for channel, pipe in self._pipes.items():
            self._call.credit(channel, pipe.release(self._output_limit))
        record = await self._caller._ended(self._call, None, self._user, self._left, least)  # noqa: SLF001
        if record is None:
            raise self._not_ended()
        return self._result(record)

    async def arrival(self, timeout: Timeout = None) -> tuple[StreamName, bytes] | None:
        """See `ProcessCore.arrival`."""
        end = from_now(timeout)
        try:
            found = await self._arrivals.next(self._call, lambda waiter: self.await_output(waiter, end))
        except ConnectionLostError as error:
            raise await self.explained(error) from error
        return None if found is None else ("stdout" if found[0] == frames.STDOUT else "stderr", found[1])

    async def await_output(self, waiter: Future[None], end: float | None) -> None:
        """Wait for output, or its end; raises `ExecTimeoutError` where the agent keeps neither the timeout nor silence.

        Args:
            waiter: Resolved when either has come.
            end: When the caller's patience is over, on the monotonic clock; None: never.

        Raises:
            TimeoutError: The caller's patience is over.
        """
        patience = None if end is None else max(0.0, end - time.monotonic())
        left = None if self._late or self._left is None else max(0.0, self._left)
        callers = patience is not None and (left is None or patience <= left)
        try:
            await self._call.until(waiter, patience if callers else left)
        except TimeoutError as error:
            if callers or isinstance(error, SandboxError):
                raise
            if not await self._call.answered(ANSWER):
                raise self._not_ended() from None
            self._late = True

    @property
    def _left(self) -> float | None:
        """How long until the agent has ended the command at the latest, in seconds."""
        last = deadline(self._timeout)
        return None if last is None else last - (time.perf_counter() - self._began)

    def _not_ended(self) -> ExecTimeoutError:
        return not_ended(self.argv, (self._pipes[frames.STDOUT], self._pipes[frames.STDERR]), self._timeout)

    async def poll(self) -> ExecResult | None:
        """See `ProcessCore.poll`."""
        if not self._call.finished.done():
            return None
        return self._result(await self._caller._settled(self._call, self._call.outcome(), None, self._user))  # noqa: SLF001

    def _result(self, record: Record) -> ExecResult:
        streams = (self._pipes[frames.STDOUT], self._pipes[frames.STDERR])
        return exec_result(record, self.argv, streams, duration=self._ended - self._began, timeout=self._timeout)

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
            self._drop_output()

    async def terminate(self) -> None:
        """See `ProcessCore.terminate`."""
        self._call.cancel()

    async def resize(self, rows: int, columns: int) -> None:
        """See `ProcessCore.resize`."""
        if not self._tty:
            msg = f"resize: {display(self.argv)} has no terminal; start it with tty=True"
            raise SandboxError(msg)
        self._call.control(frames.RESIZE, struct.pack(">HH", rows, columns))


class _Output(OutputCore):
    def __init__(self, process: AgentProcess, channel: int, pipe: Pipe) -> None:
        self._process = process
        self._call = process._call  # noqa: SLF001 - a part of the process
        self.argv = process.argv
        self._limit = process._output_limit  # noqa: SLF001
        self._channel = channel
        self._pipe = pipe

    async def _next(self, deadline: float | None) -> bytes:
        while True:
            try:
                data, credit = self._pipe.take()
            except ConnectionLostError as error:
                raise await self._process.explained(error) from error
            self._call.credit(self._channel, credit)
            if data is not None:
                return data
            await self._process.await_output(self._pipe.waiter(), deadline)

    async def read(self, size: int = -1, *, limit: int | None = None, timeout: Timeout = None) -> bytes:
        """See `OutputCore.read`."""
        if size == 0:
            return b""
        if size < 0:
            return await self._until(b"", limit, timeout)
        data = await self._next(from_now(timeout))
        if len(data) > size:
            self._pipe.put_back(data[size:])
        return data[:size]

    async def readline(self, *, limit: int | None = None, timeout: Timeout = None) -> bytes:
        """See `OutputCore.readline`."""
        return await self._until(b"\n", limit, timeout)

    async def _until(self, end: bytes, limit: int | None, timeout: Timeout) -> bytes:
        """Return the bytes up to an end, b"" being the end of the stream, and give back what comes after it."""
        last = from_now(timeout)
        most = self._limit if limit is None else limit
        taken = bytearray()
        with self._kept(taken):
            while data := await self._next(last):
                at = data.find(end) + 1 if end else 0
                if at < len(data) and at:
                    self._pipe.put_back(data[at:])
                    data = data[:at]
                taken += data
                if len(taken) > most:
                    raise OutputLimitError(self._refusal(end, most))
                if at:
                    break
        return bytes(taken)

    def _refusal(self, end: bytes, most: int) -> str:
        what, call = ("a line", "readline(limit=...)") if end else ("the output", "read(limit=...)")
        return (
            f"{display(self.argv)} has written {what} of more than {most} bytes; "
            f"give a larger limit, as {call}, or read it piece by piece, as read({_PIECE})"
        )

    @contextlib.contextmanager
    def _kept(self, taken: bytearray) -> Iterator[None]:
        """Give back what was taken if the read fails or is interrupted, so that the next one has it."""
        try:
            yield
        except BaseException:
            if taken:
                self._pipe.put_back(bytes(taken))
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


def from_now(timeout: Timeout) -> float | None:
    """Return when a wait of a caller is over, on the monotonic clock."""
    left = seconds(timeout, zero=True)
    return None if left is None else time.monotonic() + left


def deadline(timeout: float | None) -> float | None:
    """Return when the agent has ended a command at the latest, in seconds after its begin."""
    return None if timeout is None else timeout + GRACE + _SLACK


def not_ended(
    argv: tuple[str | bytes, ...], streams: tuple[Collector, Collector] | tuple[Pipe, Pipe], timeout: float | None
) -> ExecTimeoutError:
    """Return the error for a command whose agent does not end it."""
    stdout, stderr = streams
    result = ExecResult(
        137,
        stdout.data,
        stderr.data,
        truncated_stdout=stdout.truncated,
        truncated_stderr=stderr.truncated,
        duration=timeout or 0,
        argv=argv,
    )
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
    number, code, failed = record.number("signal", 0), record.number("exit_code"), record.number("errno", 0)
    if not 0 <= failed < 4096 or (failed and code not in {126, 127}):
        msg = f"the agent told of an exit code {code} and an errno {failed} of the start, which can't be"
        raise ProtocolError(msg)
    if not 0 <= number <= _SIGNALS or not 0 <= code <= 255 or (number and code != 128 + number):
        msg = f"the agent told of an exit code {code} and a signal {number}, which can't be"
        raise ProtocolError(msg)
    stdout, stderr = streams
    result = ExecResult(
        exit_code=code,
        stdout=stdout.data,
        stderr=stderr.data,
        truncated_stdout=stdout.truncated,
        truncated_stderr=stderr.truncated,
        duration=duration,
        argv=argv,
        signal=signal_name(number) if number else None,
        out_of_memory=bool(record.number("out_of_memory", 0)),
        start_error=failed or None,
    )
    if record.text("reason") == "timeout":
        how = f"ran into its timeout of {timeout or 0:g} s; it and everything that it had started are ended"
        msg = f"{display(argv)} {how}"
        raise ExecTimeoutError(msg, result)
    return result
