"""A sandbox's beginning and end: nothing is left behind by failures, forks, ended threads or killed owners."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from interpreter import run_python
from real_engine import not_here
from samebox.capabilities import Capability
from samebox.config.model import SandboxConfig
from samebox.errors import (
    ConfigError,
    EngineError,
    SandboxExistsError,
    SandboxGoneError,
    SandboxNotFoundError,
    UnsupportedError,
)
from samebox_bubblewrap.bwrap import find_bwrap
from samebox_bubblewrap.cgroups import hierarchies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

LABELS = {"samebox.managed": "1", "samebox.name": "test"}
FORKING = ("-W", "ignore::DeprecationWarning")
"""Options of a Python that forks with threads: the very thing to be tested."""


def create(engine: BubblewrapEngine, name: str = "test", **settings: Any) -> str:
    """Create a sandbox without the core."""
    config = SandboxConfig(engine="bubblewrap", **settings)
    image = engine.ensure_image(config, lambda _: None)
    return engine.create(config, image=image, name=name, labels=LABELS)


@pytest.fixture(autouse=True)
def nothing_left(engine: BubblewrapEngine) -> Iterator[None]:
    """Fail where a test leaves a process, a zombie, a descriptor or a control group."""
    engine.probe()
    before = (children(), _groups())
    yield
    for status in engine.list():
        engine.remove(status.id)
    assert (children(), _groups()) == before


def _groups() -> set[str]:
    own = f"samebox-{os.getpid()}-*"
    return {str(path) for parent in hierarchies().parents.values() for path in parent.glob(own)}


def children() -> set[int]:
    """Return the pids of this process's children, zombies included."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def wait_until(condition: Callable[[], bool], what: str, limit: float = 10.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_states(engine: BubblewrapEngine) -> None:
    """Created, running, stopped, running again, gone; and what is asked twice does nothing."""
    sandbox = create(engine)
    assert (engine.inspect(sandbox).state, engine.inspect("test").exit_code) == ("created", None)
    with pytest.raises(SandboxGoneError, match="has not been started"):
        engine.connect(sandbox)
    for _ in range(2):
        engine.start(sandbox)
        assert engine.inspect("test").state == "running"
    assert [status.name for status in engine.list()] == ["test"]
    for _ in range(2):
        engine.stop(sandbox)
        assert (engine.inspect(sandbox).state, engine.inspect(sandbox).exit_code) == ("stopped", 0)
    with pytest.raises(SandboxGoneError, match="the sandbox has ended"):
        engine.connect(sandbox)
    engine.start(sandbox)
    assert engine.inspect(sandbox).state == "running"
    for _ in range(2):
        engine.remove(sandbox)
    with pytest.raises(SandboxNotFoundError, match="its sandboxes end with the process that made them"):
        engine.inspect(sandbox)


def test_names_are_taken_once(engine: BubblewrapEngine) -> None:
    """A second sandbox of the same name is refused, for every engine object of the process."""
    sandbox = create(engine)
    with pytest.raises(SandboxExistsError, match="a sandbox named 'test' on engine 'bubblewrap' already"):
        create(type(engine)(), "test")
    engine.remove(sandbox)
    engine.remove(create(engine))


def test_list_has_what_samebox_made(engine: BubblewrapEngine) -> None:
    """Sandboxes without the label are not listed."""
    config = SandboxConfig()
    other = engine.create(config, image="host", name="other", labels={})
    assert engine.list() == []
    engine.remove(other)


def test_made_in_a_thread_that_has_ended(engine: BubblewrapEngine, make_box: Callable[..., Sandbox]) -> None:
    """PR_SET_PDEATHSIG fires when the forking thread ends: a sandbox that a worker thread made died with it."""
    assert engine.list() == []
    box = make_box()
    thread = threading.Thread(target=box.start)
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert box.exec(["echo", "alive"]).text == "alive\n"
    box.close()


def test_background_processes_live_on(make_box: Callable[..., Sandbox]) -> None:
    """One namespace for the sandbox's life: what a command left in the background is there for the next."""
    box = make_box()
    box.sh("sleep 1000 & echo $! > pid")
    assert box.sh("kill -0 $(cat pid)").ok
    box.close()


