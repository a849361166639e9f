"""SocketStream and MultiplexedStream: the byte streams of engines that are reached by sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

from samebox.engine.contract import ByteStream
from samebox.errors import ProtocolError

_DIAGNOSTICS = 8 << 10
_STDOUT = b"\1\0\0\0"
_LENGTH = struct.Struct(">I")


class SocketStream(ByteStream):
    """A byte stream over a connected socket, TLS included.

    Args:
        sock: The socket; it is made non-blocking, and closed with the stream.
        owner: An object that has to stay alive as long as the stream, as an HTTP response; its `close` is called when
            the stream is closed.
    """

    def __init__(self, sock: socket.socket, owner: object = None) -> None:
        self._socket = sock
        self._owner = owner
        sock.settimeout(0)

    def fileno(self) -> int | None:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def recv(self, size: int) -> bytes:
        """Return the bytes that have come; see `ByteStream.recv`."""
        try:
            data = self._socket.recv(size)
            # Bytes that TLS has decrypted already make no descriptor readable, so they have to be taken now.
            while isinstance(self._socket, ssl.SSLSocket) and (pending := self._socket.pending()):
                data += self._socket.recv(pending)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError(str(error)) from None
        return data

    def send(self, data: bytes | memoryview) -> int:
        """Send the bytes that the socket takes; see `ByteStream.send`."""
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError(str(error)) from None

    def shutdown(self) -> None:
        """End both directions: the descriptor becomes readable, and `recv` finds what has come already and the end.

        The descriptor stays open until `close`.
        """
        with contextlib.suppress(OSError):
            # Not TLS's own `shutdown`: after that one, `recv` returns what has come as it is, encrypted.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket and its owner."""
        self.shutdown()
        self._socket.close()
        close = getattr(self._owner, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                close()


class MultiplexedStream(ByteStream):
    """A stream whose incoming side has Docker's 8-byte headers (stdcopy), as that of an exec without a terminal.

    `recv` returns stdout; stderr is kept for `diagnostics`, as the container runtime says on stderr why it could not
    start the agent. https://docs.docker.com/reference/api/engine/ (ContainerAttach, "Stream format")

    Args:
        stream: The stream that carries stdout and stderr.
        backlog: The bytes of the stream that a client library has read already.
    """

    def __init__(self, stream: ByteStream, backlog: bytes = b"") -> None:
        self._stream = stream
        self._header = bytearray()
        self._kind = 0
        self._left = 0
        self._backlog = backlog
        self._stderr = bytearray()

    def fileno(self) -> int | None:
        """Return the carrying stream's descriptor."""
        return self._stream.fileno()

    def recv(self, size: int) -> bytes:
        """Return stdout's bytes; see `ByteStream.recv`.

        Raises:
            ProtocolError: A header is none of Docker's.
            ConnectionResetError: The stream ends inside a frame.
        """
        while True:
            data, self._backlog = (self._backlog, b"") if self._backlog else (self._stream.recv(size), b"")
            if not data:
                if self._header or self._left:
                    msg = "the engine's stream ended inside a frame"  # its link was cut: nobody sent what is wrong
                    raise ConnectionResetError(msg)
                return b""
            if out := self._demultiplex(data):
                return out

    def _demultiplex(self, data: bytes) -> bytes:
        # The usual case: the data is one whole frame, or a piece from inside a frame.
        if self._left > len(data) and self._kind == 1:
            self._left -= len(data)
            return data
        if len(data) > 8 and not self._left and not self._header:
            (length,) = _LENGTH.unpack_from(data, 4)
            if length == len(data) - 8 and data.startswith(_STDOUT):
                return data[8:]
        out: list[bytes] = []
        position = 0
        while position < len(data):
            if not self._left:
                need = 8 - len(self._header)
                self._header += data[position : position + need]
                position += need
                if len(self._header) < 8:
                    break
                self._kind, zeros, self._left = struct.unpack(">B3sI", self._header)
                if zeros != b"\0\0\0" or self._kind > 2:
                    msg = f"the engine's stream has no frame header where one is due, but {bytes(self._header)!r}"
                    raise ProtocolError(msg)
                self._header.clear()
                continue
            part = data[position : position + self._left]
            position += len(part)
            self._left -= len(part)
            if self._kind == 1:
                out.append(part)
            elif len(self._stderr) < _DIAGNOSTICS:
                self._stderr += part[:_DIAGNOSTICS]
        return b"".join(out)

    def send(self, data: bytes | memoryview) -> int:
        """Send the bytes that the carrying stream takes; see `ByteStream.send`."""
        return self._stream.send(data)

    def close(self) -> None:
        """Close the carrying stream."""
        self._stream.close()

    def diagnostics(self) -> str:
        """Return the text that came on stderr."""
        return self._stderr.decode(errors="replace").strip()
