"""Trees: walking, searching, copying and moving inside, uploading and downloading."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import (
    PathExistsError,
    PathNotADirectoryError,
    PathNotFoundError,
    SandboxError,
    SandboxOSError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.sandbox.sandbox import Sandbox


def test_walk_is_complete(box: Sandbox, here: str) -> None:
    """`walk` gives everything below, depth first, in the order of the names' bytes, with relative paths.

    Why: parsing `find` or `ls -R` breaks at odd names, and the order is the file system's.
    Check: the agent's walk.
    """
    box.sh("mkdir -p b/c a .h; touch b/c/f b/d a/x .h/y z", cwd=here, timeout=DEADLINE)
    found = [(info.name, info.type) for info in box.walk(here)]
    assert found == [
        (".h", "directory"), (".h/y", "file"), ("a", "directory"), ("a/x", "file"), ("b", "directory"),
        ("b/c", "directory"), ("b/c/f", "file"), ("b/d", "file"), ("z", "file"),
    ]  # fmt: skip


def test_walk_keeps_to_its_depth(box: Sandbox, here: str) -> None:
    """`depth` limits how deep a walk goes, 1 being the directory's own entries.

    Why: off by one, a listing of the top walks a whole tree.
    Check: where the depth is counted.
    """
    box.make_dir(f"{here}/a/b/c")
    assert [info.name for info in box.walk(here, depth=1)] == ["a"]
    assert [info.name for info in box.walk(here, depth=2)] == ["a", "a/b"]


def test_walk_does_not_follow_links(box: Sandbox, here: str) -> None:
    """A walk names links and does not follow them, so a loop ends.

    Why: a guest's link to `/` or to itself makes the walk endless, or leads it out of the tree.
    Check: O_NOFOLLOW at each directory.
    """
    box.sh("mkdir d; touch d/f; ln -s . d/loop; ln -s / d/root; ln -s d top", cwd=here, timeout=DEADLINE)
    found = {info.name: (info.type, info.target) for info in box.walk(here)}
    assert found == {
        "d": ("directory", None), "d/f": ("file", None), "d/loop": ("symlink", "."), "d/root": ("symlink", "/"),
        "top": ("symlink", "d"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.py", "d"]),
        ("*.py", ["a.py"]),
        ("**/*.py", ["a.py", "d/b.py", "d/e/c.py"]),
        ("d/*", ["d/b.py", "d/e", "d/t.txt"]),
        ("d/**", ["d/b.py", "d/e", "d/e/c.py", "d/t.txt"]),
        ("*/*/?.py", ["d/e/c.py"]),
        ("**/[bc].py", ["d/b.py", "d/e/c.py"]),
        ("**/[!bc].py", ["a.py"]),
        ("nothing*", []),
    ],
)
def test_glob_matches(box: Sandbox, here: str, pattern: str, expected: list[str]) -> None:
    """`*`, `?` and sets stay within a component, `**` does not; results are in order.

    Why: every shell, library and tool has other rules; an agent's users need one.
    Check: the agent's own matcher.
    """
    box.sh("mkdir -p d/e; touch a.py d/b.py d/t.txt d/e/c.py", cwd=here, timeout=DEADLINE)
    assert box.glob(pattern, here) == expected


def test_grep_finds_lines(box: Sandbox, here: str) -> None:
    """`grep` gives path, number and text of each line that matches an extended regular expression.

    Why: busybox's and GNU's grep differ in options and in output; a colon in a name breaks parsing it.
    Check: the agent's own search.
    """
    box.write_text(f"{here}/a:b.txt", "one\ntwo 22\nthree\n")
    box.write_text(f"{here}/sub/c.txt", "TWO 2\ntwo 333")
    found = [(match.path, match.line, match.text) for match in box.grep(r"two [0-9]+$", here)]
    assert found == [("a:b.txt", 2, "two 22"), ("sub/c.txt", 2, "two 333")]


def test_grep_takes_its_options(box: Sandbox, here: str) -> None:
    """Plain text, case, globs of names and a limit are kept to.

    Why: a fixed text with a dot or a bracket in it is a pattern to a tool that was not told.
    Check: each option's field.
    """
    box.write_text(f"{here}/a.py", "x = a.b[0]\nX = A.B[0]\nx = aXb00\n")
    box.write_text(f"{here}/b.txt", "x = a.b[0]\n")
    assert [match.line for match in box.grep("a.b[0]", here, fixed=True, include=["*.py"])] == [1]
    assert [match.line for match in box.grep("a.b[0]", here, fixed=True, ignore_case=True, include=["*.py"])] == [1, 2]
    assert len(box.grep("x", here, ignore_case=True, limit=2)) == 2
    assert [(match.path, match.line) for match in box.grep("x", f"{here}/b.txt")] == [(f"{here}/b.txt", 1)]


def test_grep_refuses_a_wrong_pattern(box: Sandbox, here: str) -> None:
    """A pattern that is no regular expression raises; it is not taken for one that nothing matches.

    Why: "no matches" for a typing error sends a search the wrong way.
    Check: the error of regcomp.
    """
    box.write_text(f"{here}/file", "x(\n")
    with pytest.raises(SandboxError):
        box.grep("x(", here)


def test_grep_passes_over_what_is_not_text(box: Sandbox, here: str) -> None:
    """Binary files, FIFOs and links are passed over; an unreadable neighbour stops nothing.

    Why: a FIFO in the tree hangs the search, a binary file's "line" fills the screen.
    Check: how files are opened, and the first block looked at.
    """
    box.sh(
        r"printf 'needle\000\n' > bin; mkfifo fifo; ln -s / root; ln -s text link; echo needle > text",
        cwd=here,
        timeout=DEADLINE,
    )
    assert [match.path for match in box.grep("needle", here)] == ["text"]


def test_copy_keeps_a_tree(box: Sandbox, here: str) -> None:
    """`copy` copies a tree with contents, modes, times, links and hidden names.

    Why: `cp -r` follows or keeps links depending on the tool, and archives lose times.
    Check: by comparing inside the sandbox.
    """
    box.sh(
        "mkdir -p t/d; echo x > t/d/.f; chmod 750 t/d; chmod 4711 t/d/.f; ln -s d/.f t/l; ln -s nowhere t/n; "
        "touch -d '2001-02-03 04:05:06' t/d/.f t/d",
        cwd=here,
        timeout=DEADLINE,
    ).check()
    box.copy(f"{here}/t", f"{here}/u")
    script = "cd %s && find . | sort | while read f; do stat -c '%%n %%F %%a %%Y %%N' \"$f\"; done | grep -v '^[.] '"
    one = box.sh(script % "t", cwd=here, timeout=DEADLINE).text.replace("4711", "711")
    other = box.sh(script % "u", cwd=here, timeout=DEADLINE).text.replace("4711", "711")
    links = [line for line in one.splitlines() if " symbolic " in line]
    assert len(links) == 2, one
    # A link's own time cannot be set everywhere.
    assert [line for line in other.splitlines() if " symbolic " not in line] == [
        line for line in one.splitlines() if " symbolic " not in line
    ]
    seen = box.sh("readlink u/l; readlink u/n; cat u/d/.f", cwd=here, timeout=DEADLINE)
    assert seen.stdout == b"d/.f\nnowhere\nx\n", seen


def test_copy_refuses_to_replace(box: Sandbox, here: str) -> None:
    """With `replace=False`, `copy` and `move` raise PathExistsError and change nothing.

    Why: looking first and copying then is a race.
    Check: O_EXCL and RENAME_NOREPLACE.
    """
    box.sh("echo one > one; echo two > two", cwd=here, timeout=DEADLINE)
    for call in (box.copy, box.move):
        with pytest.raises(PathExistsError):
            call(f"{here}/one", f"{here}/two", replace=False)
    assert box.sh("cat one two", cwd=here, timeout=DEADLINE).stdout == b"one\ntwo\n"


def test_copy_into_itself_ends(box: Sandbox, here: str) -> None:
    """Copying or moving a directory into itself raises; it does not go on for ever.

    Why: the copy is found by the walk that makes it, until the disk is full.
    Check: that the walk knows what it has made.
    """
    box.write_text(f"{here}/d/file", "x")
    box.make_dir(f"{here}/d/e")
    with pytest.raises(SandboxError):
        box.copy(f"{here}/d", f"{here}/d/e/f")
    assert len(box.walk(f"{here}/d")) < 10
    with pytest.raises(SandboxError):
        box.move(f"{here}/d", f"{here}/d/e/f")
    assert box.exists(f"{here}/d/file")


def test_move_renames(box: Sandbox, here: str) -> None:
    """`move` renames files and directories; the destination is the new path and never a directory to move into.

    Why: `mv a b` means two things, depending on what b is.
    Check: that rename is called with the path as given.
    """
    box.sh("echo x > file; mkdir -p dir/sub there", cwd=here, timeout=DEADLINE)
    inode = box.stat(f"{here}/file").inode
    box.move(f"{here}/file", f"{here}/dir/sub/new")
    assert box.stat(f"{here}/dir/sub/new").inode == inode
    box.move(f"{here}/dir", f"{here}/moved")
    assert box.sh("cat moved/sub/new; ls", cwd=here, timeout=DEADLINE).stdout == b"x\nmoved\nthere\n"
    with pytest.raises(SandboxOSError):
        box.move(f"{here}/moved/sub/new", f"{here}/there")
    assert box.list_dir(f"{here}/there") == []


def test_move_replaces_a_file(box: Sandbox, here: str) -> None:
    """`move` over a file replaces it in one step.

    Why: removing first and renaming then leaves a moment without a file.
    Check: that it is the kernel's rename.
    """
    box.sh("echo new > new; echo old > old", cwd=here, timeout=DEADLINE)
    box.move(f"{here}/new", f"{here}/old")
    assert box.sh("cat old; ls", cwd=here, timeout=DEADLINE).stdout == b"new\nold\n"


def test_move_of_a_link_moves_the_link(box: Sandbox, here: str) -> None:
    """`move` and `copy` of a link handle the link itself, dangling or not.

    Why: following it copies, or loses, what it points to.
    Check: AT_SYMLINK_NOFOLLOW.
    """
    box.sh("echo x > file; ln -s file good; ln -s nowhere dangling", cwd=here, timeout=DEADLINE)
    box.move(f"{here}/good", f"{here}/moved")
    box.move(f"{here}/dangling", f"{here}/still-dangling")
    box.copy(f"{here}/moved", f"{here}/copied")
    seen = box.sh("readlink moved; readlink still-dangling; readlink copied; cat file", cwd=here, timeout=DEADLINE)
    assert seen.stdout == b"file\nnowhere\nfile\nx\n", seen


def test_move_across_file_systems(box: Sandbox, here: str) -> None:
    """`move` works from one file system to another, with the whole tree, and leaves nothing behind.

    Why: rename says EXDEV there, and a workdir on a tmpfs is another file system than the root.
    Check: the copy that takes the rename's place.
    """
    other = box.sh(
        "mktemp -d /dev/shm/conformance.XXXXXX 2>/dev/null || mktemp -d /tmp/conformance.XXXXXX"
    ).text.strip()
    assert other, "neither /dev/shm nor /tmp can be written"
    box.sh("mkdir -p t/d; echo x > t/d/f; ln -s d/f t/l; chmod 700 t/d", cwd=here, timeout=DEADLINE)
    box.move(f"{here}/t", f"{other}/t")
    seen = box.sh("cat t/l; readlink t/l; stat -c %a t/d", cwd=other, timeout=DEADLINE)
    assert (seen.stdout, box.exists(f"{here}/t")) == (b"x\nd/f\n700\n", False), seen
    box.move(f"{other}/t", f"{here}/back")
    assert box.read_text(f"{here}/back/d/f") == "x\n"
    assert box.list_dir(other) == []
    box.remove(other)


def test_removing_a_tree_does_not_follow_links(box: Sandbox, here: str) -> None:
    """Removing a tree removes the links in it and not what they point to.

    Why: a link to a mounted project, followed, deletes the project.
    Check: unlinkat without following.
    """
    box.sh(
        "mkdir keep t; echo x > keep/file; ln -s ../keep t/dir; ln -s ../keep/file t/file", cwd=here, timeout=DEADLINE
    )
    box.remove(f"{here}/t", recursive=True)
    assert box.sh("cat keep/file; ls", cwd=here, timeout=DEADLINE).stdout == b"x\nkeep\n"
    box.sh("ln -s keep link", cwd=here, timeout=DEADLINE)
    box.remove(f"{here}/link", recursive=True)
    assert box.sh("cat keep/file; ls", cwd=here, timeout=DEADLINE).stdout == b"x\nkeep\n"


def test_chmod_of_a_tree(box: Sandbox, here: str) -> None:
    """`chmod` sets the mode of a file, or of a tree, and of nothing that a link points to.

    Why: followed links change files outside of the tree.
    Check: fchmodat through descriptors.
    """
    box.sh("mkdir -p t/d; touch t/d/f out; chmod 600 out; ln -s ../out t/l", cwd=here, timeout=DEADLINE)
    box.chmod(f"{here}/t", 0o711, recursive=True)
    seen = box.exec(["stat", "-c", "%a", "t", "t/d", "t/d/f", "out"], cwd=here, timeout=DEADLINE)
    assert seen.stdout == b"711\n711\n711\n600\n", seen
    box.chmod(f"{here}/out", 0o000)
    assert box.exec(["stat", "-c", "%a", "out"], cwd=here, timeout=DEADLINE).stdout == b"0\n"


def make_tree(root: Path) -> None:
    """Make a tree on the host with modes, times, links and names that transfers often get wrong."""
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / ".hidden").write_text("h")
    (root / "sub" / "file").write_bytes(bytes(range(256)) * 1000)
    (root / "sub" / "script").write_text("#!/bin/sh\necho ran\n")
    (root / "sub" / "script").chmod(0o755)
    (root / "sub" / "nothing").write_bytes(b"")
    (root / "link").symlink_to("sub/file")
    (root / "sub" / "up").symlink_to("../.hidden")
    os.utime(root / "sub" / "file", (1_000_000_000, 1_000_000_000))


def test_upload_of_a_tree(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`upload` copies a tree: contents, modes, times, links as links, empty directories and hidden names.

    Why: archives made by hand lose some of it, and belong to root.
    Check: the tree stream, and what the agent makes of it.
    """
    make_tree(tmp_path / "src")
    counted = box.upload(tmp_path / "src", f"{here}/dst")
    assert (counted.files, counted.directories, counted.links, counted.bytes) == (4, 4, 2, 256_000 + 1 + 19), counted
    seen = box.sh(
        "sub/script; cat .hidden; wc -c < sub/file; wc -c < sub/nothing; readlink link; readlink sub/up; ls -d empty; "
        "stat -c %Y sub/file; stat -c %a sub/script sub/nothing",
        cwd=f"{here}/dst",
        timeout=DEADLINE,
    )
    assert seen.text.split() == [
        "ran", "h256000", "0", "sub/file", "../.hidden", "empty", "1000000000", "755",
        f"{stat.S_IMODE((tmp_path / 'src/sub/nothing').stat().st_mode):o}",
    ], seen  # fmt: skip
    own = box.sh("id -u; stat -c %u sub/file", cwd=f"{here}/dst", timeout=DEADLINE).text.split()
    assert own[0] == own[1], f"uploaded files belong to {own[1]}, the user is {own[0]}"


