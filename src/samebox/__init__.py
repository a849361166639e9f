"""samebox: one sandbox API with the same observable behaviour on every engine.

`Sandbox` is the way in, `AsyncSandbox` its twin for asyncio, `SandboxConfig` what both can be asked to be.
"""

from samebox.build import ImageBuild, Runtime
from samebox.capabilities import Capability, Isolation
from samebox.config import SandboxConfig
from samebox.errors import (
    BuildError,
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
    "AsyncProcess",
    "AsyncSandbox",
    "BuildError",
    "Capability",
    "CommandFailedError",
    "ConfigError",
    "ConnectionLostError",
    "EditError",
    "EngineError",
    "EngineUnavailableError",
    "ExecResult",
    "ExecTimeoutError",
    "FileInfo",
    "FileTooLargeError",
    "GrepMatch",
    "ImageBuild",
    "ImageNotFoundError",
    "Isolation",
    "IsolationError",
    "NotARegularFileError",
    "PathEscapesError",
    "PathExistsError",
    "PathIsADirectoryError",
    "PathNotADirectoryError",
    "PathNotFoundError",
    "PathPermissionError",
    "Process",
    "ProtectedPathError",
    "ProtocolError",
    "Runtime",
    "Sandbox",
    "SandboxClosedError",
    "SandboxConfig",
    "SandboxError",
    "SandboxExistsError",
    "SandboxGoneError",
    "SandboxNotFoundError",
    "SandboxOSError",
    "SpawnError",
    "TreeCount",
    "UnsupportedError",
    "__version__",
]
