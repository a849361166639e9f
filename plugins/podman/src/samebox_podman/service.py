"""PrivateService: a `podman system service` of this process's own, for hosts with a podman program and no socket."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from typing import TYPE_CHECKING

from samebox_podman.address import Address
from samebox_podman.child import HelperError, OwnedProcess

if TYPE_CHECKING:
    from pathlib import Path

IDLE = 60
"""After how many seconds without a connection the service ends by itself: what a killed owner leaves is gone then."""
READY = 30.0
"""How long the service may take to listen, in seconds; the first start of a rootless Podman makes its storage."""
SOURCE = "a private service that samebox started"


class PrivateService:
    """Keeps one private service running for this process, and starts it again when it has ended for idleness.

    Args:
        runtime: The OCI runtime of all containers that it makes; None: Podman's default.
    """

    def __init__(self, runtime: str | None = None) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._process: OwnedProcess | None = None

    @staticmethod
    def program() -> str | None:
        """Return the path of the podman program, or None."""
        return shutil.which("podman")

    @property
    def pid(self) -> int | None:
        """The running service's process id, or None."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    def ensure(self) -> Address:
        """Return the address of the running service, starting it if it is not.

        Raises:
            HelperError: It can't be started; the text has its own words.
        """
        with self._lock:
            process = self._process
            if process is not None and process.alive and _listens(process.directory):
                return _address(process.directory)
            if process is not None:
                process.end()
                self._process = None
            program = self.program()
            if program is None:
                raise HelperError("there is no podman program in PATH")
            named = [f"--runtime={self._runtime}"] if self._runtime is not None else []
            argv = [program, *named, "system", "service", f"--time={IDLE}", "unix://{directory}/podman.sock"]
            try:
                self._process = OwnedProcess(argv, _listens, within=READY)
            except OSError as error:
                raise HelperError(f"{program} can't be started: {error}") from None
            return _address(self._process.directory)

    def end(self) -> None:
        """End the service if it runs."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None


def _address(directory: Path) -> Address:
    return Address(f"unix://{directory}/podman.sock", SOURCE)


def _listens(directory: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(READY)
            probe.connect(str(directory / "podman.sock"))
    except OSError:
        return False
    return True


_SERVICES: dict[str | None, PrivateService] = {}
_INHERITED: list[PrivateService] = []
"""What a forked child must neither end nor collect, as that would complain about a process that is not its own."""


def private_service(runtime: str | None = None) -> PrivateService:
    """Return this process's private service with an OCI runtime, which may not run yet."""
    return _SERVICES.setdefault(runtime, PrivateService(runtime))


def _forget() -> None:
    """Let a forked child start services of its own: its parent's may end at any time."""
    _INHERITED.extend(_SERVICES.values())
    _SERVICES.clear()


os.register_at_fork(after_in_child=_forget)
