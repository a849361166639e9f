"""What a hostile sandbox can do to a download: nothing outside its destination."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tracemalloc
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from samebox.agent import tree
from samebox.agent.packer import TreePacker
from samebox.agent.records import END_OF_TREE, MAX_ITEM, encode_item
from samebox.agent.tree import DEPTH_LIMIT, TreeUnpacker, stays_inside
from samebox.errors import OutputLimitError, ProtocolError, SandboxError, SandboxOSError
from samebox.guest.results import TreeCount

if TYPE_CHECKING:
    from samebox.agent.records import Field

LIMIT = 1 << 20


def item(kind: str, name: bytes, content: bytes = b"", **more: bytes | int) -> bytes:
    """Return one item of a tree stream."""
    fields: list[Field] = [("name", name), ("file_type", kind), ("mode", 0o755 if kind == "d" else 0o644), ("mtime", 0)]
    if kind == "f":
        fields.append(("size", len(content)))
    return encode_item([*fields, *more.items()]) + content


def unpack(destination: Path, *items: bytes, limit: int = LIMIT, piece: int = 1 << 20) -> TreeCount:
    """Unpack items, in pieces of some size."""
    unpacker = TreeUnpacker(os.fsencode(destination), limit)
    try:
        data = b"".join(items) + END_OF_TREE
        for start in range(0, len(data), piece):
            unpacker.feed(data[start : start + piece])
        return unpacker.finish()
    finally:
        unpacker.close()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_tree_arrives_as_it_was_packed(tmp_path: Path, piece: int) -> None:
    """Files, directories, links, bytes in names, modes and times survive, however the stream is cut."""
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/file").write_bytes(bytes(range(256)) * 300)
    (source / "deep/run").write_text("#!/bin/sh\n")
    (source / "deep/run").chmod(0o755)
    (source / "link").symlink_to("deep/run")
    Path(os.fsdecode(os.fsencode(source) + b"/\xff\n")).write_bytes(b"odd")
    os.utime(source / "deep/run", ns=(1, 1_234_567_891))
    packed = b"".join(TreePacker(os.fsencode(source)))
    unpacker = TreeUnpacker(os.fsencode(tmp_path / "copy"), LIMIT)
    for start in range(0, len(packed), piece):
        unpacker.feed(packed[start : start + piece])
    count = unpacker.finish()
    copy = tmp_path / "copy"

    assert count == TreeCount(files=3, directories=3, links=1, bytes=256 * 300 + 10 + 3)
    assert (copy / "deep/er/file").read_bytes() == bytes(range(256)) * 300
    assert (copy / "deep/run").stat().st_mode & 0o777 == 0o755
    assert (copy / "deep/run").stat().st_mtime_ns == 1_234_567_891
    assert (copy / "link").readlink() == Path("deep/run")
    assert os.listdir(os.fsencode(copy)).count(b"\xff\n") == 1
    assert b"".join(TreePacker(os.fsencode(copy))) == packed


@pytest.mark.parametrize("name", [b"..", b"../x", b"a/../../x", b"/etc/x", b"a//b", b"a/./b", b"a/\0b", b"a/"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: bytes) -> None:
    """A name is checked component by component before anything is written."""
    with pytest.raises(ProtocolError, match=re.escape(f"no path below a directory: {name!r}")):
        unpack(tmp_path / "in", item("d", b""), item("d", b"a"), item("f", name, b"x"))
    assert os.listdir(tmp_path) == ["in"]


def test_a_link_is_never_written_through(tmp_path: Path) -> None:
    """A link and then a file "below" it: the classic way out of an archive."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises((ProtocolError, OSError)):
        unpack(
            tmp_path / "in",
            item("d", b""),
            item("l", b"a", target=os.fsencode(outside)),
            item("f", b"a/x", b"x"),
        )
    assert os.listdir(outside) == []


