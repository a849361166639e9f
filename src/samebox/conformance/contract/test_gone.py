"""Gone or failed: a sandbox that has ended is never mistaken for a command that has."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, enforced, requires
from samebox.conformance.contract.hostview import assert_cut_off
from samebox.errors import (
    ConnectionLostError,
    SandboxError,
    SandboxGoneError,
    SandboxTimeoutError,
)
from samebox.guest.results import ExecTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox

OVERDUE = 5.0
"""How long after its deadline a call ends at the latest, whatever the guest does, in seconds."""
# From a command, its ancestors that are agents: what a guest would have to look for.
AGENTS = (
    "p=$$; agents=; while [ $p -gt 0 ]; do "
    'case $(cat /proc/$p/comm) in samebox[+-][0-9a-f]*) agents="$agents $p";; esac; '
    "p=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$p/status); done; "
)


def end_by_removal(box: Sandbox) -> None:
    """Remove the sandbox behind its user's back."""
    assert box.engine is not None
    box.engine.remove(box.id)


def end_by_stop(box: Sandbox) -> None:
    """Stop the sandbox behind its user's back."""
    assert box.engine is not None
    box.engine.stop(box.id)


BEHIND = pytest.mark.parametrize("end", [end_by_removal, end_by_stop], ids=["removed", "stopped"])


@BEHIND
def test_running_command_is_told(new_box: NewBox, end: Callable[[Sandbox], None]) -> None:
    """A command that runs when its sandbox ends raises SandboxGoneError promptly.

    Why: exit code 137, or None, or an empty result, are taken for the command's own failure and tried again.
    Check: what the end of the connection is taken for.
    """
    box = new_box()
    caught: list[BaseException] = []

    def run() -> None:
        try:
            caught.append(AssertionError(f"no error but {box.exec(['sleep', '300'])}"))
        except BaseException as error:  # noqa: BLE001 - looked at below
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    end(box)
    thread.join(DEADLINE)
    assert not thread.is_alive(), "the command's caller still waits"
    assert isinstance(caught[0], SandboxGoneError), repr(caught[0])


@BEHIND
def test_later_calls_are_told(new_box: NewBox, end: Callable[[Sandbox], None]) -> None:
    """Every later call raises SandboxGoneError promptly, commands and files alike.

    Why: each engine has another error for it, and some clients wait for a timeout of a minute first.
    Check: what a refused connection is taken for.
    """
    box = new_box()
    box.write_text("file", "x")
    end(box)
    began = time.monotonic()
    for call in (
        lambda: box.exec(["true"]),
        lambda: box.read_bytes("file"),
        lambda: box.write_text("file", "y"),
        box.list_dir,
        lambda: box.spawn(["true"]),
        lambda: box.exists("file"),
    ):
        with pytest.raises(SandboxGoneError):
            call()
    assert time.monotonic() - began < DEADLINE


@BEHIND
def test_streams_of_a_process_are_told(new_box: NewBox, end: Callable[[Sandbox], None]) -> None:
    """Reading from, and waiting for, a process whose sandbox has ended raises SandboxGoneError.

    Why: an end of the stream looks like a process that had nothing more to say.
    Check: how a stream ends when its connection does.
    """
    box = new_box()
    process = box.spawn(["sh", "-c", "echo up; sleep 300"])
    assert process.stdout.readline() == b"up\n"
    end(box)
    with pytest.raises(SandboxGoneError):
        process.stdout.read()
    with pytest.raises(SandboxGoneError):
        process.wait(DEADLINE)


@BEHIND
def test_close_after_the_end_is_quiet(new_box: NewBox, end: Callable[[Sandbox], None]) -> None:
    """Closing a sandbox that has gone raises nothing.

    Why: an error in `__exit__` hides the one that matters.
    Check: what removal says of what is not there.
    """
    box = new_box()
    end(box)
    box.close()


