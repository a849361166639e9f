"""The errors that samebox raises: each is a `SandboxError`, and the built-in error that a reader expects."""

from __future__ import annotations

import errno as errnos
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samebox.capabilities import Capability, Isolation


class SandboxError(Exception):
    """Base of every error that samebox raises on purpose."""


class ConfigError(SandboxError, ValueError):
    """A setting is wrong; nothing has been started."""


class UnsupportedError(SandboxError):
    """A setting or call was asked for that the engine, or its host, cannot honour; nothing has been started.

    Args:
        capability: The behaviour that is missing.
        engine: The engine's name.
        reason: Why the behaviour is missing, in words.
    """

    def __init__(self, capability: Capability, engine: str, reason: str) -> None:
        super().__init__(f"engine {engine!r} does not support {capability}: {reason}")
        self.capability = capability
        self.engine = engine
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnsupportedError], tuple[Capability, str, str]]:
        return type(self), (self.capability, self.engine, self.reason)


class IsolationError(SandboxError):
    """The engine's wall is weaker than the config accepts; nothing has been started.

    Args:
        message: The whole text.
        tier: The tier that the engine has.
    """

    def __init__(self, message: str, tier: Isolation) -> None:
        super().__init__(message)
        self.tier = tier

    def __reduce__(self) -> tuple[type[IsolationError], tuple[str, Isolation]]:
        return type(self), (str(self), self.tier)


class EngineError(SandboxError):
    """The engine refused or failed a call; the text has the engine's own words."""


def descriptor_error(error: OSError, what: str) -> EngineError:
    """Return the error for an OSError where this process needed a descriptor.

    Args:
        error: The error.
        what: What was tried, as "the agent can't be read".
    """
    full = error.errno in {errnos.EMFILE, errnos.ENFILE}
    hint = "; close files and sandboxes that are not needed, or raise the limit (`ulimit -n`)" if full else ""
    where = f": {error.filename!r}" if error.filename else ""
    return EngineError(f"{what}: {error.strerror}{where}{hint}")


class EngineUnavailableError(EngineError):
    """The engine cannot be reached; the text names the address that was tried and the remedy."""


class ImageNotFoundError(EngineError):
    """The image is not on the engine, and the engine cannot get it."""


class BuildError(EngineError):
    """An image could not be built; the text has the failing step and the last lines of the step's log."""


class SandboxNotFoundError(EngineError):
    """The engine knows no sandbox of the name or id asked for."""


class SandboxExistsError(EngineError):
    """A sandbox of the name asked for exists already and may not be taken."""


class SandboxGoneError(SandboxError):
    """The sandbox itself is gone, as its engine says: removed, ended, out of memory. Never a failed command."""


class SandboxClosedError(SandboxGoneError):
    """The sandbox was closed by the program that uses it: its `close` was called before."""


class ConnectionLostError(SandboxError, ConnectionError):
    """The connection to the agent ended in the middle of a call; nobody has said that the sandbox is gone.

    What the call did is unknown. The next call opens a new connection, once the engine can be reached.
    """


class ProtocolError(ConnectionLostError):
    """The agent's side sent something that the protocol forbids; the connection is closed."""


class SandboxTimeoutError(SandboxError, TimeoutError):
    """A call took longer than its timeout, and was ended; the text says whether it may have changed something."""


class OutputLimitError(SandboxError):
    """What a sandbox sends is more than the limit of the call; the text names the limit and how to raise it."""


class SandboxOSError(SandboxError, OSError):
    """A call inside the sandbox failed with an errno; `errno`, `strerror` and `filename` are set."""


class SpawnError(SandboxOSError):
    """The sandbox could not make a process: its pids limit or memory is used up, or the arguments are too long."""


class PathNotFoundError(SandboxOSError, FileNotFoundError):
    """Nothing is at the path that the call names."""


class PathExistsError(SandboxOSError, FileExistsError):
    """Something is already at the path that the call would make."""


class PathIsADirectoryError(SandboxOSError, IsADirectoryError):
    """A directory is at the path where a file was expected."""


class PathNotADirectoryError(SandboxOSError, NotADirectoryError):
    """Something else is at the path where a directory was expected."""


class PathPermissionError(SandboxOSError, PermissionError):
    """The sandbox user lacks the permission for what the call does at the path."""


class NotARegularFileError(SandboxOSError):
    """A FIFO, socket or device is where a regular file was expected; reading could wait for ever and was not tried."""


class FileTooLargeError(SandboxOSError):
    """The file is larger than the limit of the call; `size` is its size in bytes, where known."""

    size: int | None = None


class ProtectedPathError(SandboxOSError):
    """The path is the workdir, an ancestor of the workdir or the root of a confinement, and is not removed."""


class EditError(SandboxError, ValueError):
    """An edit or patch does not fit the file's content; the file is unchanged.

    Args:
        message: The error's text.
        found: How often the text to replace is there; None: that is not what is wrong.
        expected: How often it was to be there; 0: at least once.
    """

    def __init__(self, message: str, found: int | None = None, expected: int | None = None) -> None:
        super().__init__(message)
        self.found = found
        self.expected = expected


class PathEscapesError(SandboxError, ValueError):
    """The path leads out of the directory that the operation is confined to.

    Args:
        path: The path that was asked for.
        root: The directory that the path has to stay in.
    """

    def __init__(self, path: str, root: str) -> None:
        super().__init__(f"{path!r} leads out of {root!r}")
        self.filename = path
        self.root = root

    def __reduce__(self) -> tuple[type[PathEscapesError], tuple[str, str]]:
        return type(self), (self.filename, self.root)


_BY_ERRNO: dict[int, type[SandboxOSError]] = {
    errnos.ENOENT: PathNotFoundError,
    errnos.EEXIST: PathExistsError,
    errnos.EISDIR: PathIsADirectoryError,
    errnos.ENOTDIR: PathNotADirectoryError,
    errnos.EACCES: PathPermissionError,
    errnos.EPERM: PathPermissionError,
}
_BY_KIND: dict[str, type[SandboxOSError]] = {
    "special": NotARegularFileError,
    "protected": ProtectedPathError,
    "too-large": FileTooLargeError,
    "spawn": SpawnError,
}
_KIND_TEXT = {
    "special": "Not a regular file",
    "protected": "Refused: it is the workdir, an ancestor of it or the root of the confinement",
    "too-large": "File too large for the limit of this call",
}


def os_error(
    number: int, path: str | None, *, kind: str = "", message: str = "", size: int | None = None
) -> SandboxOSError:
    """Make the error for an errno that the sandbox reported.

    Args:
        number: The errno; unknown ones are fine.
        path: The path concerned, or None.
        kind: The protocol's closer word for the failure (docs/protocol.md, section 2), or "".
        message: Words that replace the errno's own, or "".
        size: The size of a file that is too large, in bytes.

    Returns:
        An error of the class that fits, with `errno`, `strerror` and `filename` set.
    """
    cls = _BY_KIND.get(kind) or _BY_ERRNO.get(number, SandboxOSError)
    text = message or _KIND_TEXT.get(kind) or os.strerror(number)
    error = cls(number, text, path) if path is not None else cls(number, text)
    if isinstance(error, FileTooLargeError):
        error.size = size
    return error
