"""What becomes of sandboxes whose end goes wrong, or whose holder is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox import AsyncSandbox, Capability, Sandbox
from samebox.engine.local import LocalEngine
from samebox.errors import (
    EngineError,
    EngineUnavailableError,
    ImageNotFoundError,
    SandboxClosedError,
    SandboxGoneError,
)
from samebox.guest.operation import Blocking, drive
from samebox.guest.results import ExecTimeoutError
from samebox.sandbox import disposal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samebox.config.model import SandboxConfig
    from samebox.engine import SandboxStatus

LOCAL: dict[str, Any] = {"engine": "local", "isolation": "none"}


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The sandboxes that are removed, each with the thread that does it."""
    found: list[tuple[str, int]] = []
    remove = LocalEngine.remove

    def note(self: LocalEngine, sandbox_id: str) -> None:
        remove(self, sandbox_id)
        found.append((sandbox_id, threading.get_ident()))

    monkeypatch.setattr(LocalEngine, "remove", note)
    return found


def settle(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_close_that_failed_can_be_repeated(monkeypatch: pytest.MonkeyPatch, removed: list[tuple[str, int]]) -> None:
    """The sandbox runs on until then; a second call that says nothing would hide that."""
    remove = LocalEngine.remove
    box = Sandbox(**LOCAL).start()
    monkeypatch.setattr(LocalEngine, "remove", lambda *_: (_ for _ in ()).throw(EngineError("no")))
    for _ in range(2):
        with pytest.raises(EngineError, match="no"):
            box.close()
    monkeypatch.setattr(LocalEngine, "remove", remove)
    with pytest.raises(SandboxClosedError):
        box.exec(["true"])
    box.close()
    box.close()

    assert [name for name, _ in removed] == [box.name]


def test_forgotten_sandbox_is_removed_by_another_thread(removed: list[tuple[str, int]]) -> None:
    """The collector comes by in any thread, under any lock; a removal there waits for itself."""
    box = Sandbox(**LOCAL).start()
    name = box.name
    words = rf"sandbox '{name}' was never closed: leave a `with` block, or call"
    with pytest.warns(ResourceWarning, match=words):  # noqa: PT031 - the collector warns
        del box
        gc.collect()
    settle(lambda: name in dict(removed))

    assert dict(removed)[name] != threading.get_ident()


def test_closed_sandbox_is_forgotten_quietly(removed: list[tuple[str, int]]) -> None:
    """Without a warning, and without a second removal."""
    with Sandbox(**LOCAL) as box:
        name = box.name
    del box
    gc.collect()
    time.sleep(0.1)

    assert [found for found, _ in removed].count(name) == 1


def test_interrupted_create_leaves_nothing(monkeypatch: pytest.MonkeyPatch, removed: list[tuple[str, int]]) -> None:
    """Ctrl-C may come after the engine has made the sandbox and before it has said so; its name would stay taken."""
    create = LocalEngine.create

    def interrupted(
        self: LocalEngine, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]
    ) -> str:
        create(self, config, image=image, name=name, labels=labels)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalEngine, "create", interrupted)
    box = Sandbox(**LOCAL)
    with pytest.raises(KeyboardInterrupt):
        box.start()
    monkeypatch.setattr(LocalEngine, "create", create)

    assert [name for name, _ in removed] == [box.name]
    with box:
        assert box.exec(["true"]).ok


def test_cancelled_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch, removed: list[tuple[str, int]]) -> None:
    """The worker goes on, and nobody would close what it makes."""
    began = threading.Event()
    start = LocalEngine.start

    def slow(self: LocalEngine, sandbox_id: str) -> None:
        began.set()
        time.sleep(0.3)
        start(self, sandbox_id)

    monkeypatch.setattr(LocalEngine, "start", slow)
    box = AsyncSandbox(**LOCAL)

    async def scenario() -> None:
        task = asyncio.create_task(box.__aenter__())
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    settle(lambda: [name for name, _ in removed] == [box.name])


def test_sandbox_made_before_a_fork_belongs_to_its_user() -> None:
    """Prefork servers make theirs at import: each child's has a name of its own, and is removed by the child."""
    box = Sandbox(**LOCAL)
    child = os.fork()
    if child == 0:
        try:
            with box:
                done = box.exec(["true"]).ok
            assert box.engine is not None
            os._exit(0 if done and not box.engine.list() else 1)
        except BaseException:  # noqa: BLE001
            os._exit(2)
    with box:
        assert box.exec(["true"]).ok
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_pickling_says_what_to_do_instead() -> None:
    """Multiprocessing's own words are `cannot pickle '_thread.lock' object`."""
    with pytest.raises(TypeError, match=r"a Sandbox can't be sent to another process: give the sandbox a name"):
        pickle.dumps(Sandbox(**LOCAL))


