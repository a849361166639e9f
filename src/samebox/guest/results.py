"""What commands and file operations return (ExecResult, FileInfo, GrepMatch, TreeCount), and errors with a result."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from samebox.errors import SandboxError

FileType = Literal["file", "directory", "symlink", "socket", "fifo", "char", "block", "unknown"]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command ended and what it wrote."""

    exit_code: int
    """The exit code; 128+n if the command died of signal n, 127 if the program is missing, 126 if it can't be
    executed."""
    stdout: bytes = b""
    """What it wrote to stdout, byte for byte (see `truncated`)."""
    stderr: bytes = b""
    """What it wrote to stderr, byte for byte (see `truncated`)."""
    truncated: bool = False
    """Whether a stream was longer than the output limit: it then holds its beginning and its end, without the
    middle."""
    duration: float = 0.0
    """From the call to the result, in seconds."""
    argv: tuple[str | bytes, ...] = field(default=(), repr=False)
    """The command as it was given."""
    signal: str | None = None
    """The name of the signal that the command died of, as "SIGKILL", or None."""

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0

    @property
    def text(self) -> str:
        """Stdout as text: UTF-8, what is not UTF-8 replaced."""
        return self.stdout.decode(errors="replace")

    def check(self) -> ExecResult:
        """Return the result itself if the exit code is 0.

        Raises:
            CommandFailedError: The exit code is another one; the text has it and the end of stderr.
        """
        if self.ok:
            return self
        how = f"died of {self.signal}" if self.signal else f"exited with {self.exit_code}"
        said = self.stderr[-2000:].decode(errors="replace").strip()
        raise CommandFailedError(f"{display(self.argv)} {how}" + (f": {said}" if said else ""), self)


class ExecTimeoutError(SandboxError, TimeoutError):
    """A command ran into its timeout; it and everything that it had started are ended.

    Args:
        message: What happened.
        result: What the command had written until then, and the exit code that its end left.
    """

    def __init__(self, message: str, result: ExecResult | None = None) -> None:
        super().__init__(message)
        self.result = result

    @property
    def stdout(self) -> bytes:
        """What the command had written to stdout before it was ended."""
        return self.result.stdout if self.result else b""

    @property
    def stderr(self) -> bytes:
        """What the command had written to stderr before it was ended."""
        return self.result.stderr if self.result else b""


class CommandFailedError(SandboxError):
    """`ExecResult.check()` met an exit code other than 0."""

    def __init__(self, message: str, result: ExecResult | None = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is known of a file, as `stat` and listings tell it.

    It describes a link itself unless the call followed it.
    """

    name: str
    """The name in a listing, the path relative to the start in a walk, the path asked for in a stat."""
    type: FileType
    size: int
    """In bytes."""
    mode: int
    """Permission bits, as 0o644."""
    mtime_ns: int
    """Last change of the content, in nanoseconds since 1970."""
    uid: int
    gid: int
    inode: int
    links: int
    target: str | None = None
    """What a symbolic link points to, as written in it."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.type == "file"

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.type == "directory"

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.type == "symlink"

    @property
    def modified(self) -> datetime:
        """Last change of the content, in UTC."""
        return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC)


@dataclass(frozen=True, slots=True)
class GrepMatch:
    """A line that matched."""

    path: str
    """Relative to the start of the search, or the path asked for if that was a file."""
    line: int
    """From 1."""
    text: str
    """The line without its end, cut at 4 KiB."""


@dataclass(frozen=True, slots=True)
class TreeCount:
    """What a transfer of a tree moved."""

    files: int
    directories: int
    links: int
    bytes: int
    skipped: tuple[str, ...] = ()
    """Paths that were left out, each with the reason: links that lead out, names that this host can't hold."""


def display(argv: tuple[str | bytes, ...] | list[str | bytes] | list[str]) -> str:
    """Return a command as short text for messages: at most 200 characters, not for a shell."""
    words = [word.decode(errors="backslashreplace") if isinstance(word, bytes) else word for word in argv]
    text = " ".join(repr(word) if not word or not word.isprintable() or " " in word else word for word in words)
    return text if len(text) <= 200 else text[:197] + "..."


def signal_name(number: int) -> str:
    """Return a signal's name as "SIGTERM", or "signal 40" for one without a name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
