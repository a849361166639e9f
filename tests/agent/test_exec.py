"""EXEC: what a command gets, and what is told of it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wire import SIGNAL, alive, children, gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from wire import Agent, Wire

NOBODY = 65534


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code(wire: Wire, code: int) -> None:
    """A command's exit code is the answer, and nothing else is said."""
    assert wire.sh(f"exit {code}").result == {"exit_code": code}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_death_by_signal(wire: Wire, number: int) -> None:
    """A signal is told apart from an exit code."""
    assert wire.sh(f"kill -{int(number)} $$").result == {"exit_code": 128 + number, "signal": number}


def test_streams_apart(wire: Wire) -> None:
    """Stdout and stderr are byte-exact and not mixed."""
    done = wire.sh("printf 'a\\0\\377'; printf b >&2")
    assert (done.stdout, done.stderr) == (b"a\0\xff", b"b")


def test_argv_is_literal(wire: Wire) -> None:
    """No shell sees the arguments."""
    done = wire.exec("printf", "%s|", "", "a b", "$HOME", b"\xff\n", "'")
    assert done.wait() == {"exit_code": 0}
    assert done.stdout == b"|a b|$HOME|\xff\n|'|"


# --- programs that can't be run ---


def make(path: Path, text: str, mode: int = 0o755) -> Path:
    """Write a file."""
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("nosuch", (127, errno.ENOENT), "command not found"),
        ("", (127, errno.ENOENT), "command not found"),
        ("./nosuch", (127, errno.ENOENT), "No such file or directory"),
        ("./plain/x", (127, errno.ENOTDIR), "Not a directory"),
        ("./plain", (126, errno.EACCES), "Permission denied"),
        ("./directory", (126, errno.EACCES), "Permission denied"),
        ("./noexec", (126, errno.ENOEXEC), "Exec format error"),
        ("noexec", (126, errno.ENOEXEC), "Exec format error"),
        ("./lost", (127, errno.ENOENT), "its interpreter /no/such was not found"),
        ("./elf", (127, errno.ENOENT), "the dynamic loader that it needs was not found"),
    ],
)
def test_not_run(wire: Wire, tmp_path: Path, name: str, answer: tuple[int, int], reason: str) -> None:
    """127 for what is not found and 126 for what can't be executed, with a reason; no shell runs a text without #!."""
    make(tmp_path / "plain", "x", 0o644)
    make(tmp_path / "noexec", "exit 0\n")
    make(tmp_path / "lost", "#! /no/such -x\n")
    program = Path("/bin/sh").read_bytes().replace(b"/lib64/ld", b"/nosuch/l").replace(b"/lib/ld-", b"/nosuch/")
    (tmp_path / "elf").write_bytes(program)
    (tmp_path / "elf").chmod(0o755)
    (tmp_path / "directory").mkdir()
    done = wire.exec(name, env=[f"PATH=/usr/bin:/bin:{tmp_path}"])
    assert done.wait() == dict(zip(("exit_code", "errno"), answer, strict=True))
    assert done.stderr == f"samebox: {name}: {reason}\n".encode()


def test_path_is_the_commands(wire: Wire, tmp_path: Path) -> None:
    """PATH is that of the command's own environment; an empty element is its directory."""
    make(tmp_path / "here", "#!/bin/sh\necho found $0\n")
    assert wire.exec("here", env=[f"PATH=/nowhere:{tmp_path}"]).wait() == {"exit_code": 0}
    assert wire.exec("here", env=["PATH=/nowhere:"]).wait() == {"exit_code": 0}
    assert wire.exec("here", env=["PATH="]).wait() == {"exit_code": 0}
    assert wire.exec("here", env=["PATH=/nowhere"]).wait() == {"exit_code": 127, "errno": errno.ENOENT}


