"""AgentSocket: a TCP connection from inside a sandbox, carried by its agent."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from samebox.agent.frames import STDOUT
from samebox.agent.output import Pipe
from samebox.guest.guest import SocketCore

if TYPE_CHECKING:
    from samebox.agent.call import Call
    from samebox.agent.caller import AgentCaller
    from samebox.agent.records import Field, Record

CONNECT = 30


class AgentSocket(SocketCore):
    """A TCP connection that the agent has opened."""

    def __init__(self, call: Call, pipe: Pipe) -> None:
        self._call = call
        self._pipe = pipe

    @classmethod
    async def open(cls, caller: AgentCaller, host: str, port: int, timeout: float) -> AgentSocket:
        """Open a connection; raises the errors of `Guest.connect`."""
        pipe = Pipe()
        opened: Future[Record] = Future()
        fields: list[Field] = [("host", host), ("port", port), ("timeout", round(timeout * 1000))]
        call = await caller._begin(CONNECT, fields, {STDOUT: pipe}, timeout=timeout, started=opened)  # noqa: SLF001 - the caller's own parts
        try:
            await caller._settled(call, opened, None)  # noqa: SLF001
        except BaseException:
            call.cancel()
            raise
        return cls(call, pipe)

    async def read(self) -> bytes:
        """See `SocketCore.read`."""
        while True:
            data, credit = self._pipe.take()
            self._call.credit(STDOUT, credit)
            if data is not None:
                return data
            await self._call.until(self._pipe.waiter())

    async def write(self, data: bytes) -> None:
        """See `SocketCore.write`."""
        await self._call.write_all(data)

    async def end(self) -> None:
        """See `SocketCore.end`."""
        self._call.end_input()

    async def close(self) -> None:
        """See `SocketCore.close`."""
        self._call.cancel()