def test_upload_of_a_file(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`upload` of a file makes that file at exactly that path, parents included.

    Why: put_archive takes a directory, and the name in the archive decides.
    Check: a tree of one item.
    """
    (tmp_path / "name").write_text("x")
    box.upload(tmp_path / "name", f"{here}/a/other")
    assert box.sh("cat a/other; ls a", cwd=here, timeout=DEADLINE).stdout == b"xother\n"


def test_upload_merges(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`upload` of a directory onto one that is there replaces files and keeps the others.

    Why: `cp -r a b` makes b/a the second time.
    Check: that the destination is the directory itself.
    """
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "new").write_text("new")
    (tmp_path / "d" / "both").write_text("host")
    box.sh("mkdir t; echo old > t/old; echo box > t/both", cwd=here, timeout=DEADLINE)
    for _ in range(2):
        box.upload(tmp_path / "d", f"{here}/t")
    assert box.sh("cat t/old t/both t/new; ls t", cwd=here, timeout=DEADLINE).stdout == b"old\nhostnewboth\nnew\nold\n"


def test_upload_does_not_go_through_links(box: Sandbox, here: str, tmp_path: Path) -> None:
    """An upload does not write through a link that is in the place of one of its directories.

    Why: a guest that knows what comes puts a link there, and the host's files go where it wants.
    Check: that the agent opens directories without following.
    """
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "file").write_text("x")
    box.sh("mkdir out t; ln -s ../out t/sub", cwd=here, timeout=DEADLINE)
    with pytest.raises(SandboxError):
        box.upload(tmp_path / "d", f"{here}/t")
    assert box.list_dir(f"{here}/out") == []