def test_reason_is_told(new_box: NewBox) -> None:
    """SandboxGoneError says how the sandbox ended: removed, or stopped.

    Why: "connection reset" sends its reader to the network.
    Check: what the engine's inspect says after the end.
    """
    for end, word in ((end_by_removal, "removed"), (end_by_stop, "stopped")):
        box = new_box()
        box.exec(["true"], timeout=DEADLINE)
        end(box)
        with pytest.raises(SandboxGoneError) as caught:
            box.exec(["true"], timeout=DEADLINE)
        text = str(caught.value)
        assert box.name in text or box.id[:12] in text, text
        assert word in text or "gone" in text or "does not run" in text, text


@requires(Capability.PROCESS_ISOLATION)
def test_end_of_the_first_process_is_the_sandboxs(new_box: NewBox) -> None:
    """When the guest ends the sandbox's first process, the sandbox is gone and says so.

    Why: with process 1 the kernel ends all others; a command's caller sees only that its stream has ended.
    Check: that the engine is asked what became of the sandbox.
    """
    box = new_box()
    enforced(box, Capability.PROCESS_ISOLATION)
    assert_cut_off(box)
    with pytest.raises(SandboxGoneError):
        box.sh("kill -TERM 1; sleep 300", timeout=DEADLINE)
    with pytest.raises(SandboxGoneError):
        box.exec(["true"], timeout=DEADLINE)


@requires(Capability.MEMORY_LIMIT)
def test_out_of_memory_is_no_mystery(new_box: NewBox) -> None:
    """A command that the kernel ends for its memory dies of SIGKILL, or the sandbox is gone; never a hang or a 0.

    Why: an agent that is killed in the command's place, or a client that waits for it, hides the cause.
    Check: who the kernel picks.
    """
    box = new_box(memory="64m")
    try:
        result = box.exec(["dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1"], timeout=60)
    except SandboxError as error:
        told = (isinstance(error, SandboxGoneError | ConnectionLostError), repr(error))
    else:
        told = (result.exit_code != 0 and result.signal in {"SIGKILL", None}, repr(result))
    assert told[0], told[1]


def test_killed_agent_is_replaced(new_box: NewBox) -> None:
    """When the guest kills the agent, the running call raises ConnectionLostError and the next one works.

    Why: one `kill` in the sandbox must not end the session; nor may a lost call be repeated without a word.
    Check: how the end of the connection is told from that of the sandbox.
    """
    box = new_box()
    box.write_text("file", "kept")
    for _ in range(3):
        with pytest.raises(ConnectionLostError) as caught:
            box.sh(f"{AGENTS} kill -9 $agents; sleep 300", timeout=DEADLINE)
        assert not isinstance(caught.value, SandboxGoneError), repr(caught.value)
        assert box.exec(["cat", "file"], timeout=DEADLINE).stdout == b"kept"


def test_agent_is_found_to_be_killed(box: Sandbox) -> None:
    """The script of these tests finds the agent: exactly one of a command's ancestors.

    Why: a test that kills nothing passes on everything.
    Check: the name that the agent gives its process (docs/protocol.md, section 8).
    """
    found = box.sh(f"{AGENTS} echo $agents", timeout=DEADLINE).text.split()
    assert len(found) == 1, found
    assert found[0] != "1"


def test_commands_of_a_killed_agent_end(new_box: NewBox) -> None:
    """The commands of an agent that was killed do not run on unseen.

    Why: the next call finds their ports and locks taken.
    Check: what the command's supervisor does when its agent is gone.
    """
    box = new_box()
    with pytest.raises(ConnectionLostError):
        box.sh(f"echo $$ > pid; {AGENTS} kill -9 $agents; exec sleep 300", timeout=DEADLINE)
    deadline = time.monotonic() + DEADLINE
    while box.sh("kill -0 $(cat pid)", timeout=DEADLINE).ok:
        assert time.monotonic() < deadline, "the command of the killed agent still runs"
        time.sleep(0.1)


