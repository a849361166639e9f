"""Forward: a port of this host's loopback that leads to a port inside a sandbox, through the sandbox's agent.

A forward needs no network in the sandbox and no feature of the engine, and works with remote engines.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

from samebox.errors import SandboxError
from samebox.guest.operation import drive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from samebox.guest.guest import Guest, SocketCore

_CHUNK = 64 << 10


class AsyncForward:
    """A forwarded port, served by the running event loop; end it by `close` or its `async with` block.

    Args:
        target: Returns the sandbox's guest.
        port: The port inside the sandbox.
        host: The address inside the sandbox: an IP address or "localhost".
        host_port: The port of this host's loopback; 0: any free port.
    """

    def __init__(self, target: Callable[[], Awaitable[Guest]], port: int, host: str, host_port: int) -> None:
        self._target = target
        self._inside = (port, host)
        self._wanted = host_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = host_port
        """The port of this host's loopback."""

    async def start(self) -> Self:
        """Listen on this host's loopback.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._wanted)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        """Listen no longer, and end the connections."""
        if self._server is not None:
            self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine, of which asyncio makes a task that logs a traceback when it is cancelled (Python 3.12.1).
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            writer.close()

        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            guest = await self._target()
            port, host = self._inside
            socket = await drive(guest.connect(port, host))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_inward(reader, socket))
                    group.create_task(_outward(socket, writer))
            finally:
                await drive(socket.close())
        except* (SandboxError, OSError):
            pass  # the peer sees its connection end, as from a closed port


async def _inward(reader: asyncio.StreamReader, socket: SocketCore) -> None:
    while data := await reader.read(_CHUNK):
        await drive(socket.write(data))
    await drive(socket.end())


async def _outward(socket: SocketCore, writer: asyncio.StreamWriter) -> None:
    while data := await drive(socket.read()):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


class Forward:
    """A forwarded port, served by a thread of its own; end it by `close` or its `with` block.

    Args:
        inner: The forward that the thread's event loop serves.
    """

    def __init__(self, inner: AsyncForward) -> None:
        self._inner = inner
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="samebox-forward", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(inner.start(), self._loop).result()
        except BaseException:
            self._stop()
            raise

    @property
    def port(self) -> int:
        """The port of this host's loopback."""
        return self._inner.port

    def close(self) -> None:
        """Listen no longer, and end the connections. May be called again."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._inner.close(), self._loop).result()
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
