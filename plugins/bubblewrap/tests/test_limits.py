"""Limits of a sandbox as a whole: by control groups where this host has them, else as `missing` says."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability
from samebox.errors import ConfigError, EngineError, SandboxGoneError, SpawnError, UnsupportedError
from samebox_bubblewrap import cgroups
from samebox_bubblewrap.cgroups import Cgroup, Hierarchies, hierarchies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox import Sandbox
    from samebox_bubblewrap.engine import BubblewrapEngine

FORKS = """
import os, time
count = 0
try:
    while count < 400:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        count += 1
except BlockingIOError:
    pass
print(count, flush=True)
"""


@pytest.fixture
def limited(engine: BubblewrapEngine) -> Callable[[Capability], None]:
    """Return a check that a limit is to be had here; where it is not, the reason has to be told."""
    missing = engine.probe().missing

    def check(capability: Capability) -> None:
        if capability in missing:
            assert "can't be made here" in missing[capability]
            pytest.skip(missing[capability])

    return check


def test_processes(make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]) -> None:
    """A fork bomb stops at the limit, and others go on."""
    limited(Capability.PIDS_LIMIT)
    first, other = make_box(pids_limit=40), make_box(pids_limit=40)
    count = int(first.exec(["python3", "-c", FORKS], timeout=20).text)
    assert 20 <= count < 40
    assert other.exec(["echo", "on"]).text == "on\n"


def test_processes_of_the_default(make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]) -> None:
    """The default of 512 holds without being asked for, and is then not among what is unenforced."""
    limited(Capability.PIDS_LIMIT)
    box = make_box()
    box.start()
    assert Capability.PIDS_LIMIT not in box.unenforced
    count = int(box.exec(["python3", "-c", FORKS.replace("400", "700")], timeout=30).text)
    assert 450 <= count < 512


def test_no_process_to_be_had_is_an_error(
    make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]
) -> None:
    """A command that can't be started for the limit is no failed command."""
    limited(Capability.PIDS_LIMIT)
    box = make_box(pids_limit=20)
    filler = box.spawn(["python3", "-c", FORKS + "time.sleep(30)"])
    assert int(filler.stdout.readline()) < 20
    with pytest.raises(SpawnError):
        box.exec(["true"])


def test_memory(make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]) -> None:
    """What needs more than the limit is killed; tmpfs counts too."""
    limited(Capability.MEMORY_LIMIT)
    box = make_box(memory="64m")
    result = box.exec(["python3", "-c", "x = bytearray(200 << 20); print(len(x))"], timeout=20)
    assert (result.exit_code, result.stdout) == (137, b"")
    assert box.exec(["echo", "on"]).text == "on\n"


def test_memory_of_files(make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]) -> None:
    """Files are in memory too. What fills it with them ends the sandbox, which is said and is no failed command."""
    limited(Capability.MEMORY_LIMIT)
    box = make_box(memory="64m")
    box.sh("mkdir /tmp/x")

    def fill() -> None:
        for number in range(20):
            with contextlib.suppress(SpawnError):  # the kernel may choose the command's supervisor
                box.sh(f"head -c 20000000 /dev/zero > /tmp/x/{number}", timeout=20)

    with pytest.raises(SandboxGoneError, match="its memory was used up, its limit of 64 MiB; give it more, as memory"):
        fill()
    assert box.engine is not None
    assert box.engine.inspect(box.id).out_of_memory


def test_swap(make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]) -> None:
    """Memory and swap together have the limit that was asked for; without one there is no swap."""
    limited(Capability.SWAP_LIMIT)
    where = hierarchies()
    file = "memory.swap.max" if where.version == 2 else "memory.memsw.limit_in_bytes"
    for swap, expected in ((None, 0), (80 << 20, 16 << 20)):
        group = Cgroup(where, memory=64 << 20, swap=swap)
        found = int((group._directories["memory"] / file).read_text())
        group.remove()
        assert found == expected + (0 if where.version == 2 else 64 << 20)
    assert make_box(memory="64m", memory_swap="80m").sh("echo on").text == "on\n"


def test_cpu(make_box: Callable[..., Sandbox], limited: Callable[[Capability], None]) -> None:
    """Half a processor gives about half of the time that passes."""
    limited(Capability.CPU_LIMIT)
    box = make_box(cpus=0.5)
    script = "import time\ne = time.monotonic() + 2\nwhile time.monotonic() < e: pass\nprint(time.process_time())"
    assert 0.3 < float(box.exec(["python3", "-c", script], timeout=20).text) < 1.5


