"""Mutants that do one thing at a time, or mix up several."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from mutants.mutant import mutant
from mutants.results import wrap
from samebox.agent.guest import AgentGuest
from samebox.agent.output import Pipe
from samebox.guest.forward import AsyncForward
from samebox.guest.operation import Blocking, Wait
from samebox.sandbox.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from mutants.results import Operation
    from samebox.config.model import SandboxConfig
    from samebox.engine.local import LocalEngine


@mutant("concurrency/commands-run-at-the-same-time", patience=0.5)
def serialises_commands(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Commands run one after the other."""
    turn = threading.Lock()

    async def exec_in_turn(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        await Blocking(turn.acquire)
        try:
            return await original(self, argv, **settings)
        finally:
            turn.release()

    wrap(patch, AgentGuest, "exec", exec_in_turn)


@mutant("streams/slow-reader-holds-up-no-other", patience=1)
def stalls_for_a_slow_reader(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A reader that is slow holds up every other call."""
    receive = Pipe.receive

    def receive_slowly(self: Pipe, data: bytes) -> int:
        # Not for ever: this is the thread that serves the connections of all mutants.
        deadline = time.monotonic() + 5
        while self._held.size > 64 << 10 and self._room is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return receive(self, data)

    patch.setattr(Pipe, "receive", receive_slowly)


@mutant("async/loop-is-not-blocked")
def blocks_the_event_loop(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Awaiting a command blocks the event loop."""

    async def wait_async(self: Wait[Any]) -> Any:
        return self.wait()

    patch.setattr(Wait, "wait_async", wait_async)


@mutant("concurrency/outputs-are-not-mixed")
def mixes_outputs(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Each command gets the output of the one before."""
    running: list[object] = []
    last: list[Any] = []

    async def exec_mixed(original: Operation, self: AgentGuest, argv: Any, **settings: Any) -> Any:
        running.append(None)
        try:
            last.append(await original(self, argv, **settings))
            return last[-2] if len(running) > 1 and len(last) > 1 else last[-1]
        finally:
            running.pop()

    wrap(patch, AgentGuest, "exec", exec_mixed)


@mutant("concurrency/sandboxes-are-apart")
def shares_the_workdir(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Sandboxes share a workdir."""
    first: list[str] = []

    def workdir(self: LocalEngine, sandbox_id: str, config: SandboxConfig) -> str:
        first.append(str(self._get(sandbox_id).directory))
        return first[0] if os.path.isdir(first[0]) else first[-1]

    patch.setattr(engine, "workdir", workdir)


@mutant("concurrency/forked-child-has-no-say")
def lets_a_forked_child_close(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A forked child that closes its parent's sandbox removes it."""
    close = Lifecycle.close

    def close_anywhere(self: Lifecycle) -> None:
        self._pid = os.getpid()
        close(self)

    def remove(self: LocalEngine, sandbox_id: str) -> None:
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None and sandbox.control is not None:
            # What a daemon would do, to whom it is all the same who asks.
            sandbox.control.shutdown(2)
            sandbox.control.close()
            shutil.rmtree(sandbox.directory, ignore_errors=True)

    assert tempfile.gettempdir() != "/"
    patch.setattr(Lifecycle, "close", close_anywhere)
    patch.setattr(engine, "remove", remove)


@mutant("async/cancelled-download-leaves-nothing")
def releases_what_a_worker_uses(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """A cancelled operation closes what its worker thread still writes to."""

    def late(call: Callable[[], Any]) -> Any:
        time.sleep(0.005)  # so that the cancellation comes before, and not only by chance
        return call()

    async def wait_async(self: Blocking[Any]) -> Any:
        return await asyncio.to_thread(late, self.call)

    patch.setattr(Blocking, "wait_async", wait_async)


@mutant("network/closed-forward-ends-its-connections", patience=2)
def leaves_forwarded_connections(engine: type[LocalEngine], patch: pytest.MonkeyPatch) -> None:
    """Closing a forward leaves the connections through it as they are."""

    async def close(self: AsyncForward) -> None:
        assert self._server is not None
        self._server.close()

    patch.setattr(AsyncForward, "close", close)
