"""Sandboxes with a name: kept, attached to, replaced."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.config.record import record
from samebox.conformance.contract.harness import DEADLINE, requires, verifies
from samebox.engine.labels import CONFIG, MANAGED, NAME, OWNER
from samebox.engine.registry import make_engine, registry
from samebox.errors import SandboxClosedError, SandboxError, SandboxExistsError, SandboxNotFoundError
from samebox.sandbox.owner import Owner
from samebox.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness
    from samebox.engine import ByteStream, Engine, SandboxStatus
    from samebox.guest.processes import ProcessInfo


@pytest.fixture
def name(harness: Harness) -> Iterator[str]:
    """A name for a sandbox; a sandbox that has the name at the test's end is removed."""
    name = f"samebox-conf-{secrets.token_hex(6)}"
    yield name
    engine = make_engine(harness.engine, harness.options)
    with contextlib.suppress(SandboxError):
        engine.remove(engine.inspect(name).id)
    engine.close()


@requires(Capability.PERSISTENT)
@verifies("name")
def test_name_is_the_engines(new_box: NewBox, name: str) -> None:
    """A sandbox with a name has that name on the engine too.

    Why: a name that is only ours can't be used with the engine's own tools.
    Check: the name at creation.
    """
    box = new_box(name=name)
    assert box.engine is not None
    assert (box.name, box.engine.inspect(name).id) == (name, box.id)
    assert not box.attached


@requires(Capability.PERSISTENT)
@verifies("name", "on_conflict")
def test_name_attaches_to_what_runs(new_box: NewBox, name: str) -> None:
    """A second sandbox of the name attaches to the first, sees its files and processes, and does not remove it.

    Why: removing on exit what one has only attached to takes it from its owner.
    Check: who owns it.
    """
    first = new_box(name=name)
    first.write_text("file", "of the first")
    second = new_box(name=name)
    assert (second.id, second.attached, second.read_text("file")) == (first.id, True, "of the first")
    second.close()
    assert first.exec(["cat", "file"], timeout=DEADLINE).stdout == b"of the first"


@requires(Capability.PERSISTENT)
def test_owner_removes_it(new_box: NewBox, name: str) -> None:
    """The Sandbox object that made a named sandbox removes it on exit, also when others have attached.

    Why: without an owner nobody removes it.
    Check: who owns it.
    """
    first = new_box(name=name)
    second = new_box(name=name)
    engine = first.engine
    assert engine is not None
    first.close()
    assert name not in {status.name for status in engine.list()}
    with pytest.raises(SandboxError):
        second.exec(["true"], timeout=DEADLINE)


@requires(Capability.PERSISTENT)
@verifies("keep")
def test_keep_leaves_it_running(new_box: NewBox, name: str) -> None:
    """With `keep` a sandbox goes on running after close, with its processes, until it is attached to again.

    Why: a kept container whose first process was stopped has lost what ran in it.
    Check: what close does.
    """
    with new_box(name=name, keep=True) as first:
        first.write_text("file", "kept")
        pid = first.sh("sleep 300 & echo $!", timeout=DEADLINE).stdout.strip().decode()
    second = new_box(name=name)
    assert second.attached
    assert second.read_text("file") == "kept"
    assert second.exec(["kill", "-0", pid], timeout=DEADLINE).ok, "the background process is gone"


@requires(Capability.PERSISTENT)
def test_stopped_sandbox_is_started(new_box: NewBox, name: str) -> None:
    """Attaching to a stopped sandbox starts it, and its files are there.

    Why: a daemon that was restarted has stopped everything.
    Check: start of what exists; and that the workdir is no memory file system.
    """
    first = new_box(name=name, keep=True)
    first.write_text("file", "survives")
    engine = first.engine
    assert engine is not None
    engine.stop(first.id)
    assert engine.inspect(name).state == "stopped"
    second = new_box(name=name)
    assert (second.attached, second.id) == (True, first.id)
    assert second.exec(["cat", "file"], timeout=DEADLINE).stdout == b"survives"


@requires(Capability.PERSISTENT)
def test_env_of_an_attached_sandbox(new_box: NewBox, name: str) -> None:
    """A sandbox that is attached to gets the attaching config's env for its commands, and the first keeps its own.

    Why: env is not stored in the engine, so that each side hands over its own.
    Check: the agent's first exchange.
    """
    first = new_box(name=name, env={"WHO": "first"})
    second = new_box(name=name, env={"WHO": "second"})
    assert second.sh("echo $WHO", timeout=DEADLINE).stdout == b"second\n"
    assert first.sh("echo $WHO", timeout=DEADLINE).stdout == b"first\n"


@requires(Capability.PERSISTENT)
@verifies("on_conflict")
def test_conflict_can_be_an_error(new_box: NewBox, harness: Harness, name: str) -> None:
    """With `on_conflict="error"` a name that is taken raises SandboxExistsError with the name.

    Why: two jobs that take each other's sandbox by accident.
    Check: the check before creation and the engine's own answer.
    """
    first = new_box(name=name)
    box = harness.sandbox(name=name, on_conflict="error")
    with pytest.raises(SandboxExistsError, match=name):
        box.start()
    box.close()
    assert first.exec(["echo", "alive"], timeout=DEADLINE).stdout == b"alive\n"