def test_end_takes_every_process(engine: BubblewrapEngine, make_box: Callable[..., Sandbox]) -> None:
    """Stopping ends what ran inside, whatever signals it ignores."""
    assert engine.list() == []
    box = make_box()
    mark = f"3{os.getpid()}7"
    box.sh(f"trap '' TERM HUP INT; setsid sleep {mark} & true")
    end = time.monotonic() + 10
    while not _running(mark) and time.monotonic() < end:
        time.sleep(0.01)  # in the middle of an exec a command line is empty
    assert _running(mark)
    box.close()
    assert not _running(mark)


def _running(mark: str) -> list[str]:
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_ending_by_itself_is_noticed_and_reaped(engine: BubblewrapEngine) -> None:
    """After its lifetime a sandbox is stopped with init's exit code, its bwrap reaped without anyone asking."""
    before = children()
    sandbox = create(engine, max_lifetime=0.3)
    engine.start(sandbox)
    wait_until(lambda: children() == before, "bwrap is reaped")
    assert (engine.inspect(sandbox).state, engine.inspect(sandbox).exit_code) == ("stopped", 91)
    with pytest.raises(SandboxGoneError, match=r"the sandbox has ended for its lifetime \(exit code 91\)"):
        engine.connect(sandbox)
    engine.remove(sandbox)


def test_killed_init_is_noticed(engine: BubblewrapEngine) -> None:
    """A bwrap that somebody killed takes its sandbox along, and the exit code says how."""
    sandbox = create(engine)
    before = children()
    engine.start(sandbox)
    (bwrap,) = children() - before
    os.kill(bwrap, signal.SIGKILL)
    wait_until(lambda: engine.inspect(sandbox).state == "stopped", "the end is noticed")
    assert engine.inspect(sandbox).exit_code == 137
    engine.remove(sandbox)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tmpfs": {"/etc/passwd": None}}, r"The setting concerned: tmpfs\['/etc/passwd'\]\.$"),
    ],
)
def test_failed_start_says_which_setting(engine: BubblewrapEngine, settings: dict[str, Any], said: str) -> None:
    """Bwrap's own words and the setting behind them; nothing is left."""
    sandbox = create(engine, **settings)
    with pytest.raises(EngineError, match=said) as caught:
        engine.start(sandbox)
    assert "bubblewrap could not start sandbox 'test' with image 'host': bwrap: Can't " in str(caught.value)
    assert engine.inspect(sandbox).state == "created"
    engine.remove(sandbox)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tmpfs": {"/x": "noexec"}}, "does not support tmpfs: bwrap has no option for noexec"),
        ({"no_new_privileges": False}, "does not support no-new-privileges: bwrap always sets no_new_privs"),
        ({"network": "bridge"}, "the engine has no network 'bridge'"),
        ({"workdir": "/etc/passwd"}, "workdir = '/etc/passwd': something that is no directory"),
    ],
)
def test_what_bwrap_can_not_do_is_refused(engine: BubblewrapEngine, settings: dict[str, Any], said: str) -> None:
    """Refused with the reason, before anything starts."""
    with pytest.raises((UnsupportedError, ConfigError)) as caught:
        create(engine, **settings)
    assert said in str(caught.value)
    assert engine.list() == []


def test_vanished_program_is_an_error(engine: BubblewrapEngine, tmp_path: Path) -> None:
    """A bwrap that can't be started is an error, and leaves no descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    sandbox = create(engine)
    broken = type(engine)({"bwrap": str(_fake(tmp_path))})
    with pytest.raises(EngineError):
        broken.probe()
    engine.remove(sandbox)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _fake(directory: Path) -> Path:
    fake = directory / "bwrap"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.11.0 && exit\necho bwrap: no >&2\nexit 1\n')
    fake.chmod(0o755)
    return fake


def test_many_start_and_stop_without_leaking_descriptors(engine: BubblewrapEngine) -> None:
    """As many descriptors after thirty sandboxes as after one."""
    counts = []
    for number in range(30):
        sandbox = create(engine, f"test-{number}")
        engine.start(sandbox)
        engine.connect(sandbox).close()
        engine.remove(sandbox)
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[0] == counts[-1]


def test_many_at_once(engine: BubblewrapEngine) -> None:
    """Threads that start sandboxes at the same time do not get into each other's way."""

    def one(number: int) -> None:
        sandbox = create(engine, f"test-{number}")
        engine.start(sandbox)
        engine.connect(sandbox).close()
        engine.remove(sandbox)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(8)))


