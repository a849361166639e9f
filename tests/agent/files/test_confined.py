"""Confinement to a directory, by openat2 and by our own walk, which have to say the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fileclient import Caller, tree_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"not yours"
ESCAPE = (errno.EXDEV, "escape")


@pytest.fixture
def root(confined: Caller, workdir: Path) -> Path:
    """The directory that the operations are confined to, beside one that they must not reach."""
    confined.write("outside/secret", SECRET)
    confined.write("outside/dir/file", SECRET)
    confined.write("root/file", b"inside")
    confined.write("root/dir/file", b"in dir")
    root = workdir / "root"
    for name, target in {
        "up": "..", "to-outside": "../outside", "absolute": str(workdir / "outside"), "slash": "/",
        "to-secret": "../outside/secret", "new-outside": "../outside/new", "in": "dir", "in-file": "dir/../in/file",
        "self": ".", "loop": "loop", "dangling": "nothing", "proc": "/proc/self/cwd",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    (root / "dir/back").symlink_to("../file")
    (root / "dir/out").symlink_to("../../outside/secret")
    return root


def untouched(root: Path) -> None:
    """Check that nothing outside was changed."""
    outside = root.parent / "outside"
    assert sorted(os.listdir(outside)) == ["dir", "secret"]
    assert (outside / "secret").read_bytes() == (outside / "dir/file").read_bytes() == SECRET
    assert sorted(os.listdir(root.parent)) == ["outside", "root"]


WAYS_OUT = [
    "../outside/secret", "..", "../", "dir/../../outside/secret", "/etc/passwd", "/", "to-secret", "to-outside/secret",
    "absolute/secret", "slash/etc/passwd", "up/outside/secret", "in/out", "self/../../outside/secret", "dir/out",
    "up/root/file",
    "proc/x",
]  # fmt: skip


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("path", WAYS_OUT)
def test_ways_out_are_refused(confined: Caller, root: Path, path: str) -> None:
    """By every operation that would follow them, with EXDEV and kind `escape`."""
    there = path.endswith(("out", "to-secret"))  # as links they are inside
    calls: list[tuple[str, dict[str, int | str]]] = [
        ("read", {}), ("write", {}), ("write", {"flags": 1}), ("stat", {"flags": 1}), ("list", {}), ("walk", {}),
        ("chmod", {"mode": 0}), ("chmod", {"mode": 0, "flags": 1}), ("realpath", {}), ("pack", {}),
        ("grep", {"pattern": "x"}),
        ("make_dir", {"flags": 3}),
    ]  # fmt: skip
    if not there:
        calls += [
            ("write", {"flags": 2}), ("stat", {}), ("remove", {}), ("remove", {"flags": 3}), ("readlink", {}),
            ("symlink", {"target": "x"}), ("move", {"destination": "moved"}),
            ("copy", {"destination": "copied", "flags": 1}),
        ]  # fmt: skip
    for operation, fields in calls:
        assert confined.failure(operation, path, root="root", **fields) == (*ESCAPE, path.encode()), (operation, fields)
    if not there:
        for operation in ["move", "copy"]:
            assert confined.failure(operation, "file", destination=path, root="root") == (*ESCAPE, path.encode())
        assert confined.failure("unpack", path, tree_stream((b"", "f", b"x")), root="root")[:2] == ESCAPE
        assert confined.failure("unpack", path, tree_stream((b"", "d", b"")), root="root")[:2] == ESCAPE
    untouched(root)


def test_ways_inside_are_fine(confined: Caller, root: Path) -> None:
    """Links and `..` that stay inside mean what they mean without confinement."""
    for path, content in [
        ("file", b"inside"), ("dir/../file", b"inside"), ("in/file", b"in dir"), ("in-file", b"in dir"),
        ("dir/back", b"inside"), ("./self/self/in//back", b"inside"), ("in/../dir/../file", b"inside"),
    ]:  # fmt: skip
        assert confined.read(path, root="root") == content, path
    for base in ["root", str(root), "outside/../root/."]:
        assert confined.read("in/file", root=base) == b"in dir"
    confined.call("symlink", "link-to-root", target="root")
    assert confined.read("file", root="link-to-root") == b"inside"
    confined.call("remove", "link-to-root")
    assert confined.call("realpath", "in/../in/back", root="root").end["path"] == b"file"
    assert confined.call("realpath", "in-file", root="root").end["path"] == b"dir/file"
    assert confined.call("realpath", "dir/..", root="root").end["path"] == b"."
    assert confined.call("stat", "to-outside", root="root").end["target"] == b"../outside"
    assert confined.call("readlink", "slash", root="root").end["target"] == b"/"
    untouched(root)


def test_same_errors_as_unconfined(confined: Caller, root: Path) -> None:
    """ENOENT, ENOTDIR, ELOOP, EISDIR, ENAMETOOLONG."""
    for operation, path, number in [
        ("read", "absent", errno.ENOENT), ("read", "absent/x", errno.ENOENT), ("read", "file/x", errno.ENOTDIR),
        ("read", "file/", errno.ENOTDIR), ("read", "file/..", errno.ENOTDIR), ("read", "loop", errno.ELOOP),
        ("read", "loop/x", errno.ELOOP), ("read", "in", errno.EISDIR), ("read", "dangling", errno.ENOENT),
        ("write", "loop", errno.ELOOP), ("write", "file/x", errno.ENOTDIR), ("read", "", errno.ENOENT),
        ("list", "file", errno.ENOTDIR), ("read", "n" * 256, errno.ENAMETOOLONG),
        ("read", "d/" * 3000, errno.ENAMETOOLONG),
        ("readlink", "file", errno.EINVAL), ("stat", "in/absent", errno.ENOENT), ("realpath", "dangling", errno.ENOENT),
    ]:  # fmt: skip
        assert confined.failure(operation, path, root="root")[:2] == (number, ""), (operation, path)
    assert confined.failure("read", "x", root="absent") == (errno.ENOENT, "", b"absent")
    assert confined.failure("read", "x", root="root/file") == (errno.ENOTDIR, "", b"root/file")
    untouched(root)


def test_what_it_writes(confined: Caller, root: Path) -> None:
    """Through links and into new directories, all inside; a link that leads out is removed, moved, copied itself."""
    confined.write("new/a/b", b"1", root="root")
    confined.write("in/new", b"2", root="root")
    confined.write("dangling", b"3", root="root")
    confined.write("self/in/back", b"4", root="root")
    assert (root / "new/a/b").read_bytes() + (root / "dir/new").read_bytes() + (root / "nothing").read_bytes() == b"123"
    assert (root / "file").read_bytes() == b"4"
    assert confined.failure("write", "new-outside", root="root")[:2] == ESCAPE
    assert confined.failure("make_dir", "to-outside/x/y", root="root", flags=1)[:2] == ESCAPE
    confined.call("copy", "to-outside", destination="copied", flags=1, root="root")
    confined.call("move", "to-secret", destination="moved", root="root")
    assert os.readlink(root / "copied") == "../outside"
    for name in ["copied", "moved", "to-outside", "absolute", "slash", "up", "new-outside"]:
        confined.call("remove", name, flags=1, root="root")
    confined.call("remove", "dir", flags=1, root="root")
    confined.call("copy", "new", destination="a/copy", flags=1, root="root")
    assert (root / "a/copy/a/b").read_bytes() == b"1"
    untouched(root)


def test_root_itself_stays(confined: Caller, root: Path) -> None:
    """However it is named."""
    for path in [".", "dir/..", "self", "./", "self/."]:
        failure = confined.failure("remove", path, flags=1, root="root") if path != "self" else None
        assert failure in (None, (errno.EBUSY, "protected", path.encode()))
    assert (root / "dir/file").exists()
    assert confined.failure("move", ".", destination="x", root="root")[:2] in {
        (errno.EBUSY, "protected"),
        (errno.EINVAL, ""),
    }
    confined.call("chmod", ".", mode=0o711, root="root")
    assert root.stat().st_mode & 0o777 == 0o711


def test_tree_operations_leave_links_alone(confined: Caller, root: Path) -> None:
    """WALK, GREP, PACK, recursive CHMOD and COPY go through no link below their start."""
    assert b"to-outside/secret" not in confined.call("walk", ".", root="root").names
    assert confined.call("grep", ".", root="root", pattern="yours").items == []
    assert SECRET not in confined.call("pack", ".", root="root").data
    confined.call("chmod", ".", mode=0o755, flags=1, root="root")
    assert (root.parent / "outside/secret").stat().st_mode & 0o777 == 0o644
    confined.call("copy", "self/dir", destination="copy", flags=1, root="root")
    assert os.readlink(root / "copy/out") == "../../outside/secret"
    untouched(root)


SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
print(flush=True)
while True:  # RENAME_EXCHANGE: there is always one or the other
    libc.renameat2(-100, b"swap", -100, b"evil", 2)
"""