def test_a_link_in_the_destination_is_not_followed(tmp_path: Path) -> None:
    """What was there before counts as hostile too: an earlier download may have put it there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").symlink_to(outside)
    with pytest.raises(OSError, match="links in the destination are not followed"):
        unpack(tmp_path / "in", item("d", b""), item("d", b"a"), item("f", b"a/x", b"x"))
    assert os.listdir(outside) == []


def test_a_file_replaces_a_link_not_its_target(tmp_path: Path) -> None:
    """The target of a link at a file's place stays as it is."""
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").symlink_to(tmp_path / "victim")
    unpack(tmp_path / "in", item("d", b""), item("f", b"x", b"new"))

    assert ((tmp_path / "in/x").read_text(), (tmp_path / "victim").read_text()) == ("new", "safe")
    assert not (tmp_path / "in/x").is_symlink()


def test_links_that_lead_out_are_left_out_and_named(tmp_path: Path) -> None:
    """The result says which, and what they pointed to."""
    count = unpack(
        tmp_path / "in", item("d", b""), item("l", b"bad", target=b"../../etc"), item("l", b"good", target=b"x")
    )

    assert count.skipped == ("bad: a link that leads out, to '../../etc'",)
    assert os.listdir(tmp_path / "in") == ["good"]


@pytest.mark.parametrize(
    ("name", "target", "inside"),
    [
        (b"a", b"b", True),
        (b"d/a", b"../b", True),
        (b"d/e/a", b"../../b/c", True),
        (b"d/a", b"../../b", False),
        (b"a", b"/b", False),
        (b"a", b"", False),
        (b"a", b"b/..", False),
        (b"d/a", b"b/../../c", False),
        (b"d/a", b"./../b", True),
    ],
)
def test_which_links_stay_inside(name: bytes, target: bytes, *, inside: bool) -> None:
    """`..` counts only at the start: after another component it might go up from wherever that leads."""
    assert stays_inside(name, target) is inside


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([item("f", b"", b"x"), item("f", b"", b"y")], "its root twice"),
        ([item("d", b""), item("p", b"x")], "an item of type b'p'"),
        ([item("d", b""), item("d", b""), item("f", b"x", b"")], "its root twice"),
        ([item("f", b"x", b"")], "its root twice, late"),
        (
            [item("d", b""), encode_item([("name", b"x"), ("file_type", "f"), ("mode", 0), ("size", -5)])],
            "negative size",
        ),
        ([(MAX_ITEM + 1).to_bytes(4, "big")], "too long"),
        ([item("d", b""), END_OF_TREE, item("f", b"x", b"x")], "after its end"),
    ],
)
def test_broken_trees_are_refused(tmp_path: Path, items: list[bytes], words: str) -> None:
    """What is no tree is a ProtocolError."""
    with pytest.raises(ProtocolError, match=words):
        unpack(tmp_path / "in", *items)


@pytest.mark.parametrize("kind", ["f", "d", "l"])
def test_nothing_is_written_beside_a_file(tmp_path: Path, kind: str) -> None:
    """A file is written to its destination's directory, so what claims to lie below the file would lie beside it."""
    with pytest.raises(ProtocolError, match=r"a file as root and more: b'\.profile'"):
        unpack(tmp_path / "file", item("f", b"", b"x"), item(kind, b".profile", target=b"x"))
    assert os.listdir(tmp_path) == ["file"]


def test_the_memory_of_links_and_directories_counts(tmp_path: Path) -> None:
    """8,000 links with long names took 756 MiB under a limit of 16 MiB: they are held until the end."""
    limit = 2 << 20
    deep = b"/".join([b"n" * 200] * 19)
    items = [item("d", b""), *(item("l", deep + b"/%d" % number, target=b"t" * 4000) for number in range(2000))]
    unpacker = TreeUnpacker(os.fsencode(tmp_path / "in"), limit)
    tracemalloc.start()
    try:
        with pytest.raises(OutputLimitError, match="larger than its limit of 2097152 bytes"):
            deque(map(unpacker.feed, items), 0)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        unpacker.close()
    assert used < 1.2 * limit