@requires(Capability.PERSISTENT)
@verifies("on_conflict")
def test_conflict_can_replace(new_box: NewBox, name: str) -> None:
    """With `on_conflict="replace"` the sandbox that has the name is removed and made anew.

    Why: the state of the last run must not leak into this one.
    Check: that the old one is gone before the new one is made.
    """
    first = new_box(name=name)
    first.write_text("file", "old")
    second = new_box(name=name, on_conflict="replace")
    assert (second.attached, second.id != first.id, second.exists("file")) == (False, True, False)


@requires(Capability.PERSISTENT)
def test_another_config_is_an_error(new_box: NewBox, harness: Harness, name: str) -> None:
    """Attaching to a sandbox with other settings than it was made with raises an error that lists the differences.

    Why: a sandbox with the network on, where the config says off, is a hole that nobody sees.
    Check: what is recorded of the config.
    """
    new_box(name=name, idle_timeout=1000)
    box = harness.sandbox(name=name, idle_timeout=2000)
    with pytest.raises(SandboxExistsError, match="idle_timeout"):
        box.start()
    box.close()


@requires(Capability.PERSISTENT)
def test_one_name_opened_at_once(new_box: NewBox, harness: Harness, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several threads that open one name at once, one makes and starts the sandbox and all have the same sandbox.

    Why: looking and then making is a race, and the loser gets the engine's "name in use", or starts what its maker is
    not done with.
    Check: what is done about the engine's refusal, and about a sandbox that is created and not started.
    """
    engine = registry().get(harness.engine)
    inspect, start = engine.inspect, engine.start
    looks, all_have_looked, one_has_seen = itertools.count(), threading.Barrier(4), threading.Event()
    started: list[str] = []

    def look(self: Engine, sandbox_id: str) -> SandboxStatus:
        try:
            status = inspect(self, sandbox_id)
            if status.state == "created":
                one_has_seen.set()
            return status
        finally:
            if next(looks) < 4:
                all_have_looked.wait(DEADLINE)

    def start_late(self: Engine, sandbox_id: str) -> None:
        started.append(sandbox_id)
        one_has_seen.wait(2)
        start(self, sandbox_id)

    monkeypatch.setattr(engine, "inspect", look)
    monkeypatch.setattr(engine, "start", start_late)
    with ThreadPoolExecutor(4) as pool:
        boxes = list(pool.map(lambda _: new_box(name=name), range(4)))
    assert started == [boxes[0].id]
    assert len({box.id for box in boxes}) == 1
    assert [box.attached for box in boxes].count(False) == 1
    assert [box.exec(["echo", "ok"], timeout=DEADLINE).stdout for box in boxes] == [b"ok\n"] * 4


@requires(Capability.PERSISTENT)
def test_name_that_was_never_started(new_box: NewBox, harness: Harness, name: str) -> None:
    """A sandbox whose maker died before its start is made anew by who opens its name.

    Why: it lacks what its maker had not come to yet, as the agent or the workdir.
    Check: what is done about a sandbox that is created and not started.
    """
    config = SandboxConfig(**harness.settings(name=name))
    dead = dataclasses.replace(Owner.current(), started=1)
    labels = {MANAGED: "1", NAME: name, OWNER: str(dead), CONFIG: record(config)}
    with contextlib.closing(make_engine(harness.engine, harness.options)) as engine:
        image = engine.ensure_image(config, lambda _line: None)
        engine.create(config, image=image, name=name, labels=labels)
        box = new_box(name=name)
        assert (box.attached, box.exec(["echo", "ok"], timeout=DEADLINE).stdout) == (False, b"ok\n")
        assert [status.id for status in engine.list() if status.name == name] == [box.id]


@requires(Capability.PERSISTENT)
def test_name_that_is_closed_meanwhile(
    new_box: NewBox, harness: Harness, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that its owner closes while another opens its name is made anew.

    Why: what was found by its name a moment ago is no reason to fail.
    Check: what is done when the agent of a sandbox that was found can't be reached.
    """
    first = new_box(name=name)
    engine = registry().get(harness.engine)
    connect = engine.connect
    closing = [first]

    def connect_late(self: Engine, *arguments: Any) -> ByteStream:
        if closing:
            closing.pop().close()
        return connect(self, *arguments)

    monkeypatch.setattr(engine, "connect", connect_late)
    second = new_box(name=name)
    assert not second.attached
    assert second.exec(["echo", "ok"], timeout=DEADLINE).stdout == b"ok\n"


@requires(Capability.PERSISTENT)
def test_name_opened_while_its_owner_closes(new_box: NewBox, harness: Harness, name: str) -> None:
    """Opening a name while its owner closes it attaches to the sandbox or makes another one, at any moment.

    Why: a removal takes several steps, and an engine that is asked between two of them gives all kinds of errors, or
    starts what is being removed and forgets it.
    Check: which of the engine's states and errors mean that the sandbox is gone.
    """
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08):
        first = new_box(name=name)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(first.close)
            time.sleep(delay)
            second = harness.sandbox(name=name).start()
            closing.result(DEADLINE)
        try:
            if not second.attached:
                assert second.exec(["echo", "ok"], timeout=DEADLINE).stdout == b"ok\n"
            else:
                with pytest.raises(SandboxError):
                    second.exec(["true"], timeout=DEADLINE)
        finally:
            second.close()


