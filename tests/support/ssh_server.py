"""SshServer: an sshd of its own on this host's loopback, and an `ssh` that has its keys."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from footprint import descendants

_SSHD = "/usr/sbin/sshd"
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
AuthorizedKeysFile {directory}/key.pub
PidFile none
UsePAM no
StrictModes no
SetEnv DOCKER_HOST={docker}
"""


class SshServer:
    """Lets this process's user in, whose PATH finds an `ssh` that knows the way.

    Args:
        directory: Where its keys and files are.
        docker: The address of the Docker daemon that its sessions have.
    """

    def __init__(self, directory: Path, docker: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.host = f"root@127.0.0.1:{port}"
        self.programs = directory / "bin"
        self.programs.mkdir()
        for name in ("host", "key"):
            subprocess.run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        (directory / "known").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
        config = directory / "config"
        config.write_text(_CONFIG.format(port=port, directory=directory, docker=docker))
        ssh = self.programs / "ssh"
        known = f"-i {directory}/key -o UserKnownHostsFile={directory}/known"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F none {known} "$@"\n')
        ssh.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)  # its privileges are parted there
        self._process = subprocess.Popen([_SSHD, "-D", "-e", "-f", config], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    @staticmethod
    def is_here() -> bool:
        """Return whether this host has an sshd."""
        return os.path.exists(_SSHD)

    def cut(self) -> None:
        """End every connection."""
        for pid in descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._process.kill()
        self._process.wait()
