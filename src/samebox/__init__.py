"""samebox: one sandbox API with the same observable behaviour on every engine.

`Sandbox` is the way in, `AsyncSandbox` its twin for asyncio, `SandboxConfig` what both can be asked to be. Names are
imported on their first use: the suite's pytest plugin is loaded into the runs of everyone who has it installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from samebox.sources import load_config
    from samebox.version import __version__

_MODULES = {
    "samebox.build": (
        "ImageBuild",
        "Runtime",
    ),
    "samebox.capabilities": (
        "Capability",
        "Isolation",
    ),
    "samebox.config": ("SandboxConfig",),
    "samebox.errors": (
        "BuildError",
        "CommandFailedError",
        "ConfigError",
        "ConnectionLostError",
        "EditError",
        "EngineError",
        "EngineUnavailableError",
        "ExecTimeoutError",
        "FileTooLargeError",
        "ImageNotFoundError",
        "IsolationError",
        "NotARegularFileError",
        "PathEscapesError",
        "PathExistsError",
        "PathIsADirectoryError",
        "PathNotADirectoryError",
        "PathNotFoundError",
        "PathPermissionError",
        "ProtectedPathError",
        "ProtocolError",
        "SandboxClosedError",
        "SandboxError",
        "SandboxExistsError",
        "SandboxGoneError",
        "SandboxNotFoundError",
        "SandboxOSError",
        "SpawnError",
        "UnsupportedError",
    ),
    "samebox.process": (
        "AsyncProcess",
        "Process",
    ),
    "samebox.results": (
        "ExecResult",
        "FileInfo",
        "GrepMatch",
        "TreeCount",
    ),
    "samebox.sandbox": (
        "AsyncSandbox",
        "Sandbox",
    ),
    "samebox.sources": ("load_config",),
    "samebox.version": ("__version__",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

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
    "load_config",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return __all__
