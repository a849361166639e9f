"""What runs out: memory, space, inodes and processes inside, and descriptors of this host's process."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from child_program import ChildProgram
from samebox import ConnectionLostError, Sandbox, SandboxGoneError, SandboxOSError, SpawnError
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from fault_bed import Service, Table
    from footprint import Footprint

pytestmark = pytest.mark.timeout(180)

TIMEOUT = 20.0
DESCRIPTORS = """
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
boxes = []
try:
    while len(boxes) < 64:
        boxes.append(Sandbox(**SETTINGS).start())
except EngineError as error:
    print(error)
for box in boxes[1:]:
    box.close()
assert boxes[0].exec(["echo", "on"]).text == "on\\n"
with Sandbox(**SETTINGS) as box:
    assert box.exec(["echo", "on"]).text == "on\\n"
boxes[0].close()
print("ok", len(boxes))
"""


def test_memory_of_a_command(engine: Service, table: Table, footprint: Footprint) -> None:
    """A command that takes more than there is dies, and says so; the next one runs."""
    row, promised = "memory used up by a command", "the command dies of SIGKILL; the next one runs"
    try:
        box = Sandbox(**engine.settings(memory="64m")).start()
    except UnsupportedError as error:
        table.add(row, promised, engine.name, f"refused before: {error.reason}")
        return
    with box:
        result = box.exec(["dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1"], timeout=TIMEOUT)
        assert (result.signal, result.out_of_memory) == ("SIGKILL", True), result
        assert box.exec(["echo", "on"], timeout=TIMEOUT).text == "on\n"
    table.add(row, promised, engine.name, "SIGKILL, out_of_memory")


def test_memory_of_the_agent(engine: Service, table: Table, footprint: Footprint) -> None:
    """Files that fill the memory end the agent or its sandbox; each call ends with a documented error, and in time."""
    row, promised = "memory used up by files, so that the agent or init dies", "a documented error, in time"
    try:
        box = Sandbox(**engine.settings(memory="64m", tmpfs={"/fill": "mode=1777"})).start()
    except UnsupportedError as error:
        table.add(row, promised, engine.name, f"refused before: {error.reason}")
        return
    seen = set()
    with box:
        for number in range(8):
            began = time.monotonic()
            try:
                result = box.sh(f"head -c 20000000 /dev/zero > /fill/{number}", timeout=5)
                seen.add("the command dies" if result.exit_code else "a result")
            except (SpawnError, ConnectionLostError, SandboxGoneError) as error:
                seen.add(type(error).__name__)
                if isinstance(error, SandboxGoneError):
                    break
            assert time.monotonic() - began < 10
    table.add(row, promised, engine.name, ", ".join(sorted(seen)))


def test_space_of_the_workdir(engine: Service, table: Table, footprint: Footprint) -> None:
    """A write that does not fit says ENOSPC and leaves the file as it was; what was acknowledged is there."""
    with Sandbox(**engine.settings(tmpfs={"/workspace": "size=1m,mode=1777"})) as box:
        box.write_bytes("file", b"kept")
        for _ in range(3):
            with pytest.raises(SandboxOSError) as caught:
                box.write_bytes("file", bytes(4 << 20))
            assert caught.value.errno == errno.ENOSPC
        assert box.read_bytes("file") == b"kept"
        assert [entry.name for entry in box.list_dir(".")] == ["file"]
        result = box.sh("head -c 4000000 /dev/zero > other", timeout=TIMEOUT)
        assert result.exit_code != 0
        box.remove("other")
        box.write_bytes("file", bytes(500_000))
        assert box.read_bytes("file") == bytes(500_000)
    table.add("workdir full", "ENOSPC; the file is as it was", engine.name, "ENOSPC, the file is as it was")


def test_space_of_the_root(engine: Service, table: Table, footprint: Footprint) -> None:
    """A write into a root that is full says ENOSPC, and later calls work."""
    row, promised = "root full", "ENOSPC; the next call works"
    try:
        box = Sandbox(**engine.settings(disk="16m", user="0", workdir="/work")).start()
    except UnsupportedError as error:
        table.add(row, promised, engine.name, f"refused before: {error.reason}")
        return
    with box:
        with pytest.raises(SandboxOSError) as caught:
            box.write_bytes("/file", bytes(32 << 20))
        assert caught.value.errno in {errno.ENOSPC, errno.EDQUOT}
        assert not box.exists("/file")
        assert box.exec(["echo", "on"], timeout=TIMEOUT).text == "on\n"
    table.add(row, promised, engine.name, "ENOSPC")


def test_inodes(engine: Service, table: Table, footprint: Footprint) -> None:
    """A file for which no inode is left says ENOSPC; the others are there, and one that is removed makes room."""
    row, promised = "inodes used up", "ENOSPC; what was written is there"
    if engine.name == "podman-rootless":
        why = "its service sees no file system that was mounted after its start"
        table.add(row, promised, engine.name, f"not tried: {why}")
        return
    small = Path(tempfile.mkdtemp(prefix="samebox-faults-", dir="/var/tmp"))  # where a rootless engine may look
    small.chmod(0o755)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "nr_inodes=20,mode=1777", "small", str(small)], check=True)
    try:
        with Sandbox(**engine.settings(mounts=[f"{small}:/small:rw"])) as box:
            for number in range(15):
                box.write_bytes(f"/small/f{number}", b"kept")
            with pytest.raises(SandboxOSError) as caught:  # noqa: PT012 - how many the file system takes for itself, none knows
                for number in range(15, 25):
                    box.write_bytes(f"/small/f{number}", b"kept")
            assert caught.value.errno == errno.ENOSPC
            with pytest.raises(SandboxOSError) as caught:
                box.make_dir("/small/directory")
            assert caught.value.errno == errno.ENOSPC
            assert {box.read_bytes(f"/small/f{number}") for number in range(15)} == {b"kept"}
            box.remove("/small/f0")
            box.remove("/small/f1")
            box.write_bytes("/small/one-more", b"kept")
            assert box.read_bytes("/small/one-more") == b"kept"
    finally:
        subprocess.run(["/bin/umount", str(small)], check=True)
        small.rmdir()
    table.add(row, promised, engine.name, "ENOSPC")


def test_processes(engine: Service, table: Table, footprint: Footprint) -> None:
    """A command for which no process is left says so; it runs once others have ended."""
    row, promised = "pids used up", "SpawnError; the next command runs once others have ended"
    try:
        box = Sandbox(**engine.settings(pids_limit=32)).start()
    except UnsupportedError as error:
        table.add(row, promised, engine.name, f"refused before: {error.reason}")
        return
    with box, contextlib.ExitStack() as running:
        with pytest.raises(SpawnError):  # noqa: PT012 - how many the agent itself takes, none knows
            for _ in range(64):
                running.enter_context(box.spawn(["sleep", "60"], timeout=TIMEOUT))
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(SpawnError):
                box.exec(["true"], timeout=5)
            assert time.monotonic() - began < 10
        box.write_text("file", "kept")
        assert box.read_text("file") == "kept"
        running.close()
        ends = time.monotonic() + TIMEOUT
        while True:
            try:
                assert box.exec(["echo", "on"], timeout=TIMEOUT).text == "on\n"
                break
            except SpawnError:
                assert time.monotonic() < ends
                time.sleep(0.2)
    table.add(row, promised, engine.name, "SpawnError")


def test_descriptors(engine: Service, tmp_path: Path, table: Table, footprint: Footprint) -> None:
    """A process that may open 64 files is told what to do; its sandboxes work on, and new ones once some are closed."""
    with ChildProgram(tmp_path, DESCRIPTORS, engine.settings()) as program:
        exit_code, out, errors = program.end(150)
    assert exit_code == 0, errors
    *told, last = out.splitlines()
    if last != "ok 64":
        assert "ulimit -n" in told[0]
    seen = "an error that names ulimit" if told else "64 sandboxes at once"
    table.add(
        "descriptors of the host's process used up", "an EngineError that says so; the rest works", engine.name, seen
    )
