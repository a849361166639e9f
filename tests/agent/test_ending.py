"""Timeouts, CANCEL and lost connections: everything that a command has started ends, and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from wire import SIGNAL, Stream, alive, children, gone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wire import Agent, Wire

# Starts children of every kind that gets away from a process group, prints their pids and goes on for ever.
FAMILY = """
import os, signal, sys, time
def tell():
    os.write(1, b'%d\\n' % os.getpid())
def double():
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            return True
        os._exit(0)
def session():
    if os.fork() == 0:
        os.setsid()
        return True
def stubborn():
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return True
def stopped():
    if os.fork() == 0:
        tell()
        os.kill(os.getpid(), signal.SIGSTOP)
        return True
def threaded():
    if os.fork() == 0:
        import ctypes, threading
        threading.Thread(target=time.sleep, args=(1000,)).start()
        tell()
        ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit of the first thread alone
for start in (double, session, stubborn):
    if start():
        tell()
        break
else:
    if not stopped():
        threaded()
        tell()
time.sleep(1000)
"""
MEMBERS = 6


def family(wire: Wire, **fields: Any) -> tuple[Stream, list[int]]:
    """Start one, and return the pids of all of it."""
    stream = wire.exec(sys.executable, "-c", FAMILY, **fields)
    while stream.output[1].count(b"\n") < MEMBERS:
        wire.pump()
    pids = [int(line) for line in stream.stdout.split()]
    assert all(map(alive, pids))
    return stream, pids


@pytest.mark.parametrize("grace", [0, 100])
def test_timeout(wire: Wire, grace: int) -> None:
    """All descendants end, those that called setsid or forked twice too; another command of the connection goes on."""
    other = wire.exec("sleep", "1000", flags=2)
    while not other.reply:
        wire.pump()
    stream, pids = family(wire, timeout=1500, grace=grace)
    result = stream.wait()
    number = signal.SIGTERM if grace else signal.SIGKILL
    assert result == {"exit_code": 128 + number, "signal": number, "reason": b"timeout"}
    assert not any(map(alive, pids))
    assert other.result is None
    assert alive(int(other.reply["pid"]))
    other.cancel()
    assert other.wait()["reason"] == b"cancel"


def test_timeout_is_not_early(wire: Wire) -> None:
    """It ends when it is over, and says what was written before."""
    began = time.monotonic()
    done = wire.sh("echo before; sleep 1000", timeout=300)
    assert done.result == {"exit_code": 143, "signal": 15, "reason": b"timeout"}
    assert done.stdout == b"before\n"
    assert 0.3 <= time.monotonic() - began < 1.2


def test_timeout_of_nothing(wire: Wire) -> None:
    """A timeout of 0 ends the command at once."""
    assert wire.exec("sleep", "1000", timeout=0).wait()["reason"] == b"timeout"


def test_in_time(wire: Wire) -> None:
    """A command that ends before its timeout is not ended by it."""
    assert wire.sh("exit 3", timeout=5000).result == {"exit_code": 3}


def test_grace_is_used(wire: Wire) -> None:
    """SIGTERM lets a command tidy up; its own exit code is told."""
    done = wire.sh("trap 'echo tidy; exit 9' TERM; while :; do sleep 0.01; done", timeout=200, grace=5000)
    assert done.result == {"exit_code": 9, "reason": b"timeout"}
    assert done.stdout == b"tidy\n"


def test_grace_ends(wire: Wire) -> None:
    """Who ignores SIGTERM is killed."""
    began = time.monotonic()
    done = wire.sh("trap '' TERM; while :; do sleep 0.01; done", timeout=100, grace=300)
    assert done.result == {"exit_code": 137, "signal": 9, "reason": b"timeout"}
    assert 0.4 <= time.monotonic() - began < 2


def test_command_ends_in_grace_but_not_its_child(wire: Wire) -> None:
    """The command's own end is not the end of what it started."""
    script = "(trap '' TERM; while :; do sleep 0.01; done) & echo $!; wait"
    done = wire.sh(script, timeout=200, grace=200)
    assert done.result == {"exit_code": 143, "signal": 15, "reason": b"timeout"}
    assert not alive(int(done.stdout))


