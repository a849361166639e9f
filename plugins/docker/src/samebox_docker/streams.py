"""ExecStream: the byte stream to an agent that was started as an exec of its container."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
from typing import TYPE_CHECKING, Any

from samebox.engine.program import SERVE_ARGV
from samebox.engine.streams import MultiplexedStream, SocketStream
from samebox.engine.transport import transport
from samebox.engine.watch import Watch
from samebox.errors import EngineError

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


class WatchedStream(ExecStream):
    """An exec's stream that ends with its container, whether the daemon ends it or not.

    With gVisor an exec may be told to have ended after its container, and then dockerd knows no container to end the
    streams of ("exit event", "no such container" in its log). The container's own output always ends.

    Args:
        stream: The exec's.
        backlog: Bytes that were read already.
        watched: The container's own output.
    """

    def __init__(self, stream: SocketStream, backlog: bytes, watched: SocketStream) -> None:
        super().__init__(stream, backlog)
        self._end = Watch(transport(), _End(watched, stream))
        self._end.keep_reading()

    def close(self) -> None:
        """Close both streams."""
        self._end.remove()
        super().close()


class _End:
    """What the transport serves: the output of a container, at whose end another stream is ended."""

    def __init__(self, watched: SocketStream, ended: SocketStream) -> None:
        self._watched = watched
        self._ended = ended

    def fileno(self) -> int | None:
        return self._watched.fileno()

    @property
    def expects(self) -> bool:
        return True

    def readable(self) -> bool:
        try:
            if self._watched.recv(_WORDS):
                return True
        except BlockingIOError:
            return True
        except OSError:
            pass
        self._ended.shutdown()
        return False

    def writable(self) -> bool:
        return False

    def tend(self) -> float:
        return math.inf

    def closed(self) -> None:
        self._watched.close()


def open_exec(pool: ClientPool, container: str, user: str | None, *, watched: bool = False) -> ExecStream:
    """Start an agent as an exec of a running container, and return the stream to it.

    Args:
        pool: Clients of the daemon.
        container: The container.
        user: Who it runs as; None: the container's own user.
        watched: End the stream with the container, where the daemon may not.

    Raises:
        RefusedError: The daemon refused.
    """
    end: SocketStream | None = None
    with contextlib.ExitStack() as stack, pool.client() as client:
        if watched:
            end, _ = _hijack(client.attach_socket(container, {"stdout": 1, "stream": 1}))
            stack.callback(end.close)
        # In "/", as the user may not enter every workdir; the agent goes there itself and says what is wrong with it.
        created = client.exec_create(container, list(SERVE_ARGV), stdin=True, user=user or "", workdir="/")
        hijacked: Any = client.exec_start(created["Id"], socket=True)
        connected, backlog = _hijack(hijacked)
        stack.callback(connected.close)
        stream = ExecStream(connected, backlog) if end is None else WatchedStream(connected, backlog, end)
        stack.pop_all()
    return stream


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
    except BaseException:
        stream.close()
        raise
    return stream, bytes(backlog)
