"""Create, start, stop, remove, inspect and list, directly on the engine; and that a failure leaves nothing behind."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from lifecycles import *  # noqa: F403 - its tests and fixtures
from lifecycles import LABELS
from samebox.capabilities import Isolation
from samebox.config.model import SandboxConfig
from samebox.engine.oci.refusal import RefusedError
from samebox.engine.oci.status import inspected_status
from samebox.errors import (
    ConfigError,
    EngineError,
    IsolationError,
    SandboxError,
    SandboxGoneError,
    SandboxNotFoundError,
)
from samebox_podman.containers import remove_container
from samebox_podman.engine import PodmanEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from samebox import Sandbox
    from samebox_podman.client import PodmanClient


@pytest.fixture
def stranger(engine: PodmanEngine, client: PodmanClient, busybox: str) -> Iterator[str]:
    """Return the id of a container that is no sandbox."""
    image = client.json(f"/images/{busybox.replace('/', '%2F')}/json")["Id"]
    body = {"image": image, "command": ["true"]}
    container = client.call("post", "/containers/create", body=body).json()["Id"]
    yield container
    engine.remove(container)


def test_states(engine: PodmanEngine, create: Callable[..., str], name: str, busybox: str) -> None:
    """From created to gone, told by id and by name alike; each call may be made again."""
    began = time.time()
    sandbox = create()
    found = engine.inspect(sandbox)
    assert (found.id, found.name, found.state, found.exit_code) == (sandbox, name, "created", None)
    assert found.image == busybox
    assert found.labels.items() >= LABELS.items()
    assert found.created is not None
    assert began - 5 < found.created < time.time() + 5
    engine.stop(sandbox)
    for _ in range(2):
        engine.start(sandbox)
    assert engine.inspect(name).state == "running"
    for _ in range(2):
        engine.stop(name)
    found = engine.inspect(sandbox)
    assert (found.state, found.exit_code, found.out_of_memory) == ("stopped", 137, False)
    engine.start(name)
    assert engine.inspect(sandbox).state == "running"
    engine.stop(sandbox, grace=5)
    assert engine.inspect(sandbox).exit_code == 0  # SIGTERM is for the agent to end by
    for _ in range(2):
        engine.remove(sandbox)
    for call in (engine.inspect, engine.start, engine.stop):
        with pytest.raises(SandboxNotFoundError, match=rf"there is no sandbox '{sandbox}' on Podman at unix://"):
            call(sandbox)


def test_no_environment_value_is_told_to_podman(
    create: Callable[..., str], client: PodmanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the request and not in what Podman keeps."""
    sent: list[object] = []
    call = client.call

    def spy(*args: Any, **settings: Any) -> Any:
        sent.append((args, settings))
        return call(*args, **settings)

    monkeypatch.setattr(client, "call", spy)
    sandbox = create(env={"TOKEN": "hunter2"})
    assert "hunter2" not in repr(sent)
    assert "hunter2" not in call("get", f"/containers/{sandbox}/json").text