@requires(Capability.PERSISTENT)
def test_attach_makes_nothing(harness: Harness, new_box: NewBox, name: str) -> None:
    """`attach` has the sandbox of a name with its files, and none where there is none: an empty one is not made.

    Why: a typo in a name, or a sandbox that is gone, is a new one without anything in it, and nobody is told.
    Check: that nothing is created on the way.
    """
    box = new_box(name=name, keep=True)
    settings: dict[str, Any] = {
        "engine": harness.engine,
        "options": harness.options,
        "isolation": box.config.isolation,
    }
    box.write_text("file", "kept")
    missing = f"{name}-not"
    with pytest.raises(SandboxNotFoundError, match=f"has no sandbox '{missing}' to attach to; correct the name"):
        Sandbox.attach(missing, **settings)
    assert box.engine is not None
    assert missing not in {status.name for status in box.engine.list()}
    with Sandbox.attach(name, **settings) as other:
        assert (other.read_text("file"), other.attached) == ("kept", True)
    assert Sandbox.attach(name, **settings).read_text("file") == "kept"


@requires(Capability.PERSISTENT)
def test_destroy_removes_what_is_kept(harness: Harness, new_box: NewBox, name: str) -> None:
    """`destroy` removes a sandbox that is kept or was attached to, also without a use before, and may be repeated.

    Why: what is kept can be removed with the engine's own tools alone, or stays for ever.
    Check: whose removal it is.
    """
    settings: dict[str, Any] = {"engine": harness.engine, "options": harness.options}
    engine = make_engine(harness.engine, harness.options)
    for use in (True, False):
        box = new_box(name=name, keep=True)
        box.start()
        settings["isolation"] = box.config.isolation
        other = Sandbox(name=name, **settings)
        if use:
            other.exec(["true"], timeout=DEADLINE)
        other.destroy()
        other.destroy()
        with pytest.raises(SandboxNotFoundError):
            engine.inspect(name)
        with pytest.raises(SandboxClosedError):
            other.exec(["true"], timeout=DEADLINE)
        box.destroy()  # which is gone already
    with pytest.raises(SandboxNotFoundError):
        Sandbox(name=name, **settings).destroy()
    engine.close()


def test_status_is_told(new_box: NewBox) -> None:
    """`status` is the engine's word: running, and since when; before the start and after the end it is an error.

    Why: a status that is remembered is right as long as nothing happens.
    Check: what the engine is asked, and that asking starts nothing.
    """
    box = new_box()
    unused = Sandbox(box.config)
    with pytest.raises(SandboxNotFoundError, match=r"was not started yet; its first use starts it"):
        unused.status()
    box.start()
    status = box.status()
    assert (status.id, status.state) == (box.id, "running"), status
    assert status.created is None or abs(status.created - time.time()) < 3600, status
    box.close()
    with pytest.raises(SandboxClosedError):
        box.status()


def test_engine_is_known_before_the_start(new_box: NewBox) -> None:
    """`probe` chooses the engine and has its facts, and nothing is started.

    Why: what an engine can do has to be known before a sandbox is asked for what it can't.
    Check: that the choice is the one that the start takes.
    """
    box = Sandbox(new_box().config)
    info = box.probe()
    assert (box.engine is not None and box.engine.name, info, box.id) == (info.name, box.info, "")
    with box:
        assert box.info == info


def test_processes_are_listed(box: Sandbox) -> None:
    """`processes` has what runs inside, with ids, arguments and state, whatever they are named.

    Why: images have no ps, and its columns are not to be split.
    Check: how names with spaces and parentheses are read.
    """
    box.write_text("odd/a) R 1 (b", "#!/bin/sh\nread line\n", mode=0o755)
    with box.spawn(["odd/a) R 1 (b"]) as process:
        deadline = time.monotonic() + DEADLINE
        while (found := _process(box, process.pid)) is None or found.name != "a) R 1 (b" or found.state != "S":
            assert time.monotonic() < deadline, found
        assert (found.argv, found.threads) == (("/bin/sh", "odd/a) R 1 (b"), 1), found
        assert 0 < found.memory < 1 << 30, found
        assert found.parent in {0, *(each.pid for each in box.processes())}, found
    while _process(box, process.pid) is not None:
        assert time.monotonic() < deadline, "it is listed after its end"


def _process(box: Sandbox, pid: int) -> ProcessInfo | None:
    return next((each for each in box.processes() if each.pid == pid and each.state != "Z"), None)
