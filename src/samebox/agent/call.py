"""Call: one operation on a connection to an agent, with its input and its answers."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from samebox.agent import frames
from samebox.agent.output import Collector
from samebox.errors import ConnectionLostError, ProtocolError, SandboxError
from samebox.guest.operation import Reader, Wait

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from samebox.agent.frames import Event, HostSide
    from samebox.agent.output import Sink
    from samebox.agent.records import Record


T = TypeVar("T")


class OperationFailedError(SandboxError):
    """The agent answered ERROR; the caller turns this into the error that it means. Never leaves samebox."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.text("message") or f"errno {record.number('errno', 0)}")
        self.record = record


class Line(Reader, Protocol):
    """The part of a connection that a call needs."""

    lock: threading.RLock
    """The lock held while bytes are made and queued, so that they leave in the order in which the protocol counts
    them."""
    protocol: HostSide

    def queue(self, data: bytes) -> None:
        """Send bytes; the caller holds the lock."""

    def ask(self) -> Future[None]:
        """Ask the agent whether it is there, and return what its answer resolves."""

    def give_up(self, seconds: float) -> None:
        """End the connection, whose agent did not answer for so many seconds."""


class Call:
    """One operation on a connection.

    The agent's interim answer resolves `started`, which the caller may give, and the last answer resolves `finished`;
    both fail with `OperationFailedError` or `ConnectionLostError`.
    """

    def __init__(self, connection: Line, sinks: Mapping[int, Sink], started: Future[Record] | None) -> None:
        self._connection = connection
        self._sinks = sinks
        self.stream = 0
        self._started = started
        self.finished: Future[Record] = Future()
        self.over = False
        """Whether the agent has given its last answer, or the connection is lost."""
        self._rooms: list[Future[bool]] = []
        self._waiters: list[Future[Record]] = []
        self._pending = memoryview(b"")
        self._pending_end = False

    def write(self, data: bytes | memoryview) -> int:
        """Send as much of the input as the agent takes now, and return the number of bytes.

        Once the operation is over, all of the input counts as sent, as the agent takes none any more.
        """
        view = memoryview(data)
        with self._connection.lock:
            if self.over:
                return len(view)
            out, sent = self._chunks(view)
            self._connection.queue(out)
        return sent

    async def write_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the data as the agent takes it; data that is left when the operation is over is dropped."""
        view = memoryview(data)
        while view:
            more = await self.until(self.room())
            if not more:
                return
            view = view[self.write(view) :]

    def end_input(self) -> None:
        """Tell the agent that no more input comes."""
        with self._connection.lock:
            if not self.over:
                self._connection.queue(frames.frame(frames.EOF, self.stream, b"\0"))

    def until(self, future: Future[T], timeout: float | None = None) -> Wait[T]:
        """Return a `Wait` for a future that an answer of the agent resolves, for at most `timeout` seconds."""
        return Wait(future, timeout, self._connection)

    def room(self) -> Future[bool]:
        """Return a future that is resolved when `write` takes data again, or with False if the operation is over."""
        with self._connection.lock:
            future: Future[bool] = Future()
            if self.over or self._connection.protocol.sendable(self.stream):
                future.set_result(not self.over)
            else:
                self._rooms = [*(other for other in self._rooms if not other.done()), future]
            return future

    def credit(self, channel: int, size: int) -> None:
        """Let the agent send `size` bytes more."""
        if size:
            with self._connection.lock:
                self._connection.queue(self._connection.protocol.credit(self.stream, channel, size))

    def control(self, kind: int, payload: bytes = b"") -> None:
        """Send SIGNAL, RESIZE or CANCEL; nothing happens once the operation is over."""
        with self._connection.lock:
            if not self.over:
                self._connection.queue(frames.frame(kind, self.stream, payload))

    def outcome(self) -> Future[Record]:
        """Return a future of the call's end for one waiter, who may cancel it."""
        waiter: Future[Record] = Future()
        with self._connection.lock:
            if not self.over:
                self._waiters = [*(other for other in self._waiters if not other.done()), waiter]
                return waiter
        self.finished.add_done_callback(lambda done: _hand_on(done, waiter))
        return waiter

    async def answered(self, within: float) -> bool:
        """Ask the agent whether it is there; the connection is given up if it does not answer in so many seconds."""
        try:
            await self.until(self._connection.ask(), within)
        except TimeoutError:
            self._connection.give_up(within)
            return False
        except ConnectionLostError:
            return False
        return True

    def cancel(self) -> None:
        """Ask the agent to end the operation, and everything that the operation's command has started."""
        self.control(frames.CANCEL)

    def _chunks(self, view: memoryview) -> tuple[bytes, int]:
        protocol = self._connection.protocol
        sent = 0
        out = []
        while sent < len(view) and (size := min(frames.CHUNK, protocol.sendable(self.stream), len(view) - sent)):
            out.append(protocol.input(self.stream, view[sent : sent + size]))
            sent += size
        return b"".join(out), sent

    def _pump(self) -> bytes:
        out, sent = self._chunks(self._pending)
        self._pending = self._pending[sent:]
        if self._pending_end and not self._pending:
            self._pending_end = False
            out += frames.frame(frames.EOF, self.stream, b"\0")
        return out

    def take(self, event: Event) -> None:
        """Take one event of this stream, in the thread that reads the connection."""
        if event.type in {frames.DATA, frames.EOF}:
            self._output(event)
        elif event.type == frames.CREDIT:
            with self._connection.lock:
                if self._pending_end:
                    self._connection.queue(self._pump())
            self._wake_writer(more=True)
        elif event.type == frames.REPLY:
            if self._started is not None:
                resolve(self._started, event.record)
        elif event.type == frames.END:
            self._end(event.record, None)
        else:
            self._end(None, OperationFailedError(event.record))

    def _output(self, event: Event) -> None:
        sink = self._sinks.get(event.channel)
        if sink is None:
            msg = f"the agent sent output on channel {event.channel}, which this operation does not have"
            raise ProtocolError(msg)
        if event.type == frames.EOF:
            sink.finish(None)
            return
        try:
            self.credit(event.channel, sink.receive(event.data))
        except ConnectionLostError:
            raise
        except SandboxError as error:
            # Only this call fails: its agent is asked to end it, and the rest of its output is dropped.
            self.cancel()
            self._sinks = {channel: Collector(0) for channel in self._sinks}
            resolve(self.finished, None, error)

    def lost(self, error: BaseException) -> None:
        """Take note that the connection ended before the operation did."""
        self._end(None, error)

    def _end(self, record: Record | None, error: BaseException | None) -> None:
        with self._connection.lock:
            self.over = True
            waiters, self._waiters = self._waiters, []
        # `finished` tells the agent's answer; the sinks, which may still be read, are told only of a lost connection.
        lost = error if isinstance(error, ConnectionLostError) else None
        for sink in self._sinks.values():
            sink.finish(lost)
        if self._started is not None:
            resolve(self._started, record, error)
        for future in (self.finished, *waiters):
            resolve(future, record, error)
        self._pending, self._pending_end = memoryview(b""), False
        self._wake_writer(more=False)

    def _wake_writer(self, *, more: bool) -> None:
        with self._connection.lock:
            rooms, self._rooms = self._rooms, []
        for room in rooms:
            resolve(room, more)


def _hand_on(done: Future[Record], waiter: Future[Record]) -> None:
    if done.cancelled():
        waiter.cancel()
    elif (error := done.exception()) is not None:
        resolve(waiter, None, error)
    else:
        resolve(waiter, done.result())


def resolve(future: Future[Any], result: object, error: BaseException | None = None) -> None:
    """Resolve a future that may be resolved or cancelled already."""
    with contextlib.suppress(RuntimeError, InvalidStateError):  # another thread resolves it at this moment
        if future.done() or not future.set_running_or_notify_cancel():  # a cancelled waiter cancels its future
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
