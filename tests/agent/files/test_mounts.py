"""Writes and removals where something is mounted: read-only file systems, single files, full disks, other devices."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

import pytest

from fileclient import APPEND, USER, Caller, directory_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: Path | str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, as the system call of that name does."""
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


@pytest.fixture
def mounted(binary: Path, workdir: Path, uid: int | None) -> Iterator[Callable[[Callable[[], None]], Caller]]:
    """Starts an agent that sees mounts which nobody else sees."""
    agents = []

    def start(mounts: Callable[[], None]) -> Caller:
        def prepare() -> None:
            assert _libc.unshare(CLONE_NEWNS) == 0
            mount("none", "/", flags=MS_REC | MS_PRIVATE)
            mounts()

        agents.append(Caller(binary, workdir, uid, prepare))
        return agents[-1]

    yield start
    for agent in agents:
        agent.end()


def give(path: Path, uid: int) -> Path:
    """Give a file or directory away, and return its path."""
    os.chown(path, uid, uid)
    return path


def test_read_only_file_system(mounted: Callable[[Callable[[], None]], Caller], workdir: Path) -> None:
    """EROFS for everything that would change it."""
    (workdir / "ro").mkdir()
    (workdir / "ro/file").write_bytes(b"kept")
    (workdir / "ro/dir").mkdir()
    give(workdir / "ro/file", USER)
    give(workdir / "ro/dir", USER)
    give(workdir / "ro", USER)

    def mounts() -> None:
        mount(workdir / "ro", workdir / "ro", flags=MS_BIND)
        mount("none", workdir / "ro", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)

    agent = mounted(mounts)
    for call in [
        ("write", "ro/file", {}),
        ("write", "ro/file", {"flags": APPEND}),
        ("write", "ro/new", {}),
        ("write", "ro/new", {"flags": APPEND}),
        ("write", "ro/a/b", {}),
        ("make_dir", "ro/new", {}),
        ("remove", "ro/file", {}),
        ("remove", "ro/dir", {}),
        ("chmod", "ro/file", {"mode": 0o600}),
        ("symlink", "ro/new", {"target": "x"}),
        ("move", "ro/file", {"destination": "file"}),
    ]:
        operation, path, fields = call
        assert agent.failure(operation, path, **fields)[0] == errno.EROFS, call  # type: ignore[arg-type]
    assert agent.failure("copy", "ro/file", destination="ro/copy") == (errno.EROFS, "", b"ro/copy")
    assert agent.failure("make_dir", "ro/dir") == (errno.EEXIST, "", b"ro/dir")
    assert agent.read("ro/file") == b"kept"


def test_single_file_mounted(mounted: Callable[[Callable[[], None]], Caller], workdir: Path) -> None:
    """It can't be replaced, so its content is, in place; it can't be removed or moved."""
    (workdir / "source").write_bytes(b"old and long")
    give(workdir / "source", USER)
    give(workdir / "source", USER).chmod(0o666)
    (workdir / "file").touch()
    give(workdir / "file", USER)
    agent = mounted(lambda: mount(workdir / "source", workdir / "file", flags=MS_BIND))
    agent.write("file", b"new")
    assert (workdir / "source").read_bytes() == b"new"
    assert sorted(os.listdir(workdir)) == ["file", "source"]
    agent.write("file", b"er", flags=APPEND)
    assert agent.read("source") == b"newer"
    assert agent.failure("remove", "file")[0] == errno.EBUSY
    assert agent.failure("move", "file", destination="other")[0] == errno.EBUSY


def test_other_file_system(mounted: Callable[[Callable[[], None]], Caller], workdir: Path) -> None:
    """MOVE copies and removes: modes, times, links, special files and empty directories arrive."""
    give(workdir, USER)
    (workdir / "tmp").mkdir()
    agent = mounted(lambda: mount("none", workdir / "tmp", "tmpfs", 0, "mode=1777"))
    agent.write("tree/dir/file", b"content", mode=0o750)
    agent.call("make_dir", "tree/empty", mode=0o700)
    agent.call("symlink", "tree/link", target="dir/file")
    os.mkfifo(workdir / "tree/fifo")
    os.utime(workdir / "tree/dir/file", ns=(0, 1_111_111_111_222_222_222))
    os.utime(workdir / "tree/dir", ns=(0, 1_000_000_000_000_000_001))
    os.utime(workdir / "tree/link", ns=(0, 1_000_000_000_000_000_002), follow_symlinks=False)
    before = {i["name"]: (i["file_type"], i["mode"], i["mtime"], i["uid"]) for i in agent.call("walk", "tree").items}
    agent.call("move", "tree", destination="tmp/a/tree")
    after = {
        i["name"]: (i["file_type"], i["mode"], i["mtime"], i["uid"]) for i in agent.call("walk", "tmp/a/tree").items
    }
    assert after.keys() == before.keys() == {b"dir", b"dir/file", b"empty", b"fifo", b"link"}
    for name in [b"dir", b"dir/file", b"link", b"empty"]:
        assert after[name] == before[name], name
    assert agent.read("tmp/a/tree/link") == b"content"
    assert sorted(os.listdir(workdir)) == ["tmp"]

    agent.write("file", b"one")
    agent.call("move", "file", destination="tmp/file")
    agent.write("file", b"two")
    assert agent.failure("move", "file", destination="tmp/file") == (errno.EEXIST, "", b"tmp/file")
    agent.call("move", "file", destination="tmp/file", flags=1)
    assert agent.read("tmp/file") == b"two"
    assert agent.failure("move", "tmp/a", destination="tmp/a/tree/b")[0] == errno.EINVAL
    assert agent.failure("move", "tmp", destination="moved")[0] == errno.EBUSY
    assert agent.failure("remove", "tmp", flags=1)[0] == errno.EBUSY
    assert agent.call("list", "tmp").names == [b"a", b"file"]


def test_move_that_fails_keeps_the_source(mounted: Callable[[Callable[[], None]], Caller], workdir: Path) -> None:
    """A full disk: the source is whole, and no half of it is at the destination."""
    (workdir / "tmp").mkdir()
    agent = mounted(lambda: mount("none", workdir / "tmp", "tmpfs", 0, "mode=1777,size=64k"))
    for i in range(10):
        agent.write(f"tree/{i}", b"x" * 20_000)
    assert agent.failure("move", "tree", destination="tmp/tree")[0] == errno.ENOSPC
    assert len(os.listdir(workdir / "tree")) == 10
    assert agent.call("list", "tmp").names == []
    assert agent.failure("write", "tmp/file", b"x" * 100_000)[0] == errno.ENOSPC
    assert agent.call("list", "tmp").names == []


def test_workdir_seen_from_another_place(mounted: Callable[[Callable[[], None]], Caller], workdir: Path) -> None:
    """The workdir, mounted elsewhere too, is still the workdir, and a tree that holds it is not emptied through it."""
    (workdir / "dir").mkdir()
    (workdir / "file").touch()
    with directory_for(None) as outside:
        (outside / "deep/work").mkdir(parents=True)
        (outside / "deep/file").touch()
        for path in [outside, outside / "deep", outside / "deep/work", outside / "deep/file", workdir / "file"]:
            give(path, USER)
        agent = mounted(lambda: mount(workdir, outside / "deep/work", flags=MS_BIND))
        assert agent.failure("remove", str(outside / "deep/work"), flags=1)[:2] == (errno.EBUSY, "protected")
        assert agent.failure("remove", str(outside / "deep"), flags=1)[0] == errno.EBUSY
        assert not (outside / "deep/file").exists()
    assert sorted(os.listdir(workdir)) == ["dir", "file"]
