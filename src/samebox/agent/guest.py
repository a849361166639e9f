"""AgentGuest: commands and files inside a sandbox, through its agent; the Guest of every engine in this repository."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from samebox.agent.arrivals import Arrivals
from samebox.agent.files import AgentFiles
from samebox.agent.frames import STDERR, STDOUT
from samebox.agent.output import Collector
from samebox.agent.process import AgentProcess, deadline, exec_result, not_ended
from samebox.agent.records import encode_path
from samebox.agent.tcp import AgentSocket
from samebox.config.environment import check_env
from samebox.errors import ConnectionLostError
from samebox.guest.arguments import check_user, seconds, words
from samebox.guest.guest import GRACE, Guest
from samebox.guest.operation import Wait, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import IO, Literal

    from samebox.agent.call import Call
    from samebox.agent.caller import Connections
    from samebox.agent.output import Sink
    from samebox.agent.records import Field, Record
    from samebox.guest.arguments import Timeout
    from samebox.guest.files import Path
    from samebox.guest.guest import Argv, Input, Take
    from samebox.guest.results import ExecResult

EXEC = 1
_HAS_INPUT, _TELL_START, _MERGED = 1, 2, 4


class AgentGuest(AgentFiles, Guest):
    """Commands and files through a sandbox's agent.

    Args:
        connections: Hands out the connections to the agents.
        file_limit: The largest file that one call reads, in bytes.
        output_limit: How much of each stream a result holds, in bytes.
    """

    def __init__(self, connections: Connections, file_limit: int, output_limit: int) -> None:
        super().__init__(connections, file_limit)
        self._output_limit = output_limit

    async def exec(
        self,
        argv: Argv,
        *,
        input: Input | None = None,  # noqa: A002
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: Timeout = None,
        output_limit: int | None = None,
        stderr: Literal["stdout"] | None = None,
        on_stdout: Take | None = None,
        on_stderr: Take | None = None,
    ) -> ExecResult:
        """See `Guest.exec`."""
        command, longest, limit = words(argv), seconds(timeout), _limit(output_limit, self._output_limit)
        whole, source = _split(input)
        flags = (_HAS_INPUT if input is not None else 0) | _merge(stderr)
        fields = [*command_fields(command, cwd, env, longest), ("flags", flags)]
        check_user(user)
        kept = {STDOUT: Collector(limit), STDERR: Collector(limit)}
        told = {STDOUT: on_stdout, STDERR: on_stderr}
        arrivals = Arrivals() if on_stdout is not None or on_stderr is not None else None
        began = time.perf_counter()
        sinks: Mapping[int, Sink] = kept if arrivals is None else arrivals.pipes
        call = await self._begin(EXEC, fields, sinks, user, longest, input=whole)
        feeder = _Feeder(call, source) if source is not None else None
        last = deadline(longest)
        try:
            if arrivals is not None:
                await _relay(call, arrivals, kept, told, last)
            left = None if last is None else last - (time.perf_counter() - began)
            record = await self._ended(call, cwd, user, left)
        except BaseException:
            call.cancel()
            raise
        if record is None:
            call.cancel()
            raise not_ended(tuple(command), (kept[STDOUT], kept[STDERR]), longest)
        if feeder is not None and feeder.error is not None:
            raise feeder.error
        took = time.perf_counter() - began
        return exec_result(record, tuple(command), (kept[STDOUT], kept[STDERR]), duration=took, timeout=longest)

    async def spawn(
        self,
        argv: Argv,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: Timeout = None,
        stdin: bool = True,
        tty: bool = False,
        rows: int = 24,
        columns: int = 80,
        stderr: Literal["stdout"] | None = None,
    ) -> AgentProcess:
        """See `Guest.spawn`."""
        command, longest = words(argv), seconds(timeout)
        flags = _TELL_START | (_HAS_INPUT if stdin else 0) | _merge(stderr)
        fields = [*command_fields(command, cwd, env, longest), ("flags", flags)]
        check_user(user)
        if tty:
            fields += [("tty", 1), ("rows", rows), ("columns", columns)]
        arrivals = Arrivals()
        started: Future[Record] = Future()
        call = await self._begin(EXEC, fields, arrivals.pipes, user, longest, started=started)
        process = AgentProcess(
            self,
            call,
            tuple(command),
            arrivals,
            user=user,
            timeout=longest,
            tty=tty,
            output_limit=self._output_limit,
        )
        await process.begun(started, cwd)
        return process

    async def connect(self, port: int, host: str = "127.0.0.1", *, timeout: float = 10.0) -> AgentSocket:
        """See `Guest.connect`."""
        return await AgentSocket.open(self, host, port, timeout)

    def confined(self, root: Path) -> AgentFiles:
        """See `Guest.confined`."""
        return AgentFiles(self._connections, self._file_limit, encode_path(os.fspath(root)))


def command_fields(
    argv: list[str | bytes], cwd: Path | None, env: Mapping[str, str] | None, timeout: float | None
) -> list[Field]:
    """Return the fields of a command's record.

    Raises:
        ValueError: An argument has a NUL, or env is wrong; the error's text shows no value of env.
    """
    fields: list[Field] = [("argv", encode_path(word)) for word in argv]
    if env:
        check_env(env)
        fields += [("env", encode_path(f"{name}={value}")) for name, value in env.items()]
    if cwd is not None:
        fields.append(("cwd", encode_path(os.fspath(cwd))))
    if timeout is not None:
        fields += [("timeout", max(1, round(timeout * 1000))), ("grace", round(GRACE * 1000))]
    return fields


def _limit(asked: Any, default: int) -> int:
    """Return how much of a stream to keep."""
    if asked is None:
        return default
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 0:
        msg = f"output_limit is a number of bytes from 0, or None for the config's, not {asked!r}"
        raise ValueError(msg)
    return asked


def _merge(stderr: str | None) -> int:
    """Return the flag for a stderr that comes with stdout."""
    if stderr not in {None, "stdout"}:
        msg = f"stderr is 'stdout', to come with it, or None, to come apart, not {stderr!r}"
        raise ValueError(msg)
    return _MERGED if stderr else 0


async def _relay(
    call: Call,
    arrivals: Arrivals,
    kept: Mapping[int, Collector],
    told: Mapping[int, Take | None],
    deadline: float | None,
) -> None:
    """Hand a command's output to the caller as it comes, up to its end or the deadline, in seconds from now."""
    end = None if deadline is None else time.monotonic() + deadline

    def wait(waiter: Future[None]) -> Wait[None]:
        return call.until(waiter, None if end is None else max(0.0, end - time.monotonic()))

    while True:
        try:
            found = await arrivals.next(call, wait)
        except (TimeoutError, ConnectionLostError):
            return  # which the call's own end tells
        if found is None:
            return
        channel, data = found
        kept[channel].receive(data)
        take = told[channel]
        if take is not None:
            take(data)


