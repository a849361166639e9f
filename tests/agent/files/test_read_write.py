"""READ and WRITE: what they open, what they refuse, and what is there afterwards."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from fileclient import APPEND, EXCLUSIVE, NO_PARENTS, Caller

NAMES = [b"plain", b"new\nline", b"\xff\xfe\x80", b" ", b"-rf", b"*?[", b"n" * 255, "ü€𝄞".encode(), b".hidden", b"\\"]


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(os.listdir(directory))


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_name_and_content_survive(agent: Caller, workdir: Path, name: bytes) -> None:
    """A name of any bytes, a content of any bytes."""
    content = bytes(range(256)) * 3
    assert agent.write(name, content) == len(content)
    assert os.listdir(os.fsencode(workdir)) == [name]
    assert agent.read(name) == content


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_000])
def test_content_of_any_size(agent: Caller, size: int) -> None:
    """Nothing, a byte, and more than the windows of both directions."""
    content = os.urandom(size)
    agent.write("file", content)
    answer = agent.call("read", "file")
    assert answer.data == content
    assert answer.reply is not None
    assert (answer.reply.number("size"), answer.reply.number("mode")) == (size, 0o644)
    assert answer.end.number("size") == size


def test_offset_and_limit(agent: Caller) -> None:
    """More than the limit is refused with the size, unless the first bytes will do."""
    agent.write("file", b"0123456789")
    assert agent.read("file", offset=3) == b"3456789"
    assert agent.read("file", offset=3, limit=7) == b"3456789"
    assert agent.read("file", offset=20, limit=1) == b""
    assert agent.failure("read", "file", limit=9) == (errno.EFBIG, "too-large", b"file")
    assert agent.read("file", limit=4, flags=1) == b"0123"
    assert agent.read("file", offset=8, limit=4, flags=1) == b"89"


def test_files_of_proc_have_no_size(agent: Caller) -> None:
    """Their end is only found by reading, and so is that they are over the limit."""
    assert agent.read("/proc/self/status").startswith(b"Name:")
    assert agent.failure("read", "/proc/self/status", limit=5) == (errno.EFBIG, "too-large", b"/proc/self/status")
    assert agent.read("/proc/self/status", limit=5, flags=1) == b"Name:"


def test_what_is_no_file_is_never_waited_for(agent: Caller, workdir: Path) -> None:
    """A FIFO without a writer, a socket, a device: neither READ nor WRITE hangs or has an effect."""
    os.mkfifo(workdir / "fifo", 0o666)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(workdir / "socket"))
        (workdir / "link").symlink_to("fifo")
        for path in [b"fifo", b"socket", b"link", b"/dev/zero", b"/dev/null", b"/dev/tty"]:
            for operation in ["read", "write"]:
                assert agent.failure(operation, path) == (errno.EINVAL, "special", path)
    assert agent.failure("write", "fifo", flags=APPEND) == (errno.EINVAL, "special", b"fifo")
    assert stat.S_ISFIFO(os.stat(workdir / "fifo").st_mode)


def test_directories_and_paths_through_files(agent: Caller, workdir: Path) -> None:
    """EISDIR and ENOTDIR, as open(2) says."""
    (workdir / "dir").mkdir()
    (workdir / "file").write_bytes(b"kept")
    for path in [b"dir", b"dir/", b".", b"dir/..", b"/"]:
        assert agent.failure("read", path) == (errno.EISDIR, "", path)
        assert agent.failure("write", path) == (errno.EISDIR, "", path)
        assert agent.failure("write", path, flags=APPEND)[0] == errno.EISDIR
    for path in [b"file/x", b"file/", b"file/x/y"]:
        assert agent.failure("read", path) == (errno.ENOTDIR, "", path)
        assert agent.failure("write", path) == (errno.ENOTDIR, "", path)
    assert agent.failure("write", b"absent/") == (errno.EISDIR, "", b"absent/")
    assert (workdir / "file").read_bytes() == b"kept"


def test_errors_of_names(agent: Caller) -> None:
    """What the kernel says of a path, with the path as it was asked for."""
    assert agent.failure("read", "absent") == (errno.ENOENT, "", b"absent")
    assert agent.failure("read", "a/b") == (errno.ENOENT, "", b"a/b")
    assert agent.failure("write", b"n" * 256) == (errno.ENAMETOOLONG, "", b"n" * 256)
    assert agent.failure("read", b"d/" * 2048 + b"x")[0] == errno.ENAMETOOLONG
    assert agent.failure("write", b"d/" * 2048 + b"x")[0] == errno.ENAMETOOLONG
    assert agent.failure("read", b"")[0] == agent.failure("write", b"")[0] == errno.ENOENT


def test_parents_are_made(agent: Caller, workdir: Path) -> None:
    """Unless they shall not be; their mode is 0777 less the umask."""
    assert agent.failure("write", "a/b/c", flags=NO_PARENTS) == (errno.ENOENT, "", b"a/b/c")
    agent.write("a/b//./../b/c", b"x")
    assert agent.read("a/b/c") == b"x"
    assert stat.S_IMODE((workdir / "a/b").stat().st_mode) == 0o755
    assert (workdir / "a").stat().st_uid == agent.uid


def test_modes(agent: Caller, workdir: Path) -> None:
    """A new file's is asked for, less the umask; a replaced one keeps its own, but setuid and setgid."""
    agent.write("default")
    agent.write("asked", mode=0o777)
    agent.write("private", mode=0o600)
    agent.write("private", b"again", mode=0o777)
    (workdir / "suid").touch()
    (workdir / "suid").chmod(0o6755)
    if agent.uid:
        os.chown(workdir / "suid", agent.uid, agent.uid)
        (workdir / "suid").chmod(0o6755)
    agent.write("suid", b"x")
    modes = {name: stat.S_IMODE((workdir / name).stat().st_mode) for name in names(workdir)}
    assert modes == {"default": 0o644, "asked": 0o755, "private": 0o600, "suid": 0o755}


