"""LocalEngine: a child process of this one, with no isolation at all. For tests and development only.

The engine is never taken by default: the config has to accept `isolation="none"` in words.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from samebox.capabilities import Capability, Isolation
from samebox.engine.contract import Engine, EngineInfo, SandboxStatus
from samebox.engine.hookspecs import hookimpl
from samebox.engine.program import agent_program, init_argv
from samebox.engine.streams import SocketStream
from samebox.errors import EngineError, SandboxExistsError, SandboxGoneError, SandboxNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samebox.config.model import SandboxConfig
    from samebox.engine.contract import ByteStream, State

_STOP_WAIT = 10.0
_PREFIX = "samebox-local-"


@dataclass
class _Local:
    """One sandbox of this engine, with what its owner holds of it."""

    config: SandboxConfig
    name: str
    labels: Mapping[str, str]
    directory: Path
    lock: int
    """The directory's descriptor, locked for as long as its owner lives."""
    process: subprocess.Popen[bytes] | None = None
    control: socket.socket | None = None
    pid: int = field(default_factory=os.getpid)
    """The process that made the sandbox: its forked child may connect, but can't wait for its parent's child
    process."""


class LocalEngine(Engine):
    """Sandboxes that are child processes, with the caller's own rights and files."""

    name = "local"
    capabilities = frozenset({Capability.HOST_IMAGE})
    default_image = "host"
    agent_delivered = False

    def __init__(self, options: Mapping[str, object] | None = None) -> None:
        super().__init__(options)
        self._lock = threading.Lock()
        self._sandboxes: dict[str, _Local] = {}

    def probe(self) -> EngineInfo:
        """See `Engine.probe`."""
        return EngineInfo(
            self.name, platform.release(), Isolation.NONE, str(agent_program().path), rootless=os.geteuid() != 0
        )

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:  # noqa: ARG002
        """Return the host, the only image that this engine has."""
        return "host"

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:  # noqa: ARG002
        """See `Engine.create`."""
        with self._lock:
            if name in self._sandboxes:
                msg = f"local: there is a sandbox of the name {name!r} already"
                raise SandboxExistsError(msg)
            _remove_left()
            directory, lock = _make_directory()
            self._sandboxes[name] = _Local(config, name, dict(labels), directory, lock)
        return name

    def start(self, sandbox_id: str) -> None:
        """See `Engine.start`."""
        sandbox = self._get(sandbox_id)
        if _running(sandbox):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [*init_argv(sandbox.config, program=str(agent_program().path)), "--control", str(theirs.fileno())]
            try:
                sandbox.process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=sandbox.directory,
                    env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(sandbox.directory), "LANG": "C.UTF-8"},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                msg = f"local: the agent {argv[0]} could not be started: {error}"
                raise EngineError(msg) from error
        sandbox.control = ours

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:  # noqa: ARG002 - init ends everything by itself
        """See `Engine.stop`."""
        _end(self._get(sandbox_id))

    def remove(self, sandbox_id: str) -> None:
        """See `Engine.remove`."""
        with self._lock:
            sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None:
            _end(sandbox)
            shutil.rmtree(sandbox.directory, ignore_errors=True)
            os.close(sandbox.lock)

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """See `Engine.inspect`."""
        sandbox = self._get(sandbox_id)
        code = sandbox.process.poll() if sandbox.process else None
        state: State = "created" if sandbox.process is None else "running" if code is None else "stopped"
        return SandboxStatus(sandbox.name, sandbox.name, state, "host", sandbox.labels, code)

    def list(self) -> list[SandboxStatus]:
        """See `Engine.list`."""
        return [self.inspect(name) for name in [*self._sandboxes]]

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:  # noqa: ARG002 - no EXEC_USER
        """See `Engine.connect`."""
        sandbox = self._get(sandbox_id)
        if sandbox.control is None or (sandbox.pid == os.getpid() and not _running(sandbox)):
            msg = f"local: sandbox {sandbox_id!r} does not run"
            raise SandboxGoneError(msg)
        ours, theirs = socket.socketpair()
        with theirs:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            try:
                sandbox.control.sendmsg([b"\0"], rights)
            except OSError as error:
                ours.close()
                msg = f"local: sandbox {sandbox_id!r} has ended: {error}"
                raise SandboxGoneError(msg) from error
        return SocketStream(ours)

    def workdir(self, sandbox_id: str, config: SandboxConfig) -> str:
        """Return the config's workdir if it was asked for, else the sandbox's own directory.

        The config's default would lie in the host's root.
        """
        return config.workdir if "workdir" in config.asked else str(self._get(sandbox_id).directory)

    def close(self) -> None:
        """Remove the sandboxes that are left."""
        for name in [*self._sandboxes]:
            self.remove(name)

    def _get(self, sandbox_id: str) -> _Local:
        try:
            return self._sandboxes[sandbox_id]
        except KeyError:
            msg = f"local: there is no sandbox {sandbox_id!r}"
            raise SandboxNotFoundError(msg) from None


def _make_directory() -> tuple[Path, int]:
    """Make a directory for a sandbox and lock it; the kernel drops the lock when this process ends, however it ends."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(directory)
        if lock is not None:
            return directory, lock


def _lock(directory: Path) -> int | None:
    """Lock a directory and return its descriptor; None if another process has the lock or the directory is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), directory.lstat()):
                return descriptor
        os.close(descriptor)
    return None


def _remove_left() -> None:
    """Remove the directories of this user's sandboxes whose owners were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if directory.lstat().st_uid == os.geteuid() and (lock := _lock(directory)) is not None:
                shutil.rmtree(directory, ignore_errors=True)
                os.close(lock)


def _running(sandbox: _Local) -> bool:
    return sandbox.process is not None and sandbox.process.poll() is None


def _end(sandbox: _Local) -> None:
    """End the sandbox's processes: closing the control socket ends init, and what does not end by that is killed."""
    if sandbox.control is not None:
        sandbox.control.close()
        sandbox.control = None
    if sandbox.process is not None:
        try:
            sandbox.process.wait(_STOP_WAIT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(sandbox.process.pid, signal.SIGKILL)
            sandbox.process.wait()


@hookimpl
def samebox_register_engine() -> type[Engine]:
    """Register the local engine."""
    return LocalEngine
