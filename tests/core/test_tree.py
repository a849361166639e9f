"""What a hostile sandbox can do to a download: nothing outside its destination."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from samebox.agent.records import END_OF_TREE, MAX_ITEM, encode_item
from samebox.agent.tree import TreePacker, TreeUnpacker, stays_inside
from samebox.errors import ProtocolError, SandboxError
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
    with pytest.raises(ProtocolError, match=re.escape(f"a name that leads out: {name!r}")):
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
        ([item("f", b"", b"x"), item("f", b"", b"y")], "leads out"),
        ([item("d", b""), item("p", b"x")], "an item of type b'p'"),
        ([item("d", b""), item("d", b""), item("f", b"x", b"")], "leads out"),
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
