"""Operation: a coroutine that waits on futures and blocking calls, driven by a plain thread or by asyncio.

Every operation of a sandbox is written once, as `async def`, and awaits only `Wait`, `Blocking` and `Pause`. `run`
drives such a coroutine by waiting in a thread, `drive` from asyncio; so the sync and the async interface are the same
code.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from samebox.errors import SandboxError, SandboxTimeoutError
from samebox.guest.arguments import seconds
from samebox.interrupts import InterruptShield

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

_EARLY = 0.01
"""How much earlier than asked for a wait may end, as clocks differ, in seconds."""

P = ParamSpec("P")
T = TypeVar("T")
W = TypeVar("W")


class Reader(Protocol):
    """A source of results, as a connection, which a thread that waits for a result can read by itself."""

    def read_until(self, future: Future[Any], timeout: float | None) -> None:
        """Read until the future is resolved, or return at once if another thread reads.

        Raises:
            TimeoutError: The timeout, in seconds, is over.
        """

    def keep_reading(self) -> None:
        """Have another thread read, as this thread can't."""


class Wait(Generic[T]):
    """Awaits a future that another thread may resolve.

    Args:
        future: The future; it must not be shared with another waiter, as cancelling a waiter cancels the future.
        timeout: The longest wait, in seconds; None waits for ever.
        reader: The source of the result, if a thread that waits can read the source by itself.

    Raises:
        TimeoutError: The timeout is over.
    """

    def __init__(self, future: Future[T], timeout: float | None = None, reader: Reader | None = None) -> None:
        self.future = future
        self.timeout = timeout
        self.reader = reader

    def __await__(self) -> Generator[Any, Any, T]:
        result: T = yield self
        return result

    def within(self, seconds: float) -> Wait[T]:
        """Return the same wait for at most so many seconds."""
        least = seconds if self.timeout is None else min(self.timeout, seconds)
        return Wait(self.future, least, self.reader)

    def wait(self) -> T:
        """Wait in this thread."""
        try:
            if self.reader is not None:
                self.reader.read_until(self.future, self.timeout)
            return self.future.result(self.timeout)
        except TimeoutError:
            self.future.cancel()  # as `wait_async` does: nobody waits for it any more
            raise

    async def wait_async(self) -> T:
        """Wait in the event loop."""
        if self.reader is not None:
            self.reader.keep_reading()
        return await asyncio.wait_for(asyncio.wrap_future(self.future), self.timeout)


class Blocking(Generic[T]):
    """Awaits a call that may block: `run` makes the call in place, `drive` in a worker thread.

    Args:
        call: The call.
        whole: Whether an interruption waits for the end of the call: what the call uses is released or used again
            afterwards. Only for a call that is short, as one that reads or writes a file of this host.
    """

    def __init__(self, call: Callable[[], T], *, whole: bool = False) -> None:
        self.call = call
        self.whole = whole

    def __await__(self) -> Generator[Any, Any, T]:
        result: T = yield self
        return result

    def within(self, seconds: float) -> Blocking[T] | Wait[T]:
        """Return a wait of at most so many seconds for the call, which goes on in a thread of its own after that.

        A call that has to be waited for is returned as it is.
        """
        return self if self.whole else Wait(apart(self.call), seconds)

    def wait(self) -> T:
        """Make the call in this thread."""
        return self.call()

    async def wait_async(self) -> T:
        """Make the call in a worker thread."""
        if not self.whole:
            return await asyncio.to_thread(self.call)
        # A future and no task: at the end of its loop, asyncio cancels every task, and a thread runs on.
        context = contextvars.copy_context()
        worker = asyncio.get_running_loop().run_in_executor(None, functools.partial(context.run, self.call))
        try:
            return await asyncio.shield(worker)
        except asyncio.CancelledError:
            while not worker.done():  # however often the task is cancelled
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([worker])
            if not worker.cancelled():
                worker.exception()  # the cancellation is what is told
            raise


class Pause:
    """Awaits the end of some time, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Any, Any, None]:
        yield self

    def within(self, seconds: float) -> Pause:
        """Return a pause of at most so many seconds."""
        return Pause(min(self.seconds, seconds))

    def wait(self) -> None:
        """Sleep in this thread."""
        time.sleep(self.seconds)

    async def wait_async(self) -> None:
        """Sleep in the event loop."""
        await asyncio.sleep(self.seconds)


def apart(call: Callable[[], T]) -> Future[T]:
    """Make a call in a thread of its own, and return its outcome."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on, who gives up waiting does not cancel it

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whoever waits decides
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="samebox-call", daemon=True).start()
    return future


