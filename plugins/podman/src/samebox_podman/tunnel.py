"""Tunnel: a socket on this host that ssh forwards to a Podman socket on another.

podman-py has an ssh adapter, which starts one ssh for each connection, waits 300 seconds for one that has failed
already, and overrides the socket's `send` and `recv` with the pipes of `ssh -N`, so that nothing but HTTP goes through.
One ssh for each process and address, with its words in the error, serves podman-py and the agent's streams alike.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from samebox_podman.address import Address
from samebox_podman.child import HelperError, OwnedProcess
from samebox_podman.failure import unavailable

if TYPE_CHECKING:
    from pathlib import Path

READY = 30.0
"""How long ssh may take to log in, in seconds."""


class Tunnel:
    """Keeps one ssh running for this process and one address.

    Args:
        address: An ssh address.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._process: OwnedProcess | None = None

    def ensure(self) -> Address:
        """Return the address of the socket on this host, starting ssh if it does not run.

        Raises:
            EngineUnavailableError: ssh failed; the text has its words.
        """
        with self._lock:
            process = self._process
            if process is None or not process.alive:
                if process is not None:
                    process.end()
                    self._process = None
                process = self._process = self._start()
            return Address(f"unix://{process.directory}/podman.sock", self._address.source)

    @property
    def said(self) -> str:
        """What ssh wrote, as when the other end refuses a connection."""
        return self._process.said if self._process is not None else ""

    def _start(self) -> OwnedProcess:
        parts = urlsplit(self._address.url)
        remote = self._address.socket_path
        argv = ["ssh", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=30"]
        argv += ["-o", "StreamLocalBindMask=0177", "-L", f"{{directory}}/podman.sock:{remote}", "-T"]
        if self._address.identity:
            argv += ["-i", os.path.expanduser(self._address.identity)]  # noqa: PTH111 - stays a string
        if parts.port:
            argv += ["-p", str(parts.port)]
        if parts.username:
            argv += ["-l", parts.username]
        # `cat` ends when its stdin does, which is a pipe from this process: however this process ends, ssh does too.
        argv += ["--", parts.hostname or "", "cat"]
        try:
            return OwnedProcess(argv, _forwards, within=READY, stdin=True)
        except FileNotFoundError:
            raise unavailable(self._address, "there is no ssh program in PATH", "Install OpenSSH's client.") from None
        except (HelperError, OSError) as error:
            login = f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname
            port = f" -p {parts.port}" if parts.port else ""
            remedy = f"Check that `ssh -o BatchMode=yes{port} {login} podman version` works: keys and host key known."
            raise unavailable(self._address, f"ssh failed: {error}", remedy) from None

    def end(self) -> None:
        """End ssh if it runs."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None


def _forwards(directory: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(directory / "podman.sock"))
    except OSError:
        return False
    return True


_TUNNELS: dict[tuple[str, str | None], Tunnel] = {}
_INHERITED: list[Tunnel] = []
"""What a forked child must neither end nor collect, as that would complain about a process that is not its own."""


def tunnel_to(address: Address) -> Tunnel:
    """Return this process's tunnel to an address, which may not run yet."""
    return _TUNNELS.setdefault((address.url, address.identity), Tunnel(address))


def _forget() -> None:
    _INHERITED.extend(_TUNNELS.values())
    _TUNNELS.clear()


os.register_at_fork(after_in_child=_forget)