def _split(data: Input | None) -> tuple[bytes | None, IO[bytes] | Iterable[bytes] | None]:
    """Return the whole input if it is there already, or else the file or iterable that the input comes from.

    Raises:
        ValueError: It is none of them.
    """
    if isinstance(data, str):
        return data.encode("utf-8", "surrogateescape"), None
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), None
    if data is not None and not hasattr(data, "read") and not hasattr(data, "__iter__"):
        msg = f"input is bytes, a text, a binary file, an iterable of bytes, or None for no input, not {data!r}"
        raise ValueError(msg)
    return None, data


class _Feeder:
    """Feeds a command from a file or an iterable, in a thread, as reading may block after the command has ended."""

    def __init__(self, call: Call, source: IO[bytes] | Iterable[bytes]) -> None:
        self._call = call
        self._source = source
        self.error: BaseException | None = None
        threading.Thread(target=self._run, name="samebox-input", daemon=True).start()

    def _run(self) -> None:
        try:
            read = getattr(self._source, "read", None)
            chunks = iter(lambda: read(64 << 10), b"") if read is not None else iter(self._source)
            for chunk in chunks:
                if not isinstance(chunk, bytes | bytearray | memoryview):
                    msg = f"input gives bytes, not {type(chunk).__name__}; open files in binary mode"
                    raise TypeError(msg)  # noqa: TRY301
                run(self._call.write_all(chunk))
                if self._call.over:
                    return
            self._call.end_input()
        except BaseException as error:  # noqa: BLE001 - exec raises whatever the caller's iterable raises
            self.error = error
            self._call.cancel()