def test_replacing_is_atomic_for_readers(agent: Caller, workdir: Path) -> None:
    """Whoever has the file open goes on reading the old content; no temporary file is left."""
    agent.write("file", b"old" * 1000)
    with (workdir / "file").open("rb") as old:
        agent.write("file", b"new")
        assert old.read() == b"old" * 1000
    assert agent.read("file") == b"new"
    assert names(workdir) == ["file"]


def test_cancel_leaves_nothing(agent: Caller, workdir: Path) -> None:
    """Neither half a new file nor a temporary one; a file that was there is unchanged."""
    agent.write("file", b"old")
    for path in ["file", "new"]:
        stream = agent.begin("write", path)
        agent.send(stream, b"half")
        assert agent.cancel(stream).number("errno") == errno.ECANCELED
    assert names(workdir) == ["file"]
    assert agent.read("file") == b"old"


def test_lost_connection_leaves_nothing(binary: Path, workdir: Path, uid: int | None) -> None:
    """Also when the host dies in the middle of a write."""
    agent = Caller(binary, workdir, uid)
    stream = agent.begin("write", "new")
    agent.send(stream, b"half")
    while not names(workdir):
        time.sleep(0.01)
    agent.end()
    assert names(workdir) == []


def test_append(agent: Caller, workdir: Path) -> None:
    """Adds to what is there, or makes it; the same file, not another one."""
    agent.write("log", b"one\n", flags=APPEND, mode=0o660)
    before = (workdir / "log").stat()
    agent.write("log", b"two\n", flags=APPEND, mode=0o600)
    after = (workdir / "log").stat()
    assert (workdir / "log").read_bytes() == b"one\ntwo\n"
    assert (before.st_ino, before.st_mode & 0o777) == (after.st_ino, after.st_mode & 0o777) == (before.st_ino, 0o640)
    (workdir / "link").symlink_to("log")
    agent.write("link", b"three\n", flags=APPEND)
    assert (workdir / "log").read_bytes() == b"one\ntwo\nthree\n"