def test_cancel(wire: Wire) -> None:
    """CANCEL does what a timeout does."""
    stream, pids = family(wire, grace=100)
    stream.cancel()
    assert stream.wait() == {"exit_code": 143, "signal": 15, "reason": b"cancel"}
    assert not any(map(alive, pids))


def test_cancel_without_grace(wire: Wire) -> None:
    """CANCEL may bring a grace of its own; none is SIGKILL at once, also after a first CANCEL with more of it."""
    stream = wire.exec("sh", "-c", "trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done", grace=100_000)
    stream.until(b"ready")
    stream.cancel()
    stream.until(b"term")
    stream.cancel(0)
    assert stream.wait() == {"exit_code": 137, "signal": 9, "reason": b"cancel"}


def test_cancel_when_output_waits(wire: Wire) -> None:
    """The rest of the output of a command that has ended is dropped: it waits for credit that nobody will give."""
    stream = wire.exec("sh", "-c", "head -c 50000 /dev/zero", crediting=False, window=1024)
    while len(stream.stdout) < 1024:
        wire.pump()
    time.sleep(0.2)
    stream.cancel()
    assert stream.wait() == {"exit_code": 0}
    assert len(stream.stdout) == 1024


def test_signals_in_grace(wire: Wire) -> None:
    """SIGNAL is still passed on while a command is being ended."""
    stream = wire.exec("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done", grace=100_000)
    stream.until(b"ready")
    stream.cancel()
    stream.send(SIGNAL, (9).to_bytes(4, "big"))
    assert stream.wait()["signal"] == signal.SIGKILL


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_fork_bomb(start: Callable[..., Agent], tmp_path: Path) -> None:
    """Whoever forks as fast as it can, in sessions of their own, ends too; the agent keeps its answer."""
    user = 54322

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (150, 150))

    bomb = tmp_path / "bomb"
    bomb.write_text('#!/bin/sh\nwhile :; do setsid "$0" 2>/dev/null & done\n', encoding="utf-8")
    bomb.chmod(0o755)
    wire = start(user=user, preexec_fn=limit).wire
    result = wire.sh(f"{bomb} & exec sleep 1000", timeout=1500, grace=100).result
    assert result == {"exit_code": 143, "signal": 15, "reason": b"timeout"}
    left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if owner(pid) == user]
    assert len(left) <= 2, "the agent, and a supervisor that is about to end"
    assert wire.sh("exit 3").result == {"exit_code": 3}


def owner(pid: int) -> int | None:
    """Whose process it is."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        return None


def test_lost_connection(agent: Agent) -> None:
    """Hanging up ends what still runs, and leaves alone what finished commands left in the background."""
    done = agent.wire.sh("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    left = int(done.stdout)
    _stream, pids = family(agent.wire, grace=100)
    assert agent.end() == 0
    assert gone(*pids)
    assert alive(left)
    os.kill(left, signal.SIGKILL)


def test_killed_agent(agent: Agent) -> None:
    """The commands of an agent that was killed end by themselves."""
    _stream, pids = family(agent.wire, grace=100)
    agent.process.kill()
    assert gone(*pids)
    assert agent.process.wait() == -signal.SIGKILL
    agent.process.returncode = 0  # as the fixture wants it


def test_killed_by_the_command(agent: Agent) -> None:
    """The same where the command itself kills the agent."""
    stream = agent.wire.exec("sh", "-c", f"echo $$; kill -9 {agent.process.pid}; sleep 1000", grace=100)
    with pytest.raises((EOFError, ConnectionError)):
        stream.wait()
    agent.process.wait()
    agent.process.returncode = 0
    assert children(1) is not None


def test_lost_connection_with_full_pipes(agent: Agent, tmp_path: Path) -> None:
    """Hanging up on a flood: the command can write while it tidies up."""
    script = "trap 'yes | head -c 1000000; touch tidied; exit' TERM; echo ready; while :; do yes | head -c 100000; done"
    stream = agent.wire.exec("sh", "-c", script, crediting=False, grace=10_000)
    stream.until(b"ready")
    assert agent.end() == 0
    assert (tmp_path / "tidied").exists()