def test_files_of_the_group(engine: BubblewrapEngine) -> None:
    """The numbers stand in the kernel's own files, below our own group, and the group goes."""
    where = hierarchies()
    if len(where.parents) < 3:
        assert set(engine.probe().missing) & {Capability.MEMORY_LIMIT, Capability.CPU_LIMIT}
        pytest.skip(f"no control groups here: {where.missing}")
    group = Cgroup(where, pids=33, memory=64 << 20, cpus=1.5)
    directories = dict(group._directories)
    first = where.version == 1
    assert (directories["pids"] / "pids.max").read_text() == ("35\n" if group.by_thread else "33\n")
    memory = "memory.limit_in_bytes" if first else "memory.max"
    assert (directories["memory"] / memory).read_text() == f"{64 << 20}\n"
    cpu = ("cpu.cfs_quota_us", "150000\n") if first else ("cpu.max", "150000 100000\n")
    assert (directories["cpu"] / cpu[0]).read_text() == cpu[1]
    assert not group.out_of_memory
    group.remove()
    assert not any(directory.exists() for directory in directories.values())


def test_files_of_version_2(tmp_path: Path) -> None:
    """With the unified hierarchy one group has all the limits, below a parent that hands controllers down."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory pids\n")
    (tmp_path / "samebox").mkdir()
    (tmp_path / "samebox/cgroup.subtree_control").write_text("")
    parents = {controller: cgroups._unified(tmp_path, controller) for controller in ("pids", "memory", "cpu")}
    assert set(parents.values()) == {tmp_path / "samebox"}
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    with pytest.raises(LookupError):
        cgroups._unified(tmp_path, "hugetlb")
    group = Cgroup(Hierarchies(parents, {}, 2), pids=33, memory=64 << 20, cpus=1.5)
    assert not group.by_thread
    (directory,) = set(group._directories.values())
    group.add(4321)
    files = {path.name: path.read_text() for path in directory.iterdir()}
    limits = {"pids.max": "33\n", "memory.max": f"{64 << 20}\n", "cpu.max": "150000 100000\n", "cgroup.procs": "4321\n"}
    assert files == limits
    (directory / "memory.events").write_text("oom 1\noom_kill 2\n")
    assert group.out_of_memory


def test_refused_groups_are_explained(tmp_path: Path) -> None:
    """A kernel that refuses is an error, and what was made until then is removed."""
    where = Hierarchies({"pids": tmp_path, "memory": tmp_path / "missing"}, {}, 1)
    with pytest.raises(EngineError, match="the control group for the sandbox's limits can't be made"):
        Cgroup(where, memory=1 << 20)


def test_leftovers_of_dead_owners_are_removed(tmp_path: Path) -> None:
    """A group whose owner has died, or whose pid another process has now, is removed; others stay."""
    own = cgroups._start_time(os.getpid())
    names = ["samebox-4194305-1-0", f"samebox-{os.getpid()}-{own + 1}-0", f"samebox-{os.getpid()}-{own}-0", "other"]
    for name in names:
        (tmp_path / name).mkdir()
    cgroups._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])


def test_missing_limits_are_refused_when_asked_for(
    engine: BubblewrapEngine, make_box: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without control groups memory is refused with the reason, and the defaults are only listed."""
    reason = "control groups with the memory controller can't be made here as an ordinary user (test)"
    nothing = Hierarchies({}, dict.fromkeys(("pids", "memory", "cpu"), reason), 0)
    monkeypatch.setattr("samebox_bubblewrap.engine.hierarchies", lambda: nothing)
    assert engine.probe().missing[Capability.MEMORY_LIMIT] == reason
    with pytest.raises(UnsupportedError, match="does not support memory-limit: control groups with the memory"):
        make_box(memory="64m").start()
    box = make_box()
    assert box.exec(["echo", "on"]).text == "on\n"
    assert box.unenforced[Capability.MEMORY_LIMIT] == reason
    assert Capability.PIDS_LIMIT not in box.unenforced


@pytest.mark.parametrize("read_only", [False, True])
def test_shared_memory(make_box: Callable[..., Sandbox], rootfs: Path, read_only: bool) -> None:  # noqa: FBT001
    """/dev/shm has the size asked for, to the page, and is everyone's."""
    for settings in ({}, {"image": f"dir:{rootfs}"}):
        box = make_box(shm_size="1m", read_only=read_only, **settings)
        box.write_bytes("/dev/shm/fits", bytes(1 << 20))
        with pytest.raises(OSError, match="No space left"):
            box.write_bytes("/dev/shm/more", b"x")
        assert box.stat("/dev/shm").mode & 0o7777 == 0o1777


def test_shared_memory_is_set_once(make_box: Callable[..., Sandbox]) -> None:
    """A memory file system at the same place would hide the size."""
    with pytest.raises(ConfigError, match="are at the same place, /dev/shm"):
        make_box(shm_size="1m", tmpfs={"/dev/shm": "size=2m"}).start()
