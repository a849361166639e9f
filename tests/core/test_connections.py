"""Connections to a sandbox's agents: what is said of one that is gone."""

from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fakes import FakeEngine
from samebox.agent.connections import AgentConnections
from samebox.capabilities import Capability, Isolation
from samebox.config.model import SandboxConfig
from samebox.engine import EngineInfo, SandboxStatus
from samebox.errors import ConnectionLostError, EngineError, EngineUnavailableError, SandboxGoneError

if TYPE_CHECKING:
    from samebox.engine import ByteStream


class EndingEngine(FakeEngine):
    """An engine that opens no stream any more, and learns a moment later how the sandbox ended."""

    capabilities = frozenset({Capability.MEMORY_LIMIT})
    info = EngineInfo(name="fake", version="1", isolation=Isolation.CONTAINER)

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Say that it is gone."""
        raise SandboxGoneError("the stream is broken")

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Say that it runs, until it is asked for the third time."""
        self.asked += 1
        if self.asked < 3:
            return SandboxStatus(sandbox_id, "box", "running")
        return SandboxStatus(sandbox_id, "box", "stopped", out_of_memory=True)


def test_the_reason_of_an_end_that_the_engine_learns_late() -> None:
    """A sandbox that can't be connected to, and still looks alive, is asked about until its end is known."""
    connections = AgentConnections(EndingEngine(), "id", "box", SandboxConfig())
    with pytest.raises(
        SandboxGoneError,
        match=r"'box' on fake is gone: the kernel ended it as its memory was used up, "
        r"its limit of 2048 MiB; give it more, as memory='4g'",
    ):
        connections.open(None)


class CutOffEngine(FakeEngine):
    """An engine that opens no stream, to a sandbox that is not gone.

    Args:
        paused: Whether the sandbox is paused; else the engine does not answer at all.
        within: How long each of its calls takes, in seconds.
    """

    def __init__(self, *, paused: bool = False, within: float = 0.0) -> None:
        super().__init__()
        self._paused = paused
        self._within = within
        self.over = threading.Event()

    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Refuse."""
        self.over.wait(self._within)
        raise EngineUnavailableError("nothing listens there")

    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Say that it is paused, or nothing."""
        self.over.wait(self._within)
        if not self._paused:
            raise EngineUnavailableError("nothing listens there")
        return SandboxStatus(sandbox_id, "box", "running", paused=True)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (CutOffEngine(), "it broke; what became of the sandbox is not known, as its engine can't be asked: nothing li"),
        (CutOffEngine(paused=True), "it broke; the sandbox is paused: let it go on, and make the call again"),
        (CutOffEngine(within=30), "as its engine can't be asked: there was no answer for 3 s"),
    ],
)
def test_a_sandbox_is_gone_only_if_its_engine_says_so(engine: CutOffEngine, words: str) -> None:
    """Where the link to an engine is cut, or the sandbox is paused, only the connection is lost; told in time."""
    connections = AgentConnections(engine, "id", "box", SandboxConfig())
    began = time.monotonic()
    error = connections.explain(ConnectionLostError("it broke"), None)
    engine.over.set()
    assert type(error) is ConnectionLostError
    assert words in str(error)
    assert time.monotonic() - began < 4


def test_an_engine_that_opens_no_connection_in_time() -> None:
    """The caller's time is kept, however long the engine takes; a second caller does not wait for the first's."""
    engine = CutOffEngine(within=30)
    connections = AgentConnections(engine, "id", "box", SandboxConfig())
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(EngineUnavailableError, match=r"^sandbox 'box' on fake could not be reached for 0\.2 s"):
            connections.reopen(None, 0.2)
        assert time.monotonic() - began < 2
    engine.over.set()


def test_a_process_that_may_open_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine's OSError is told in words, with what to do."""

    def connect(_self: FakeEngine, _sandbox_id: str, _user: str | None = None) -> ByteStream:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(FakeEngine, "connect", connect)
    text = r"^no connection to the agent in sandbox 'box' on fake can be opened: Too many open files; close .*ulimit"
    with pytest.raises(EngineError, match=text):
        AgentConnections(FakeEngine(), "id", "box", SandboxConfig()).open(None)
