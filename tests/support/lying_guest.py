"""LyingGuest: a guest whose agent gives the answers that a test has made up."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from agent_peer import Peer
from samebox.agent import frames
from samebox.agent.frames import frame
from samebox.agent.guest import AgentGuest
from samebox.agent.records import encode_record

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from samebox.agent.client import Connection
    from samebox.agent.records import Field
    from samebox.errors import ConnectionLostError, SandboxError


class LyingGuest(AgentGuest):
    """Commands and files of a sandbox whose agent sends the same bytes after each request.

    Args:
        data: What the agent sends on stdout, at most a window.
        piece: How much of it one frame has, in bytes.
        end: The fields of the agent's last answer.
        root: The directory that file operations are confined to, or None.
        output_limit: As of a sandbox, in bytes.
    """

    def __init__(
        self,
        data: bytes = b"",
        *,
        piece: int = 32 << 10,
        end: list[Field] | None = None,
        root: bytes | None = None,
        output_limit: int = 1 << 20,
    ) -> None:
        super().__init__(self, 1 << 20, output_limit)
        self._root = root
        self._data = data
        self._piece = piece
        self._last = [("exit_code", 0)] if end is None else end
        self.peer = Peer()
        self.peer.greet()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def current(self, user: str | None) -> Connection:
        """Return the one connection; see `Connections.current`."""
        return self.peer.connection

    def reopen(self, user: str | None, within: float) -> Connection:
        """Return the one connection; see `Connections.reopen`."""
        return self.peer.connection

    def explain(self, error: ConnectionLostError, user: str | None) -> SandboxError:
        """Return the error itself; see `Connections.explain`."""
        return error

    def _answer(self) -> None:
        with contextlib.suppress(OSError, AssertionError):  # the test is over
            while True:
                stream, kind, _ = self.peer.frame()
                if kind != frames.OPEN:
                    continue
                pieces = (b"\1" + self._data[at : at + self._piece] for at in range(0, len(self._data), self._piece))
                self.peer.socket.sendall(b"".join(frame(frames.DATA, stream, piece) for piece in pieces))
                self.peer.socket.sendall(frame(frames.END, stream, encode_record(self._last)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.peer.close()
        self._thread.join(10)
