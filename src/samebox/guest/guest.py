"""Guest: the interface for commands and files inside one sandbox.

`samebox.agent.guest.AgentGuest` is the implementation that every engine gets; an engine with a remote API of its own
may bring another implementation.
"""

from __future__ import annotations

import errno
import math
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from samebox.errors import SandboxOSError
from samebox.guest.arguments import seconds
from samebox.guest.files import Files
from samebox.guest.operation import Pause
from samebox.guest.processes import processes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO, Literal

    from samebox.guest.arguments import Timeout
    from samebox.guest.files import Path
    from samebox.guest.process import ProcessCore
    from samebox.guest.processes import ProcessInfo
    from samebox.guest.results import ExecResult

    Argv = Sequence[str | bytes | os.PathLike[str]]
    Take = Callable[[bytes], object]
    Input = bytes | bytearray | memoryview | str | IO[bytes] | Iterable[bytes]

GRACE = 1.0
"""How long a command may take to end by itself after SIGTERM, in seconds."""


class SocketCore(ABC):
    """A TCP connection from inside a sandbox."""

    @abstractmethod
    async def read(self) -> bytes:
        """Return the next bytes, or b"" when the other side has ended."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send all of the data."""

    @abstractmethod
    async def end(self) -> None:
        """Tell the other side that no more data comes; the other side's data can still be read."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection."""


class Guest(Files):
    """Commands and files inside a sandbox."""

    @abstractmethod
    async def exec(
        self,
        argv: Argv,
        *,
        input: Input | None = None,  # noqa: A002 - subprocess's word
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: Timeout = None,
        output_limit: int | None = None,
        stderr: Literal["stdout"] | None = None,
        on_stdout: Take | None = None,
        on_stderr: Take | None = None,
    ) -> ExecResult:
        """Run a command to its end.

        Args:
            argv: The program and its arguments, as texts, bytes or paths, passed literally; no shell. Text is passed as
                UTF-8 (surrogateescape).
            input: The command's stdin: bytes, text (as UTF-8), a binary file or an iterable of bytes; None: an empty
                stdin.
            cwd: The directory where the command runs, relative to the workdir; None: the workdir.
            env: The environment variables to add; values are kept out of logs and errors.
            user: The user that the command runs as; None: the sandbox's user. Needs `Capability.EXEC_USER`.
            timeout: The longest time that the command may take, in seconds above 0 or as "5m"; then the command and
                everything that it has started are ended: SIGTERM, a second, SIGKILL. None: no limit.
            output_limit: How much of each stream to keep, in bytes: its beginning and its end; None: the config's
                limit.
            stderr: "stdout": what the command writes on stderr comes on stdout, in its order; None: both apart.
            on_stdout: Is called with the bytes of stdout as they come, in the caller's thread (of `AsyncSandbox`: in
                the event loop). The result has them too. What it raises ends the command, and is raised.
            on_stderr: As `on_stdout`, for stderr. What came first on either is told first.

        Returns:
            How the command ended and what it wrote. Another exit code than 0 is a result too: 128+n for death by signal
            n, 127 for a missing program, 126 for a program that can't be executed.

        Raises:
            ExecTimeoutError: The timeout was over; the error has the output that was written until then.
            PathNotFoundError: The cwd does not exist (also the other path errors).
            SpawnError: No process can be made: the pids limit or memory is used up, or the arguments are too long.
            UnsupportedError: The engine can't run commands as another user.
            SandboxGoneError: The sandbox is gone.
            ConnectionLostError: The agent was ended from inside the sandbox; what the command did is unknown.
            ConfigError: The image has no user of that name.
            ValueError: An argument is wrong, as an argv that is a text, or a timeout of 0; nothing was run.
        """

    async def sh(
        self,
        script: str,
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
        """Run a script with the sandbox's `sh`; otherwise as `exec`."""
        return await self.exec(
            shell_argv(script),
            input=input,
            cwd=cwd,
            env=env,
            user=user,
            timeout=timeout,
            output_limit=output_limit,
            stderr=stderr,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )

    @abstractmethod
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
    ) -> ProcessCore:
        """Start a command and return while it runs.

        Args:
            argv: As for `exec`.
            cwd: As for `exec`.
            env: As for `exec`.
            user: As for `exec`.
            timeout: As for `exec`; `Process.wait` raises the error.
            stdin: Whether the command's stdin can be written; False: an empty stdin.
            tty: Whether the command runs on a terminal; stderr then comes with stdout.
            rows: The terminal's height.
            columns: The terminal's width.
            stderr: As for `exec`.

        Returns:
            The process.

        Raises:
            PathNotFoundError: As for `exec`, with the other errors of `exec` but the timeout.
        """

    @abstractmethod
    async def connect(self, port: int, host: str = "127.0.0.1", *, timeout: float = 10.0) -> SocketCore:
        """Open a TCP connection from inside the sandbox, which needs no network but the sandbox's own loopback.

        Args:
            port: The port to connect to.
            host: The address to connect to: an IP address, or "localhost".
            timeout: The longest wait for the connection, in seconds.

        Raises:
            SandboxOSError: With the errno of the connection, as ECONNREFUSED or ETIMEDOUT.
        """

    async def wait_for_port(self, port: int, timeout: Timeout = 30.0, *, host: str = "127.0.0.1") -> None:
        """Wait until something inside the sandbox listens on a TCP port.

        Args:
            port: The port to wait for.
            timeout: The longest wait, in seconds or as "5m"; None: any time.
            host: The address to connect to: an IP address, or "localhost".

        Raises:
            TimeoutError: Nothing listens on the port after that time; the error's text has the last answer.
        """
        longest = seconds(timeout)
        deadline = math.inf if longest is None else time.monotonic() + longest
        pause = 0.01
        while True:
            left = deadline - time.monotonic()
            try:
                socket = await self.connect(port, host, timeout=max(0.05, min(left, 5.0)))
            except SandboxOSError as error:
                if error.errno not in {errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENETUNREACH}:
                    raise
                if left <= pause:
                    msg = f"nothing listens on {host}:{port} inside the sandbox after {longest:g} s: {error.strerror}"
                    raise TimeoutError(msg) from None
            else:
                await socket.close()
                return
            await Pause(pause)
            pause = min(pause * 1.5, 0.25)

    async def processes(self) -> list[ProcessInfo]:
        """Return the processes inside, by their ids, those of samebox among them.

        Raises:
            SandboxOSError: There is no /proc.
        """
        return await processes(self)

    @abstractmethod
    def confined(self, root: Path) -> Files:
        """Return the file operations confined to one directory.

        A path that leads out of the directory is refused with `PathEscapesError`.
        """


_LONGEST_ARGUMENT = 100_000
"""How many bytes of a script one argument holds: the kernel takes 128 KiB at most (MAX_ARG_STRLEN)."""
_JOIN = 's=; for p do s=$s$p; done; set --; eval "unset s p; $s"'


def shell_argv(script: str) -> list[str | bytes]:
    """Return the command that runs a script with the sandbox's `sh`.

    A script that is too long for one argument is handed over in several, and joined by the shell.

    Args:
        script: The script.
    """
    data = script.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST_ARGUMENT:
        return ["sh", "-c", script]
    parts = [data[start : start + _LONGEST_ARGUMENT] for start in range(0, len(data), _LONGEST_ARGUMENT)]
    return ["sh", "-c", _JOIN, "sh", *parts]