def test_exclusive(agent: Caller, workdir: Path) -> None:
    """Anything that is there counts: a file, a directory, a link that leads nowhere."""
    (workdir / "dangling").symlink_to("nowhere")
    (workdir / "dir").mkdir()
    agent.write("file", b"first", flags=EXCLUSIVE)
    for flags in [EXCLUSIVE, EXCLUSIVE | APPEND]:
        assert agent.failure("write", "file", flags=flags) == (errno.EEXIST, "", b"file")
        assert agent.failure("write", "dangling", flags=flags) == (errno.EEXIST, "", b"dangling")
    assert agent.failure("write", "dir", flags=EXCLUSIVE)[0] in (errno.EEXIST, errno.EISDIR)
    assert agent.read("file") == b"first"
    assert names(workdir) == ["dangling", "dir", "file"]


def test_exclusive_against_what_comes_meanwhile(agent: Caller, workdir: Path) -> None:
    """The file may appear after the write began; it stays."""
    stream = agent.begin("write", "file", flags=EXCLUSIVE)
    agent.send(stream, b"late")
    while not names(workdir):
        time.sleep(0.01)
    (workdir / "file").write_bytes(b"early")
    assert agent.finish(stream).number("errno") == errno.EEXIST
    assert (workdir / "file").read_bytes() == b"early"
    assert names(workdir) == ["file"]


def test_links_are_followed(agent: Caller, workdir: Path) -> None:
    """A link stays a link; what it leads to is written, also where nothing is yet, from the link's own directory."""
    (workdir / "a").mkdir()
    (workdir / "b").mkdir()
    if agent.uid:
        os.chown(workdir / "a", agent.uid, -1)
        os.chown(workdir / "b", agent.uid, -1)
    (workdir / "b/file").write_bytes(b"old")
    if agent.uid:
        os.chown(workdir / "b/file", agent.uid, -1)
    (workdir / "a/relative").symlink_to("../b/file")
    (workdir / "chain").symlink_to("a/relative")
    (workdir / "a/absolute").symlink_to(workdir / "b/absolute")
    (workdir / "a/dangling").symlink_to("../b/new")
    (workdir / "no-parent").symlink_to("c/new")
    for path, target in [
        ("chain", "b/file"),
        ("a/relative", "b/file"),
        ("a/absolute", "b/absolute"),
        ("a/dangling", "b/new"),
    ]:
        agent.write(path, path.encode())
        assert (workdir / path).is_symlink()
        assert (workdir / target).read_bytes() == path.encode()
    assert agent.failure("write", "no-parent") == (errno.ENOENT, "", b"no-parent")
    assert names(workdir / "a") == ["absolute", "dangling", "relative"]


def test_link_loops(agent: Caller, workdir: Path) -> None:
    """ELOOP for a loop and for more than 40 links; 40 are fine."""
    (workdir / "x").symlink_to("y")
    (workdir / "y").symlink_to("x")
    (workdir / "l0").symlink_to("end")
    for i in range(41):
        (workdir / f"l{i + 1}").symlink_to(f"l{i}")
    for path in [b"x", b"l40"]:
        assert agent.failure("read", path) == (errno.ELOOP, "", path)
        assert agent.failure("write", path) == (errno.ELOOP, "", path)
    agent.write("l39", b"end")
    assert agent.read("end") == b"end"


def test_links_of_proc(agent: Caller, workdir: Path) -> None:
    """Where they lead cannot be named; the file itself is written, in place."""
    (workdir / "file").write_bytes(b"old content")
    (workdir / "file").chmod(0o666)
    with (workdir / "file").open() as open_file:
        os.unlink(workdir / "file")
        path = f"/proc/{os.getpid()}/fd/{open_file.fileno()}"
        if agent.uid and os.geteuid() == 0:
            assert agent.failure("write", path)[0] == errno.EACCES  # not its process
        else:
            agent.write(path, b"new")
            assert os.pread(open_file.fileno(), 100, 0) == b"new"
    assert names(workdir) == []