def test_everything_asked_for_is_verified(
    engine: PodmanEngine, create: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that Podman does not take is an error with its name, and the container is removed."""
    sent = engine.client.call

    def lose(method: str, path: str, **settings: Any) -> Any:
        if path == "/containers/create":
            lost = {
                "no_new_privileges",
                "read_only_filesystem",
                "mounts",
                "umask",
                "stop_signal",
                "cap_drop",
                "hostname",
            }
            settings["body"] = {key: value for key, value in settings["body"].items() if key not in lost}
        return sent(method, path, **settings)

    monkeypatch.setattr(engine.client, "call", lose)
    with pytest.raises(EngineError) as caught:
        create(read_only=True, tmpfs={"/scratch": "size=1m"}, hostname="x")
    text = str(caught.value)
    assert text.startswith("Podman at unix://")
    assert f"did not take what sandbox {name!r} was asked to be: " in text
    for each in (
        "no_new_privileges: asked for True, it has False",
        "read-only root: asked for True, it has False",
        "tmpfs at /scratch: asked for ",
        "tmpfs at /workspace: asked for ",
        "cap_drop: asked for ['ALL'], it has [",
        "Hostname: asked for 'x', it has ",
    ):
        assert each in text
    assert text.endswith("Leave the setting out, or use another engine.")
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"network": "no-such-network"}, "the engine has no network 'no-such-network'"),
        ({"devices": ["/dev/no-such-device"]}, "stat /dev/no-such-device: no such file"),
        ({"mounts": ["/no/such/source:/mnt"]}, "the source '/no/such/source' can't be used"),
        ({"network": "container:no-such-container"}, "no-such-container"),
    ],
)
def test_what_podman_refuses(
    engine: PodmanEngine, create: Callable[..., str], name: str, settings: Mapping[str, Any], said: str
) -> None:
    """Its words are in the error, and nothing is left."""
    with pytest.raises((EngineError, ConfigError), match=said):
        create(**settings)
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_a_runtime_that_podman_would_ignore(url: str, busybox: str) -> None:
    """Before 6.0 it makes the container with its own: refused before anything starts."""
    words = r"'nosuchruntime': Podman .* makes every container with its own runtime"
    with (
        contextlib.closing(PodmanEngine({"url": url, "runtime": "nosuchruntime"})) as engine,
        pytest.raises(ConfigError, match=words),
    ):
        engine.ensure_image(SandboxConfig(image=busybox), print)


def test_a_runtime_that_is_not_there_after_all(
    engine: PodmanEngine, busybox: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman 6 says it at the creation, so that another engine can be taken; nothing is left."""

    def refuse(_self: object, _spec: object) -> str:
        raise EngineError("Podman refused: requested OCI runtime runsc is not available: invalid argument")

    engine.options = engine.options.model_copy(update={"runtime": "runsc"})
    monkeypatch.setattr("samebox_podman.host.TAKES_RUNTIMES", (4, 0))
    monkeypatch.setattr("samebox_podman.containers.Containers.create", refuse)
    config = SandboxConfig(image=busybox)
    image = engine.ensure_image(config, print)
    with pytest.raises(IsolationError, match="requested OCI runtime runsc is not available") as caught:
        engine.create(config, image=image, name=name, labels=LABELS)
    assert caught.value.tier is (Isolation.ROOTLESS if engine._host.rootless else Isolation.CONTAINER)
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_a_lost_answer_leaves_nothing(
    engine: PodmanEngine, create: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the container was made is unknown then: it is looked for, and removed if it is this one."""
    call = engine.client.call

    def lose(method: str, path: str, **settings: Any) -> Any:
        answer = call(method, path, **settings)
        if path == "/containers/create" and settings["body"]["name"] == name:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(engine.client, "call", lose)
    with pytest.raises(KeyboardInterrupt):
        create()
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


@pytest.mark.parametrize("failing", ["put", "head"])
def test_a_failure_after_the_creation_leaves_nothing(
    engine: PodmanEngine, create: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """As when the service ends in the middle."""
    call = engine.client.call

    def fail(method: str, path: str, **settings: Any) -> Any:
        if method == failing:
            raise RefusedError("no more", 500, "no more")
        return call(method, path, **settings)

    monkeypatch.setattr(engine.client, "call", fail)
    engine._host.present.clear()
    with pytest.raises(SandboxError):
        create(workdir="/tmp/deeper", tmpfs={"/tmp/deeper/still": ""})
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_a_removal_that_podman_refuses_at_first(
    engine: PodmanEngine, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while its own clean-up is at work; what is refused for good is an error with its words."""
    sandbox = create()
    call = engine.client.call
    left = [2]

    def refuse(method: str, path: str, **settings: Any) -> Any:
        if method == "delete" and left[0]:
            left[0] -= 1
            raise RefusedError("busy", 500, "container state improper")
        return call(method, path, **settings)

    monkeypatch.setattr(engine.client, "call", refuse)
    engine.remove(sandbox)
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(sandbox)
    sandbox = create()
    left[0] = 1000
    monkeypatch.setattr("samebox_podman.containers.REMOVE_WITHIN", 0.2)
    with pytest.raises(RefusedError, match="busy"):
        engine.remove(sandbox)
    left[0] = 0
    engine.remove(sandbox)


def test_a_user_that_is_not_there(make: Callable[..., Sandbox], engine: PodmanEngine, name: str) -> None:
    """Podman finds out at the start; the container is removed then."""
    with pytest.raises(ConfigError, match="there is no user 'nosuchuser'"):
        make(name=name, user="nosuchuser").start()
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(name)


def test_volumes_of_the_image_go_with_the_sandbox(
    make: Callable[..., Sandbox], client: PodmanClient, busybox: str, volumes: Callable[[], set[str]]
) -> None:
    """Podman's own API calls the parameter `volumes`; `v`, as Docker's, is ignored by it."""
    image = client.json(f"/images/{busybox.replace('/', '%2F')}/json")["Id"]
    made = client.call("post", "/containers/create", body={"image": image, "command": ["true"]}).json()["Id"]
    commit = {"container": made, "repo": "localhost/samebox-test-volume", "changes": ["VOLUME /one", "VOLUME /two"]}
    client.call("post", "/commit", params=commit)
    client.call("delete", f"/containers/{made}")
    before = volumes()
    with make(image="localhost/samebox-test-volume", workdir="/two", user="nobody") as box:
        during = volumes()
        assert len(during - before) == 2
        box.write_text("x", "y")
        assert box.sh("touch /one/x").exit_code in {0, 1}
    assert not (during - before) & volumes()


def test_a_sandbox_that_is_gone(engine: PodmanEngine, create: Callable[..., str], name: str) -> None:
    """Created, stopped or removed: no agent can be reached, and the text says which."""
    sandbox = create()
    with pytest.raises(SandboxGoneError, match=rf"the sandbox '{name}' on Podman at .* is gone: it was never started"):
        engine.connect(sandbox)
    engine.start(sandbox)
    engine.stop(sandbox)
    with pytest.raises(SandboxGoneError, match=r"is gone: it was stopped with exit code 137"):
        engine.connect(sandbox)
    engine.remove(sandbox)
    with pytest.raises(SandboxGoneError, match=rf"the sandbox '{sandbox}' is gone from Podman at .*: it was removed"):
        engine.connect(sandbox)


def test_out_of_memory_is_told() -> None:
    """As Podman tells it; conmon does not see every end by the kernel on cgroup v1."""
    found: dict[str, Any] = {
        "Id": "1", "Name": "x", "Created": "2026-01-02T03:04:05.123456789+01:00", "Config": {"Labels": None},
        "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
    }  # fmt: skip
    assert inspected_status(found).out_of_memory
    found["State"]["OOMKilled"] = False
    status = inspected_status(found)
    assert (status.state, status.exit_code, status.out_of_memory, status.labels) == ("stopped", 137, False, {})
    assert status.created == pytest.approx(1767319445.123456)


def test_kept_and_attached_to(make: Callable[..., Sandbox], name: str) -> None:
    """By another engine object, as of another process."""
    with make(name=name, keep=True) as box:
        box.write_text("x", "kept")
    with make(name=name) as box:
        assert box.read_text("x") == "kept"
    with contextlib.closing(PodmanEngine(make().config.options)) as engine:
        engine.stop(name)
    with make(name=name) as box:
        assert box.read_text("x") == "kept"


def test_the_name_is_free_before_the_end(
    engine: PodmanEngine, create: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found stopped in the middle of its removal, a sandbox is started again, and Podman forgets it as it runs."""
    sandbox = create()
    engine.start(sandbox)
    found: list[type[Exception]] = []

    def look(*arguments: Any) -> None:
        for call in (engine.inspect, engine.start):
            with pytest.raises(SandboxNotFoundError) as caught:
                call(name)
            found.append(caught.type)
        remove_container(*arguments)

    monkeypatch.setattr("samebox_podman.engine.remove_container", look)
    engine.remove(sandbox)

    assert found == [SandboxNotFoundError] * 2
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(sandbox)
