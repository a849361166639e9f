"""STAT, MAKE_DIR, REMOVE, MOVE, COPY, CHMOD, REALPATH, SYMLINK and READLINK of what is no deep tree."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fileclient import Caller

PARENTS, MAY_EXIST = 1, 2
RECURSIVE, MAY_BE_MISSING = 1, 2
MOVE_REPLACE = SYMLINK_REPLACE = 1
COPY_REPLACE = 2


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(os.listdir(directory))


def mode(path: Path) -> int:
    """Return permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_stat_says_what_lstat_says(agent: Caller, workdir: Path) -> None:
    """Of every kind of file; a link is followed only if asked for."""
    agent.write("file", b"12345", mode=0o640)
    os.link(workdir / "file", workdir / "hard")
    (workdir / "dir").mkdir(mode=0o2755)
    os.mkfifo(workdir / "fifo")
    os.utime(workdir / "file", ns=(0, -1_500_000_000))
    (workdir / b"li\xffnk".decode(errors="surrogateescape")).symlink_to(
        b"ta\xffrget\n".decode(errors="surrogateescape")
    )
    (workdir / "good").symlink_to("file")
    kinds: dict[str | bytes, bytes] = {
        "file": b"f",
        "dir": b"d",
        "fifo": b"p",
        "good": b"l",
        "/dev/null": b"c",
        b"li\xffnk": b"l",
    }
    path: str | bytes
    for path, kind in kinds.items():
        told, true = agent.call("stat", path).end, os.lstat(os.path.join(os.fsencode(workdir), os.fsencode(path)))
        assert told["file_type"] == kind
        assert [told.number(name) for name in ("size", "mode", "mtime", "uid", "gid", "inode", "links", "device")] == [
            true.st_size, stat.S_IMODE(true.st_mode), true.st_mtime_ns, true.st_uid, true.st_gid, true.st_ino,
            true.st_nlink, true.st_dev,
        ]  # fmt: skip
    assert agent.call("stat", b"li\xffnk").end["target"] == b"ta\xffrget\n"
    assert "target" not in agent.call("stat", "file").end
    assert agent.call("stat", "good", flags=1).end["file_type"] == b"f"
    assert agent.failure("stat", b"li\xffnk", flags=1) == (errno.ENOENT, "", b"li\xffnk")
    assert agent.failure("stat", "file/x") == (errno.ENOTDIR, "", b"file/x")


def test_make_dir(agent: Caller, workdir: Path) -> None:
    """Like pathlib's mkdir with its parents and exist_ok."""
    agent.call("make_dir", "a")
    agent.call("make_dir", "private/", mode=0o700)
    assert (mode(workdir / "a"), mode(workdir / "private")) == (0o755, 0o700)
    assert agent.failure("make_dir", "a") == (errno.EEXIST, "", b"a")
    assert agent.failure("make_dir", "a", flags=PARENTS) == (errno.EEXIST, "", b"a")
    agent.call("make_dir", "a", flags=MAY_EXIST)
    assert agent.failure("make_dir", "b/c/d") == (errno.ENOENT, "", b"b/c/d")
    agent.call("make_dir", "b/c/d", flags=PARENTS, mode=0o700)
    assert [mode(workdir / path) for path in ("b", "b/c", "b/c/d")] == [0o755, 0o755, 0o700]
    agent.write("file")
    (workdir / "to-dir").symlink_to("a")
    (workdir / "dangling").symlink_to("nowhere")
    for path in [b"file", b"dangling"]:
        assert agent.failure("make_dir", path, flags=PARENTS | MAY_EXIST) == (errno.EEXIST, "", path)
    assert agent.failure("make_dir", "to-dir") == (errno.EEXIST, "", b"to-dir")
    for directory in ["to-dir", "to-dir/", ".", "/", "a/.."]:
        agent.call("make_dir", directory, flags=MAY_EXIST)
    agent.call("make_dir", "to-dir/x/y", flags=PARENTS)
    assert (workdir / "a/x/y").is_dir()
    assert agent.failure("make_dir", "file/x", flags=PARENTS) == (errno.ENOTDIR, "", b"file/x")
    assert agent.failure("make_dir", "dangling/x", flags=PARENTS) == (errno.ENOENT, "", b"dangling/x")


