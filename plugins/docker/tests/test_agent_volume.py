"""The agent's delivery: once, whole, healed after a crash, and by several processes at once."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.oci.agent_volume import volume_name
from samebox_docker import agent_volume
from samebox_docker.agent_volume import AgentVolume
from samebox_docker.archive_api import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox.engine.program import AgentProgram
    from samebox_docker.clients import ClientPool
    from samebox_docker.engine import DockerEngine

PATH = "/.samebox/agent"


@pytest.fixture
def pool(engine: DockerEngine) -> ClientPool:
    """Return the engine's clients."""
    return engine._daemon.pool


@pytest.fixture
def holder(raw: Any, busybox: str, other_agent: AgentProgram, pool: ClientPool) -> Iterator[str]:
    """Return a created container with the volume of an agent that was never delivered."""
    mounts = [AgentVolume(pool).mount(other_agent)]
    body = {"Image": busybox, "Entrypoint": ["true"], "HostConfig": {"Mounts": mounts, "NetworkMode": "none"}}
    container = raw.create_container_from_config(body, f"samebox-test-{secrets.token_hex(6)}")["Id"]
    yield container
    raw.remove_container(container, force=True)


def held(pool: ClientPool, container: str) -> bytes:
    """Return the agent in a container."""
    return read_file(pool, container, PATH, 1 << 24)


def installers(raw: Any, agent: AgentProgram) -> list[str]:
    """Return what is there of the containers that deliver an agent."""
    return [each["Id"] for each in raw.containers(all=True, filters={"name": volume_name(agent)})]


def test_delivery(pool: ClientPool, holder: str, other_agent: AgentProgram, busybox: str, raw: Any) -> None:
    """The first sandbox brings the agent, the next one finds it, and nothing but the volume stays."""
    volume = AgentVolume(pool)
    volume.ensure(other_agent, container=holder, image=busybox)

    assert other_agent.data == held(pool, holder)
    assert not volume.heal()
    assert not installers(raw, other_agent)
    labels = raw.inspect_volume(volume_name(other_agent))["Labels"]
    assert {"samebox.agent": other_agent.digest} == labels


def test_scratch_image(pool: ClientPool, holder: str, other_agent: AgentProgram, scratch: str) -> None:
    """The delivery needs no program of the image."""
    AgentVolume(pool).ensure(other_agent, container=holder, image=scratch)

    assert other_agent.data == held(pool, holder)


def test_half_filled(
    pool: ClientPool, holder: str, other_agent: AgentProgram, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the middle of a delivery leaves nothing under the agent's name, and the next one repairs it."""
    whole = agent_volume._package
    monkeypatch.setattr(agent_volume, "_package", lambda data, mode: whole(data, mode)[: len(data) // 2])
    volume = AgentVolume(pool)
    with pytest.raises(Exception, match=r"refused|broke"):
        volume.ensure(other_agent, container=holder, image=busybox)
    with pytest.raises(Exception, match="HTTP status 404"):
        held(pool, holder)
    monkeypatch.undo()
    volume.ensure(other_agent, container=holder, image=busybox)

    assert other_agent.data == held(pool, holder)


@pytest.mark.parametrize(
    "wrong", [lambda data: data[: len(data) // 2], lambda data: b"\0" * len(data)], ids=["cut", "other content"]
)
def test_heal(
    pool: ClientPool, holder: str, other_agent: AgentProgram, busybox: str, wrong: Callable[[bytes], bytes]
) -> None:
    """An agent that is cut, or of the right size with another content, is found and replaced."""
    volume = AgentVolume(pool)
    volume.ensure(other_agent, container=holder, image=busybox)
    installer = volume.make_installer(other_agent, busybox)
    volume.put(installer, wrong(other_agent.data), other_agent.mode)
    volume.remove(installer)

    assert wrong(other_agent.data) == held(pool, holder)
    assert volume.heal()
    assert other_agent.data == held(pool, holder)
    assert not volume.heal()


def test_sandbox_heals(
    make: Callable[..., Sandbox], other_agent: AgentProgram, busybox: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox starts on a volume that was emptied behind samebox's back."""
    for module in ("samebox.engine.oci.agent_volume", "samebox.agent.connections"):
        monkeypatch.setattr(f"{module}.agent_program", lambda _: other_agent)
    with make() as box:
        box.exec(["true"]).check()
    body = {
        "Image": busybox,
        "Entrypoint": ["rm", "/v/agent"],
        "HostConfig": {"Binds": [f"{volume_name(other_agent)}:/v"], "NetworkMode": "none"},
    }
    vandal = raw.create_container_from_config(body, f"samebox-test-{secrets.token_hex(6)}")["Id"]
    raw.start(vandal)
    raw.wait(vandal)
    raw.remove_container(vandal)

    with make() as box:
        assert b"healed\n" == box.exec(["echo", "healed"]).stdout


def test_dead_installer(
    pool: ClientPool, holder: str, other_agent: AgentProgram, busybox: str, *, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process left that was killed during a delivery is removed after a while."""
    monkeypatch.setattr("samebox.engine.oci.agent_volume.WAIT", 1.0)
    body = {"Image": busybox, "Entrypoint": ["true"]}
    raw.create_container_from_config(body, volume_name(other_agent))
    begun = time.monotonic()
    AgentVolume(pool).ensure(other_agent, container=holder, image=busybox)

    assert 1.0 <= time.monotonic() - begun < 20
    assert other_agent.data == held(pool, holder)
    assert not installers(raw, other_agent)


def test_processes_at_once(
    url: str, holder: str, other_agent: AgentProgram, busybox: str, *, pool: ClientPool, raw: Any
) -> None:
    """Two processes that deliver at the same moment both succeed."""
    script = (
        "import sys; from pathlib import Path\n"
        "from samebox.engine.program import AgentProgram\n"
        "from samebox_docker.agent_volume import AgentVolume\n"
        "from samebox_docker.engine import DockerEngine\n"
        "url, path, machine, digest, container, image = sys.argv[1:]\n"
        "volume = AgentVolume(DockerEngine({'url': url})._daemon.pool)\n"
        "sys.stdin.read()\n"
        "volume.ensure(AgentProgram(Path(path), machine, digest), container=container, image=image)\n"
        "volume.heal()\n"
        "print('done')\n"
    )
    arguments = [url, str(other_agent.path), other_agent.machine, other_agent.digest, holder, busybox]
    processes = [
        subprocess.Popen([sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    time.sleep(1)
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=50)[0] for process in processes]

    assert [b"done\n"] * 3 == said
    assert other_agent.data == held(pool, holder)
    assert not installers(raw, other_agent)