@pytest.mark.parametrize("network", [False, True])
def test_no_process_is_in_the_callers_session(
    engine: BubblewrapEngine, make_box: Callable[..., Sandbox], *, network: bool
) -> None:
    """What a terminal sends to the caller's group or session, as Ctrl-C and a hangup, reaches nothing of a sandbox."""
    if network and (missing := engine.probe().missing.get(Capability.NETWORK)):
        not_here(missing)
    before = children()
    box = make_box(network=network)
    box.spawn(["sleep", "100"])
    started = children() - before
    assert len(started) == 1 + network
    for pid in started:
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
    inside = [pid for bwrap in started for pid in _descendants(bwrap)]
    assert len(inside) >= 2
    assert not {os.getsid(0), os.getpgid(0)} & {get(pid) for pid in inside for get in (os.getsid, os.getpgid)}
    box.close()


def _descendants(pid: int) -> list[int]:
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return below + [other for child in below for other in _descendants(child)]


INTERRUPTED = """
import contextlib, gc, json, os, random, signal, sys, tempfile, time
from pathlib import Path
from samebox import Sandbox
from samebox_bubblewrap.cgroups import hierarchies

class Interrupted(BaseException):
    pass

def raises(number, frame):
    fired.append(number)
    raise Interrupted

def left():
    gc.collect()
    children = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children += path.read_text().split()
    own = f"samebox-{os.getpid()}-*"
    groups = [str(path) for parent in hierarchies().parents.values() for path in parent.glob(own)]
    directories = [str(path) for path in Path(tempfile.gettempdir()).glob("samebox-*")]
    return [children, groups, directories, len(os.listdir("/proc/self/fd"))]

def start(longest):
    box = Sandbox(engine="bubblewrap", **json.loads(sys.argv[1]))
    fired.clear()
    began = time.monotonic()
    try:
        try:
            if longest:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest))
            box.start()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException:  # pydantic makes another exception of the handler's
        if not fired:
            raise
        return True
    finally:
        took.append(time.monotonic() - began)
        box.close()

took, fired = [], []
signal.signal(signal.SIGALRM, raises)
for _ in range(3):
    start(0)
longest = min(took)
before = left()
interrupted = sum(bool(start(longest)) for _ in range(60))
deadline = time.monotonic() + 10
while (after := left()) != before and time.monotonic() < deadline:
    time.sleep(0.05)
print(json.dumps([interrupted, before, after]))
"""


