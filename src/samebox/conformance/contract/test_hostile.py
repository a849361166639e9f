"""Guests that mean harm: the host gets an answer or an error, never a hang, and the sandbox goes on."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import DEADLINE, enforced, requires
from samebox.conformance.contract.hostview import assert_cut_off
from samebox.conformance.contract.test_gone import AGENTS
from samebox.errors import ConnectionLostError, FileTooLargeError, SandboxError, SandboxOSError, SpawnError
from samebox.guest.results import ExecTimeoutError

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.conformance.contract.conftest import NewBox
    from samebox.sandbox.sandbox import Sandbox


def assert_works(box: Sandbox) -> None:
    """Assert that a sandbox still runs commands and handles files, after at most one lost call."""
    with contextlib.suppress(ConnectionLostError):
        box.exec(["true"], timeout=DEADLINE)
    box.write_text("still-works", "x")
    result = box.exec(["cat", "still-works"], timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"x"), result


@requires(Capability.PIDS_LIMIT, Capability.PROCESS_ISOLATION)
def test_fork_bomb_ends_by_its_timeout(new_box: NewBox) -> None:
    """A fork bomb runs into the pids limit and its timeout, all of it ends, and the next command works.

    Why: a killer that walks the tree is outrun by a tree that grows.
    Check: that killing goes on until nothing is left.
    """
    box = new_box(pids_limit=60)
    enforced(box, Capability.PROCESS_ISOLATION)
    assert_cut_off(box)
    # The limit first, with a bounded number: an engine that has none must fail here and take no host with it.
    fill = "i=0; while [ $i -lt 90 ]; do sleep 3 & i=$((i+1)); done; echo all >&2; wait"
    with box.spawn(["sh", "-c", fill], stdin=False, timeout=DEADLINE) as process:
        said = process.stderr.readline()
        assert b"fork" in said.lower(), f"90 processes could be started: {said!r}; refusing to go on"
    time.sleep(3)
    bomb = "b() { b | b & }; while :; do b; sleep 0.05; done 2>/dev/null"
    with contextlib.suppress(ExecTimeoutError, SpawnError, ConnectionLostError):
        box.sh(bomb, timeout=1.5)
    deadline = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(SpawnError, ConnectionLostError):
            if box.exec(["echo", "free"], timeout=DEADLINE).stdout == b"free\n":
                break
        assert time.monotonic() < deadline, "the bomb still goes off"
        time.sleep(0.1)


@requires(Capability.PROCESS_ISOLATION)
def test_killing_everything_harms_nobody_else(new_box: NewBox) -> None:
    """`kill -9 -1` inside ends at most the agent and its commands; the next call works.

    Why: it is the shortest way to see whether a session is held by a process that the guest can kill.
    Check: that init survives, and starts the next agent.
    """
    box = new_box()
    enforced(box, Capability.PROCESS_ISOLATION)
    assert_cut_off(box)
    box.write_text("file", "kept")
    for _ in range(2):
        with contextlib.suppress(ConnectionLostError):
            box.sh("kill -9 -1", timeout=DEADLINE)
        assert_works(box)
    assert box.read_text("file") == "kept"


def test_killed_supervisor_is_no_hang(new_box: NewBox) -> None:
    """A command that kills its own supervisor gets its caller an answer or an error, in time.

    Why: who waits for the end of a child that is not his any more waits for ever.
    Check: what the agent does when a supervisor ends without its word.
    """
    box = new_box()
    began = time.monotonic()
    with contextlib.suppress(SandboxError):
        box.sh("kill -9 $PPID; sleep 3", timeout=2)
    assert time.monotonic() - began < DEADLINE
    assert_works(box)


def test_garbage_on_the_agents_stream(new_box: NewBox) -> None:
    """A guest that writes garbage into the agent's own descriptors causes an error at most; the next call works.

    Why: the agent is on the hostile side: whatever comes from it may be forged, cut or endless.
    Check: the host's bounds on frames; ProtocolError ends the connection and nothing else.
    """
    box = new_box()
    script = (
        f"{AGENTS} for a in $agents; do for f in /proc/$a/fd/*; do "
        "(printf '\\377\\377\\377\\377garbage' > $f; head -c 70000 /dev/urandom > $f) 2>/dev/null & done; done; "
        "sleep 0.3; kill $(jobs -p) 2>/dev/null; echo done"
    )
    for _ in range(3):
        with contextlib.suppress(ConnectionLostError, ExecTimeoutError):
            assert box.sh(script, timeout=5).exit_code == 0
        assert_works(box)


def test_stopped_agent_is_no_hang_for_others(new_box: NewBox) -> None:
    """A guest that stops its agent for a second and lets it go on loses nothing.

    Why: a pause is no end: a connection that is given up too early loses a command that is still running.
    Check: that no time limit stands between two frames.
    """
    box = new_box()
    script = f"{AGENTS} kill -STOP $agents; sleep 1; kill -CONT $agents; echo went on"
    result = box.sh(script, timeout=DEADLINE)
    assert (result.exit_code, result.stdout) == (0, b"went on\n"), result


def test_many_lines_of_nothing(box: Sandbox) -> None:
    """A million empty writes cost no more than their bytes.

    Why: a frame for every write multiplies a guest's effort by a hundred on the host.
    Check: that what is there is read together.
    """
    result = box.exec(["sh", "-c", "yes '' | head -n 1000000"], timeout=60, output_limit=2 << 20)
    assert (result.exit_code, len(result.stdout)) == (0, 1_000_000), result.truncated


def test_stdout_is_read_while_stderr_floods(box: Sandbox) -> None:
    """Stdout is read, line by line, while another process floods stderr that nobody reads.

    Why: one channel that is full must not stop the other.
    Check: a window for each channel.
    """
    script = "yes >&2 & for i in 1 2 3 4 5; do echo $i; sleep 0.02; done; read x; kill $!"
    with box.spawn(["sh", "-c", script], timeout=DEADLINE) as process:
        assert [process.stdout.readline() for _ in range(5)] == [b"%d\n" % n for n in range(1, 6)]
        process.kill()


def test_flood_of_a_background_child(box: Sandbox) -> None:
    """A background child that floods its old stdout for ever holds up nothing and costs no memory.

    Why: it is drained so that it does not block or die; kept, it fills the agent's memory.
    Check: what becomes of output after the command's end.
    """
    pid = box.sh("yes & echo $! >&2", timeout=DEADLINE).stderr.strip().decode()
    for n in range(20):
        assert box.exec(["echo", str(n)], timeout=DEADLINE).stdout == b"%d\n" % n
    size = box.sh(f"{AGENTS} for a in $agents; do grep VmRSS /proc/$a/status; done", timeout=DEADLINE)
    assert box.exec(["kill", "-9", pid], timeout=DEADLINE).ok, "the child did not live on"
    resident = int(size.stdout.split()[1])
    assert resident < 32_000, f"the agent has {resident} kB"


def test_endless_file_is_given_up(box: Sandbox) -> None:
    """Reading what has no end, or says a wrong size, stops at the limit.

    Why: `/proc/self/mem`, sparse files and files that grow: "size" is what the guest says.
    Check: that bytes are counted as they come.
    """
    for path in ("/proc/self/mem", "/proc/self/pagemap"):
        with pytest.raises((SandboxOSError, FileTooLargeError)):
            box.read_bytes(path, limit=1 << 20)


def test_deep_tree_is_handled(box: Sandbox, here: str) -> None:
    """A tree deeper than a path can be long is walked or refused, and can be removed.

    Why: `rm -rf` of such a tree fails where paths are put together, and recursion overflows the stack.
    Check: that descending works on descriptors, one level at a time.
    """
    # Chains of a hundred directories, each moved to the bottom of the next: no path that is used is too long.
    chain = "/".join(["d" * 20] * 100)
    script = f"""
        echo x > bottom; last=bottom; i=0
        while [ $i -lt 5 ]; do mkdir -p n$i/{chain} && mv $last n$i/{chain}/ && last=n$i || exit; i=$((i+1)); done
    """
    box.sh(script, cwd=here, timeout=DEADLINE).check()
    try:
        found = box.walk(here)
    except SandboxOSError as error:
        fine, told = error.errno == errno.ENAMETOOLONG, repr(error)
    else:
        last = found[-1].name
        fine = len(found) == 506 and last.endswith("/bottom") and len(last) > 10_000
        told = f"{len(found)} entries, the last: {last[-100:]}"
    assert fine, told
    box.remove(f"{here}/n4", recursive=True)
    assert box.exec(["ls", "-A", here], timeout=DEADLINE).stdout == b""


def test_deep_tree_is_not_downloaded_over_the_edge(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A download of a tree deeper than the host takes raises, or is whole; the host's directory can be removed.

    Why: an unpacker that recurses, or puts paths together, leaves what nobody can delete.
    Check: the host's own limits in the unpacker.
    """
    box.sh("i=0; while [ $i -lt 300 ]; do mkdir d; cd d || exit; i=$((i+1)); done; echo x > f", cwd=here).check()
    try:
        counted = box.download(f"{here}/d", tmp_path / "out")
    except (OSError, SandboxError):
        return
    assert (counted.directories, counted.files) == (300, 1), counted
    assert (tmp_path / "out" / "/".join(["d"] * 299) / "f").read_text() == "x\n"


