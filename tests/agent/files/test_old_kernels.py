"""What is different without the newer system calls, and without /proc."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import samebox.agent
from fileclient import EXCLUSIVE, NEW_CALLS, Caller, deny

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNS, MNT_DETACH = 0x20000, 2
MS_REC, MS_PRIVATE = 16384, 1 << 18


def test_nothing_is_replaced_unasked(confined: Caller, workdir: Path) -> None:
    """MOVE and an exclusive WRITE have to do without RENAME_NOREPLACE."""
    confined.write("a", b"a")
    confined.write("b", b"b", flags=EXCLUSIVE)
    assert confined.failure("write", "b", flags=EXCLUSIVE)[0] == errno.EEXIST
    assert confined.failure("move", "a", destination="b")[0] == errno.EEXIST
    stream = confined.begin("write", "c", flags=EXCLUSIVE)
    confined.send(stream, b"late")
    while len(os.listdir(workdir)) < 3:
        pass
    (workdir / "c").write_bytes(b"early")
    assert confined.finish(stream).number("errno") == errno.EEXIST
    confined.call("make_dir", "dir")
    confined.call("move", "dir", destination="moved")
    assert confined.failure("move", "moved", destination="b")[0] == errno.EEXIST
    assert confined.failure("move", "moved", destination="moved/x")[0] == errno.EINVAL
    confined.call("move", "a", destination="d")
    assert sorted(os.listdir(workdir)) == ["b", "c", "d", "moved"]
    assert (workdir / "c").read_bytes() == b"early"


def test_other_calls(confined: Caller, workdir: Path) -> None:
    """Modes, access and copying."""
    confined.write("file", os.urandom(2_000_000), mode=0o600)
    confined.call("copy", "file", destination="copy")
    assert confined.read("copy") == confined.read("file")
    confined.call("chmod", "file", mode=0)
    if confined.uid:
        assert confined.failure("write", "file")[0] == errno.EACCES
    confined.call("chmod", "file", mode=0o640)
    confined.write("file", b"new")
    assert stat.S_IMODE((workdir / "file").stat().st_mode) == 0o640
    confined.write("t/a/b", b"")
    confined.call("chmod", "t", mode=0, flags=1)
    confined.call("remove", "t", flags=1)
    assert sorted(os.listdir(workdir)) == ["copy", "file"]


@pytest.fixture
def without_proc(workdir: Path, uid: int | None) -> Iterator[Caller]:
    """An agent that has neither fchmodat2 nor /proc. It has no sanitizers, as they can't do without it."""
    built = Path(samebox.agent.__file__).with_name("bin") / f"agent-{platform.machine()}"
    binary = workdir.parent / "agent"
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        assert libc.unshare(CLONE_NEWNS) == 0
        assert libc.mount(b"none", b"/", b"", MS_REC | MS_PRIVATE, b"") == 0
        assert libc.umount2(b"/proc", MNT_DETACH) == 0
        deny(errno.ENOSYS, *NEW_CALLS)

    if os.geteuid() != 0 or not built.exists():
        pytest.skip("needs root to unmount /proc, and the agent built")
    shutil.copy(built, binary)
    binary.chmod(0o755)
    agent = Caller(binary, workdir, uid, prepare)
    yield agent
    agent.end()


def test_without_proc(without_proc: Caller, workdir: Path) -> None:
    """Only what can be opened gets a new mode; the rest works as ever."""
    agent = without_proc
    agent.write("t/a/file", b"x")
    agent.call("chmod", "t/a/file", mode=0o755)
    assert stat.S_IMODE((workdir / "t/a/file").stat().st_mode) == 0o755
    assert agent.call("realpath", "t/./a").end["path"] == os.fsencode(workdir) + b"/t/a"
    assert agent.call("realpath", "t/./a", root=".").end["path"] == b"t/a"
    agent.call("chmod", "t", mode=0o700, flags=1)
    os.mkfifo(workdir / "fifo")
    assert agent.failure("chmod", "fifo", mode=0o600)[0] == errno.EOPNOTSUPP
    (workdir / "t/a").chmod(0)
    if agent.uid:
        assert agent.failure("chmod", "t/a", mode=0o700)[0] == errno.EACCES
    agent.call("chmod", "t", mode=0o700)
