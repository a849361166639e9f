"""SshLink: a connection to a daemon behind `ssh HOST docker system dial-stdio`, as Docker's command line makes it.

docker-py has two ways of its own. One needs paramiko, and knows little of the user's ssh configuration; the other runs
ssh, but reads from it with calls that block until a whole buffer is full, so no stream can be waited for. Here each
connection is a socket pair whose other end is ssh's stdin and stdout: a real socket, which can be hijacked, waited for
and closed like any other.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
from typing import IO
from urllib.parse import urlsplit

_SAID = 2000
_GRACE = 2.0
# A bundled Python sets these for itself; ssh must not load that Python's libraries. docker-py drops them too.
_NOT_FOR_SSH = frozenset({"LD_LIBRARY_PATH", "SSL_CERT_FILE"})


class SshLink:
    """One ssh, and the socket that leads to the daemon through it.

    Args:
        url: `ssh://[user@]host[:port]`.
        timeout: How long ssh may take to connect, in seconds.

    Raises:
        OSError: There is no ssh.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.socket, theirs = socket.socketpair()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                ssh_argv(url, timeout),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                env={name: value for name, value in os.environ.items() if name not in _NOT_FOR_SSH},
                start_new_session=True,  # Ctrl-C is for the program, not for its connections
            )
        except BaseException:
            self.socket.close()
            self._stderr.close()
            raise
        finally:
            theirs.close()

    def close(self) -> str:
        """End ssh; return what it wrote to stderr if it had failed."""
        if self._hung_up():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
        failed = self._process.poll()
        if failed is None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read(_SAID) if failed else b""
        self._stderr.close()
        return said.decode(errors="replace").strip()

    def _hung_up(self) -> bool:
        """Tell whether it was ssh that ended the connection; then it is about to exit, and has left last words."""
        try:
            self.socket.settimeout(0)
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return False


def ssh_argv(url: str, timeout: float) -> list[str]:
    """Return the command that connects to the daemon's socket on another host."""
    parts = urlsplit(url)
    # BatchMode: a question for a password would be asked on some terminal, or never be answered.
    argv = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(timeout))}"]
    if parts.username:
        argv += ["-l", parts.username]
    if parts.port:
        argv += ["-p", str(parts.port)]
    return [*argv, "--", parts.hostname or "", "docker", "system", "dial-stdio"]
