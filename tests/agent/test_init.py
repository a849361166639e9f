"""init: the sandbox's first process."""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wire import PING, Wire, alive, children, gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass
class Init:
    """An init of our own."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    wires: list[Wire] = field(default_factory=list)

    def connect(self) -> Wire:
        """Have it start an agent."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.control.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
        wire = Wire(ours)
        wire.hello()
        self.wires.append(wire)
        return wire


@pytest.fixture
def start_init(agent_program: Path, sanitized: dict[str, str]) -> Iterator[Callable[..., Init]]:
    """Starts inits with a control socket."""
    inits = []

    def start(*arguments: str, prefix: tuple[str, ...] = (), more_fds: Sequence[int] = ()) -> Init:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [*prefix, str(agent_program), "init", "--control", str(theirs.fileno()), *arguments]
            process = subprocess.Popen(argv, env=sanitized, pass_fds=[theirs.fileno(), *more_fds])
        inits.append(Init(process, ours))
        return inits[-1]

    yield start
    for init in inits:
        init.control.close()
        for wire in init.wires:
            wire.close()
        init.process.wait(20)


def test_serves(start_init: Callable[..., Init]) -> None:
    """Each descriptor gets an agent of its own."""
    init = start_init()
    wires = [init.connect() for _ in range(3)]
    for number, wire in enumerate(wires):
        assert wire.sh(f"exit {number}").result == {"exit_code": number}
    assert len(children(init.process.pid)) == 3
    for wire in wires:
        wire.close()
    deadline = time.monotonic() + 5
    while children(init.process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_serve_at_once(start_init: Callable[..., Init]) -> None:
    """--serve needs no control message."""
    ours, theirs = socket.socketpair()
    with theirs:
        init = start_init("--serve", str(theirs.fileno()), more_fds=[theirs.fileno()])
    wire = Wire(ours)
    wire.hello()
    assert wire.sh("exit 3").result == {"exit_code": 3}
    wire.close()
    assert init.process.poll() is None


def test_serve_on_stdin_and_stdout(agent_program: Path, sanitized: dict[str, str]) -> None:
    """--serve 0 is for what attaches to a container's first process; its end is told on stderr, and is not init's."""
    ours, theirs = socket.socketpair()
    with theirs:
        argv = [str(agent_program), "init", "--serve", "0"]
        end = theirs.fileno()
        process = subprocess.Popen(argv, env=sanitized, stdin=end, stdout=end, stderr=subprocess.PIPE)
    assert process.stderr is not None
    wire = Wire(ours)
    with process:
        wire.hello()
        assert wire.sh("exit 3").result == {"exit_code": 3}
        assert [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (0, 1)] == ["/dev/null"] * 2
        wire.close()
        assert process.stderr.readline() == b"samebox: the agent has ended\n"
        assert process.poll() is None
        process.terminate()
        assert process.wait(5) == 0
        assert process.stderr.read() == b""


def test_messages_without_descriptor(start_init: Callable[..., Init]) -> None:
    """They are ignored."""
    init = start_init()
    init.control.send(b"x")
    assert init.connect().sh("exit 3").result == {"exit_code": 3}


def test_control_closes(start_init: Callable[..., Init]) -> None:
    """When the control socket closes, everything ends: what runs, and what was left in the background."""
    init = start_init()
    wire = init.connect()
    script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; (setsid sleep 1000 &) ; sleep 0.1"
    left = int(wire.sh(script).stdout)
    running = wire.exec("sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.01; done")
    running.until(b"\n")
    init.control.close()
    assert init.process.wait(5) == 0
    assert gone(left, int(running.stdout), within=0.1)


def test_terminated(start_init: Callable[..., Init]) -> None:
    """SIGTERM likewise; other signals are nothing to it."""
    init = start_init()
    wire = init.connect()
    left = int(wire.sh("sleep 1000 </dev/null >/dev/null 2>&1 & echo $!").stdout)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGALRM):
        init.process.send_signal(number)
    assert wire.sh("exit 3").result == {"exit_code": 3}
    init.process.send_signal(signal.SIGTERM)
    assert init.process.wait(5) == 0
    assert gone(left, within=0.1)


def test_killed(start_init: Callable[..., Init]) -> None:
    """Where init is killed, its agents and what they run end too."""
    init = start_init()
    wire = init.connect()
    running = wire.exec("sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.01; done", grace=100)
    running.until(b"\n")
    agents = children(init.process.pid)
    init.process.kill()
    assert gone(int(running.stdout), *agents)


def test_reaps(start_init: Callable[..., Init]) -> None:
    """Orphans leave no zombies."""
    init = start_init()
    wire = init.connect()
    wire.sh("for i in 1 2 3 4 5; do (setsid sleep 1 </dev/null >/dev/null 2>&1 &); done")
    for expected in (6, 1):
        deadline = time.monotonic() + 20
        while len(children(init.process.pid)) != expected:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    wire.close()


def test_idle(start_init: Callable[..., Init]) -> None:
    """It ends when nothing has been asked for that long, though somebody is connected."""
    began = time.monotonic()
    init = start_init("--idle-timeout", "1000")
    wire = init.connect()
    assert init.process.wait(10) == 90
    assert 1 <= time.monotonic() - began < 4
    with pytest.raises((EOFError, ConnectionResetError)):
        wire.receive()


def test_not_idle(start_init: Callable[..., Init]) -> None:
    """Neither while a command runs nor while requests keep coming."""
    init = start_init("--idle-timeout", "600")
    wire = init.connect()
    assert wire.sh("sleep 2").result == {"exit_code": 0}
    for _ in range(10):
        time.sleep(0.2)
        wire.open("stat", path="/").wait()
    wire.close()
    for _ in range(5):
        time.sleep(0.3)
        init.connect().close()
    assert init.process.poll() is None
    assert init.process.wait(10) == 90