def test_remove(agent: Caller, workdir: Path) -> None:
    """Files, links (never what they lead to), empty directories; others only with the flag."""
    agent.write("dir/file")
    agent.call("make_dir", "empty")
    for name, target in [("to-dir", "dir"), ("to-file", "dir/file"), ("dangling", "nowhere")]:
        (workdir / name).symlink_to(target)
    for name in ["to-dir", "to-file", "dangling"]:
        agent.call("remove", name, flags=RECURSIVE)
    assert agent.failure("remove", "dir") == (errno.ENOTEMPTY, "", b"dir")
    agent.call("remove", "empty/")
    assert agent.failure("remove", "dir/file/") == (errno.ENOTDIR, "", b"dir/file/")
    assert agent.failure("remove", "absent") == (errno.ENOENT, "", b"absent")
    assert agent.failure("remove", "absent/x") == (errno.ENOENT, "", b"absent/x")
    agent.call("remove", "absent", flags=MAY_BE_MISSING)
    agent.call("remove", "absent/x", flags=MAY_BE_MISSING | RECURSIVE)
    assert agent.failure("remove", "dir/file/x", flags=MAY_BE_MISSING) == (errno.ENOTDIR, "", b"dir/file/x")
    agent.call("remove", "dir", flags=RECURSIVE)
    assert names(workdir) == []


def test_slash_after_a_link(agent: Caller, workdir: Path) -> None:
    """`link/` is not a way to remove what is behind the link."""
    agent.write("dir/file")
    (workdir / "link").symlink_to("dir")
    for flags in [0, RECURSIVE]:
        assert agent.failure("remove", "link/", flags=flags) == (errno.ENOTDIR, "", b"link/")
    assert (workdir / "dir/file").exists()
    assert agent.failure("move", "link/", destination="x") == (errno.ENOTDIR, "", b"link/")


def test_what_must_stay(agent: Caller, workdir: Path) -> None:
    """The workdir and the directories above it, however they are named."""
    agent.call("make_dir", "dir")
    (workdir / "self").symlink_to(".")
    above = workdir.parent.name
    for path in [
        ".",
        "..",
        "/",
        "",
        "dir/..",
        f"../../{above}",
        f"../../{above}/work",
        str(workdir),
        f"{workdir}/",
        "//",
        "self/../work",
    ]:
        for flags in [0, RECURSIVE]:
            failure = agent.failure("remove", path, flags=flags)
            assert failure == ((errno.ENOENT, "", b"") if path == "" else (errno.EBUSY, "protected", path.encode()))
    for path in [str(workdir), "..", str(workdir.parent)]:
        assert agent.failure("move", path, destination="/tmp/elsewhere")[:2] in {
            (errno.EBUSY, "protected"), (errno.EEXIST, ""),
        }  # fmt: skip
    agent.call("make_dir", "../work/empty")
    agent.call("remove", "empty")
    assert agent.failure("remove", "dir/.", flags=RECURSIVE) == (errno.EINVAL, "", b"dir/.")
    assert names(workdir) == ["dir", "self"]


def test_workdir_is_not_replaced(agent: Caller, workdir: Path) -> None:
    """An empty workdir would give way to a rename."""
    other = Path(str(workdir) + "-other")
    other.mkdir()
    os.chown(other, agent.uid, -1) if os.geteuid() == 0 else None
    assert agent.failure("move", str(other), destination=str(workdir), flags=MOVE_REPLACE)[:2] in {
        (errno.EBUSY, "protected"), (errno.EACCES, ""),
    }  # fmt: skip
    assert other.exists()


