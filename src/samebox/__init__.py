"""samebox: one sandbox API with the same observable behaviour on every engine.

from samebox import Sandbox

with Sandbox() as box:
print(box.exec(["echo", "hello"]).text)
"""

from samebox.capabilities import Capability, Isolation
from samebox.config import SandboxConfig
from samebox.errors import (
    CommandFailedError,
    ConfigError,
    ConnectionLostError,
    EditError,
    EngineError,
    EngineUnavailableError,
    ExecTimeoutError,
    FileTooLargeError,
    ImageNotFoundError,
    IsolationError,
    NotARegularFileError,
    PathEscapesError,
    PathExistsError,
    PathIsADirectoryError,
    PathNotADirectoryError,
    PathNotFoundError,
    PathPermissionError,
    ProtectedPathError,
    ProtocolError,
    SandboxClosedError,
    SandboxError,
    SandboxExistsError,
    SandboxGoneError,
    SandboxNotFoundError,
    SandboxOSError,
    SpawnError,
    UnsupportedError,
)
from samebox.process import AsyncProcess, Process
from samebox.results import ExecResult, FileInfo, GrepMatch, TreeCount
from samebox.sandbox import AsyncSandbox, Sandbox
from samebox.version import __version__

__all__ = [
    "AsyncProcess", "AsyncSandbox", "Capability", "CommandFailedError", "ConfigError", "ConnectionLostError", "EditError", "EngineError",
    "EngineUnavailableError", "ExecResult", "ExecTimeoutError", "FileInfo", "FileTooLargeError", "GrepMatch", "ImageNotFoundError", "Isolation",
    "IsolationError", "NotARegularFileError", "PathEscapesError", "PathExistsError", "PathIsADirectoryError", "PathNotADirectoryError",
    "PathNotFoundError", "PathPermissionError", "Process", "ProtectedPathError", "ProtocolError", "Sandbox", "SandboxClosedError", "SandboxConfig",
    "SandboxError", "SandboxExistsError", "SandboxGoneError", "SandboxNotFoundError", "SandboxOSError", "SpawnError", "TreeCount",
    "UnsupportedError", "__version__",
]  # fmt: skip
