"""Connections to a sandbox's agents: what is said of one that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes import FakeEngine
from samebox.agent.connections import AgentConnections
from samebox.capabilities import Capability, Isolation
from samebox.config.model import SandboxConfig
from samebox.engine import EngineInfo, SandboxStatus
from samebox.errors import SandboxGoneError

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
