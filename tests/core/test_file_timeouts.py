"""The timeouts of file operations: each one, with an agent that says nothing."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent_peer import Peer
from samebox.agent.guest import AgentGuest
from samebox.errors import SandboxError, SandboxTimeoutError
from samebox.guest.results import ExecTimeoutError
from samebox.sandbox.interface import AsyncFiles, AsyncGuest, SyncFiles, SyncGuest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox.agent.client import Connection
    from samebox.errors import ConnectionLostError

SECONDS = 0.2
READS: dict[str, tuple[Any, ...]] = {
    "read_bytes": ("a",),
    "read_text": ("a",),
    "read_lines": ("a",),
    "read_link": ("a",),
    "stat": ("a",),
    "exists": ("a",),
    "list_dir": ("a",),
    "walk": ("a",),
    "glob": ("*",),
    "grep": ("a",),
    "realpath": ("a",),
}
CHANGES: dict[str, tuple[Any, ...]] = {
    "write_bytes": ("a", bytes(1 << 20)),
    "write_text": ("a", "text"),
    "append": ("a", b"data"),
    "make_dir": ("a",),
    "remove": ("a",),
    "move": ("a", "b"),
    "copy": ("a", "b"),
    "chmod": ("a", 0o600),
    "symlink": ("a", "b"),
    "edit": ("a", "old", "new"),
    "patch": ("a", 1, 1, "new"),
    "upload": ("SOURCE", "a"),
    "download": ("a", "DESTINATION"),
}


class Silent(AgentGuest):
    """Files and commands of a sandbox whose agent was stopped after its welcome, or never gave one.

    Args:
        opening: How long it takes to open a connection, in seconds; 0: one is open.
    """

    def __init__(self, opening: float = 0.0) -> None:
        super().__init__(self, 1 << 20, 1 << 20)
        self.peer = Peer()
        self.peer.greet()
        self._opening = opening

    def current(self, user: str | None) -> Connection | None:
        """See `Connections.current`."""
        return None if self._opening else self.peer.connection

    def reopen(self, user: str | None, within: float) -> Connection:
        """See `Connections.reopen`."""
        time.sleep(self._opening)
        return self.peer.connection

    def explain(self, error: ConnectionLostError, user: str | None) -> SandboxError:
        """See `Connections.explain`."""
        return error


class Holder:
    """The holder of a guest, as a sandbox is one."""

    def __init__(self, guest: Silent) -> None:
        self._guest = guest

    async def _target(self) -> Silent:
        return self._guest


class Box(Holder, SyncGuest):
    """The sync form."""


class AsyncBox(Holder, AsyncGuest):
    """The async form."""


@pytest.fixture
def silent() -> Iterator[Silent]:
    """Give a guest whose agent does not answer."""
    guest = Silent()
    yield guest
    guest.peer.close()


def arguments(name: str, tmp_path: Path) -> list[Any]:
    """Return an operation's arguments, with the paths of this host."""
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / "file").write_bytes(bytes(1 << 20))
    places = {"SOURCE": source, "DESTINATION": tmp_path / "destination"}
    return [places.get(one, one) if isinstance(one, str) else one for one in (READS | CHANGES)[name]]


@pytest.mark.parametrize("interface", [SyncFiles, AsyncFiles])
def test_every_file_operation_takes_a_timeout(interface: type) -> None:
    """A new operation without one would wait for ever for a stopped agent."""
    operations = {name: call for name, call in vars(interface).items() if callable(call) and name[0] != "_"}
    assert operations.keys() == READS.keys() | CHANGES.keys()
    for name, call in operations.items():
        assert inspect.signature(call).parameters["timeout"].default is None, name


@pytest.mark.parametrize("name", [*READS, *CHANGES])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_silent_agent_is_waited_for_that_long(silent: Silent, tmp_path: Path, name: str, kind: str) -> None:
    """The call ends at its time, says what was tried and for how long, and leaves nothing on this host."""
    given = arguments(name, tmp_path)
    call = functools.partial(getattr((Box if kind == "sync" else AsyncBox)(silent), name), *given, timeout=SECONDS)
    before, began = threading.active_count(), time.monotonic()
    with pytest.raises(SandboxTimeoutError) as caught:
        call() if kind == "sync" else asyncio.run(call())

    assert SECONDS <= time.monotonic() - began < SECONDS + 2
    assert f"{name} {given[0]!r} was not over after its timeout of {SECONDS:g} s, and was ended; " in str(caught.value)
    assert ("it may have been done, whole or in part" in str(caught.value)) == (name in CHANGES)
    assert not list(tmp_path.rglob(".samebox-*"))
    assert threading.active_count() <= before + 1  # the transport's, which every later call uses


def test_opening_a_connection_counts() -> None:
    """An agent that does not come is waited for no longer than one that does not answer; no thread is left of it."""
    guest = Silent(opening=1.0)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: Box(guest).stat("a", timeout=SECONDS),
        lambda: asyncio.run(AsyncBox(guest).stat("a", timeout=SECONDS)),
    )
    for call in calls:
        began = time.monotonic()
        with pytest.raises(SandboxTimeoutError, match=r"stat 'a' was not over .* give a longer timeout"):
            call()
        assert time.monotonic() - began < SECONDS + 0.5
    for thread in threading.enumerate():
        if thread.name == "samebox-call":
            thread.join(5)
            assert not thread.is_alive()
    guest.peer.close()


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.001, 0, float("inf"), "5", "soon", True, 1e10])
def test_a_timeout_that_is_none_is_refused(silent: Silent, timeout: Any) -> None:
    """Bad input is refused before anything has happened."""
    with pytest.raises(ValueError, match=r"timeout is a number of seconds above 0, a text such as .* not "):
        Box(silent).remove("a", timeout=timeout)
    silent.peer.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        silent.peer.frame()


def test_a_task_can_be_cancelled_before_its_timeout(silent: Silent) -> None:
    """A cancellation is told as one, not as the timeout."""

    async def cancelled() -> None:
        task = asyncio.create_task(AsyncBox(silent).stat("a", timeout=30))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_one_class_for_every_timeout() -> None:
    """Who catches it need not know whether a command or a file was asked for."""
    assert issubclass(ExecTimeoutError, SandboxTimeoutError)
    assert issubclass(SandboxTimeoutError, SandboxError)
    assert issubclass(SandboxTimeoutError, TimeoutError)