def test_a_sandbox_that_is_gone_is_gone_for_every_call() -> None:
    """`poll`, `snapshot` and `host_port` had errors of their own."""
    with Sandbox(**LOCAL) as box:
        process = box.spawn(["sleep", "300"])
        assert box.engine is not None
        box.engine.stop(box.id)
        with pytest.raises(SandboxGoneError):
            process.wait(10)
        with pytest.raises(SandboxGoneError):
            process.poll()


def test_a_worker_is_waited_for_at_the_end_of_its_loop() -> None:
    """At the end of `asyncio.run` every task is cancelled, and what a thread still uses must not be released."""
    events: list[str] = []

    def work() -> None:
        events.append("begin")
        time.sleep(0.3)
        events.append("end")

    async def operation() -> None:
        try:
            await Blocking(work, whole=True)
        finally:
            events.append("released")

    async def main() -> None:
        task = asyncio.create_task(drive(operation()))
        await asyncio.sleep(0.1)
        assert not task.done()

    asyncio.run(main())
    assert events == ["begin", "end", "released"]


def test_a_handler_may_close_what_its_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain lock waits for itself there."""
    start = LocalEngine.start
    box = Sandbox(**LOCAL)

    def interrupted(self: LocalEngine, sandbox_id: str) -> None:
        start(self, sandbox_id)
        box.close()

    monkeypatch.setattr(LocalEngine, "start", interrupted)
    with pytest.raises((SandboxClosedError, SandboxGoneError)):
        box.start()
    assert box.engine is None or not box.engine.list()


def test_a_short_wait_is_short_after_the_commands_own_deadline() -> None:
    """It was longer by what the deadline was over."""
    with Sandbox(**LOCAL) as box:
        process = box.spawn(["sh", "-c", "sleep 0.4; kill -STOP $PPID; sleep 40"], timeout=0.8, stdin=False)
        time.sleep(3)
        began = time.monotonic()
        with pytest.raises((TimeoutError, ExecTimeoutError)):
            process.wait(timeout=0.3)
        assert time.monotonic() - began < 2


def test_a_start_that_is_stopped_ends_by_the_commands_timeout() -> None:
    """The code in the sandbox may stop the process that starts it before that has told of the start."""
    with Sandbox(**LOCAL) as box:
        for _ in range(12):
            with (
                contextlib.suppress(ExecTimeoutError),
                box.spawn(["sh", "-c", "kill -STOP $PPID; sleep 40"], timeout=0.2, stdin=False),
            ):
                pass


def test_a_cancelled_spawn_leaves_no_call() -> None:
    """Output that nobody will read kept the call, and so the sandbox in use for ever."""

    async def scenario() -> None:
        async with AsyncSandbox(**LOCAL) as box:
            await box.exec(["true"])
            connections = box._lifecycle._connections
            assert connections is not None
            for number in range(20):
                task = asyncio.create_task(box.spawn(["head", "-c", "3000000", "/dev/zero"], stdin=False))
                await asyncio.sleep(0.001 * (number % 10))
                task.cancel()
                done = await asyncio.gather(task, return_exceptions=True)
                if not isinstance(done[0], BaseException):
                    async with done[0]:
                        pass
            connection = connections.current(None)
            assert connection is not None
            deadline = time.monotonic() + 20
            while connection.expects:
                assert time.monotonic() < deadline, "calls are left"
                await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_a_failed_removal_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox whose close() failed, as while a service starts anew, is removed once that works again."""
    monkeypatch.setattr(disposal, "_PAUSES", (0.01,) * 100)
    removed, failing = threading.Event(), threading.Event()
    failing.set()
    remove = LocalEngine.remove

    def removing(self: LocalEngine, sandbox_id: str) -> None:
        if failing.is_set():
            raise EngineError("not now")
        remove(self, sandbox_id)
        removed.set()

    monkeypatch.setattr(LocalEngine, "remove", removing)
    box = Sandbox(**LOCAL).start()
    with pytest.raises(EngineError, match="not now"):
        box.close()
    boxes = [box]
    del box
    with pytest.warns(ResourceWarning, match="could not be removed when it was closed; its removal is tried again"):
        boxes.clear()
    failing.clear()
    assert removed.wait(10)