@pytest.fixture
def swapping(confined: Caller, root: Path) -> Iterator[None]:
    """Exchanges the directory root/swap for a link that leads out, all the time."""
    confined.write("root/swap/file", b"inside")
    (root / "evil").symlink_to("../outside/dir")
    process = subprocess.Popen([sys.executable, "-c", SWAPPER, root], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.usefixtures("swapping")
def test_swapped_while_we_work(confined: Caller, root: Path) -> None:
    """A directory becomes a link and back thousands of times: nothing outside is read, written or removed."""
    tree = tree_stream(
        (b"", "d", b""), (b"sub", "d", b""), (b"sub/one", "f", b"x"), (b"two", "f", b"x"), (b"link", "l", b"x")
    )
    outcomes = {"done": 0, "failed": 0}
    calls: list[tuple[str, str, bytes | None, dict[str, int | str]]] = [
        ("read", "swap/file", None, {}), ("write", "swap/file", b"inside", {}),
        ("write", "swap/a/b/new", b"inside", {}),
        ("write", "swap/file", b"", {"flags": 1}), ("list", "swap", None, {}), ("walk", ".", None, {}),
        ("pack", "swap", None, {}),
        ("grep", ".", None, {"pattern": "yours"}), ("chmod", "swap", None, {"mode": 0o755, "flags": 1}),
        ("chmod", "swap/file", None, {"mode": 0o644}), ("unpack", "swap", tree, {"flags": 1}),
        ("unpack", "swap/x", tree, {"flags": 1}),
        ("copy", "swap", None, {"destination": "copy", "flags": 1}), ("remove", "copy", None, {"flags": 3}),
        ("copy", "file", None, {"destination": "swap/copy", "flags": 2}), ("remove", "swap/a", None, {"flags": 3}),
        ("make_dir", "swap/c/d", None, {"flags": 3}), ("symlink", "swap/link", None, {"target": "x", "flags": 1}),
        ("remove", "swap/sub", None, {"flags": 3}),
        ("move", "swap/two", None, {"destination": "swap/three", "flags": 1}),
    ]  # fmt: skip
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for operation, path, given, fields in calls:
            stream = confined.attempt(operation, path, given, root="root", **fields)
            outcomes["failed" if stream is None else "done"] += 1
            if stream is not None:
                assert SECRET not in stream.data
                assert b"yours" not in stream.data
    assert min(outcomes.values()) > 20, outcomes
    untouched(root)
    assert (root.parent / "outside/secret").stat().st_mode & 0o777 == 0o644
