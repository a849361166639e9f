"""Process: a running command inside a sandbox: its interface (ProcessCore), and its sync and async forms."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from samebox.errors import SandboxError
from samebox.guest.operation import awaits, drive, run, waits
from samebox.guest.results import display

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType
    from typing import Self

    from samebox.guest.arguments import Timeout
    from samebox.guest.results import ExecResult

StreamName = Literal["stdout", "stderr"]


class OutputCore(ABC):
    """One output stream of a process, to be read as its bytes come."""

    @abstractmethod
    async def read(self, size: int = -1, *, limit: int | None = None, timeout: Timeout = None) -> bytes:
        """Return the bytes that have come, at most `size`, waiting for the first byte; b"" at the end of the stream.

        Args:
            size: The most bytes to return; -1: everything up to the end.
            limit: With a `size` of -1, the most bytes to return; None: the sandbox's `output_limit`.
            timeout: The longest wait, in seconds or as "5m"; None: any time.

        Raises:
            TimeoutError: The timeout is over; what has come can still be read.
            OutputLimitError: More than `limit` bytes have come; all of them can still be read with a `size`.
            SandboxGoneError: The sandbox is gone.
            ConnectionLostError: The connection ended before the stream did.
        """

    @abstractmethod
    async def readline(self, *, limit: int | None = None, timeout: Timeout = None) -> bytes:
        """Return the next line with its line end; the last line may lack the line end; b"" at the end of the stream.

        Args:
            limit: The longest line, in bytes with its end; None: the sandbox's `output_limit`.
            timeout: As for `read`.

        Raises:
            TimeoutError: As for `read`.
            OutputLimitError: The line is longer; all that has come of it can still be read by `read` with a size.
            SandboxGoneError: The sandbox is gone.
            ConnectionLostError: The connection ended before the stream did.
        """


class InputCore(ABC):
    """The stdin of a process."""

    @abstractmethod
    async def write(self, data: bytes | str) -> None:
        """Write all of the data, waiting while the process does not read; text is written as UTF-8.

        Data that is left when the process closes its stdin is dropped.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let the process see the end of its stdin (on a terminal: as Ctrl-D). May be called again."""


class ProcessCore(ABC):
    """A running command."""

    pid: int
    """The command's process id inside the sandbox."""
    argv: tuple[str | bytes, ...]
    """The program and its arguments, as they were given."""
    stdin: InputCore
    stdout: OutputCore
    stderr: OutputCore
    """The command's stderr; empty with a terminal, where everything comes on stdout."""

    @property
    @abstractmethod
    def returncode(self) -> int | None:
        """The exit code, as in `ExecResult`; None as long as no call has met the command's end."""

    @abstractmethod
    async def wait(self, timeout: Timeout = None) -> ExecResult:
        """Wait until the command has ended, and return how it ended.

        Output that was not read before can still be read, up to the output limit.

        Args:
            timeout: The longest wait, in seconds or as "5m", after which the command runs on; None waits for ever.

        Raises:
            TimeoutError: The timeout is over; the command runs on.
            SandboxGoneError: The sandbox is gone.
            ExecTimeoutError: The command's own timeout has ended it.
        """

    @abstractmethod
    async def arrival(self, timeout: Timeout = None) -> tuple[StreamName, bytes] | None:
        """Return what came next on either stream, with the stream's name; None at the end of both.

        Bytes that are read from `stdout` or `stderr` meanwhile are missing.

        Args:
            timeout: The longest wait, in seconds or as "5m"; None: any time.

        Raises:
            TimeoutError: Nothing came in that time.
            SandboxGoneError: The sandbox is gone.
            ConnectionLostError: The connection ended before the streams did.
        """

    @abstractmethod
    async def poll(self) -> ExecResult | None:
        """Return how the command ended, or None while it runs."""

    @abstractmethod
    async def send_signal(self, signal: int) -> None:
        """Send a signal to the command itself (on a terminal: to its process group)."""

    @abstractmethod
    async def kill(self) -> None:
        """End the command by SIGKILL, with everything that it has started."""

    @abstractmethod
    async def leave(self) -> None:
        """End the command as `kill` does if it still runs, and drop the output that nobody has read yet."""

    @abstractmethod
    async def terminate(self) -> None:
        """End the command and everything that it has started: by SIGTERM, and by SIGKILL after a short grace."""

    @abstractmethod
    async def resize(self, rows: int, columns: int) -> None:
        """Set the size of the command's terminal.

        Raises:
            SandboxError: The command has no terminal.
        """


