"""ExecResult, FileInfo, GrepMatch and TreeCount: results of commands and file operations, and errors with results."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from samebox.errors import SandboxError, SandboxTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable

FileType = Literal["file", "directory", "symlink", "socket", "fifo", "char", "block", "unknown"]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command ended and what it wrote."""

    exit_code: int
    """The exit code; 128+n if the command died of signal n, 127 if the program is missing, 126 if the program can't be
    executed."""
    stdout: bytes = b""
    """The bytes that the command wrote to stdout (see `truncated`)."""
    stderr: bytes = b""
    """The bytes that the command wrote to stderr (see `truncated`)."""
    truncated_stdout: bool = False
    """Whether stdout was longer than the output limit: the result then has its beginning and end, without the
    middle."""
    truncated_stderr: bool = False
    """As `truncated_stdout`, of stderr."""
    duration: float = 0.0
    """The time from the call to the result, in seconds."""
    argv: tuple[str | bytes, ...] = field(default=(), repr=False)
    """The program and its arguments, as they were given."""
    signal: str | None = None
    """The name of the signal that the command died of, as "SIGKILL", or None."""
    out_of_memory: bool = False
    """Whether the command, or a process that it started, was killed by the kernel for the sandbox's `memory`: the
    control group's counter has grown while the command ran, and the command died of SIGKILL or its exit code is 137."""
    start_error: int | None = None
    """The errno for which the program was not run, as ENOENT with 127 or EACCES with 126; None: it was. A command can
    exit with 126 or 127 itself, and not have this."""

    def __bool__(self) -> bool:
        msg = "an ExecResult is neither true nor false: ask for its `ok`, or with `is None` whether there is one"
        raise TypeError(msg)

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0

    @property
    def truncated(self) -> bool:
        """Whether one of the streams was longer than the output limit."""
        return self.truncated_stdout or self.truncated_stderr

    @property
    def text(self) -> str:
        """The command's stdout as UTF-8 text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def stderr_text(self) -> str:
        """The command's stderr as UTF-8 text; bytes that are not UTF-8 are replaced."""
        return self.stderr.decode(errors="replace")

    @property
    def output(self) -> str:
        """The command's stdout and then its stderr, as UTF-8 text; `stderr="stdout"` has both in their order."""
        return self.text + self.stderr_text

    def check(self) -> ExecResult:
        """Return the result itself if the exit code is 0.

        Raises:
            CommandFailedError: The exit code is not 0; the error's text has the exit code and the end of stderr.
        """
        if self.ok:
            return self
        how = f"died of {self.signal}" if self.signal else f"exited with {self.exit_code}"
        if self.out_of_memory:
            how += ", as the sandbox's memory was used up (give it a larger `memory`)"
        said = self.stderr[-2000:].decode(errors="replace").strip()
        raise CommandFailedError(f"{display(self.argv)} {how}" + (f": {said}" if said else ""), self)


class ExecTimeoutError(SandboxTimeoutError):
    """A command ran into its timeout; the command and everything that it had started are ended.

    Args:
        message: The error's text.
        result: The output that the command had written until then, and the exit code of its end.
    """

    def __init__(self, message: str, result: ExecResult | None = None) -> None:
        super().__init__(message)
        self.result = result

    @property
    def stdout(self) -> bytes:
        """The bytes that the command had written to stdout before it was ended."""
        return self.result.stdout if self.result is not None else b""

    @property
    def stderr(self) -> bytes:
        """The bytes that the command had written to stderr before it was ended."""
        return self.result.stderr if self.result is not None else b""


class CommandFailedError(SandboxError):
    """`ExecResult.check()` met an exit code other than 0."""

    def __init__(self, message: str, result: ExecResult | None = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The facts about a file, as `stat` and listings return them.

    The facts are about a link itself unless the call followed the link.
    """

    name: str
    """The name in a listing, the path relative to the walk's start in a walk, the path asked for in a stat."""
    type: FileType
    size: int
    """The size in bytes."""
    mode: int
    """The permission bits, as 0o644."""
    mtime_ns: int
    """The last change of the content, in nanoseconds since 1970."""
    uid: int
    gid: int
    inode: int
    links: int
    target: str | None = None
    """The target of a symbolic link, as written in the link."""

    def __repr__(self) -> str:
        leads = f" -> {self.target!r}" if self.target is not None else ""
        owner = f"uid={self.uid}, gid={self.gid}"
        return f"FileInfo({self.name!r}{leads}, {self.type}, size={self.size}, mode={self.mode:#o}, {owner})"

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return self.type == "file"

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.type == "directory"

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return self.type == "symlink"

    @property
    def modified(self) -> datetime:
        """The last change of the content, in UTC."""
        return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC)


@dataclass(frozen=True, slots=True)
class GrepMatch:
    """A line that matched a search."""

    path: str
    """The file's path relative to the directory that was searched, or the path asked for if that was a file."""
    line: int
    """The line's number, from 1."""
    text: str
    """The line's text without the line end, cut at 4 KiB."""


class GrepMatches(list[GrepMatch]):
    """The lines that matched a search.

    Args:
        matches: The lines.
        truncated: Whether there are more, which the search's limit has left out.
    """

    def __init__(self, matches: Iterable[GrepMatch] = (), *, truncated: bool = False) -> None:
        super().__init__(matches)
        self.truncated = truncated


@dataclass(frozen=True, slots=True)
class TreeCount:
    """The numbers of files, directories, links and bytes that an upload or download moved."""

    files: int
    directories: int
    links: int
    bytes: int
    skipped: tuple[str, ...] = ()
    """The paths that were left out, each with the reason: links that lead out, names that this host can't hold."""


def display(argv: tuple[str | bytes, ...] | list[str | bytes] | list[str]) -> str:
    """Return a command as short text for messages: at most 200 characters, not for a shell."""
    words = [word.decode(errors="backslashreplace") if isinstance(word, bytes) else word for word in argv]
    text = " ".join(repr(word) if not word or not word.isprintable() or " " in word else word for word in words)
    return text if len(text) <= 200 else text[:197] + "..."


def signal_name(number: int) -> str:
    """Return a signal's name as "SIGTERM", or "signal 40" for a signal without a name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