def test_default_path(start: Callable[..., Agent]) -> None:
    """Without a PATH the usual directories are searched."""
    wire = start(greet=False).wire
    wire.hello(clear_env=1)
    done = wire.exec("env")
    assert done.wait() == {"exit_code": 0}
    assert done.stdout == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_path_element_that_may_not_be_searched(start: Callable[..., Agent], tmp_path: Path) -> None:
    """A directory of PATH that belongs to root says nothing about a program: it is not found, not forbidden."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    done = start(user=NOBODY).wire.exec("nosuch", env=[f"PATH={hidden}:/bin"])
    assert done.wait() == {"exit_code": 127, "errno": errno.ENOENT}


@pytest.mark.parametrize("code", [126, 127])
def test_exit_code_of_a_program_that_was_run(wire: Wire, code: int) -> None:
    """One that exits so itself is told apart, also after one that was not run, by the same supervisor."""
    assert wire.exec("nosuch").wait() == {"exit_code": 127, "errno": errno.ENOENT}
    assert wire.sh(f"exit {code}").result == {"exit_code": code}


def test_streams_together(wire: Wire) -> None:
    """With the flag, stderr comes on stdout in its order, and the end does not wait for a second stream."""
    done = wire.exec("sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done; exit 3", flags=4)
    assert done.wait() == {"exit_code": 3}
    assert (done.stdout, done.stderr) == (b"o1\ne1\no2\ne2\no3\ne3\n", b"")


# --- what it begins with ---


def test_descriptors(wire: Wire) -> None:
    """A command has descriptors 0, 1 and 2, and no other: nothing of the agent's or of another command's."""
    other = wire.exec("sleep", "100")
    done = wire.sh("ls /proc/$$/fd")
    assert done.stdout.split() == [b"0", b"1", b"2"]
    other.cancel()
    other.wait()


def test_signals(wire: Wire) -> None:
    """Default dispositions and an empty mask, though the agent ignores a lot."""
    done = wire.exec("grep", "^Sig[BI]", "/proc/self/status")
    done.wait()
    assert {line.split()[1] for line in done.stdout.splitlines()} == {b"0000000000000000"}


def test_limits(wire: Wire) -> None:
    """The agent needs many descriptors; its commands keep the limit that it found, and the usual umask."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert wire.sh("ulimit -n; umask").stdout.split() == [str(soft).encode(), b"0022"]


def test_process_group(wire: Wire) -> None:
    """A command leads a process group of its own."""
    script = "import os; print(os.getpid() == os.getpgrp(), os.getsid(0) == os.getpid())"
    done = wire.exec(sys.executable, "-c", script)
    done.wait()
    assert done.stdout == b"True False\n"


def test_environment(start: Callable[..., Agent], tmp_path: Path) -> None:
    """HELLO's variables replace the agent's, a command's replace both."""
    wire = start(greet=False, preexec_fn=lambda: os.environ.update(A="0")).wire
    wire.hello(workdir=str(tmp_path), env=["B=1", "C=1", "A=1", "A=2"])
    done = wire.sh("echo $A $B $C $D", env=["C=2", "D=", "D=3=4"])
    assert done.stdout == b"2 1 2 3=4\n"
    assert wire.sh("echo $A $B $C $D").stdout == b"2 1 1\n"


@pytest.mark.parametrize("bad", ["A", "=x", ""])
def test_malformed_variable(wire: Wire, bad: str) -> None:
    """What is no NAME=value is refused rather than handed on."""
    failed = wire.exec("true", env=[bad])
    assert failed.wait()["errno"] == errno.EINVAL
    assert failed.failed


def test_long_arguments(wire: Wire) -> None:
    """A megabyte of arguments arrives."""
    done = wire.exec("sh", "-c", "echo $#", "sh", *["x" * 9] * 100_000)
    assert done.wait() == {"exit_code": 0}
    assert done.stdout == b"100000\n"


def test_too_long_arguments(wire: Wire) -> None:
    """What the kernel refuses is an error, not a failed command."""
    failed = wire.exec("true", *["x" * 1000] * 8000)
    result = failed.wait()
    assert failed.failed
    assert (result["errno"], result["kind"]) == (errno.E2BIG, b"spawn")
    assert wire.sh("exit 3").result == {"exit_code": 3}