def test_many_links_to_one_file(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A tree of many names for one large file is counted by its bytes, and refused over the limit.

    Why: a hundred hard links to a gigabyte are a gigabyte in the sandbox and a hundred on the host.
    Check: the download's limit.
    """
    script = (
        "mkdir t; cd t; truncate -s 1G f0 || dd if=/dev/zero of=f0 bs=1 count=0 seek=1073741824; "
        "i=1; while [ $i -lt 40 ]; do ln f0 f$i; i=$((i+1)); done"
    )
    box.sh(script, cwd=here, timeout=DEADLINE).check()
    assert box.stat(f"{here}/t/f39").links == 40
    with pytest.raises(SandboxError, match=r"limit|large"):
        box.download(f"{here}/t", tmp_path / "out", limit=1 << 20)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written <= 1 << 20, f"{written} bytes were written"


def test_lost_workdir_is_an_error(new_box: NewBox) -> None:
    """A guest that moves its workdir away gets errors that say so; commands elsewhere still run.

    Why: an agent whose own directory is gone fails in getcwd, at every call.
    Check: that a command's cwd is opened for that command.
    """
    box = new_box()
    path = box.realpath(".")
    # A workdir that is a mount can't be moved; what is in it is all that can be lost then.
    box.sh(f'mv "{path}" "{path}.moved" || rm -rf "{path}"/*; echo tried', cwd="/", timeout=DEADLINE)
    with contextlib.suppress(SandboxOSError):
        box.exec(["true"], timeout=DEADLINE)
    assert box.exec(["echo", "ok"], cwd="/", timeout=DEADLINE).stdout == b"ok\n"
    box.sh(f'rm -rf "{path}.moved"', cwd="/", timeout=DEADLINE)


def test_replaced_shell_is_the_guests_own_trouble(box: Sandbox, here: str) -> None:
    """Programs that the guest puts before others in PATH are not what files and timeouts rely on.

    Why: sandboxes that run `cat`, `tar`, `timeout` or `kill` inside run the guest's versions of them.
    Check: that file operations start no program.
    """
    for name in ("sh", "cat", "tar", "timeout", "kill", "stat", "ls", "env", "mkdir", "base64"):
        box.write_text(f"{here}/bin/{name}", "#!/bin/sh\necho evil\nexit 77\n", mode=0o755)
    box.write_text(f"{here}/file", "honest")
    assert box.read_text(f"{here}/file") == "honest"
    with pytest.raises(ExecTimeoutError):
        box.exec(["/bin/sleep", "300"], env={"PATH": f"{here}/bin"}, timeout=0.3)
    assert box.exec(["cat"], env={"PATH": f"{here}/bin"}, timeout=DEADLINE).exit_code == 77


def test_terminal_escapes_are_bytes(box: Sandbox) -> None:
    """Escape sequences in output and in names are bytes like others; messages show them harmlessly.

    Why: a name with escapes, printed in an error, rewrites the reader's screen.
    Check: that errors show names by repr.
    """
    with pytest.raises(SandboxOSError) as caught:
        box.read_bytes("\x1b[2Jgone\x07")
    assert "\x1b" not in str(caught.value), str(caught.value).encode()
    result = box.exec(["sh", "-c", "printf '\\033[2J' >&2; exit 3"], timeout=DEADLINE)
    assert result.stderr == b"\x1b[2J"


def test_signals_from_the_guest_do_not_stop_init(new_box: NewBox) -> None:
    """Signals that the guest sends to the sandbox's first process, SIGTERM aside, do not end it.

    Why: a SIGHUP or SIGCHLD that init does not expect ends the sandbox.
    Check: init's signal handling.
    """
    box = new_box()
    if "samebox" in box.sh("cat /proc/1/comm", timeout=DEADLINE).text:
        script = "init=1; "
    else:
        # Without a process namespace, process 1 is the host's, and not to be touched: init is the agent's parent.
        script = f"{AGENTS} set -- $agents; init=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$1/status); "
    for number in ("HUP", "INT", "QUIT", "USR1", "USR2", "CHLD", "PIPE", "ALRM", "CONT", "WINCH"):
        name = box.sh(f"{script} cat /proc/$init/comm", timeout=DEADLINE).text
        assert "samebox" in name, f"init is {name!r}; refusing to send it SIG{number}"
        box.sh(f"{script} kill -{number} $init", timeout=DEADLINE)
    assert_works(box)
