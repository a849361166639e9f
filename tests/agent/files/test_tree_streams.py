"""PACK and UNPACK: what comes out goes in again, and nothing that the stream or the sandbox holds leads outside."""

from __future__ import annotations

import errno
import os
import random
import stat
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fileclient import Caller, tree_stream
from samebox.agent.records import decode_record

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.agent.records import Record

REPLACE = 1
ROOT = (b"", "d", b"")


def parse(data: bytes) -> list[tuple[Record, bytes]]:
    """Take a tree stream apart."""
    items = []
    at = 0
    while (length := struct.unpack_from(">I", data, at)[0]) > 0:
        record = decode_record(data[at + 4 : at + 4 + length])
        at += 4 + length
        size = record.number("size") if record["file_type"] == b"f" else 0
        items.append((record, data[at : at + size]))
        at += size
    assert at + 4 == len(data)
    return items


def test_pack_then_unpack(agent: Caller, workdir: Path) -> None:
    """A tree of odd names, modes, times and links comes back as it was."""
    for i, name in enumerate(
        [b"a\nb", b"\xff\xfe", b"n" * 255, b"-rf", b" ", "é".encode(), b"sub/deeper/file", b"empty"]
    ):
        agent.write(b"t/" + name, os.urandom(i * 40_000), mode=0o640 + i)
    agent.call("make_dir", "t/closed", mode=0o500)
    agent.call("symlink", "t/link", target=b"anything \xff")
    agent.call("symlink", "t/sub/up", target="../..")
    for path in ["t/closed", "t/sub/deeper/file", "t/sub/deeper", "t/sub", "t"]:
        os.utime(workdir / path, ns=(0, 1_000_000_000_123_456_789 + len(path)))
    os.utime(workdir / "t/link", ns=(0, 5_000_000_006), follow_symlinks=False)
    os.mkfifo(workdir / "t/fifo")
    answer = agent.call("pack", "t")
    items = parse(answer.data)
    assert answer.end.number("count") == len(items) == 14
    assert items[0][0]["name"] == b""
    assert agent.call("unpack", "new/copy", answer.data).end.number("count") == 14
    again = agent.call("pack", "new/copy").data
    assert [
        (r["name"], r["file_type"], r["mode"], r["mtime"], c) for r, c in parse(again) if r["file_type"] != b"l"
    ] == [(r["name"], r["file_type"], r["mode"], r["mtime"], c) for r, c in items if r["file_type"] != b"l"]
    assert [(r["name"], r["target"], r["mtime"]) for r, _ in parse(again) if r["file_type"] == b"l"] == [
        (r["name"], r["target"], r["mtime"]) for r, _ in items if r["file_type"] == b"l"
    ]


def test_single_file(agent: Caller, workdir: Path) -> None:
    """The root may be a file, or a link to one; UNPACK makes parents, and follows a link as WRITE does."""
    agent.write("file", b"content", mode=0o700)
    (workdir / "link").symlink_to("file")
    data = agent.call("pack", "link").data
    assert [(r["name"], r["file_type"], c) for r, c in parse(data)] == [(b"", b"f", b"content")]
    agent.call("unpack", "a/b/file", data)
    assert (workdir / "a/b/file").read_bytes() == b"content"
    assert stat.S_IMODE((workdir / "a/b/file").stat().st_mode) == 0o700
    assert agent.failure("unpack", "a/b/file", data) == (errno.EEXIST, "", b"a/b/file")
    agent.write("a/target", b"old")
    (workdir / "a/link").symlink_to("target")
    agent.call("unpack", "a/link", data, flags=REPLACE)
    assert (workdir / "a/target").read_bytes() == b"content"
    assert (workdir / "a/link").is_symlink()
    assert agent.failure("unpack", "a", data, flags=REPLACE) == (errno.EISDIR, "", b"a")
    agent.call("unpack", "new-link", tree_stream((b"", "l", b"target")))
    assert os.readlink(workdir / "new-link") == "target"


def test_refuses_to_pack(agent: Caller, workdir: Path) -> None:
    """What is not there, and what is neither file nor directory."""
    os.mkfifo(workdir / "fifo")
    assert agent.failure("pack", "fifo") == (errno.EINVAL, "special", b"fifo")
    assert agent.failure("pack", "/dev/zero") == (errno.EINVAL, "special", b"/dev/zero")
    assert agent.failure("pack", "absent") == (errno.ENOENT, "", b"absent")


