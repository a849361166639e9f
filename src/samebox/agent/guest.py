"""AgentGuest: commands and files inside a sandbox, through its agent; the Guest of every engine in this repository."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from samebox.agent.files import AgentFiles
from samebox.agent.frames import STDERR, STDOUT
from samebox.agent.output import Collector, Pipe
from samebox.agent.process import AgentProcess, deadline, exec_result, not_ended
from samebox.agent.records import encode_path
from samebox.agent.tcp import AgentSocket
from samebox.config.environment import check_env
from samebox.guest.guest import GRACE, Guest
from samebox.guest.operation import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import IO

    from samebox.agent.call import Call
    from samebox.agent.caller import Connections
    from samebox.agent.records import Field, Record
    from samebox.guest.files import Path
    from samebox.guest.guest import Argv, Input
    from samebox.guest.results import ExecResult

EXEC = 1
_HAS_INPUT, _TELL_START = 1, 2


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
        timeout: float | None = None,
        output_limit: int | None = None,
    ) -> ExecResult:
        """See `Guest.exec`."""
        limit = self._output_limit if output_limit is None else output_limit
        fields = command_fields(argv, cwd, env, timeout)
        if input is not None:
            fields.append(("flags", _HAS_INPUT))
        whole, source = _split(input)
        stdout, stderr = Collector(limit), Collector(limit)
        began = time.perf_counter()
        call = await self._begin(EXEC, fields, {STDOUT: stdout, STDERR: stderr}, user, timeout, input=whole)
        feeder = _Feeder(call, source) if source is not None else None
        try:
            record = await self._ended(call, cwd, user, deadline(timeout))
        except BaseException:
            call.cancel()
            raise
        if record is None:
            call.cancel()
            raise not_ended(tuple(argv), (stdout, stderr), timeout)
        if feeder is not None and feeder.error is not None:
            raise feeder.error
        took = time.perf_counter() - began
        return exec_result(record, tuple(argv), (stdout, stderr), duration=took, timeout=timeout)

    async def spawn(
        self,
        argv: Argv,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        stdin: bool = True,
        tty: bool = False,
        rows: int = 24,
        columns: int = 80,
    ) -> AgentProcess:
        """See `Guest.spawn`."""
        fields = command_fields(argv, cwd, env, timeout)
        fields.append(("flags", _TELL_START | (_HAS_INPUT if stdin else 0)))
        if tty:
            fields += [("tty", 1), ("rows", rows), ("columns", columns)]
        stdout, stderr = Pipe(), Pipe()
        started: Future[Record] = Future()
        call = await self._begin(EXEC, fields, {STDOUT: stdout, STDERR: stderr}, user, timeout, started=started)
        process = AgentProcess(
            self,
            call,
            tuple(argv),
            stdout,
            stderr,
            user=user,
            timeout=timeout,
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


def command_fields(argv: Argv, cwd: Path | None, env: Mapping[str, str] | None, timeout: float | None) -> list[Field]:
    """Return the fields of a command's record.

    Raises:
        ValueError: argv is empty or a text, or an argument has a NUL; the error's text shows no value of env.
    """
    if isinstance(argv, str | bytes) or not argv or not all(isinstance(word, str | bytes) for word in argv):
        msg = f"argv is a list of texts or bytes with at least the program, not {argv!r}; for a shell's line use sh()"
        raise ValueError(msg)
    fields: list[Field] = [("argv", encode_path(word)) for word in argv]
    if env:
        check_env(env)
        fields += [("env", encode_path(f"{name}={value}")) for name, value in env.items()]
    if cwd is not None:
        fields.append(("cwd", encode_path(os.fspath(cwd))))
    if timeout is not None:
        if timeout < 0:
            msg = f"a timeout is a number of seconds from 0, not {timeout!r}"
            raise ValueError(msg)
        fields += [("timeout", round(timeout * 1000)), ("grace", round(GRACE * 1000))]
    return fields


def _split(data: Input | None) -> tuple[bytes | None, IO[bytes] | Iterable[bytes] | None]:
    """Return the whole input if it is there already, or else the file or iterable that the input comes from."""
    if isinstance(data, str):
        return data.encode("utf-8", "surrogateescape"), None
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), None
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