def test_move(agent: Caller, workdir: Path) -> None:
    """A rename: into new parents, never into what is there, over it only with the flag."""
    agent.write("file", b"content")
    agent.call("move", "file", destination="a/b/moved")
    assert agent.read("a/b/moved") == b"content"
    agent.write("other", b"other")
    assert agent.failure("move", "other", destination="a/b/moved") == (errno.EEXIST, "", b"a/b/moved")
    assert agent.failure("move", "other", destination="a") == (errno.EEXIST, "", b"a")
    assert agent.failure("move", "other", destination="a", flags=MOVE_REPLACE) == (errno.EISDIR, "", b"a")
    assert agent.failure("move", "a/b", destination="other", flags=MOVE_REPLACE) == (errno.ENOTDIR, "", b"other")
    agent.call("move", "other", destination="a/b/moved", flags=MOVE_REPLACE)
    assert agent.read("a/b/moved") == b"other"
    agent.call("make_dir", "empty")
    agent.call("move", "a", destination="empty", flags=MOVE_REPLACE)
    agent.call("make_dir", "again")
    assert agent.failure("move", "again", destination="empty", flags=MOVE_REPLACE) == (errno.ENOTEMPTY, "", b"empty")
    assert agent.failure("move", "empty", destination="empty/b/c") == (errno.EINVAL, "", b"empty/b/c")
    assert agent.failure("move", "absent", destination="new/parent/x") == (errno.ENOENT, "", b"absent")
    assert agent.failure("move", "empty/b/moved", destination="x/") == (errno.ENOTDIR, "", b"x/")
    agent.call("move", "again/", destination="renamed/")
    assert names(workdir) == ["empty", "renamed"]


def test_move_of_links(agent: Caller, workdir: Path) -> None:
    """The link moves, and a link at the destination is replaced itself."""
    agent.write("file", b"content")
    (workdir / "link").symlink_to("file")
    (workdir / "target").symlink_to("file")
    agent.call("move", "link", destination="moved")
    agent.call("move", "moved", destination="target", flags=MOVE_REPLACE)
    assert os.readlink(workdir / "target") == "file"
    agent.write("new", b"new")
    agent.call("move", "new", destination="target", flags=MOVE_REPLACE)
    assert agent.read("file") == b"content"
    assert not (workdir / "target").is_symlink()


def test_move_between_two_names_of_one_file(agent: Caller, workdir: Path) -> None:
    """The kernel does nothing and says that it did: the old name is then removed."""
    agent.write("one", b"content")
    os.link(workdir / "one", workdir / "two")
    assert agent.failure("move", "one", destination="two") == (errno.EEXIST, "", b"two")
    agent.call("move", "one", destination="./one", flags=MOVE_REPLACE)
    assert names(workdir) == ["one", "two"]
    agent.call("move", "one", destination="two", flags=MOVE_REPLACE)
    assert names(workdir) == ["two"]
    assert agent.read("two") == b"content"


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_copy_file(agent: Caller, workdir: Path, size: int) -> None:
    """Content, mode and mtime; large ones too, which another process does."""
    content = os.urandom(size)
    agent.write("file", content, mode=0o751)
    os.utime(workdir / "file", ns=(0, 1_234_567_890_123_456_789))
    assert agent.call("copy", "file", destination="a/copy").end.number("count") == 1
    assert agent.read("a/copy") == content
    copied = (workdir / "a/copy").stat()
    assert (mode(workdir / "a/copy"), copied.st_mtime_ns, copied.st_uid) == (
        0o751,
        1_234_567_890_123_456_789,
        agent.uid,
    )
    assert agent.failure("copy", "file", destination="a/copy") == (errno.EEXIST, "", b"a/copy")
    assert agent.failure("copy", "file", destination="a", flags=COPY_REPLACE) == (errno.EISDIR, "", b"a")
    agent.write("file", b"other")
    agent.call("copy", "file", destination="a/copy", flags=COPY_REPLACE)
    assert agent.read("a/copy") == b"other"
    assert names(workdir / "a") == ["copy"]


def test_copy_of_holes(agent: Caller, workdir: Path) -> None:
    """A file that is mostly a hole stays one."""
    agent.write("sparse")
    agent.call("chmod", "sparse", mode=0o666)
    with (workdir / "sparse").open("r+b") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    agent.call("copy", "sparse", destination="copy")
    assert (workdir / "copy").stat().st_size == 64 << 20
    assert (workdir / "copy").stat().st_blocks * 512 < 8 << 20
    with (workdir / "copy").open("rb") as file:
        file.seek(32 << 20)
        assert file.read(6) == b"middle"


