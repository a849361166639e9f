"""ExecStream: the byte stream to an agent that was started as an exec of its container."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

from samebox.agent.program import SERVE_ARGV
from samebox.errors import EngineError
from samebox.streams import MultiplexedStream, SocketStream

if TYPE_CHECKING:
    from samebox_docker.clients import ClientPool

_WORDS = 8 << 10


class ExecStream(MultiplexedStream):
    """A multiplexed stream that knows Docker's own words from the agent's.

    Docker starts an exec only after it has switched the connection over, so what went wrong can't be a status any more:
    it is written as text into the stdout of the command that could not be started. An agent's first byte is the highest
    one of a frame's length, and 0.
    """

    def __init__(self, stream: SocketStream, backlog: bytes = b"") -> None:
        super().__init__(stream, backlog)
        self._begun = False
        self._words = ""

    def recv(self, size: int) -> bytes:
        """Return the agent's bytes; b"" after words of Docker, which `diagnostics` then has."""
        if self._words:
            return b""
        data = super().recv(size)
        if not self._begun and data:
            self._begun = True
            if data[0]:
                self._words = data[:_WORDS].decode(errors="replace").strip()
                return b""
        return data

    def diagnostics(self) -> str:
        """Return Docker's words and what came on stderr."""
        return "\n".join(filter(None, (self._words, super().diagnostics())))


def open_exec(pool: ClientPool, container: str, user: str | None) -> ExecStream:
    """Start an agent as an exec of a running container, and return the stream to it.

    Args:
        pool: Clients of the daemon.
        container: The container.
        user: Who it runs as; None: the container's own user.

    Raises:
        RefusedError: The daemon refused.
    """
    with pool.client() as client:
        # In "/", as the user may not enter every workdir; the agent goes there itself and says what is wrong with it.
        created = client.exec_create(container, list(SERVE_ARGV), stdin=True, user=user or "", workdir="/")
        hijacked: Any = client.exec_start(created["Id"], socket=True)
    return ExecStream(*_hijack(hijacked))


def _hijack(hijacked: Any) -> tuple[SocketStream, bytes]:
    """Take the socket out of docker-py's hands, and what its HTTP client has read ahead of it (docker-py #3332)."""
    connected = hijacked if isinstance(hijacked, socket.socket) else getattr(hijacked, "_sock", None)
    response = getattr(hijacked, "_response", None)
    if not isinstance(connected, socket.socket) or response is None:
        raise EngineError(
            f"docker-py handed out a {type(hijacked).__name__} where a connection's socket was expected; "
            "samebox-docker has to be adapted to this docker-py"
        )
    # Not the response itself: closing that gives the connection, which is none any more, back to its pool.
    stream = SocketStream(connected, owner=response.raw)
    try:
        # The socket does not block any more, so this returns what is there: in the buffer, else at the socket.
        backlog = response.raw._fp.fp.peek()  # noqa: SLF001 - there is no other way to a buffer below urllib3
    except (BlockingIOError, ssl.SSLWantReadError):
        backlog = b""
    return stream, bytes(backlog)