@pytest.mark.parametrize(
    "settings", [{}, {"network": True}, {"mounts": ["/usr/share:/mnt:ro"]}], ids=["alone", "network", "mount"]
)
def test_interrupted_start_leaves_nothing(
    engine: BubblewrapEngine, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a signal's handler raises during a start, no process, group, directory or descriptor is left."""
    if "network" in settings and (missing := engine.probe().missing.get(Capability.NETWORK)):
        not_here(missing)
    # A program of its own, by whose name those of its processes are found that are no children any more.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        program = Path(directory, "bwrap")
        program.symlink_to(find_bwrap().path)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        done = run_python(INTERRUPTED, json.dumps(settings | {"options": {"bwrap": str(program)}}))
        assert done.returncode == 0, done.stderr
        assert _running(str(program)) == []
    interrupted, before, after = json.loads(done.stdout)
    assert after == before
    assert interrupted > 20


DAEMON = """
import json, os, sys
for descriptor in json.loads(sys.argv[1]):
    os.close(descriptor)
from samebox import Sandbox
words = []
try:
    for settings in json.loads(sys.argv[2]):
        with Sandbox(engine="bubblewrap", **settings) as box:
            words.append(box.exec(["cat"], input=b"through").text)
except BaseException as error:
    words.append(repr(error))
with open(sys.argv[3], "w") as file:
    json.dump(words, file)
"""


@pytest.mark.parametrize("closed", [[0], [0, 1], [1, 2], [0, 1, 2]], ids=str)
def test_caller_without_stdio(engine: BubblewrapEngine, tmp_path: Path, closed: list[int]) -> None:
    """A daemon has closed its stdin and stdout: nothing of a sandbox's start gets their numbers."""
    settings: list[dict[str, Any]] = [{}, {"ulimits": {"nofile": 100}}]
    if Capability.NETWORK not in engine.probe().missing:
        settings += [{"network": True}, {"network": True, "ports": {"80": None}}]
    out = tmp_path / "out"
    run_python(DAEMON, json.dumps(closed), json.dumps(settings), str(out))
    assert json.loads(out.read_text()) == ["through"] * len(settings)


OWNER = """
import sys, time
from samebox import Sandbox
box = Sandbox(engine="bubblewrap")
box.sh("sleep {mark} & setsid sleep {mark} & true")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_owner_leaves_nothing(engine: BubblewrapEngine, how: signal.Signals) -> None:
    """No process outlives its owner, and the next one removes the control group that was left."""
    assert engine.list() == []
    mark = f"4{os.getpid()}{how}"
    owner = subprocess.Popen([sys.executable, "-c", OWNER.format(mark=mark)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"ready\n"
    inside = [int(pid) for pid in _running(mark)]
    assert len(inside) >= 2
    owner.send_signal(how)
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not any(alive(pid) for pid in inside), "the processes inside end")
    subprocess.run([sys.executable, "-c", "import samebox_bubblewrap.cgroups as c; c.hierarchies()"], check=True)
    left = [path for parent in hierarchies().parents.values() for path in parent.glob(f"samebox-{owner.pid}-*")]
    assert left == []


FORK = """
import os, sys
from samebox import Sandbox
from samebox_bubblewrap.engine import BubblewrapEngine
box = Sandbox(engine="bubblewrap")
box.exec(["true"])
pid = os.fork()
if pid == 0:
    engine = BubblewrapEngine()
    assert engine.list() == []
    assert box.sh("echo again").text == "again\\n"
    with Sandbox(engine="bubblewrap") as own:
        assert own.sh("echo child").text == "child\\n"
    for end in (engine.stop, engine.remove):
        end(box.id)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert len(BubblewrapEngine().list()) == 1
print(box.sh("echo parent").text, end="")
box.close()
"""


def test_forked_child_does_not_disturb_its_parent() -> None:
    """It can use the parent's sandbox and have its own; nothing that it does, nor its end, ends the parent's."""
    done = run_python(FORK, options=FORKING)
    assert (done.returncode, done.stdout) == (0, "parent\n"), done.stderr


def test_forked_child_learns_of_the_end() -> None:
    """When the parent closes, the child's next call says that the sandbox is gone."""
    code = (
        "import os\nfrom samebox import Sandbox\nfrom samebox.errors import SandboxGoneError\n"
        "box = Sandbox(engine='bubblewrap'); box.exec(['true'])\nr, w = os.pipe(); pid = os.fork()\n"
        "if pid == 0:\n    os.close(w); os.read(r, 1)\n    try: box.exec(['true'])\n"
        "    except SandboxGoneError: os._exit(7)\n    os._exit(1)\n"
        "box.close(); os.close(w); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = run_python(code, options=FORKING)
    assert done.stdout == "7\n", (done.stdout, done.stderr)


def test_fork_without_exec_does_not_keep_a_sandbox_alive() -> None:
    """A child that has copies of every descriptor is no reason for the parent's close to hang, nor for init to stay."""
    code = (
        "import os, time\nfrom samebox import Sandbox\nbox = Sandbox(engine='bubblewrap'); box.exec(['true'])\n"
        "pid = os.fork()\nif pid == 0:\n    time.sleep(30); os._exit(0)\n"
        "start = time.monotonic(); box.close(); took = time.monotonic() - start\n"
        "os.kill(pid, 9); os.waitpid(pid, 0); print(took < 1.5, took)"
    )
    done = run_python(code, options=FORKING)
    assert done.stdout.startswith("True"), (done.stdout, done.stderr)


def test_exit_without_close_is_quiet_and_clean() -> None:
    """A program that forgets to close ends with its sandbox and its control group gone."""
    code = "import os\nfrom samebox import Sandbox\nSandbox(engine='bubblewrap').exec(['true'])\nprint(os.getpid())"
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(done.stdout)
    assert [path for parent in hierarchies().parents.values() for path in parent.glob(f"samebox-{pid}-*")] == []


def test_connect_as_another_user_is_refused(engine: BubblewrapEngine) -> None:
    """A sandbox of bwrap has one uid."""
    sandbox = create(engine)
    engine.start(sandbox)
    with pytest.raises(UnsupportedError, match="does not support exec-user: a sandbox has one uid"):
        engine.connect(sandbox, "root")
    engine.remove(sandbox)