def test_lost_process_is_told(new_box: NewBox) -> None:
    """A process whose agent is killed says so by ConnectionLostError at the wait and at the read.

    Why: an end of the stream looks like a process that had nothing more to say.
    Check: how a stream ends when its connection does.
    """
    box = new_box()
    process = box.spawn(["sh", "-c", f"echo up; read x; {AGENTS} kill -9 $agents; sleep 300"])
    assert process.stdout.readline() == b"up\n"
    process.stdin.write(b"\n")
    with pytest.raises(ConnectionLostError):
        process.wait(DEADLINE)
    with pytest.raises(ConnectionLostError):
        process.stdout.read()
    assert box.exec(["echo", "on"], timeout=DEADLINE).stdout == b"on\n"


def test_stopped_agent_is_given_up(new_box: NewBox) -> None:
    """When the guest stops the agent, a command's timeout and a file call still end, and the next call works.

    Why: code that runs `kill -STOP` on the agent would hang its caller for ever.
    Check: whether the host keeps its own time, and asks an agent that says nothing whether it is there.
    """
    box = new_box()
    box.write_text("file", "kept")
    began = time.monotonic()
    with pytest.raises(ExecTimeoutError):
        box.sh(f"{AGENTS} kill -STOP $agents; sleep 300", timeout=1)
    assert time.monotonic() - began < 1 + OVERDUE + 1, "the command's timeout came late"
    assert box.exec(["cat", "file"], timeout=DEADLINE).stdout == b"kept"

    began = time.monotonic()
    box.sh(f"{AGENTS} (sleep 0.5; kill -STOP $agents) > /dev/null 2>&1 &", timeout=DEADLINE)
    with pytest.raises(ConnectionLostError, match="did not answer") as caught:  # noqa: PT012 - which one, none knows
        while time.monotonic() - began < DEADLINE:
            box.read_text("file")
    assert not isinstance(caught.value, SandboxGoneError), repr(caught.value)
    assert box.read_text("file") == "kept"


def test_stopped_agent_keeps_no_reader(new_box: NewBox) -> None:
    """When the guest stops the agent, reading the output of a process that has a timeout ends at that timeout.

    Why: whoever reads a process's lines, and not only its end, would wait as long as the guest likes.
    Check: that the host keeps a process's time in `read` and `readline`, as it does in `wait`.
    """
    box = new_box()
    began = time.monotonic()
    with box.spawn(["sh", "-c", f"{AGENTS} kill -STOP $agents; sleep 300"], timeout=1) as process:
        with pytest.raises(ExecTimeoutError):
            process.stdout.readline()
        assert time.monotonic() - began < 1 + OVERDUE + 1, "the timeout came late"
    assert box.exec(["echo", "on"], timeout=DEADLINE).stdout == b"on\n"


def test_stopped_agent_keeps_no_file_call(new_box: NewBox) -> None:
    """When the guest stops the agent, file calls with a timeout end with SandboxTimeoutError in about that time.

    Why: a program that reads one file of a hostile sandbox would wait as long as the guest likes.
    Check: that the host keeps the time of file calls, from the request to the last byte.
    """
    box = new_box()
    box.write_text("file", "kept", timeout=DEADLINE)
    box.sh(f"{AGENTS} (sleep 0.5; kill -STOP $agents) > /dev/null 2>&1 &", timeout=DEADLINE)
    time.sleep(1.5)
    began = time.monotonic()
    with pytest.raises(SandboxTimeoutError, match=r"read_text 'file' was not over after its timeout of 1 s"):
        box.read_text("file", timeout=1)
    with pytest.raises(SandboxTimeoutError, match=r"write_bytes 'other' .* may have been done"):
        box.write_bytes("other", bytes(4 << 20), timeout=1)
    assert time.monotonic() - began < 2 + OVERDUE, "the timeouts came late"
    with pytest.raises(ConnectionLostError, match="did not answer"):
        box.read_text("file", timeout=DEADLINE)
    assert box.read_text("file", timeout=DEADLINE) == "kept"