def test_command_of_a_silent_host_is_idle(start_init: Callable[..., Init]) -> None:
    """A host that was killed in the middle of output may leave its connection open, and the agent waits for credit.

    A host that lives says something every few seconds while it waits.
    """
    init = start_init("--idle-timeout", "500")
    wire = init.connect()
    began = time.monotonic()
    wire.exec("cat", "/dev/zero", crediting=False)
    for _ in range(3):
        time.sleep(1)
        wire.send(PING, 0, b"here")
    assert init.process.poll() is None
    assert init.process.wait(40) == 90
    assert time.monotonic() - began > 15


def test_background_is_idle(start_init: Callable[..., Init]) -> None:
    """What a finished command left in the background is no use of the sandbox."""
    init = start_init("--idle-timeout", "500")
    wire = init.connect()
    left = int(wire.sh("sleep 1000 & echo $!").stdout)
    assert init.process.wait(10) == 90
    assert gone(left, within=0.1)


def test_lifetime(start_init: Callable[..., Init]) -> None:
    """It ends after its lifetime, busy or not."""
    began = time.monotonic()
    init = start_init("--max-lifetime", "700", "--idle-timeout", "100000")
    wire = init.connect()
    wire.exec("sleep", "1000")
    assert init.process.wait(10) == 91
    assert 0.7 <= time.monotonic() - began < 3
    wire.close()


def test_without_stdio(start_init: Callable[..., Init]) -> None:
    """Closed descriptors 0-2 do not end up as somebody's connection."""
    init = start_init(prefix=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
    wire = init.connect()
    done = wire.sh("ls -l /proc/$PPID/fd /proc/$$/fd 2>&1; cat; echo err >&2")
    assert done.result == {"exit_code": 0}
    assert done.stderr == b"err\n"


def test_descriptors(start_init: Callable[..., Init]) -> None:
    """Agents have neither the control socket nor another agent's connection."""
    init = start_init()
    first, second = init.connect(), init.connect()
    first.close()
    poll = select.poll()
    poll.register(second.sock, select.POLLIN)
    assert not poll.poll(200)
    agents = children(init.process.pid)
    assert len(agents) == 1
    sockets = [str(path.readlink()) for path in Path(f"/proc/{agents[0]}/fd").iterdir() if path.name not in "012"]
    assert sum(name.startswith("socket:") for name in sockets) == 2  # one connection, under two numbers
    second.close()


@pytest.mark.parametrize(
    "arguments", [["--idle-timeout"], ["--idle-timeout", "x"], ["--control", "-1"], ["--nosuch", "1"]]
)
def test_usage(agent_program: Path, sanitized: dict[str, str], arguments: list[str]) -> None:
    """Options that it does not know are an error, not ignored."""
    done = subprocess.run([agent_program, "init", *arguments], env=sanitized, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith(b"usage: ")


def test_version(agent_program: Path, sanitized: dict[str, str]) -> None:
    """`version` says which protocol it speaks."""
    assert subprocess.check_output([agent_program, "version"], env=sanitized) == b"samebox-agent 1\n"


# --- as PID 1 ---

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
AS_FIRST = pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode != 0,
    reason="can't make a PID namespace",
)


@AS_FIRST
def test_first_process(start_init: Callable[..., Init]) -> None:
    """As PID 1 it reaps, is not hurt by the guest's signals, and takes everything with it."""
    init = start_init(prefix=UNSHARE)
    wire = init.connect()
    signals = "cat /proc/1/comm; for s in HUP INT QUIT KILL STOP USR1 ALRM PIPE; do kill -$s 1; done"
    orphan = "(setsid sleep 0.1 </dev/null >/dev/null 2>&1 &); sleep 0.3; set -- /proc/[0-9]*; echo $#"
    done = wire.sh(f"{signals}; {orphan}")
    name, count = done.stdout.split()
    assert name == b"samebox-init"
    assert int(count) == 4  # init, agent, supervisor, sh
    wire.exec("sh", "-c", "kill -TERM 1; sleep 1000")
    assert init.process.wait(5) == 0


@AS_FIRST
def test_first_process_idle(start_init: Callable[..., Init], agent_program: Path) -> None:
    """An agent that comes and goes between two looks counts: it tells init."""
    init = start_init("--idle-timeout", "4000", prefix=UNSHARE)
    wire = init.connect()
    script = """
import socket, subprocess, sys, time
sys.path.insert(0, sys.argv[2])
from wire import Wire
time.sleep(3)
a, b = socket.socketpair()
agent = subprocess.Popen([sys.argv[1], "serve", str(b.fileno())], pass_fds=[b.fileno()])
Wire(a).hello()
a.close()
agent.wait()
"""
    # It runs in the background, so that the agent in between is all that happens.
    support = Path(__file__).parents[1] / "support"
    argv = [sys.executable, "-c", script, str(agent_program), str(support)]
    wire.exec("sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *argv).wait()
    began = time.monotonic()
    assert init.process.wait(15) == 90
    assert time.monotonic() - began > 6


@AS_FIRST
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_not_to_be_looked_into(start_init: Callable[..., Init]) -> None:
    """Sandboxed code of the same user can't take the descriptors of init or of its agent."""
    init = start_init(prefix=(*UNSHARE, "setpriv", "--reuid", "65534", "--clear-groups"))
    wire = init.connect()
    done = wire.sh("ls /proc/1/fd /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/fd /proc/$PPID/fd; cat /proc/self/comm")
    assert done.stderr.count(b"Permission denied") == 3
    assert done.stdout == b"cat\n"
    assert alive(init.process.pid)
