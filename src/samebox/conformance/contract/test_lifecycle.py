"""From the start of a sandbox to its end, and what is left after that."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, requires, verifies
from samebox.conformance.contract.hostview import open_descriptors, processes_with
from samebox.engine.labels import MANAGED, OWNER
from samebox.engine.registry import make_engine
from samebox.errors import (
    ConfigError,
    ImageNotFoundError,
    SandboxClosedError,
    SandboxError,
    SandboxGoneError,
    SandboxNotFoundError,
)
from samebox.sandbox.owner import Owner
from samebox.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness

_OWNER = """
import json, sys, time
from samebox import Sandbox
box = Sandbox(**json.loads(sys.argv[1]))
print(box.start().id, flush=True)
box.spawn(["sleep", sys.argv[2]])
print("up", flush=True)
sys.stdin.read()
"""


def wait_until_gone(harness: Harness, name: str, word: str) -> None:
    """Wait until the engine runs no sandbox of that name and this host no process with that word."""
    engine = make_engine(harness.engine, harness.options)
    try:
        deadline = time.monotonic() + 30
        while True:
            state = "removed"
            with contextlib.suppress(SandboxNotFoundError):
                state = engine.inspect(name).state
            left = processes_with(word)
            if state != "running" and not left:
                break
            assert time.monotonic() < deadline, f"the sandbox is {state}, and there are: {left}"
            time.sleep(0.1)
        with contextlib.suppress(SandboxError):
            engine.remove(engine.inspect(name).id)
    finally:
        engine.close()


@contextlib.contextmanager
def owner(harness: Harness, word: str, **settings: Any) -> Any:
    """Run another process that owns a sandbox, in which a command with that word runs."""
    given = json.dumps(harness.settings(**settings))
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, given, word], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        sandbox_id = process.stdout.readline().strip()
        assert process.stdout.readline() == "up\n", "the other process has not started its sandbox"
        yield process, sandbox_id
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_start_is_lazy(harness: Harness) -> None:
    """A sandbox that nobody uses costs nothing: it is made on its first use.

    Why: objects are made at import time and in default arguments, where nothing must be started.
    Check: what the constructor does.
    """
    box = harness.sandbox()
    assert (box.id, box.engine, box.info) == ("", None, None)
    assert "not started" in repr(box)
    box.close()
    used = harness.sandbox()
    try:
        assert used.exec(["echo", "hi"], timeout=DEADLINE).stdout == b"hi\n"
        assert used.id
        assert used.engine is not None
        assert used.engine.name == harness.engine
    finally:
        used.close()


def test_start_may_be_called_again(new_box: NewBox) -> None:
    """Starting a sandbox that runs does nothing.

    Why: a second container under the same object is never removed.
    Check: the lifecycle's state.
    """
    box = new_box()
    first = box.id
    assert box.start().id == first
    with box:
        assert box.id == first


def test_close_removes(harness: Harness) -> None:
    """Closing removes the sandbox from the engine, and closing again does nothing.

    Why: stopped containers pile up, each with its writable layer.
    Check: by asking the engine.
    """
    box = harness.sandbox().start()
    engine, sandbox_id = box.engine, box.id
    assert engine is not None
    assert engine.inspect(sandbox_id).state == "running"
    box.close()
    box.close()
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(sandbox_id)
    assert sandbox_id not in {status.id for status in engine.list()}


def test_closed_sandbox_says_so(harness: Harness) -> None:
    """Every call to a closed sandbox raises SandboxClosedError, which is a SandboxGoneError.

    Why: starting a new one in silence loses the files that the caller thinks are there.
    Check: the lifecycle's state.
    """
    box = harness.sandbox().start()
    confined = box.confined(".")
    box.close()
    for call in (
        lambda: box.exec(["true"]),
        lambda: box.read_bytes("x"),
        lambda: box.spawn(["true"]),
        confined.list_dir,
        box.start,
    ):
        with pytest.raises(SandboxClosedError) as caught:
            call()
        assert isinstance(caught.value, SandboxGoneError)


def test_block_removes_after_an_exception(harness: Harness) -> None:
    """Leaving the `with` block by an exception removes the sandbox and lets the exception through.

    Why: failing tests are those that leave things behind.
    Check: `__exit__`.
    """
    msg = "from the block"
    box = harness.sandbox().start()
    engine, sandbox_id = box.engine, box.id
    assert engine is not None
    with pytest.raises(LookupError, match=msg), box:
        raise LookupError(msg)
    with pytest.raises(SandboxNotFoundError):
        engine.inspect(sandbox_id)


def test_close_ends_running_commands(harness: Harness) -> None:
    """Closing a sandbox ends a command that another thread waits for, which raises SandboxGoneError promptly.

    Why: a waiter whose connection is closed under it may wait for ever.
    Check: that every waiter of a closed connection is told.
    """
    box = harness.sandbox().start()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            box.exec(["sleep", "300"])
        except SandboxError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    box.close()
    thread.join(DEADLINE)
    assert not thread.is_alive(), "the waiting thread was not told"
    assert [type(error) for error in errors] in ([SandboxClosedError], [SandboxGoneError]), errors


def test_forgotten_sandbox_is_removed(harness: Harness) -> None:
    """A sandbox that nobody closed is removed when its object is collected, with a ResourceWarning.

    Why: an exception between start and close, in code without a block, leaves it for ever.
    Check: the finalizer, and that nothing else keeps the object alive.
    """
    box = harness.sandbox().start()
    box.exec(["true"], timeout=DEADLINE)
    engine, sandbox_id = box.engine, box.id
    assert engine is not None
    with pytest.warns(ResourceWarning, match="was never closed"):  # noqa: PT031 - the collector warns
        del box
        gc.collect()
    deadline = time.monotonic() + DEADLINE
    while sandbox_id in {status.id for status in engine.list()}:
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.05)


def test_process_that_ends_leaves_nothing(harness: Harness) -> None:
    """A process that ends without closing its sandbox leaves none.

    Why: scripts end by an exception or sys.exit, and the container stays.
    Check: the finalizer at exit.
    """
    word = f"86400.{secrets.randbelow(10**9):09d}"
    name = f"samebox-conf-{secrets.token_hex(4)}"
    persistent = Capability.PERSISTENT in harness.claimed - harness.info.missing.keys()
    with owner(harness, word, **({"name": name} if persistent else {})) as (process, sandbox_id):
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    wait_until_gone(harness, sandbox_id, word)


def test_killed_owner_leaves_nothing_running_for_long(harness: Harness) -> None:
    """The sandbox of a process that was killed ends by itself when its `max_lifetime` is over, at the latest.

    Why: containers left behind by SIGKILL are the single most repeated bug of sandboxes.
    Check: that the sandbox's own init keeps the time.
    """
    word = f"86401.{secrets.randbelow(10**9):09d}"
    with owner(harness, word, max_lifetime=2.0) as (process, sandbox_id):
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
        wait_until_gone(harness, sandbox_id, word)


def test_interrupt_of_the_process_group(harness: Harness) -> None:
    """A SIGINT to the whole process group of a program that waits in `exec` ends the wait, and not the sandbox.

    Why: a terminal's Ctrl-C and Jupyter's interrupt go to the group, and an engine's helpers in the group die of them.
    Check: that whatever the engine starts has a session of its own.
    """
    ready, ready_end = os.pipe()
    child = os.fork()
    if child == 0:
        words = b"the program could not be started"
        try:
            os.setsid()
            words = _interrupted(harness, ready_end).encode()
        except BaseException as error:  # noqa: BLE001 - told by the parent
            words = repr(error).encode()
        finally:
            os.write(ready_end, words)
            os._exit(0)
    os.close(ready_end)
    with open(ready, "rb", buffering=0) as said:  # noqa: PTH123 - a descriptor
        try:
            assert said.read(1) == b"\n", said.readall()
            time.sleep(0.5)  # until the command runs
            os.killpg(child, signal.SIGINT)
            found = said.readall()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert found == b"usable", found.decode(errors="replace")


def _interrupted(harness: Harness, ready: int) -> str:
    """Wait in `exec` until a SIGINT comes, and tell what the sandbox is then."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with harness.sandbox() as box:
        box.write_text("kept", "content")
        os.write(ready, b"\n")
        try:
            return f"not interrupted, but {box.exec(['sleep', '300'], timeout=DEADLINE)}"
        except KeyboardInterrupt:
            time.sleep(0.2)  # whatever the signal ends takes a moment to end
            kept = box.exec(["cat", "kept"], timeout=DEADLINE)
            return "usable" if kept.stdout == b"content" else repr(kept)