def test_started(wire: Wire) -> None:
    """Asked for, the pid is told while it runs."""
    stream = wire.exec("sh", "-c", "echo $$; exec sleep 100", flags=2)
    stream.until(b"\n")
    while stream.reply is None:  # the command may be the faster one
        wire.pump()
    assert stream.reply == {"pid": int(stream.stdout)}
    stream.cancel()
    stream.wait()


# --- its directory ---


def test_cwd(wire: Wire, tmp_path: Path) -> None:
    """The workdir, unless another one is asked for; relative to it."""
    (tmp_path / "sub").mkdir()
    assert wire.sh("pwd").stdout == f"{tmp_path}\n".encode()
    assert wire.sh("pwd", cwd="sub").stdout == f"{tmp_path}/sub\n".encode()
    assert wire.sh("pwd", cwd="/usr").stdout == b"/usr\n"


def test_cwd_that_is_not(wire: Wire, tmp_path: Path) -> None:
    """A directory that can't be entered is an error, not a failed command."""
    (tmp_path / "file").touch()
    for cwd, number in [("nosuch", errno.ENOENT), ("file", errno.ENOTDIR)]:
        failed = wire.exec("true", cwd=cwd)
        result = failed.wait()
        assert failed.failed
        assert (result["errno"], result["kind"], result["path"]) == (number, b"cwd", cwd.encode())


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_cwd_of_another(start: Callable[..., Agent], tmp_path: Path) -> None:
    """The agent has its user's authority, no more."""
    (tmp_path / "locked").mkdir(mode=0o700)
    wire = start(user=NOBODY).wire
    assert wire.exec("true", cwd="locked").wait()["errno"] == errno.EACCES


def test_workdir_made_anew(start: Callable[..., Agent], tmp_path: Path) -> None:
    """A workdir that was removed is an error; one that was made anew is used."""
    work = tmp_path / "work"
    wire = start(greet=False).wire
    wire.hello(workdir=str(work))
    assert wire.sh(f"rm -r {work}").result == {"exit_code": 0}
    failed = wire.exec("true")
    assert (failed.wait()["kind"], failed.failed) == (b"cwd", True)
    assert wire.exec("true", cwd="/").wait() == {"exit_code": 0}
    work.mkdir()
    assert wire.sh("touch here").result == {"exit_code": 0}
    assert (work / "here").exists()


# --- input ---


def test_no_input(wire: Wire) -> None:
    """Without input stdin is at its end."""
    done = wire.sh("cat; readlink /proc/$$/fd/0")
    assert done.stdout == b"/dev/null\n"


def test_input(wire: Wire) -> None:
    """Megabytes go in and come out."""
    data = os.urandom(3 << 20)
    stream = wire.exec("cat", flags=1)
    stream.feed(data)
    assert stream.wait() == {"exit_code": 0}
    assert stream.stdout == data


def test_input_closed_early(wire: Wire) -> None:
    """What a command does not read is dropped, and credit is given for it."""
    stream = wire.exec("sh", "-c", "exec <&-; sleep 0.3; echo done", flags=1)
    stream.feed(bytes(2 << 20))
    assert stream.wait() == {"exit_code": 0}
    assert stream.stdout == b"done\n"
    assert stream.credit > 1 << 20


def test_input_not_read(wire: Wire) -> None:
    """A command that does not read its input holds back no more than the window, and ends as it likes."""
    stream = wire.exec("sh", "-c", "sleep 0.3; exit 5", flags=1)
    stream.data(bytes(256 << 10))
    assert stream.wait() == {"exit_code": 5}


# --- control ---


def test_signal(wire: Wire) -> None:
    """A signal goes to the command itself, and not to its children."""
    stream = wire.exec("sh", "-c", "trap 'echo got; exit 7' USR1; sleep 100 & echo $!; while :; do wait; done")
    stream.until(b"\n")
    child = int(stream.stdout)
    stream.send(SIGNAL, struct.pack(">I", signal.SIGUSR1))
    assert stream.wait() == {"exit_code": 7}
    assert stream.stdout.endswith(b"got\n")
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_many_at_once(wire: Wire) -> None:
    """A hundred commands over one connection, each with its own answer."""
    streams = [wire.exec("sh", "-c", f"cat; echo {number}; exit {number}", flags=1) for number in range(100)]
    for stream in reversed(streams):
        stream.data(b"in ")
        stream.eof()
    for number, stream in enumerate(streams):
        assert stream.wait() == {"exit_code": number}
        assert stream.stdout == f"in {number}\n".encode()