def test_copy_of_other_things(agent: Caller, workdir: Path) -> None:
    """Links as links, files of proc by reading, FIFOs and devices not at all, directories only with the flag."""
    (workdir / "link").symlink_to("nowhere")
    agent.call("copy", "link", destination="copied-link")
    assert os.readlink(workdir / "copied-link") == "nowhere"
    agent.write("file", b"kept")
    agent.call("copy", "file", destination="copied-link", flags=COPY_REPLACE)
    agent.call("copy", "link", destination="file", flags=COPY_REPLACE)
    assert os.readlink(workdir / "file") == "nowhere"
    agent.call("copy", "/proc/self/status", destination="status")
    assert agent.read("status").startswith(b"Name:")
    os.mkfifo(workdir / "fifo")
    assert agent.failure("copy", "fifo", destination="x") == (errno.EINVAL, "special", b"fifo")
    assert agent.failure("copy", "/dev/zero", destination="x") == (errno.EINVAL, "special", b"/dev/zero")
    agent.call("make_dir", "dir/sub", flags=PARENTS)
    assert agent.failure("copy", "dir", destination="x") == (errno.EISDIR, "", b"dir")
    assert agent.failure("copy", "dir", destination="dir/sub/x", flags=RECURSIVE) == (errno.EINVAL, "", b"dir/sub/x")
    assert agent.failure("copy", "absent", destination="new/x") == (errno.ENOENT, "", b"absent")
    assert agent.failure("copy", "dir", destination="status", flags=3) == (errno.ENOTDIR, "", b"status")
    assert not (workdir / "x").exists()
    assert not (workdir / "new").exists()


def test_chmod(agent: Caller, workdir: Path) -> None:
    """Follows a link, works on what can't be read, and on what is no regular file."""
    agent.write("file")
    (workdir / "link").symlink_to("file")
    agent.call("chmod", "link", mode=0)
    assert mode(workdir / "file") == 0
    agent.call("chmod", "file", mode=0o4755)
    assert mode(workdir / "file") == 0o4755
    agent.call("make_dir", "dir")
    agent.call("chmod", "dir", mode=0o1777)
    assert mode(workdir / "dir") == 0o1777
    assert agent.failure("chmod", "absent", mode=0o600) == (errno.ENOENT, "", b"absent")
    if agent.uid:
        assert agent.failure("chmod", "/etc/passwd", mode=0o777) == (errno.EPERM, "", b"/etc/passwd")


def test_realpath(agent: Caller, workdir: Path) -> None:
    """Without links, `.` and `..`; of what exists."""
    agent.write(b"a/\xff/file")
    (workdir / "link").symlink_to(workdir / "a")
    (workdir / "dangling").symlink_to("nowhere")
    root = os.fsencode(workdir.resolve())
    for path, real in [
        (b".", b""), (b"a/..", b""), (b"link/\xff/./../\xff//file", b"/a/\xff/file"),
        (os.fsencode(workdir) + b"/link", b"/a"),
    ]:  # fmt: skip
        assert agent.call("realpath", path).end["path"] == root + real
    assert agent.call("realpath", "/").end["path"] == b"/"
    assert agent.failure("realpath", "dangling") == (errno.ENOENT, "", b"dangling")
    assert agent.failure("realpath", b"a/\xff/file/") == (errno.ENOTDIR, "", b"a/\xff/file/")
    assert agent.failure("realpath", b"a/\xff/file/..") == (errno.ENOTDIR, "", b"a/\xff/file/..")


def test_links(agent: Caller, workdir: Path) -> None:
    """Made with any target, replaced only where a link is, read as they are."""
    agent.call("symlink", "a/link", target=b"any \xff bytes\n")
    assert agent.call("readlink", "a/link").end["target"] == b"any \xff bytes\n"
    assert agent.failure("symlink", "a/link", target="x") == (errno.EEXIST, "", b"a/link")
    agent.call("symlink", "a/link", target="x" * 4095, flags=SYMLINK_REPLACE)
    assert agent.call("readlink", "a/link").end["target"] == b"x" * 4095
    agent.write("file", b"kept")
    for path in [b"file", b"a", b"."]:
        assert agent.failure("symlink", path, target="x", flags=SYMLINK_REPLACE) == (errno.EEXIST, "", path)
    assert agent.failure("symlink", "new", target="") == (errno.ENOENT, "", b"new")
    for path in [b"file", b"a"]:
        assert agent.failure("readlink", path) == (errno.EINVAL, "", path)
    assert agent.failure("readlink", "absent") == (errno.ENOENT, "", b"absent")
    assert agent.read("file") == b"kept"
    assert names(workdir / "a") == ["link"]