def test_upload_passes_over_what_is_no_file(box: Sandbox, here: str, tmp_path: Path) -> None:
    """FIFOs and sockets of the host are passed over and named in the result.

    Why: opening a FIFO waits for ever.
    Check: the packer's look at each entry.
    """
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "fifo")
    (tmp_path / "d" / "file").write_text("x")
    counted = box.upload(tmp_path / "d", f"{here}/t")
    assert [text.partition(":")[0] for text in counted.skipped] == ["fifo"], counted
    assert [info.name for info in box.list_dir(f"{here}/t")] == ["file"]


def test_missing_source_raises(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A source that is not there raises FileNotFoundError, on either side, and makes nothing.

    Why: an empty directory in its place is found much later.
    Check: the order of opening and making.
    """
    with pytest.raises(FileNotFoundError):
        box.upload(tmp_path / "none", f"{here}/t")
    assert not box.exists(f"{here}/t")
    with pytest.raises(PathNotFoundError):
        box.download(f"{here}/none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_download_of_a_tree(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`download` copies a tree: contents, modes, times, links as links, empty directories and hidden names.

    Why: archives made by hand lose times, empty directories and links, and take the wrong names for the tree's own.
    Check: the tree stream, and what the host makes of it.
    """
    box.sh(
        "mkdir -p s/d s/empty; head -c 300000 /dev/zero > s/d/f; chmod 640 s/d/f; "
        "touch -d '2001-02-03 04:05:06' s/d/f; "
        "ln -s d/f s/l; ln -s ../.h s/d/up; printf h > s/.h; chmod 750 s/d",
        cwd=here,
        timeout=DEADLINE,
    ).check()
    told = box.exec(["stat", "-c", "%Y", f"{here}/s/d/f"], timeout=DEADLINE)
    counted = box.download(f"{here}/s", tmp_path / "dst")
    assert (counted.files, counted.directories, counted.links, counted.bytes) == (2, 3, 2, 300_001), counted
    file = (tmp_path / "dst/d/f").stat()
    assert (file.st_size, stat.S_IMODE(file.st_mode), int(file.st_mtime)) == (300_000, 0o640, int(told.stdout))
    links = [str((tmp_path / "dst" / name).readlink()) for name in ("l", "d/up")]
    assert links == ["d/f", "../.h"]
    assert (tmp_path / "dst/.h").read_text() == "h"
    assert (tmp_path / "dst/empty").is_dir()


def test_download_of_a_file(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`download` of a file makes that file at exactly that path, parents included, and replaces what is there.

    Why: get_archive gives a tar with the file's own name.
    Check: a tree of one item.
    """
    box.write_text(f"{here}/name", "first")
    box.download(f"{here}/name", tmp_path / "a" / "other")
    box.write_text(f"{here}/name", "second")
    box.download(f"{here}/name", tmp_path / "a" / "other")
    assert [(path.name, path.read_text()) for path in (tmp_path / "a").iterdir()] == [("other", "second")]


def test_download_of_a_file_without_a_size(box: Sandbox, tmp_path: Path) -> None:
    """A file whose size is said to be 0, as those of /proc, is downloaded with its content.

    Why: a log or a status that arrives empty, without an error, is believed.
    Check: that the content is read, and not only as much as the size says.
    """
    box.download("/proc/version", tmp_path / "version")
    content = (tmp_path / "version").read_bytes()
    assert content == box.exec(["cat", "/proc/version"], timeout=DEADLINE).stdout
    assert content


def test_progress_is_told(box: Sandbox, here: str, tmp_path: Path) -> None:
    """Uploads and downloads tell each path and the bytes so far.

    Why: without it a long transfer looks like a hang.
    Check: where the callback is called.
    """
    make_tree(tmp_path / "src")
    up: list[tuple[str, int]] = []
    down: list[tuple[str, int]] = []
    box.upload(tmp_path / "src", f"{here}/t", progress=lambda path, size: up.append((path, size)))
    box.download(f"{here}/t", tmp_path / "dst", progress=lambda path, size: down.append((path, size)))
    for told in (up, down):
        assert {"sub/file", "sub/script", ".hidden"} <= {path for path, _ in told}, told
        assert [size for _, size in told] == sorted(size for _, size in told), told
        assert told[-1][1] == 256_020, told[-1]


def test_setuid_is_not_downloaded(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A downloaded file is never setuid or setgid.

    Why: a guest's file becomes a program of the host's user, with that user's rights for whoever runs it.
    Check: the mask of modes.
    """
    box.sh("echo x > f; chmod 6755 f", cwd=here, timeout=DEADLINE)
    box.download(f"{here}/f", tmp_path / "f")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o755


def test_large_tree_is_moved_whole(box: Sandbox, here: str, tmp_path: Path) -> None:
    """Five hundred files go in and out whole.

    Why: limits of listings, frames and open files show at some size.
    Check: that everything is streamed.
    """
    for n in range(500):
        path = tmp_path / "src" / f"d{n % 20}" / f"f{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(n))
    box.upload(tmp_path / "src", f"{here}/t")
    counted = box.sh("find t -type f | wc -l; cat t/d19/f499", cwd=here, timeout=DEADLINE)
    assert counted.text.split() == ["500", "499"], counted
    assert len(box.walk(f"{here}/t")) == 520
    assert box.download(f"{here}/t", tmp_path / "dst").files == 500
    assert (tmp_path / "dst/d7/f107").read_text() == "107"


def test_large_tree_holds_up_nothing(box: Sandbox, here: str) -> None:
    """Commands and files work while a large tree is removed, copied or walked.

    Why: an agent that does one thing at a time is dead for as long as that takes.
    Check: that tree operations run in processes of their own.
    """
    box.sh("mkdir t; cd t; i=0; while [ $i -lt 50 ]; do mkdir d$i; touch d$i/f; i=$((i+1)); done", cwd=here)
    over = threading.Event()

    def work() -> None:
        for n in range(3):
            box.copy(f"{here}/t", f"{here}/u{n}")
            box.walk(f"{here}/u{n}")
            box.remove(f"{here}/u{n}", recursive=True)
        over.set()

    thread = threading.Thread(target=work)
    thread.start()
    turns = 0
    while not over.is_set():
        assert box.exec(["echo", str(turns)], timeout=DEADLINE).stdout == b"%d\n" % turns
        turns += 1
    thread.join(DEADLINE)
    assert turns > 1


def test_download_onto_a_file_raises(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A directory does not take the place of a file on the host, nor a file that of a directory.

    Why: replacing either deletes what the caller did not mean.
    Check: how the destination is opened.
    """
    box.make_dir(f"{here}/d")
    box.write_text(f"{here}/f", "x")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dir").mkdir()
    with pytest.raises(OSError, match=r".") as caught:
        box.download(f"{here}/d", tmp_path / "file")
    assert caught.value.errno in {errno.ENOTDIR, errno.EEXIST}, caught.value
    with pytest.raises(OSError, match=r"."):
        box.download(f"{here}/f", tmp_path / "dir")
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "dir").iterdir()) == []


def test_list_of_a_large_directory(box: Sandbox, here: str) -> None:
    """A directory of three thousand entries is listed whole.

    Why: one frame's worth of names is all that some transports carry.
    Check: that a listing is a stream.
    """
    box.sh("seq 1 3000 | xargs touch", cwd=here, timeout=DEADLINE).check()
    assert [info.name for info in box.list_dir(here)] == sorted(str(n) for n in range(1, 3001))
    with pytest.raises(PathNotADirectoryError):
        box.list_dir(f"{here}/1")
    box.remove(here, recursive=True)