# --- what a command leaves behind ---


def test_background_process(wire: Wire, tmp_path: Path) -> None:
    """A child that keeps stdout holds nothing up, and is not killed for writing to it later."""
    began = time.monotonic()
    done = wire.sh("(sleep 0.5; yes | head -c 300000; echo x; touch survived) & echo now")
    assert done.stdout == b"now\n"
    assert time.monotonic() - began < 0.4
    deadline = time.monotonic() + 5
    while not (tmp_path / "survived").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_background_process_outlives_the_connection(agent: Agent, tmp_path: Path) -> None:
    """It goes on when the host has hung up; the agent ends after it."""
    agent.wire.sh("(sleep 0.5; yes | head -c 300000; echo x; touch survived) & echo now")
    assert agent.end() == 0
    assert (tmp_path / "survived").exists()


def test_no_zombies(agent: Agent) -> None:
    """Supervisors are reaped, but for one that waits for the next command."""
    for _ in range(20):
        agent.wire.sh("sleep 0 & true")
    free = int(agent.wire.sh("echo $PPID").stdout)
    time.sleep(0.3)
    assert children(agent.process.pid) == [free]
    assert alive(free)


# --- when there is no room ---


def test_no_descriptors(start: Callable[..., Agent]) -> None:
    """Running out of descriptors fails the command that needs them; the others and the agent go on."""
    limit = (40, 40)
    wire = start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)).wire
    streams = [wire.exec("sh", "-c", "read x; exit 3", flags=1) for _ in range(20)]
    wire.sock.settimeout(1)
    while sum(stream.result is not None for stream in streams) < 10:
        wire.pump()
    failed = [stream for stream in streams if stream.failed]
    assert {(stream.result["errno"], stream.result["kind"]) for stream in failed if stream.result} == {
        (errno.EMFILE, b"spawn")
    }
    wire.sock.settimeout(20)
    for stream in streams:
        if not stream.failed:
            stream.eof()
            assert stream.wait() == {"exit_code": 3}
    assert wire.sh("exit 4").result == {"exit_code": 4}


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_no_processes(start: Callable[..., Agent]) -> None:
    """Running out of processes likewise."""
    user = 54321  # with no process so far

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))

    wire = start(user=user, preexec_fn=limit).wire
    streams = [wire.exec("sh", "-c", "read x; exit 3", flags=1) for _ in range(10)]
    wire.sock.settimeout(1)
    while sum(stream.result is not None for stream in streams) < 6:
        wire.pump()
    failed = [stream.result for stream in streams if stream.failed and stream.result]
    assert {(result["errno"], result["kind"]) for result in failed} == {(errno.EAGAIN, b"spawn")}
    for stream in streams:
        if not stream.failed:
            stream.eof()
            assert stream.wait() == {"exit_code": 3}
    assert wire.sh("exit 4").result == {"exit_code": 4}


def test_killed_supervisor(wire: Wire) -> None:
    """A command that kills its supervisor is no answer, and does not survive it."""
    stream = wire.exec("sh", "-c", "echo $$; kill -9 $PPID; sleep 100")
    result = stream.wait()
    assert stream.failed
    assert (result["errno"], result["kind"]) == (errno.EIO, b"spawn")
    assert not stream.stdout or gone(int(stream.stdout))
    assert wire.sh("exit 4").result == {"exit_code": 4}


def test_timeout_of_a_command_without_outputs(wire: Wire) -> None:
    """A command that has closed its outputs is ended in time: telling their end changes no deadline."""
    began = time.monotonic()
    done = wire.sh("exec >&- 2>&-; sleep 60", timeout=500, grace=100)
    assert done.result is not None
    assert done.result["reason"] == b"timeout"
    assert time.monotonic() - began < 1.5
