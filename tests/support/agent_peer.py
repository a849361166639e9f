"""Peer: the agent's end of a connection, in a test's hands."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from samebox.agent import frames
from samebox.agent.client import Connection
from samebox.agent.frames import frame
from samebox.agent.records import encode_record
from samebox.engine.streams import MultiplexedStream, SocketStream

if TYPE_CHECKING:
    from samebox.agent.call import Call
    from samebox.agent.records import Record
    from samebox.engine import ByteStream

WELCOME = frame(frames.WELCOME, 0, encode_record([("version", 1)]))


class Peer:
    """The agent's end of a connection, in a test's hands.

    Args:
        multiplexed: Whether the stream has Docker's headers.
        waits: Whether `result` reads for itself, as a sync caller does, or leaves that to the transport's thread.
    """

    def __init__(self, *, multiplexed: bool = False, waits: bool = True) -> None:
        self.waits = waits
        ours, self.socket = socket.socketpair()
        self.socket.settimeout(10)
        stream: ByteStream = SocketStream(ours)
        self.connection = Connection(MultiplexedStream(stream) if multiplexed else stream, "sandbox 'x' on fake")

    def greet(self) -> None:
        """Make the first exchange."""
        threading.Thread(target=self._welcome).start()
        self.connection.hello([])
        if not self.waits:
            self.connection.keep_reading()

    def result(self, call: Call) -> Record:
        """Wait for the end of a call: reading in this thread, or as somebody who can't."""
        return call.until(call.finished, 10).wait() if self.waits else call.finished.result(10)

    def end(self, call: Call, exit_code: int = 0) -> None:
        """Answer a call."""
        self.socket.sendall(frame(frames.END, call.stream, encode_record([("exit_code", exit_code)])))

    def close(self) -> None:
        """Close both ends."""
        self.connection.close()
        self.socket.close()

    def _welcome(self) -> None:
        self.frame()
        self.socket.sendall(WELCOME)

    def frame(self) -> tuple[int, int, bytes]:
        """Return the next frame of the host: stream, type, payload."""
        head = self._exactly(9)
        length = int.from_bytes(head[:4], "big")
        return int.from_bytes(head[4:8], "big"), head[8], self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the host has closed the connection"
            data += more
        return data