@pytest.mark.parametrize(
    "name", [b"/x", b"../x", b"a/../x", b"a//x", b"./x", b"a/.", b"..", b".", b"a/", b"/", b"a/../../x", b""]
)
def test_names_that_lead_out(agent: Caller, workdir: Path, name: bytes) -> None:
    """Are refused before anything is made."""
    for kind, data in [("f", b"x"), ("d", b""), ("l", b"x")]:
        stream = tree_stream(ROOT, (b"a", "d", b""), (name, kind, data))
        assert agent.failure("unpack", "t", stream, flags=REPLACE)[:2] == (errno.EINVAL, "escape")
        assert os.listdir(workdir) == ["t"]


def test_never_through_links(agent: Caller, workdir: Path) -> None:
    """Of the stream's own, or of the sandbox; a link where a directory shall be is not followed or replaced."""
    agent.write("outside/file", b"kept")
    stream = tree_stream(ROOT, (b"link", "l", b"../outside"), (b"link/file", "f", b"x"))
    assert agent.failure("unpack", "t", stream, flags=REPLACE) == (errno.ENOTDIR, "", b"t/link/file")
    (workdir / "u").mkdir()
    (workdir / "u/dir").symlink_to("../outside")
    if agent.uid:
        os.chown(workdir / "u", agent.uid, -1)
    stream = tree_stream(ROOT, (b"dir", "d", b""), (b"dir/file", "f", b"x"))
    for flags in [0, REPLACE]:
        assert agent.failure("unpack", "u", stream, flags=flags) == (errno.EEXIST, "", b"u/dir")
    stream = tree_stream(ROOT, (b"dir/file", "f", b"x"))
    assert agent.failure("unpack", "u", stream, flags=REPLACE) == (errno.ENOTDIR, "", b"u/dir/file")
    stream = tree_stream(ROOT, (b"dir", "f", b"x"))
    agent.call("unpack", "u", stream, flags=REPLACE)
    assert (workdir / "u/dir").read_bytes() == b"x"
    assert os.listdir(workdir / "outside") == ["file"]
    assert (workdir / "outside/file").read_bytes() == b"kept"


def test_into_what_is_there(agent: Caller, workdir: Path) -> None:
    """Directories are merged and keep their modes; files only give way with the flag, each at once."""
    agent.write("t/dir/kept", b"kept")
    agent.write("t/dir/file", b"old")
    (workdir / "t/dir").chmod(0o711)
    (workdir / "to-t").symlink_to("t")
    stream = tree_stream(
        (b"", "d", b"", 0o700), (b"dir", "d", b"", 0o777), (b"dir/file", "f", b"new", 0o6755), (b"dir/link", "l", b"x"),
    )  # fmt: skip
    assert agent.failure("unpack", "t", stream) == (errno.EEXIST, "", b"t/dir/file")
    for path in ["t", "to-t", "to-t/"]:
        agent.call("unpack", path, stream, flags=REPLACE)
    assert sorted(os.listdir(workdir / "t/dir")) == ["file", "kept", "link"]
    assert (workdir / "t/dir/file").read_bytes() == b"new"
    assert [stat.S_IMODE((workdir / path).stat().st_mode) for path in ("t", "t/dir", "t/dir/file")] == [
        0o755,
        0o711,
        0o755,
    ]
    assert (workdir / "t/dir/file").stat().st_mtime_ns == 1_234_567_890_000_000_001
    agent.call("unpack", ".", tree_stream(ROOT, (b"at-the-top", "f", b"x")))
    assert (workdir / "at-the-top").exists()
    assert agent.failure("unpack", "t", tree_stream(ROOT, (b"dir", "f", b"")), flags=REPLACE) == (
        errno.EISDIR,
        "",
        b"t/dir",
    )
    assert agent.failure("unpack", "t", tree_stream(ROOT, (b"dir", "l", b"x")), flags=REPLACE) == (
        errno.EISDIR,
        "",
        b"t/dir",
    )
    assert agent.failure("unpack", "t", tree_stream(ROOT, (b"dir/file", "d", b"")), flags=REPLACE)[0] == errno.EEXIST
    assert agent.failure("unpack", "at-the-top", tree_stream(ROOT), flags=REPLACE) == (
        errno.EEXIST,
        "",
        b"at-the-top",
    )


