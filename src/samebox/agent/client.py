"""Connection: the agent's client over one byte stream, with any number of operations at once."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from samebox.agent import frames
from samebox.agent.call import Call, OperationFailedError, resolve
from samebox.agent.frames import HostSide
from samebox.engine.transport import transport
from samebox.engine.watch import Watch
from samebox.errors import ConnectionLostError, ProtocolError
from samebox.guest.operation import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from samebox.agent.frames import Event
    from samebox.agent.output import Sink
    from samebox.agent.records import Field, Record
    from samebox.engine import ByteStream

READ_SIZE = 64 << 10
HELLO_TIMEOUT = 15.0
QUIET = 5.0
"""How long an agent of which something is expected may say nothing before it is asked whether it is there."""
PATIENCE = 5.0
"""How long the agent may take to answer that, in seconds."""


class Connection:
    """One connection to one agent. Safe to use from several threads.

    Args:
        stream: The byte stream; closed with the connection.
        where: The sandbox and engine that the stream leads to, for messages.
    """

    def __init__(self, stream: ByteStream, where: str) -> None:
        self.lock = threading.RLock()
        self.protocol = HostSide()
        self.used = time.monotonic()
        self._stream = stream
        self._where = where
        self._pid = os.getpid()
        self._calls: dict[int, Call] = {}
        self._outgoing: deque[memoryview] = deque()
        self._waiting_to_write = False
        self._over: BaseException | None = None
        self._welcome: Future[Record] = Future()
        self._heard = 0.0
        """When the agent was heard last, or something was expected of it for the first time since."""
        self._asked: float | None = None
        self._asking: list[Future[None]] = []
        self._watch = Watch(transport(), self)
        # A sandbox may be collected without having been closed, and then nothing else would close its stream.
        self._forgotten = weakref.finalize(self, _close_in, self._pid, stream)
        self._forgotten.atexit = False

    @property
    def usable(self) -> bool:
        """Whether calls can be made: the connection is not over, and was not opened before a fork."""
        return self._over is None and self._pid == os.getpid()

    def hello(self, fields: Iterable[Field]) -> Record:
        """Make the first exchange.

        Returns:
            The agent's welcome.

        Raises:
            ProtocolError: The other side is no agent, or speaks no version of the protocol that this side knows.
            ConnectionLostError: The agent ended, or said nothing for 15 seconds.
            OperationFailedError: The agent refused, as for a workdir that can't be made.
        """
        with self.lock:
            self.queue(self.protocol.hello(fields))
        try:
            return Wait(self._welcome, HELLO_TIMEOUT, self).wait()
        except TimeoutError:
            error = ConnectionLostError(f"the agent in {self._where} did not answer for {HELLO_TIMEOUT:g} s")
            self._fail(error)
            raise error from None

    @property
    def welcome(self) -> Record:
        """What the agent has said of itself in the first exchange."""
        return self._welcome.result()

    def call(
        self,
        operation: int,
        fields: Iterable[Field],
        sinks: Mapping[int, Sink] | None = None,
        *,
        input: bytes | None = None,  # noqa: A002 - the protocol's word
        window: int = frames.WINDOW,
        started: Future[Record] | None = None,
    ) -> Call:
        """Begin an operation.

        Args:
            operation: The operation's number.
            fields: The fields of the operation's record.
            sinks: The takers of the operation's output, by channel.
            input: The operation's whole input; None: no input, or input by `Call.write`.
            window: How much of each channel the agent may send before it needs credit, in bytes.
            started: The future that the operation's interim answer resolves; None: the caller does not wait for the
                answer.

        Returns:
            The call, under way.

        Raises:
            ConnectionLostError: The connection is over.
            ValueError: The request is too long.
        """
        self._watch.catch_up()
        call = Call(self, sinks or {}, started)
        with self.lock:
            if self._over is not None:
                raise ConnectionLostError(str(self._over))
            call.stream, data = self.protocol.open(operation, fields, window)
            if not self._calls:
                self._heard, self._asked = time.monotonic(), None
            self._calls[call.stream] = call
            if input is not None:
                call._pending, call._pending_end = memoryview(input), True  # noqa: SLF001 - one write sends the request and its input
                data += call._pump()  # noqa: SLF001
            self.queue(data)
        return call

    def queue(self, data: bytes) -> None:
        """Send bytes from this thread as far as the stream takes them; the transport sends the rest.

        The caller holds the lock.
        """
        if not data or self._over is not None or self._pid != os.getpid():
            return  # nor for a forked child: the stream is its parent's
        self.used = time.monotonic()
        view = memoryview(data)
        try:
            if not self._outgoing and self._stream.fileno() is not None:
                try:
                    view = view[self._stream.send(view) :]
                except BlockingIOError:
                    pass
                except OSError:
                    # The reading side meets the same end, with the last words of the other side before it.
                    return
            if view:
                self._outgoing.append(view)
                if not self._waiting_to_write:
                    self._waiting_to_write = True
                    self._watch.want_write()
        except BaseException:
            # How much of the frame is on its way is not known, as after an exception of a signal's handler.
            self._lost("was being written to when this thread was interrupted")
            raise

    def ask(self) -> Future[None]:
        """Ask the agent whether it is there, and return what its answer resolves.

        Raises:
            ConnectionLostError: The connection is over.
        """
        future: Future[None] = Future()
        with self.lock:
            if self._over is not None:
                raise ConnectionLostError(str(self._over))
            self._asking.append(future)
            self.queue(self.protocol.ping())
        return future

    def tend(self) -> float:
        """Ask an agent that has been silent for too long whether it is there, and give up one that does not answer.

        Returns:
            When to come again, in seconds.
        """
        with self.lock:
            now = time.monotonic()
            if self._over is not None or not self._calls:
                return QUIET
            if self._asked is not None and self._asked >= self._heard:
                left = self._asked + PATIENCE - now
            else:
                # An agent that hears nothing of its host takes the host for dead, however much the agent sends.
                left = min(self._heard, self.used) + QUIET - now
                if left <= 0:
                    self._asked, left = now, PATIENCE
                    self.queue(self.protocol.ping())
        if left <= 0:
            self.give_up(PATIENCE)
        return left

    def give_up(self, seconds: float) -> None:
        """End the connection, whose agent did not answer for so many seconds."""
        how = f"was given up: the agent did not answer for {seconds:g} s when it was asked whether it is there"
        self._lost(how)

    def close(self) -> None:
        """End the connection; calls under way fail."""
        self._fail(ConnectionLostError(f"the connection to the agent in {self._where} was closed"))

    def read_until(self, future: Future[Any], timeout: float | None) -> None:
        """Read the answers in this thread until a future is resolved, unless another thread does so.

        Raises:
            TimeoutError: The timeout, in seconds, is over.
            ConnectionLostError: The connection belongs to the process that this process was forked from.
        """
        self._check_process()
        self._watch.read_until(future, timeout)

    def keep_reading(self) -> None:
        """Have another thread read the answers as long as calls are under way."""
        self._check_process()
        self._watch.keep_reading()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            msg = f"the connection to the agent in {self._where} belongs to process {self._pid}, which forked this one"
            raise ConnectionLostError(msg)

    @property
    def expects(self) -> bool:
        """Whether calls are under way."""
        return bool(self._calls or self._asking)

    def fileno(self) -> int | None:
        """Return the stream's descriptor, or None."""
        return self._stream.fileno()

    def readable(self) -> bool:  # noqa: PLR0911 - each way to end has its own error
        """Read and dispatch the bytes that have come; return False when the connection is over."""
        if self._over is not None:
            return False
        try:
            data = self._stream.recv(READ_SIZE)
            if not data:
                self._lost("ended")
                return False
            self._heard = time.monotonic()
            with self.lock:
                events = self.protocol.feed(data)
            for event in events:
                self._dispatch(event)
        except BlockingIOError:
            return True
        except ProtocolError as error:
            self._fail(ProtocolError(f"{error} (agent in {self._where}){self._said()}"))
            return False
        except OSError as error:
            self._lost(f"broke: {error}")
            return False
        except Exception as error:  # noqa: BLE001 - a bug here must end one connection, not the thread that serves all connections
            self._lost(f"failed: {error!r}")
            return False
        except BaseException:
            self._lost("was being read when this thread was interrupted")
            raise
        return True

    def writable(self) -> bool:
        """Write what is queued, in the transport's thread; return whether part of the queue is left."""
        if self._stream.fileno() is None:
            return self._write_blocking()
        with self.lock:
            try:
                while self._outgoing and self._over is None:
                    view = self._outgoing[0]
                    sent = self._stream.send(view)
                    self._heard = time.monotonic()  # a slow link is not a silent one
                    if sent < len(view):
                        self._outgoing[0] = view[sent:]
                    else:
                        self._outgoing.popleft()
            except BlockingIOError:
                return True
            except OSError:
                self._outgoing.clear()  # see `queue`
            self._waiting_to_write = False
            return False

    def _write_blocking(self) -> bool:
        """Write a piece of what is queued to a stream that may block, without the lock: others must not wait for it."""
        with self.lock:
            if not self._outgoing or self._over is not None:
                self._waiting_to_write = False
                return False
            view = self._outgoing[0]
        try:
            sent = self._stream.send(view)
        except OSError:
            with self.lock:
                self._outgoing.clear()  # see `queue`
                self._waiting_to_write = False
            return False
        self._heard = time.monotonic()
        with self.lock:
            if self._outgoing and sent < len(view):
                self._outgoing[0] = view[sent:]
            elif self._outgoing:
                self._outgoing.popleft()
        return True

    def closed(self) -> None:
        """Close the stream itself; the transport calls this when no thread waits on the stream any more."""
        self._forgotten.detach()
        self._stream.close()

    def _dispatch(self, event: Event) -> None:
        if event.type == frames.WELCOME:
            resolve(self._welcome, event.record)
        elif event.type == frames.PONG:
            with self.lock:
                asking, self._asking = self._asking, []
            for future in asking:
                resolve(future, None)
        elif event.stream == 0:
            if event.type == frames.ERROR:
                error = OperationFailedError(event.record)
                resolve(self._welcome, None, error)
                msg = f"the agent refused: {error}"
                raise ProtocolError(msg)
        else:
            # END and ERROR close a stream of the protocol, whose id may be used anew from then on.
            calls = self._calls
            call = calls.pop(event.stream) if event.type in (frames.END, frames.ERROR) else calls[event.stream]
            try:
                call.take(event)
            except BaseException:
                calls[event.stream] = call  # what ends the connection ends this call too
                raise

    def _said(self) -> str:
        said = self._stream.diagnostics()
        return f"; the engine said: {said}" if said else ""

    def _lost(self, how: str) -> None:
        self._fail(ConnectionLostError(f"the connection to the agent in {self._where} {how}{self._said()}"))

    def _fail(self, error: ConnectionLostError) -> None:
        with self.lock:
            if self._over is not None:
                return
            self._over = error
            calls = list(self._calls.values())
            self._calls.clear()
            self._outgoing.clear()
            asking, self._asking = self._asking, []
        resolve(self._welcome, None, error)
        for future in asking:
            resolve(future, None, error)
        for call in calls:
            call.lost(error)
        if self._pid == os.getpid():
            self._watch.remove()


def _close_in(pid: int, stream: ByteStream) -> None:
    """Close a stream, in the process that opened it alone."""
    if pid == os.getpid():  # a forked child's closing would end the parent's socket too
        stream.close()