class _Holder:
    """The base of the sync and async forms: holds the object whose operations they offer."""

    def __init__(self, core: Any) -> None:
        self._core = core

    async def _target(self) -> Any:
        return self._core


class OutputStream(_Holder):
    """One output stream of a process; iterating gives the bytes as they come."""

    read = waits(OutputCore.read)
    readline = waits(OutputCore.readline)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(1 << 20):
            yield data

    def lines(self, *, limit: int | None = None) -> Iterator[bytes]:
        """Yield the lines as they come, each with its end.

        Args:
            limit: The longest line, as `readline` takes it.

        Raises:
            OutputLimitError: A line is longer.
        """
        while line := self.readline(limit=limit):
            yield line


class InputStream(_Holder):
    """The stdin of a process."""

    write = waits(InputCore.write)
    close = waits(InputCore.close)


class _Process(_Holder):
    """What is known of a command without a call."""

    _core: ProcessCore

    def __init__(self, core: ProcessCore) -> None:
        super().__init__(core)
        self.pid = core.pid
        """The command's process id inside the sandbox."""
        self.argv = core.argv
        """The program and its arguments, as they were given."""

    @property
    def returncode(self) -> int | None:
        """The exit code, as in `ExecResult`; None as long as no call has met the command's end."""
        return self._core.returncode

    def __repr__(self) -> str:
        code = self.returncode
        how = "running" if code is None else f"exited with {code}"
        return f"<{type(self).__name__} pid={self.pid} argv={display(self.argv)!r} {how}>"


class Process(_Process):
    """A running command; leaving its `with` block kills it if it still runs.

    Iterating gives what comes on either stream, in the order of arrival, as ("stdout", b"...").
    """

    def __init__(self, core: ProcessCore) -> None:
        super().__init__(core)
        self.stdin = InputStream(core.stdin)
        self.stdout = OutputStream(core.stdout)
        self.stderr = OutputStream(core.stderr)

    wait = waits(ProcessCore.wait)
    arrival = waits(ProcessCore.arrival)
    poll = waits(ProcessCore.poll)
    send_signal = waits(ProcessCore.send_signal)
    kill = waits(ProcessCore.kill)
    terminate = waits(ProcessCore.terminate)
    resize = waits(ProcessCore.resize)

    def __iter__(self) -> Iterator[tuple[StreamName, bytes]]:
        while (found := self.arrival()) is not None:
            yield found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(_leave(self._core))


class AsyncOutputStream(_Holder):
    """One output stream of a process; iterating gives the bytes as they come."""

    read = awaits(OutputCore.read)
    readline = awaits(OutputCore.readline)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read(1 << 20):
            yield data

    async def lines(self, *, limit: int | None = None) -> AsyncIterator[bytes]:
        """Yield the lines as they come, each with its end.

        Args:
            limit: The longest line, as `readline` takes it.

        Raises:
            OutputLimitError: A line is longer.
        """
        while line := await self.readline(limit=limit):
            yield line


class AsyncInputStream(_Holder):
    """The stdin of a process."""

    write = awaits(InputCore.write)
    close = awaits(InputCore.close)


class AsyncProcess(_Process):
    """A running command; leaving its `async with` block kills it if it still runs.

    Iterating gives what comes on either stream, in the order of arrival, as ("stdout", b"...").
    """

    def __init__(self, core: ProcessCore) -> None:
        super().__init__(core)
        self.stdin = AsyncInputStream(core.stdin)
        self.stdout = AsyncOutputStream(core.stdout)
        self.stderr = AsyncOutputStream(core.stderr)

    wait = awaits(ProcessCore.wait)
    arrival = awaits(ProcessCore.arrival)
    poll = awaits(ProcessCore.poll)
    send_signal = awaits(ProcessCore.send_signal)
    kill = awaits(ProcessCore.kill)
    terminate = awaits(ProcessCore.terminate)
    resize = awaits(ProcessCore.resize)

    async def __aiter__(self) -> AsyncIterator[tuple[StreamName, bytes]]:
        while (found := await self.arrival()) is not None:
            yield found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await drive(_leave(self._core))


async def _leave(core: ProcessCore) -> None:
    # `wait` and `poll` tell how the command ended; the end of a block, which may have an error of its own, does not.
    with contextlib.suppress(SandboxError):
        await core.leave()