def test_memory_has_a_limit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download may be larger than memory; what is held until its end may not."""
    monkeypatch.setattr(tree, "MEMORY_LIMIT", 100_000)
    links = [item("l", b"%d" % number, target=b"../out") for number in range(1000)]
    with pytest.raises(OutputLimitError, match="links and directories take more than 100000 bytes of memory; download"):
        unpack(tmp_path / "in", item("d", b""), *links)


@pytest.mark.parametrize("depth", [DEPTH_LIMIT, DEPTH_LIMIT + 1])
def test_depth_is_bounded(tmp_path: Path, depth: int) -> None:
    """What is deeper breaks what goes through it by recursion, such as shutil.rmtree."""
    names = [b"/".join([b"d"] * count) for count in range(1, depth)]
    items = [item("d", name) for name in (b"", *names)] + [item("f", names[-1] + b"/f", b"x")]
    if depth > DEPTH_LIMIT:
        with pytest.raises(OutputLimitError, match=r"the download is deeper than 256 directories, the most for one"):
            unpack(tmp_path / "in", *items)
    else:
        assert unpack(tmp_path / "in", *items).directories == depth
        assert b"".join(TreePacker(os.fsencode(tmp_path / "in"))).endswith(
            item("f", names[-1] + b"/f", b"x")[-1:] + END_OF_TREE
        )
    shutil.rmtree(tmp_path / "in")


def test_a_path_in_a_download_is_no_longer_than_a_path_can_be(tmp_path: Path) -> None:
    """Else nobody could name what was made."""
    name = b"/".join([b"n" * 250] * 17)
    with pytest.raises(SandboxOSError, match="File name too long"):
        unpack(tmp_path / "in", item("d", b""), item("l", name, target=b"x"))


def test_the_way_to_a_deep_directory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 2,000 directories was opened from the top, twice: 41 s of opening. Nor are all of them kept open."""
    opened: list[int] = []
    real = os.open

    def count(*arguments: Any, **more: Any) -> int:
        opened.append(real(*arguments, **more))
        return opened[-1]

    monkeypatch.setattr(os, "open", count)
    names = [b"/".join([b"d"] * count) for count in range(1, 257)]
    unpack(tmp_path / "in", *(item("d", name) for name in (b"", *names)))

    assert len(opened) < 15 * len(names)
    assert len(set(opened)) < 40


def test_a_tree_of_any_depth_is_packed(tmp_path: Path) -> None:
    """Recursion ended at some 300 directories."""
    above = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=above)
        below = os.open("d", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    packer = TreePacker(os.fsencode(tmp_path))
    assert b"".join(packer).endswith(END_OF_TREE)
    assert packer.count.directories == 1201
    while (tmp_path / "d").exists():  # pytest could not remove it
        bottom = tmp_path / "/".join(["d"] * 100)
        if (bottom / "d").exists():
            (bottom / "d").rename(tmp_path / "rest")
        shutil.rmtree(tmp_path / "d")
        if (tmp_path / "rest").exists():
            (tmp_path / "rest").rename(tmp_path / "d")


@pytest.mark.parametrize("swapped", ["directory", "file"])
def test_a_link_that_appears_meanwhile_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """A sandbox that may write to the tree could send itself any file of the host."""
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "f").write_text("secret")
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/f").write_text("public")
    real = os.stat

    def stat_and_swap(path: Any, **more: Any) -> os.stat_result:
        found = real(path, **more)
        if swapped == "directory" and path == b"d":
            shutil.rmtree(source / "d")
            (source / "d").symlink_to(secret)
        elif swapped == "file" and path == b"f":
            (source / "d/f").unlink()
            (source / "d/f").symlink_to(secret / "f")
        return found

    packer = TreePacker(os.fsencode(source))
    monkeypatch.setattr(os, "stat", stat_and_swap)
    sent: list[bytes] = []
    with pytest.raises(OSError, match=r"source/d"):
        sent.extend(packer)
    assert b"secret" not in b"".join(sent)