def test_unreadable_and_unwritable(agent: Caller, workdir: Path) -> None:
    """EACCES, also where the directory would let the file be replaced; root may all."""
    (workdir / "file").write_bytes(b"kept")
    (workdir / "file").chmod(0o444 if agent.uid else 0)
    if agent.uid and os.geteuid() == 0:
        (workdir / "file").chmod(0)
    if not agent.uid:
        agent.write("file", b"root")
        return
    assert agent.failure("write", "file") == (errno.EACCES, "", b"file")
    assert agent.failure("write", "file", flags=APPEND) == (errno.EACCES, "", b"file")
    assert (workdir / "file").lstat().st_size == 4
    assert names(workdir) == ["file"]


def test_directory_that_takes_no_temporary_file(agent: Caller, workdir: Path) -> None:
    """An existing file is then written in place, a new one is refused."""
    if not agent.uid:
        return
    directory = workdir / "dir"
    directory.mkdir()
    (directory / "file").write_bytes(b"a long content that is cut")
    os.chown(directory / "file", agent.uid, -1) if os.geteuid() == 0 else None
    inode = (directory / "file").stat().st_ino
    directory.chmod(0o555)
    agent.write("dir/file", b"short")
    assert (directory / "file").read_bytes() == b"short"
    assert (directory / "file").stat().st_ino == inode
    assert agent.failure("write", "dir/new") == (errno.EACCES, "", b"dir/new")
    assert agent.failure("write", "dir/a/b") == (errno.EACCES, "", b"dir/a/b")


def test_owner_is_kept(agent: Caller, workdir: Path) -> None:
    """Of a file of someone else that we may write: by giving it back, or by writing in place."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (workdir / "file").write_bytes(b"old")
    os.chown(workdir / "file", 1234, 1235)
    (workdir / "file").chmod(0o646)
    agent.write("file", b"new")
    after = (workdir / "file").stat()
    assert (after.st_uid, after.st_gid, after.st_mode & 0o777) == (1234, 1235, 0o646)
    assert (workdir / "file").read_bytes() == b"new"
    assert names(workdir) == ["file"]


def test_sticky_directory(agent: Caller, workdir: Path) -> None:
    """Where only the owner may replace a file, one that we may write is written all the same."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(workdir, 1234, 1234)
    workdir.chmod(0o1777)
    (workdir / "file").write_bytes(b"old and long")
    os.chown(workdir / "file", 1234, agent.uid)
    (workdir / "file").chmod(0o666)
    agent.write("file", b"new")
    assert (workdir / "file").read_bytes() == b"new"
    assert (workdir / "file").stat().st_uid == 1234
    assert names(workdir) == ["file"]


def test_running_program_is_replaced(agent: Caller, workdir: Path) -> None:
    """ETXTBSY is no matter where a new file takes the place."""
    agent.write("sleep", Path("/bin/sleep").read_bytes(), mode=0o755)
    pid = os.spawnv(os.P_NOWAIT, str(workdir / "sleep"), ["sleep", "60"])  # noqa: S606
    try:
        time.sleep(0.1)
        agent.write("sleep", b"new")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert agent.read("sleep") == b"new"


def test_readers_never_see_half(agent: Caller, workdir: Path) -> None:
    """A reader in a loop sees one content or the other, whole."""
    contents = {b"a" * 100_000, b"b" * 200_000}
    agent.write("file", b"a" * 100_000)
    seen: set[bytes] = set()
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            seen.add((workdir / "file").read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(50):
        for content in contents:
            agent.write("file", content)
    end.set()
    thread.join()
    assert seen <= contents
