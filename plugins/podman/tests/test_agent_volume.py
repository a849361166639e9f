"""The agent's delivery: once for each service, whole in the end whoever was killed, and open to every user."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import secrets
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.engine.oci.agent_volume import deliver, volume_name
from samebox.engine.program import AgentProgram, agent_program
from samebox_podman.agent_volume import AgentVolume
from samebox_podman.engine import PodmanEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient


@pytest.fixture
def image(client: PodmanClient, busybox: str) -> str:
    """Return the id of an image to make fillers of."""
    return str(client.json(f"/images/{busybox.replace('/', '%2F')}/json")["Id"])


@pytest.fixture
def agent(client: PodmanClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AgentProgram]:
    """Return an agent that no other test delivers, and let it be the one of this installation."""
    real = agent_program()
    path = tmp_path / "agent"
    # What follows the end of an ELF file changes its digest and nothing else.
    path.write_bytes(real.data + secrets.token_bytes(16))
    agent = AgentProgram(path, real.machine, hashlib.sha256(path.read_bytes()).hexdigest())
    for module in ("samebox.engine.oci.agent_volume", "samebox.agent.connections"):
        monkeypatch.setattr(f"{module}.agent_program", lambda _machine=None: agent)
    yield agent
    client.call("delete", f"/volumes/{volume_name(agent)}", params={"force": "true"}, accept=(404, 409, 500))


def damage(client: PodmanClient, agent: AgentProgram, image: str, content: bytes | None, mode: int = 0o755) -> None:
    """Leave something else in the volume than the agent."""
    volume = AgentVolume(client)
    container = volume.make_installer(agent, image)
    try:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            root = tarfile.TarInfo("./")
            root.type, root.mode = tarfile.DIRTYPE, mode
            archive.addfile(root)
            member = tarfile.TarInfo("agent")
            member.mode = 0o755
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        params = {"path": "/.samebox", "copyUIDGID": "false"}
        client.call("put", f"/containers/{container}/archive", params=params, data=buffer.getvalue())
    finally:
        volume.remove(container)


def test_delivered_once(make: Callable[..., Sandbox], client: PodmanClient, agent: AgentProgram) -> None:
    """The volume tells what it is, and belongs to nobody but root."""
    name = volume_name(agent)
    assert not AgentVolume(client).settled(agent)
    with make() as box:
        assert box.sh("stat -c '%u %g %a' /.samebox /.samebox/agent").text == "0 0 755\n0 0 111\n"
    found = client.json(f"/volumes/{name}/json")
    assert found["Labels"] == {"samebox.agent": agent.digest}
    filled = found["CreatedAt"]
    for user in ("nobody", "1234:5678"):
        with make(user=user) as box:
            assert box.sh("stat -c '%u %g %a' /.samebox").text == "0 0 755\n"
    assert client.json(f"/volumes/{name}/json")["CreatedAt"] == filled


def test_an_image_can_not_bring_its_own(
    make: Callable[..., Sandbox], client: PodmanClient, agent: AgentProgram, image: str
) -> None:
    """A new volume takes the files, owner and mode of the directory that it is mounted over, if one lets it."""
    spec = {"image": image, "command": ["true"], "netns": {"nsmode": "none"}}
    made = client.call("post", "/containers/create", body=spec).json()["Id"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, mode in ((".samebox", tarfile.DIRTYPE, 0o700), (".samebox/agent", tarfile.REGTYPE, 0o755)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid = kind, mode, 1234
            archive.addfile(member)
    params = {"path": "/", "copyUIDGID": "false"}
    client.call("put", f"/containers/{made}/archive", params=params, data=buffer.getvalue())
    client.call("post", "/commit", params={"container": made, "repo": "localhost/samebox-test-hostile"})
    AgentVolume(client).remove(made)
    for user in ("nobody", None):
        with make(image="localhost/samebox-test-hostile", user=user) as box:
            assert box.sh("stat -c '%u %a' /.samebox").text == "0 755\n"
            files = ["agent", "seccomp-lasting.json", "seccomp.json"]
            assert box.sh("ls -a /.samebox").text.split() == [".", "..", *files]
    assert not deliver(AgentVolume(client), agent, image)


@pytest.mark.parametrize("what", ["half", "other", "empty", "link", "closed", "pruned"])
def test_healed(make: Callable[..., Sandbox], client: PodmanClient, agent: AgentProgram, image: str, what: str) -> None:
    """What a killed owner, a full disk or a prune left: the next sandbox works, and so does the one after."""
    with make() as box:
        box.exec(["true"]).check()
    data = agent.data
    if what == "pruned":
        client.call("delete", f"/volumes/{volume_name(agent)}")
    else:
        content = {"half": data[: len(data) // 2], "other": data[:-1] + b"x", "empty": b"", "closed": data}
        damage(client, agent, image, content.get(what), 0o700 if what == "closed" else 0o755)
    with make(user="nobody") as box:
        assert box.exec(["id", "-u"]).text == "65534\n"
    assert not deliver(AgentVolume(client), agent, image)
    with make(user="nobody") as box:
        box.exec(["true"]).check()


def test_heal_tells_whether_it_was_wrong(
    make: Callable[..., Sandbox], engine: PodmanEngine, client: PodmanClient, agent: AgentProgram, image: str
) -> None:
    """Another try makes sense only then."""
    assert engine.heal_agent() is False  # nothing was delivered by this object
    engine._deliver(agent, image)
    assert engine.heal_agent() is False
    damage(client, agent, image, b"broken")
    assert engine.heal_agent() is True
    assert engine.heal_agent() is False
    with make() as box:
        box.exec(["true"]).check()


def test_a_filler_left_by_a_killed_process(
    client: PodmanClient, agent: AgentProgram, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, and removed when nobody can be filling any more."""
    monkeypatch.setattr("samebox.engine.oci.agent_volume.WAIT", 1.0)
    volume = AgentVolume(client)
    volume.make_installer(agent, image)
    began = time.monotonic()
    assert deliver(volume, agent, image)
    assert 1 < time.monotonic() - began < 15
    found = client.json("/containers/json", {"all": "true"})
    assert volume_name(agent) not in [name for each in found for name in each["Names"]]


def _open_one(url: str, image: str, agent: AgentProgram, start: Any, results: Any) -> None:
    client = PodmanEngine({"url": url}).client
    start.wait()
    try:
        deliver(AgentVolume(client), agent, image)
        results.put(deliver(AgentVolume(client), agent, image))
    except Exception as error:  # noqa: BLE001 - told to the test
        results.put(repr(error))
    client.close()


def test_two_processes_at_once(url: str, client: PodmanClient, agent: AgentProgram, image: str) -> None:
    """One fills, the other waits; both succeed and nothing is left."""
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_open_one, args=(url, image, agent, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert all(isinstance(each, bool) for each in found), found
    assert not deliver(AgentVolume(client), agent, image)