@pytest.mark.parametrize("end", ["link", "link/below", "link/x/y"])
def test_a_destination_through_a_link_is_refused_unless_asked_for(tmp_path: Path, end: str) -> None:
    """An earlier sandbox may have put the link there, to have a later download written elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    items = b"".join([item("d", b""), item("f", b"f", b"x"), END_OF_TREE])
    with pytest.raises(
        OSError, match=r"goes through a link; give its real path, or follow_links=True .*link'"
    ) as caught:
        unpack(tmp_path / end, items)
    assert (caught.value.errno, os.listdir(outside)) == (errno.ELOOP, [])

    unpacker = TreeUnpacker(os.fsencode(tmp_path / end), LIMIT, follow_links=True)
    unpacker.feed(items)
    unpacker.finish()
    assert (tmp_path / end / "f").read_text() == "x"


def test_a_link_where_nobody_else_can_write_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /tmp on macOS, /home on many hosts: the system's own."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(os, "access", lambda *_arguments, **_more: False)
    unpack(tmp_path / "link/new", item("f", b"", b"x"))
    assert (tmp_path / "real/new").read_text() == "x"


def test_new_files_and_directories_lose_the_umask(tmp_path: Path) -> None:
    """What everybody may write in the sandbox, not everybody may write on the host; what is there keeps its mode."""
    (tmp_path / "in/old").mkdir(parents=True)
    (tmp_path / "in/old").chmod(0o750)
    wide: list[Field] = [("mode", 0o6777), ("mtime", 0)]
    items = [encode_item([("name", name), ("file_type", "d"), *wide]) for name in (b"", b"old", b"new")]
    items.append(encode_item([("name", b"new/f"), ("file_type", "f"), ("size", 1), *wide]) + b"x")
    items.append(encode_item([("name", b"new/none"), ("file_type", "f"), ("size", 1), ("mode", 0)]) + b"x")
    before = os.umask(0o027)
    try:
        unpack(tmp_path / "in", *items)
        unpack(tmp_path / "made/there", *items)
    finally:
        os.umask(before)
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o7777 for name in ("in/old", "in/new", "in/new/f", "in/new/none")
    }

    assert modes == {"in/old": 0o750, "in/new": 0o750, "in/new/f": 0o750, "in/new/none": 0}
    assert (tmp_path / "made/there").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "made").stat().st_mode & 0o7777 == 0o750


def test_a_tree_that_ends_early_is_refused(tmp_path: Path) -> None:
    """A cut stream is not a smaller tree; the half of a file is not left behind."""
    unpacker = TreeUnpacker(os.fsencode(tmp_path / "in"), LIMIT)
    unpacker.feed(item("d", b"") + item("f", b"x", b"12345")[:-2])
    with pytest.raises(ProtocolError, match="ends before its end"):
        unpacker.finish()
    unpacker.close()
    assert os.listdir(tmp_path / "in") == []


def test_the_limit_counts_content_and_items(tmp_path: Path) -> None:
    """Neither a huge file nor a flood of empty ones can fill the host's disk."""
    with pytest.raises(SandboxError, match="larger than its limit of 1048576 bytes"):
        unpack(tmp_path / "a", encode_item([("name", b""), ("file_type", "f"), ("mode", 0), ("size", 1 << 40)]))
    with pytest.raises(SandboxError, match="give a larger `limit`"):
        unpack(tmp_path / "b", item("d", b""), *(item("f", b"%d" % number) for number in range(3000)))


@given(st.binary(max_size=300))
def test_random_bytes_write_nothing_outside(data: bytes) -> None:
    """Whatever comes, it is a tree or an error, and the parent directory stays as it was."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as parent:
        unpacker = TreeUnpacker(os.fsencode(parent) + b"/in", LIMIT)
        try:
            unpacker.feed(item("d", b"") + data)
            unpacker.finish()
        except (SandboxError, OSError):
            pass
        finally:
            unpacker.close()
        assert os.listdir(parent) == ["in"]