class Within(Generic[T]):
    """Awaits an operation, which gets an error at the step in which its time is over.

    Args:
        operation: The operation.
        seconds: Its time.
        error: The error that it gets.
    """

    def __init__(self, operation: Coroutine[Any, Any, T], seconds: float, error: SandboxTimeoutError) -> None:
        self._operation = operation
        self._seconds = seconds
        self._error = error

    def __await__(self) -> Generator[Any, Any, T]:
        deadline = time.monotonic() + self._seconds
        resume: Callable[[], Any] = functools.partial(self._operation.send, None)
        while True:
            try:
                step = resume()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if (left := deadline - time.monotonic()) <= 0:
                resume = functools.partial(self._operation.throw, self._error)
                continue
            try:
                result = yield step.within(left)
                resume = functools.partial(self._operation.send, result)
            except BaseException as error:  # noqa: BLE001 - the operation decides, CancelledError included
                over = isinstance(error, TimeoutError) and not isinstance(error, SandboxError)
                over = over and time.monotonic() >= deadline - _EARLY
                resume = functools.partial(self._operation.throw, self._error if over else error)


def timed(
    *, changes: bool = False
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Make a file operation keep the `timeout` that its caller gives, whatever the operation waits for.

    Args:
        changes: Whether the operation changes something, of which the caller does not know then how far it came.
    """

    def decorate(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(method)
        async def call(*args: P.args, **settings: P.kwargs) -> T:
            asked: Any = settings.pop("timeout", None)
            timeout = seconds(asked)
            if timeout is None:
                return await method(*args, **settings)
            what = " ".join([method.__name__, *(repr(argument) for argument in args[1:2])])
            rest = (
                "it may have been done, whole or in part: look at what is there before you do it again"
                if changes
                else "give a longer timeout, or ask for less"
            )
            error = SandboxTimeoutError(
                f"{what} was not over after its timeout of {timeout:g} s, and was ended; {rest}"
            )
            return await Within(method(*args, **settings), timeout, error)

        return call

    return decorate


def run(operation: Coroutine[Any, Any, T]) -> T:
    """Drive an operation to its end by waiting in this thread, and return its result.

    Ctrl-C comes where the operation waits, and nowhere else: in between, half a frame may be sent.
    """
    resume: Callable[[], Any] = functools.partial(operation.send, None)
    with InterruptShield() as shield:
        while True:
            try:
                step = resume()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                if not (isinstance(step, Blocking) and step.whole):
                    shield.lift()
                result = step.wait()
                shield.lower()
                resume = functools.partial(operation.send, result)
            except BaseException as error:  # noqa: BLE001 - the operation decides, KeyboardInterrupt included
                shield.lower()
                resume = functools.partial(operation.throw, error)


async def drive(operation: Coroutine[Any, Any, T]) -> T:
    """Drive an operation to its end from asyncio, and return its result; cancellation is thrown into the operation."""
    resume: Callable[[], Any] = functools.partial(operation.send, None)
    while True:
        try:
            step = resume()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        try:
            resume = functools.partial(operation.send, await step.wait_async())
        except BaseException as error:  # noqa: BLE001 - the operation decides, CancelledError included
            resume = functools.partial(operation.throw, error)


class Target(Protocol):
    """The holder of an object whose operations an interface offers, as a sandbox holds its guest."""

    async def _target(self) -> Any:
        """Return the object whose methods are called."""


async def _invoke(holder: Any, name: str, args: Any, settings: Any) -> Any:
    """Call the operation of that name on the holder's target."""
    return await getattr(await holder._target(), name)(*args, **settings)  # noqa: SLF001 - the protocol above


def waits(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """Make the method of a sync interface that runs the target's operation of the same name."""

    def call(self: Any, /, *args: P.args, **settings: P.kwargs) -> T:
        result: T = run(_invoke(self, method.__name__, args, settings))
        return result

    functools.update_wrapper(call, method)
    return call


def awaits(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Make the method of an async interface that runs the target's operation of the same name."""

    async def call(self: Any, /, *args: P.args, **settings: P.kwargs) -> T:
        result: T = await drive(_invoke(self, method.__name__, args, settings))
        return result

    functools.update_wrapper(call, method)
    return call


def waits_as(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]], wrap: Callable[[Any], W]
) -> Callable[Concatenate[Any, P], W]:
    """As `waits`, for an operation whose result is an object with operations: `wrap` gives the object's sync form."""

    def call(self: Any, /, *args: P.args, **settings: P.kwargs) -> W:
        return wrap(run(_invoke(self, method.__name__, args, settings)))

    functools.update_wrapper(call, method)
    return call


def awaits_as(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]], wrap: Callable[[Any], W]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, W]]:
    """As `awaits`, for an operation whose result is an object with operations: `wrap` gives the object's async form."""

    async def call(self: Any, /, *args: P.args, **settings: P.kwargs) -> W:
        return wrap(await drive(_invoke(self, method.__name__, args, settings)))

    functools.update_wrapper(call, method)
    return call