@verifies("max_lifetime")
def test_lifetime_ends_it(new_box: NewBox) -> None:
    """`max_lifetime` ends the sandbox, commands and all; later calls raise SandboxGoneError that says why.

    Why: a lifetime kept on the host's side is gone with the host's process.
    Check: init's exit code, and how it is told.
    """
    box = new_box(max_lifetime=1.0)
    began = time.monotonic()
    with pytest.raises(SandboxGoneError, match=r"lifetime|gone"):
        box.exec(["sleep", "300"], timeout=DEADLINE)
    assert time.monotonic() - began < DEADLINE
    with pytest.raises(SandboxGoneError):
        box.exec(["true"], timeout=DEADLINE)


@verifies("idle_timeout")
def test_idle_sandbox_ends(new_box: NewBox) -> None:
    """`idle_timeout` ends a sandbox that nothing is asked of, and not one whose command runs.

    Why: agents that forget a sandbox pay for it; those whose build takes long must not lose it.
    Check: what counts as idle.
    """
    box = new_box(idle_timeout=1.0)
    assert box.exec(["sleep", "2.5"], timeout=DEADLINE).exit_code == 0
    time.sleep(0.3)
    assert box.exec(["echo", "still here"], timeout=DEADLINE).stdout == b"still here\n"
    engine = box.engine
    assert engine is not None
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            if engine.inspect(box.id).state != "running":
                break
        except SandboxNotFoundError:
            break
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.1)
    with pytest.raises(SandboxGoneError):
        box.exec(["true"], timeout=DEADLINE)


