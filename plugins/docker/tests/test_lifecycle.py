"""The life of a sandbox on a real daemon, and what is left behind by what fails: nothing."""

from __future__ import annotations

import contextlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests.exceptions

from lifecycles import *  # noqa: F403 - its tests and fixtures
from lifecycles import LABELS
from samebox.config.model import SandboxConfig
from samebox.errors import (
    ConfigError,
    EngineError,
    EngineUnavailableError,
    SandboxGoneError,
    SandboxNotFoundError,
)
from samebox_docker.agent_volume import AgentVolume
from samebox_docker.engine import DockerEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox


@pytest.fixture
def stranger(raw: Any, busybox: str) -> Iterator[str]:
    """Return the id of a container that is no sandbox."""
    container = raw.create_container(busybox, ["true"])["Id"]
    yield container
    raw.remove_container(container)


def test_states(engine: DockerEngine, name: str, busybox: str, create: Callable[..., str]) -> None:
    """Inspect follows a sandbox from created to gone, by its id and by its name."""
    sandbox = create()
    states = [engine.inspect(name)]
    engine.start(sandbox)
    engine.start(sandbox)
    states.append(engine.inspect(sandbox))
    engine.stop(sandbox, grace=5)
    engine.stop(sandbox)
    states.append(engine.inspect(name))
    engine.remove(sandbox)
    engine.remove(sandbox)

    assert [("created", None), ("running", None), ("stopped", 0)] == [(each.state, each.exit_code) for each in states]
    assert {sandbox} == {each.id for each in states}
    assert {name} == {each.name for each in states}
    assert busybox == states[0].image
    assert states[0].labels.items() >= LABELS.items()
    with pytest.raises(SandboxNotFoundError, match=f"^there is no sandbox '{name}' on Docker at unix://"):
        engine.inspect(name)


def test_stop_by_force(engine: DockerEngine, create: Callable[..., str]) -> None:
    """Without a grace the first process is killed."""
    sandbox = create()
    engine.start(sandbox)
    engine.stop(sandbox)

    assert 137 == engine.inspect(sandbox).exit_code


def test_refused_create(engine: DockerEngine, name: str, create: Callable[..., str]) -> None:
    """What Docker refuses leaves nothing."""
    with pytest.raises(ConfigError, match=r"^wrong config: mounts: the source '/no-such-path' can't be used"):
        create(mounts=["/no-such-path:/x"])
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


@pytest.mark.parametrize("failure", [EngineError("no delivery"), KeyboardInterrupt()])
def test_failed_create(
    engine: DockerEngine, name: str, create: Callable[..., str], failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure after Docker has created the container, an interruption too, leaves no container."""

    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(AgentVolume, "ensure", fail)
    with pytest.raises(type(failure)):
        create()
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_unknown_user(engine: DockerEngine, name: str, create: Callable[..., str]) -> None:
    """A user that the image does not have is refused before anything starts, and leaves nothing."""
    text = r"^wrong config: user: there is no user 'ghost' in the image's /etc/passwd; give a uid$"
    with pytest.raises(ConfigError, match=text):
        create(user="ghost")
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_lost_answer(url: str, name: str, busybox: str, engine: DockerEngine, relay: Callable[..., Any]) -> None:
    """A container whose creation was never confirmed is found again and removed."""
    lossy = DockerEngine({"url": relay().address})
    config = SandboxConfig(image=busybox)
    image = lossy.ensure_image(config, print)
    lossy.probe()
    pool = lossy._daemon.pool
    pool.close()
    with pool.client() as client:
        real = client.create_container_from_config

        def lose(body: dict[str, Any], name: str) -> None:
            real(body, name)
            raise requests.exceptions.ReadTimeout("timed out")

        client.create_container_from_config = lose
    with pytest.raises(EngineUnavailableError, match="there was no answer in time"):
        lossy.create(config, image=image, name=name, labels=LABELS)
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)
    lossy.close()


def test_image_volumes(engine: DockerEngine, name: str, busybox: str, create: Callable[..., str], raw: Any) -> None:
    """Volumes that the image asks for go with the sandbox."""
    container = raw.create_container(busybox, ["true"])["Id"]
    image = raw.commit(container, "localhost/samebox-test-volume", changes=["VOLUME /data"])["Id"]
    raw.remove_container(container)
    try:
        before = {each["Name"] for each in raw.volumes()["Volumes"] or ()}
        sandbox = create(image="localhost/samebox-test-volume")
        during = {each["Name"] for each in raw.volumes()["Volumes"] or ()}
        engine.remove(sandbox)
        after = {each["Name"] for each in raw.volumes()["Volumes"] or ()}
    finally:
        engine.remove(name)
        raw.remove_image(image, force=True)

    assert [name for name in during - before if len(name) == 64]
    assert not [name for name in after - before if len(name) == 64]


def test_gone(engine: DockerEngine, name: str, create: Callable[..., str]) -> None:
    """A connection to what does not run says why, as SandboxGoneError."""
    url = engine.probe().address
    sandbox = create()
    with pytest.raises(
        SandboxGoneError, match=f"^the sandbox '{name}' on Docker at {url} is gone: it was never started$"
    ):
        engine.connect(sandbox)
    engine.start(sandbox)
    engine.stop(sandbox, grace=5)
    with pytest.raises(
        SandboxGoneError, match=f"^the sandbox '{name}' on Docker at {url} is gone: it was stopped with exit code 0$"
    ):
        engine.connect(sandbox)
    engine.remove(sandbox)
    with pytest.raises(
        SandboxGoneError, match=f"^the sandbox '{sandbox}' is gone from Docker at {url}: it was removed$"
    ):
        engine.connect(sandbox)


@pytest.mark.usefixtures("limits")
def test_out_of_memory(make: Callable[..., Sandbox], engine: DockerEngine) -> None:
    """The status tells that the kernel ended a sandbox for its memory."""
    with make(memory="16m") as box:
        with contextlib.suppress(Exception):
            box.exec(["sh", "-c", "x=x; while :; do x=$x$x; done"], timeout=20)
        engine.stop(box.id)

        assert engine.inspect(box.id).out_of_memory


def test_threads(engine: DockerEngine, busybox: str, make: Callable[..., Sandbox]) -> None:
    """One engine object serves many threads at once."""
    with make() as box:

        def use(_number: int) -> None:
            for _ in range(5):
                assert "running" == engine.inspect(box.id).state
                engine.connect(box.id).close()

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(use, range(12)))


def test_many_connections(engine: DockerEngine, make: Callable[..., Sandbox]) -> None:
    """More connections than an HTTP client's pool has stand open at the same time."""
    with make() as box:
        streams = [engine.connect(box.id) for _ in range(40)]
        try:
            assert 40 == len({stream.fileno() for stream in streams})
            assert "running" == engine.inspect(box.id).state
        finally:
            for stream in streams:
                stream.close()


def test_fork(engine: DockerEngine, name: str, create: Callable[..., str]) -> None:
    """A forked child has connections of its own, and its parent's go on working."""
    create()
    pool = engine._daemon.pool
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads: the very thing to be tested
        child = os.fork()
    if child == 0:
        word = b"wrong"
        with contextlib.suppress(BaseException):
            word = f"{engine.inspect(name).state} {engine._daemon.pool is pool}".encode()
        os.write(writer, word)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)

    assert b"created False" == said
    assert "created" == engine.inspect(name).state
    assert engine._daemon.pool is pool
