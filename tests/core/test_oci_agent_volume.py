"""The agent's delivery to a container engine's volume, as far as no engine is needed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from samebox.config.model import SandboxConfig
from samebox.engine.oci import agent_volume
from samebox.engine.oci.agent_volume import AgentVolumes, check_volume_names, deliver, volume_name
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.program import AgentProgram
from samebox.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"the agent"


class Store:
    """A volume in memory."""

    engine = "Fake at fake://"

    def __init__(self) -> None:
        self.content = b""
        self.installers: set[str] = set()
        self.refusals: list[RefusedError] = []
        self.broken = False
        self.deliveries = 0

    def make_installer(self, program: AgentProgram, image: str) -> str:
        """Refuse as often as was said."""
        if self.refusals:
            raise self.refusals.pop(0)
        name = volume_name(program)
        if name in self.installers:
            raise RefusedError("refused", 409, "the name is already in use")
        self.installers.add(name)
        return name

    def held(self, installer: str, program: AgentProgram) -> bytes:
        """Return what was put."""
        return self.content

    def put(self, installer: str, data: bytes, mode: int) -> None:
        """Keep it, or a part."""
        self.deliveries += 1
        self.content = data[:3] if self.broken else data

    def remove(self, installer: str) -> None:
        """Remove it."""
        self.installers.discard(installer)


@pytest.fixture
def program(tmp_path: Path) -> AgentProgram:
    """Return an agent."""
    (tmp_path / "agent").write_bytes(DATA)
    return AgentProgram(tmp_path / "agent", "x86_64", hashlib.sha256(DATA).hexdigest())


def test_delivered_once(program: AgentProgram) -> None:
    """What is whole is left alone, and no installer stays."""
    store = Store()
    assert deliver(store, program, "image")
    assert store.content == DATA
    assert not deliver(store, program, "image")
    assert store.deliveries == 1
    assert not store.installers


def test_ensured_without_a_delivery(program: AgentProgram) -> None:
    """Where a look says that it is whole nothing is read, and healing knows of it all the same."""
    store, volumes = Store(), AgentVolumes()
    volumes.ensure(store, program, "image", lambda: True)
    assert not store.deliveries
    assert volumes.heal(store)
    assert store.content == DATA
    assert not volumes.heal(store)


def test_looked_at_once(program: AgentProgram) -> None:
    """The second sandbox costs no look."""
    store, volumes = Store(), AgentVolumes()
    volumes.ensure(store, program, "image", lambda: False)
    volumes.ensure(store, program, "another", lambda: pytest.fail("looked again"))
    assert store.deliveries == 1


def test_put_right_by_another_process(program: AgentProgram) -> None:
    """Who waited for that is told to try anew, though nothing was left to deliver."""
    store = Store()
    store.content = DATA
    store.refusals = [RefusedError("refused", 409, "Conflict")]
    assert deliver(store, program, "image")
    assert not store.deliveries


def test_installer_of_a_dead_process(program: AgentProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed after a while."""
    monkeypatch.setattr(agent_volume, "WAIT", 0.1)
    store = Store()
    store.installers.add(volume_name(program))
    assert deliver(store, program, "image")
    assert store.content == DATA


def test_volume_that_stays_wrong(program: AgentProgram) -> None:
    """As on a full disk: the text names the volume and what to do, and no installer stays."""
    store = Store()
    store.broken = True
    with pytest.raises(EngineError, match=rf"volume {volume_name(program)} of Fake at fake://, .* remove the volume"):
        deliver(store, program, "image")
    assert not store.installers


def test_installation_that_changed(program: AgentProgram) -> None:
    """As by an update below a running process, whose next exchange would not know the agent."""
    program.path.write_bytes(b"another")
    with pytest.raises(EngineError, match="has changed since this process began; start the process anew"):
        deliver(Store(), program, "image")


@pytest.mark.parametrize(("status", "raises"), [(404, False), (500, True)])
def test_heal_without_the_image(program: AgentProgram, status: int, raises: bool) -> None:  # noqa: FBT001
    """What went wrong before is the error to show then; anything else is one."""
    store, volumes = Store(), AgentVolumes()
    volumes.ensure(store, program, "image", lambda: True)
    store.refusals = [RefusedError("refused", status, "no such image")]
    if raises:
        with pytest.raises(RefusedError):
            volumes.heal(store)
    else:
        assert not volumes.heal(store)


def test_volume_can_not_be_mounted() -> None:
    """Whoever writes there runs in every sandbox."""
    check_volume_names(SandboxConfig(mounts=["data:/data", "/samebox-agent-x:/agent"]))
    with pytest.raises(ConfigError, match="is a volume of the agent's"):
        check_volume_names(SandboxConfig(mounts=["samebox-agent-0123456789abcdef:/agent"]))