@verifies("labels")
def test_labels_name_the_owner(new_box: NewBox) -> None:
    """The engine's listing has the config's labels, samebox's own mark and the owner, and no value of env.

    Why: what a dead owner left can be told from what others use only if the owner is written down.
    Check: the labels at creation.
    """
    box = new_box(labels={"project": "x y"}, env={"TOKEN": "secret-in-no-label"})
    assert box.engine is not None
    status = box.engine.inspect(box.id)
    assert status.labels["project"] == "x y"
    assert status.labels[MANAGED] == "1"
    found = Owner.parse(status.labels[OWNER])
    assert found == Owner.current(), status.labels
    assert "secret-in-no-label" not in repr(status)
    assert box.id in {entry.id for entry in box.engine.list()}


def test_wrong_setting_is_told_before_anything_starts() -> None:
    """A wrong setting raises ConfigError with the field, the value and what is accepted, and no engine is asked.

    Why: a misspelled limit that is ignored is no limit.
    Check: the config's model.
    """
    with pytest.raises(ConfigError, match=r"memory.*512q.*512m"):
        Sandbox(memory="512q")
    with pytest.raises(ConfigError, match="memmory"):
        Sandbox(memmory="512m")  # type: ignore[call-arg]


@requires(Capability.CONTAINER_IMAGE, Capability.PULL)
@verifies("image", "pull")
def test_missing_image_is_an_error(harness: Harness) -> None:
    """An image that is not there and may not be pulled raises ImageNotFoundError with its name, and leaves nothing.

    Why: the clients tell "no such image" from "no such registry" by fragments of text.
    Check: the mapping of the engine's errors.
    """
    name = "localhost/samebox-conformance-no-such-image:1"
    box = harness.sandbox(image=name, pull="never")
    with pytest.raises(ImageNotFoundError, match="samebox-conformance-no-such-image"):
        box.start()
    assert box.engine is not None
    assert box.name not in {status.name for status in box.engine.list()}
    box.close()


def test_many_sandboxes_leave_nothing(harness: Harness) -> None:
    """Five sandboxes, used and closed, leave no sandbox, descriptor or thread behind.

    Why: sockets in CLOSE_WAIT and threads that wait for ever end a server after some days (docker-py #1755).
    Check: what close gives back; a fingerprint before and after.
    """
    with harness.sandbox() as warm:
        warm.exec(["true"], timeout=DEADLINE)
        warm.spawn(["sleep", "300"])
    gc.collect()
    before = open_descriptors(), threading.active_count()
    names = set()
    for _ in range(5):
        with harness.sandbox() as box:
            names.add(box.name)
            box.write_text("x", "y")
            box.exec(["cat", "x"], timeout=DEADLINE)
            box.spawn(["sleep", "300"])
            engine = box.engine
    gc.collect()
    deadline = time.monotonic() + min(5, DEADLINE)
    while (now := (open_descriptors(), threading.active_count())) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert now[0] <= before[0] + 1, f"descriptors: {before[0]} before, {now[0]} after"
    assert now[1] <= before[1], f"threads: {before[1]} before, {now[1]} after"
    assert engine is not None
    assert not names & {status.name for status in engine.list()}
