"""UnshareEngine: a copy of a root directory in namespaces of its own, made by util-linux's `unshare`."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from samebox import errors
from samebox.capabilities import Capability, Isolation
from samebox.config.model import SandboxConfig
from samebox.engine import ByteStream, Engine, EngineInfo, SandboxStatus, State
from samebox.engine.hookspecs import hookimpl
from samebox.engine.mistakes import check_workdir
from samebox.engine.program import agent_program, init_argv
from samebox.engine.streams import SocketStream

NAMESPACES = ("unshare", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
INSIDE = (*NAMESPACES, sys.executable, "-I", str(Path(__file__).with_name("inside.py")))


@dataclass
class _Box:
    config: SandboxConfig
    labels: Mapping[str, str]
    directory: str
    process: subprocess.Popen[bytes] | None = None
    control: socket.socket | None = None


class UnshareEngine(Engine):
    """Sandboxes are child processes with a root directory of their own."""

    name = "unshare"
    capabilities = frozenset(map(Capability, (
        "directory-image", "root-filesystem", "process-isolation", "network-none", "cap-drop", "no-new-privileges",
    )))  # fmt: skip
    agent_delivered = False  # it is this installation's own file

    def __init__(self, options: Mapping[str, object] | None = None) -> None:
        super().__init__(options)
        self._boxes: dict[str, _Box] = {}

    def probe(self) -> EngineInfo:
        """See `Engine.probe`: unshare has to be there, and the kernel has to let us."""
        path = shutil.which("unshare")
        if path is None:
            raise errors.EngineUnavailableError("unshare: there is no such program on PATH. Install util-linux.")
        done = subprocess.run([*NAMESPACES, path, "--version"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise errors.EngineUnavailableError(f"unshare: {done.stderr.strip()}. Let this user make user namespaces.")
        return EngineInfo(self.name, done.stdout.split()[-1], Isolation.PROCESS, path, rootless=os.geteuid() != 0)

    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:  # noqa: ARG002
        """Return the directory of "dir:PATH"."""
        path = (config.image or "").removeprefix("dir:")
        if not Path(path).is_dir():
            raise errors.ImageNotFoundError(f"unshare: image {config.image!r}: there is no directory {path!r}")
        return path

    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """See `Engine.create`: the sandbox's root is a copy of the image."""
        if name in self._boxes:
            raise errors.SandboxExistsError(f"unshare: there is a sandbox of the name {name!r} already")
        check_workdir(image, config.workdir)
        directory = tempfile.mkdtemp(prefix="samebox-unshare-")
        copy = ["cp", "-a", "--reflink=auto", "--no-preserve=ownership", f"{image}/.", directory]
        done = subprocess.run(copy, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(directory, ignore_errors=True)
            raise errors.EngineError(f"unshare: {image} could not be copied: {done.stderr.strip()}")
        Path(directory, config.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        self._boxes[name] = _Box(config, dict(labels), directory)
        return name

    def start(self, sandbox_id: str) -> None:
        """See `Engine.start`: init takes connections from a socket that it inherits."""
        box = self._get(sandbox_id)
        if box.process is not None and box.process.poll() is None:
            return
        box.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [*INSIDE, box.directory, str(agent_program().path), *init_argv(box.config), "--control"]
            box.process = subprocess.Popen(
                [*argv, str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env={"PATH": os.defpath, "HOME": "/root"}, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip

    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:  # noqa: ARG002 - init ends everything by itself
        """See `Engine.stop`: without the socket, init ends; without init, its namespace."""
        box = self._get(sandbox_id)
        if box.process is not None and box.control is not None:
            box.control.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                box.process.wait(5)
            box.process.kill()
            box.process.wait()

    def remove(self, sandbox_id: str) -> None:
        """See `Engine.remove`: root in a namespace, as directories may be closed to their owner."""
        if sandbox_id in self._boxes:
            self.stop(sandbox_id)
            subprocess.run([*NAMESPACES[:2], "rm", "-rf", self._boxes.pop(sandbox_id).directory], check=False)

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """See `Engine.inspect`."""
        box = self._get(sandbox_id)
        code = box.process.poll() if box.process else None
        state: State = "created" if box.process is None else "running" if code is None else "stopped"
        return SandboxStatus(sandbox_id, sandbox_id, state, box.config.image or "", box.labels, code)

    def list(self) -> list[SandboxStatus]:
        """See `Engine.list`."""
        return [self.inspect(name) for name in [*self._boxes]]

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:  # noqa: ARG002 - no EXEC_USER
        """See `Engine.connect`: init starts an agent on the socket that it is sent."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._get(sandbox_id).control, [b"\0"], [theirs.fileno()])  # type: ignore[arg-type]
            except (OSError, AttributeError) as error:
                ours.close()
                raise errors.SandboxGoneError(f"unshare: sandbox {sandbox_id!r} does not run: {error}") from error
        return SocketStream(ours)

    def close(self) -> None:
        """See `Engine.close`; sandboxes end with the process that made them."""
        for name in [*self._boxes]:
            self.remove(name)

    def _get(self, sandbox_id: str) -> _Box:
        if sandbox_id not in self._boxes:
            raise errors.SandboxNotFoundError(f"unshare: there is no sandbox {sandbox_id!r}")
        return self._boxes[sandbox_id]


@hookimpl
def samebox_register_engine() -> type[Engine]:
    """Register the engine."""
    return UnshareEngine
