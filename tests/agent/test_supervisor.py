"""EXEC: a supervisor that has done with a command runs the next one."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from wire import EOF, alive, children, gone

if TYPE_CHECKING:
    from pathlib import Path

    from wire import Agent, Wire


def test_supervisor_is_used_again(agent: Agent, tmp_path: Path) -> None:
    """One after the other needs one supervisor, and finds nothing of the one before."""
    (tmp_path / "sub").mkdir()
    first = agent.wire.sh("echo $PPID; pwd; echo [$A]; exec ls -l /proc/self/fd | wc -l", cwd="sub", env=["A=1"])
    second = agent.wire.sh("echo $PPID; pwd; echo [$A]; exec ls -l /proc/self/fd | wc -l")
    supervisor, *rest = first.stdout.split()
    assert rest[:2] == [f"{tmp_path}/sub".encode(), b"[1]"]
    assert second.stdout.split() == [supervisor, str(tmp_path).encode(), b"[]", rest[2]]
    assert children(agent.process.pid) == [int(supervisor)]


def test_supervisor_with_a_background_process_is_left(agent: Agent) -> None:
    """What a command leaves behind is never taken for a child of the next one."""
    first = agent.wire.sh("sleep 100 >/dev/null 2>&1 & echo $PPID $!").stdout.split()
    assert agent.wire.sh("echo $PPID").stdout.split() != first[:1]
    stream = agent.wire.exec("sleep", "100", timeout=100, grace=0)
    assert stream.wait()["reason"] == b"timeout"
    assert alive(int(first[1]))
    os.kill(int(first[1]), signal.SIGKILL)


def test_free_supervisor_is_killed(agent: Agent) -> None:
    """The next command gets another one."""
    first = int(agent.wire.sh("echo $PPID").stdout)
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    second = int(agent.wire.sh("echo $PPID").stdout)
    assert second != first
    assert children(agent.process.pid) == [second]


@pytest.mark.parametrize("arguments", [["x" * 1000] * 40, ["x"] * 600])
def test_what_is_too_much_for_a_free_supervisor(agent: Agent, arguments: list[str]) -> None:
    """It gets one of its own."""
    agent.wire.sh("true")
    done = agent.wire.exec("sh", "-c", "echo $# $1", "sh", *arguments)
    done.wait()
    assert done.stdout.split() == [str(len(arguments)).encode(), arguments[0].encode()]
    assert agent.wire.sh("echo x").stdout == b"x\n"


def test_terminal_after_pipes_and_back(agent: Agent) -> None:
    """A supervisor has no terminal and no stdio of its own to keep."""
    for tty in (0, 1, 0, 1):
        stream = agent.wire.exec("sh", "-c", "test -t 0 && test -t 1; echo $?", tty=tty)
        stream.wait()
        assert stream.stdout.split() == [b"0" if tty else b"1"]


def test_free_supervisor_without_its_workdir(agent: Agent, tmp_path: Path) -> None:
    """A command runs in the workdir of that name, whatever became of the old one."""
    agent.wire.sh("true")
    tmp_path.rename(moved := tmp_path.with_name(tmp_path.name + "-moved"))
    tmp_path.mkdir()
    assert agent.wire.sh("touch new; ls").stdout == b"new\n"
    shutil.rmtree(moved)


def test_exit_comes_with_the_end_of_the_output(wire: Wire) -> None:
    """No frame for an EOF that comes with the exit; one for an output that is closed long before."""
    stream = wire.exec("true")
    seen = []
    while stream.result is None:
        seen.append(wire.pump().type)
    assert EOF not in seen
    stream = wire.exec("sh", "-c", "exec >&- 2>&-; read x", flags=1)
    assert {wire.pump().type, wire.pump().type} == {EOF}
    stream.eof()
    stream.wait()