def test_any_order_below_the_root(agent: Caller, workdir: Path) -> None:
    """Breadth first as well as depth first, into directories whose modes forbid it in the end."""
    stream = tree_stream(
        (b"", "d", b"", 0o500), (b"a", "d", b"", 0), (b"b", "d", b"", 0o100), (b"a/x", "d", b"", 0), (b"b/x", "d", b""),
        (b"a/x/file", "f", b"1"), (b"b/x/file", "f", b"2"), (b"a/file", "f", b"3"), (b"file", "f", b"4"),
    )  # fmt: skip
    agent.call("unpack", "t", stream)
    assert stat.S_IMODE((workdir / "t").stat().st_mode) == 0o500
    assert (workdir / "t/a").stat().st_mtime_ns == 1_234_567_890_000_000_001
    assert [stat.S_IMODE((workdir / "t" / path).stat().st_mode) for path in ("a", "b", "a/x", "b/x")] == [
        0,
        0o100,
        0,
        0o755,
    ]
    assert (workdir / "t/a/x/file").read_bytes() + (workdir / "t/b/x/file").read_bytes() == b"12"
    assert agent.failure("unpack", "u", tree_stream(ROOT, (b"a/file", "f", b"")))[0] == errno.ENOENT


def test_broken_streams(agent: Caller, workdir: Path) -> None:
    """EPROTO and nothing half-written, wherever it is cut, and whatever is in it."""
    good = tree_stream(ROOT, (b"d", "d", b""), (b"d/file", "f", b"x" * 100), (b"z", "l", b"x"))
    for cut in [*range(0, len(good), 7), len(good) - 1]:
        assert agent.failure("unpack", "t", good[:cut], flags=REPLACE)[:2] == (errno.EPROTO, "")
        if (workdir / "t/d").exists():
            assert {*os.listdir(workdir / "t/d")} <= {"file"}
            if (workdir / "t/d/file").exists():
                assert (workdir / "t/d/file").stat().st_size == 100
    for i, stream in enumerate([
        tree_stream(), tree_stream((b"x", "f", b"")), tree_stream((b"", "f", b""), (b"x", "f", b"")),
        tree_stream((b"", "p", b"")),
        b"\xff\xff\xff\xff" + b"x" * 100, b"\0\0\0\1x", tree_stream(ROOT, (b"a\0b", "f", b"")),
        tree_stream(ROOT, (b"x", "x", b"")),
    ]):  # fmt: skip
        assert agent.failure("unpack", f"u/{i}", stream, flags=REPLACE)[:2] == (errno.EPROTO, ""), stream
    made = random.Random(3)  # noqa: S311 - the same each time
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(made.randint(1, 4)):
            broken[made.randrange(len(broken))] = made.randrange(256)
        agent.attempt("unpack", "v", bytes(broken), flags=REPLACE)
    assert {*os.listdir(workdir)} <= {"t", "u", "v"}
    assert agent.call("list", ".").end.number("count") > 0


def test_cancel_removes_what_is_half_written(agent: Caller, workdir: Path) -> None:
    """The files before it stay."""
    stream = agent.begin("unpack", "t")
    agent.send(stream, tree_stream(ROOT, (b"one", "f", b"1"), (b"two", "f", b"x" * 100_000), end=False)[:-50_000])
    while not (workdir / "t/one").exists() or not list(workdir.glob("t/.samebox*")):
        time.sleep(0.01)
    assert agent.cancel(stream).number("errno") == errno.ECANCELED
    assert os.listdir(workdir / "t") == ["one"]


SHRINKER = """
import os, sys
print(flush=True)
fd = os.open(sys.argv[1], os.O_RDWR)
while True:
    os.ftruncate(fd, 10)
    os.ftruncate(fd, 3_000_000)
"""


def test_files_that_change_while_they_are_packed(agent: Caller, workdir: Path) -> None:
    """Exactly the announced number of bytes follows, whatever becomes of the file."""
    agent.write("t/file", b"x" * 3_000_000)
    agent.write("t/z", b"end")
    process = subprocess.Popen([sys.executable, "-c", SHRINKER, workdir / "t/file"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(20):
        items = parse(agent.call("pack", "t").data)
        assert [item["name"] for item, _ in items] == [b"", b"file", b"z"]
        assert items[2][1] == b"end"
    process.kill()
    process.wait()
    process.stdout.close()