@pytest.mark.parametrize("times", [1, 2])
def test_an_image_that_is_removed_meanwhile(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Between the look for it and the sandbox's creation: it is looked for, or made, once more."""
    create, asked, left = LocalEngine.create, [], [times]

    def ensure_image(_self: LocalEngine, config: SandboxConfig, _progress: object) -> str:
        asked.append(config.image)
        return "host"

    def create_late(self: LocalEngine, *args: Any, **settings: Any) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise ImageNotFoundError("the image was removed meanwhile")
        return create(self, *args, **settings)

    monkeypatch.setattr(LocalEngine, "ensure_image", ensure_image)
    monkeypatch.setattr(LocalEngine, "create", create_late)
    expected = pytest.raises(ImageNotFoundError) if times == 2 else contextlib.nullcontext()
    with expected, Sandbox(**LOCAL, image="host") as box:
        assert box.exec(["true"]).ok
    assert asked == ["host", "host"]


@pytest.mark.parametrize("network", [True, False])
def test_a_sandbox_that_others_reach_says_so(monkeypatch: pytest.MonkeyPatch, *, network: bool) -> None:
    """Where the engine finds it out by trying alone, which is asked for with `network=True` and not without."""
    asked: list[str] = []

    def exposure(_: LocalEngine, sandbox_id: str) -> str:
        asked.append(sandbox_id)
        return "no firewall here"

    wanted = {Capability.NETWORK, Capability.NETWORK_NONE, Capability.NETWORK_APART}
    monkeypatch.setattr(LocalEngine, "capabilities", LocalEngine.capabilities | wanted)
    monkeypatch.setattr(LocalEngine, "exposure", exposure)
    with Sandbox(**LOCAL, network=network) as box:
        assert box.unenforced.get(Capability.NETWORK_APART) == ("no firewall here" if network else None)
        assert asked == ([box.id] if network else [])


def test_an_exposure_that_cannot_be_found_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for none."""

    def exposure(_: LocalEngine, sandbox_id: str) -> None:
        raise EngineError(f"no room for a second {sandbox_id}")

    wanted = {Capability.NETWORK, Capability.NETWORK_APART}
    monkeypatch.setattr(LocalEngine, "capabilities", LocalEngine.capabilities | wanted)
    monkeypatch.setattr(LocalEngine, "exposure", exposure)
    with Sandbox(**LOCAL, network=True) as box:
        assert box.unenforced[Capability.NETWORK_APART].startswith("it could not be found out: no room for a second")


def test_an_engine_without_networks_apart_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not claim is unenforced anyway."""
    monkeypatch.setattr(LocalEngine, "capabilities", LocalEngine.capabilities | {Capability.NETWORK})
    monkeypatch.setattr(LocalEngine, "exposure", lambda *_: pytest.fail("asked"))
    with Sandbox(**LOCAL, network=True) as box:
        assert box.unenforced[Capability.NETWORK_APART] == "no such thing on this engine"


@pytest.mark.parametrize("told", [True, False], ids=["its id is known", "its name alone is known"])
def test_what_a_failed_start_made_is_removed_later(monkeypatch: pytest.MonkeyPatch, told: bool) -> None:  # noqa: FBT001 - a case
    """What is made when a service goes away can't be removed at once; it stayed for ever."""
    monkeypatch.setattr(disposal, "_PAUSES", (0.01,) * 100)
    removed, away = threading.Event(), threading.Event()
    create, remove, inspect = LocalEngine.create, LocalEngine.remove, LocalEngine.inspect

    def check() -> None:
        if away.is_set():
            raise EngineUnavailableError("nothing listens there")

    def creating(self: LocalEngine, *args: Any, **settings: Any) -> str:
        made = create(self, *args, **settings)
        away.set()
        if not told:
            check()
        return made

    def removing(self: LocalEngine, sandbox_id: str) -> None:
        check()
        remove(self, sandbox_id)
        removed.set()

    def inspecting(self: LocalEngine, sandbox_id: str) -> SandboxStatus:
        check()
        return inspect(self, sandbox_id)

    monkeypatch.setattr(LocalEngine, "create", creating)
    monkeypatch.setattr(LocalEngine, "start", lambda _self, _id: check())
    monkeypatch.setattr(LocalEngine, "remove", removing)
    monkeypatch.setattr(LocalEngine, "inspect", inspecting)
    with pytest.raises(EngineUnavailableError) as caught:
        Sandbox(**LOCAL).start()
    assert "could not be removed, which is tried again: nothing listens there" in "".join(caught.value.__notes__)
    away.clear()
    assert removed.wait(10)
