"""Reading and writing single files, each channel checked by the other."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import (
    EditError,
    FileTooLargeError,
    NotARegularFileError,
    OutputLimitError,
    PathExistsError,
    PathIsADirectoryError,
    PathNotADirectoryError,
    PathNotFoundError,
    ProtectedPathError,
    SandboxError,
    SandboxOSError,
)

if TYPE_CHECKING:
    from samebox.sandbox.sandbox import Sandbox

EVERY_BYTE = bytes(range(256))
OCTAL = "".join(f"\\{n:03o}" for n in EVERY_BYTE)


def test_written_bytes_are_exact(box: Sandbox, here: str) -> None:
    """A written file has exactly the bytes that were given.

    Why: archive calls and text modes convert line ends, pad to blocks or stop at a NUL.
    Check: by od inside the sandbox.
    """
    assert box.write_bytes(f"{here}/file", EVERY_BYTE) == 256
    dump = box.exec(["od", "-An", "-v", "-tx1", "file"], cwd=here, timeout=DEADLINE)
    assert bytes.fromhex(dump.text) == EVERY_BYTE, dump


def test_read_bytes_are_exact(box: Sandbox, here: str) -> None:
    """A read gives exactly the bytes that a command has written.

    Why: a conversion on the way out hides one on the way in when both are tested by a round trip.
    Check: that the bytes are made inside the sandbox.
    """
    box.sh(f"printf '{OCTAL}' > file", cwd=here, timeout=DEADLINE)
    assert box.read_bytes(f"{here}/file") == EVERY_BYTE


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20, (8 << 20) + 1])
def test_size_makes_no_difference(box: Sandbox, here: str, size: int) -> None:
    """Files of any size are written and read whole.

    Why: what is right for one frame goes wrong at its border, at the window's, or at 0 bytes.
    Check: by the size and checksum that the sandbox sees.
    """
    data = os.urandom(size)
    box.write_bytes(f"{here}/file", data)
    counted = box.exec(["wc", "-c", f"{here}/file"], timeout=DEADLINE).stdout.split()[0]
    assert int(counted) == size
    assert box.read_bytes(f"{here}/file") == data


def test_text_keeps_line_ends(box: Sandbox, here: str) -> None:
    """Text is written as UTF-8 with its line ends as they are, and read likewise.

    Why: universal newlines turn CR LF into LF, and a script or a checksum breaks.
    Check: that no text mode is on the way.
    """
    box.write_text(f"{here}/file", "ä\r\nb\n\rc")
    dump = box.exec(["od", "-An", "-v", "-tx1", "file"], cwd=here, timeout=DEADLINE)
    assert bytes.fromhex(dump.text) == "ä\r\nb\n\rc".encode(), dump
    assert box.read_text(f"{here}/file") == "ä\r\nb\n\rc"


def test_text_that_is_not_utf8_raises(box: Sandbox, here: str) -> None:
    """Reading as text what is not in that encoding raises UnicodeDecodeError; nothing is guessed.

    Why: replaced characters are written back by an editor, and the file is spoilt.
    Check: the `errors` of the decoding.
    """
    box.sh(r"printf '\377' > file", cwd=here, timeout=DEADLINE)
    with pytest.raises(UnicodeDecodeError):
        box.read_text(f"{here}/file")
    assert box.read_text(f"{here}/file", encoding="latin-1") == "\xff"


def test_write_creates_parents(box: Sandbox, here: str) -> None:
    """A write makes the directories above.

    Why: put_archive needs an existing directory, and says so by a closed connection (docker-py #1808).
    Check: the agent's making of parents.
    """
    box.write_text(f"{here}/a/b/c/file", "deep")
    assert box.exec(["cat", "a/b/c/file"], cwd=here, timeout=DEADLINE).stdout == b"deep"


def test_write_replaces_the_content(box: Sandbox, here: str) -> None:
    """A write replaces the whole content, also by less or by nothing.

    Why: a file opened without truncation keeps the old tail.
    Check: by reading through a command.
    """
    box.write_text(f"{here}/file", "long content")
    box.write_text(f"{here}/file", "short")
    assert box.exec(["cat", f"{here}/file"], timeout=DEADLINE).stdout == b"short"
    box.write_bytes(f"{here}/file", b"")
    assert box.exec(["wc", "-c", f"{here}/file"], timeout=DEADLINE).stdout.split()[0] == b"0"


def test_replaced_file_keeps_its_mode(box: Sandbox, here: str) -> None:
    """A file that is written again keeps its mode.

    Why: a script that an editor saves can't be run any more, or a secret becomes readable by all.
    Check: what the temporary file gets from the file that it replaces.
    """
    box.sh("echo old > file; chmod 0750 file", cwd=here, timeout=DEADLINE)
    box.write_text(f"{here}/file", "new", mode=0o600)
    result = box.exec(["stat", "-c", "%a", f"{here}/file"], timeout=DEADLINE)
    assert result.stdout == b"750\n", result


def test_new_file_has_the_mode_asked_for(box: Sandbox, here: str) -> None:
    """A new file has the mode that was asked for, and 0o644 otherwise.

    Why: a umask of the agent's takes bits off; execute bits are lost in archives.
    Check: by stat inside the sandbox.
    """
    box.write_text(f"{here}/plain", "")
    box.write_text(f"{here}/script", "", mode=0o755)
    box.write_text(f"{here}/secret", "", mode=0o600)
    result = box.exec(["stat", "-c", "%a", "plain", "script", "secret"], cwd=here, timeout=DEADLINE)
    assert result.stdout == b"644\n755\n600\n", result


def test_write_leaves_no_temporary_file(box: Sandbox, here: str) -> None:
    """A write leaves nothing but the file.

    Why: temporary files that stay are packed, searched and committed.
    Check: the rename at the end.
    """
    for n in range(5):
        box.write_bytes(f"{here}/file", b"x" * 100_000 * n)
    assert box.exec(["ls", "-A", here], timeout=DEADLINE).stdout == b"file\n"


def test_readers_never_see_half_a_file(box: Sandbox, here: str) -> None:
    """A reader sees the old content or the new one whole, while a file is written over and over.

    Why: writing in place, a reader gets an empty or a half file: configuration reloads, imports, builds.
    Check: temporary file and rename.
    """
    one, other = b"1" * 300_000, b"2" * 500_000
    box.write_bytes(f"{here}/file", one)
    script = (
        "while [ ! -e stop ]; do cat file > seen; "
        "case $(wc -c < seen) in 300000|500000) ;; *) wc -c < seen; exit 1;; esac; done; echo fine"
    )
    with box.spawn(["sh", "-c", script], cwd=here, timeout=DEADLINE) as process:
        for n in range(30):
            box.write_bytes(f"{here}/file", other if n % 2 else one)
        box.write_text(f"{here}/stop", "")
        assert process.stdout.read() == b"fine\n"


def test_open_file_keeps_its_content(box: Sandbox, here: str) -> None:
    """A command that has a file open goes on reading the old content when it is replaced.

    Why: a running script whose file is rewritten in place goes on at the same offset of another text.
    Check: that a write makes a new file and renames it.
    """
    box.write_text(f"{here}/file", "old one\nold two\n")
    script = "exec 3< file; read x <&3; echo $x; read go; cat <&3"
    with box.spawn(["sh", "-c", script], cwd=here, timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"old one\n"
        box.write_text(f"{here}/file", "new one\nnew two\n")
        process.stdin.write(b"\n")
        assert process.stdout.read() == b"old two\n"


def test_exclusive_write_refuses_what_is_there(box: Sandbox, here: str) -> None:
    """An exclusive write raises PathExistsError if something is there, a dangling link included, and changes nothing.

    Why: looking first and writing then is a race, and a link sends the write elsewhere.
    Check: that O_EXCL, or link, decides.
    """
    box.sh("echo old > file; ln -s nowhere link", cwd=here, timeout=DEADLINE)
    for name in ("file", "link"):
        with pytest.raises(PathExistsError):
            box.write_text(f"{here}/{name}", "new", exclusive=True)
    assert box.sh("cat file; ls", cwd=here, timeout=DEADLINE).stdout == b"old\nfile\nlink\n"
    box.write_text(f"{here}/fresh", "new", exclusive=True)
    assert box.read_text(f"{here}/fresh") == "new"


def test_append_adds_at_the_end(box: Sandbox, here: str) -> None:
    """`append` adds to the end, and makes the file and its parents if need be.

    Why: reading, adding and writing back loses what another has added meanwhile.
    Check: O_APPEND.
    """
    assert box.append(f"{here}/sub/log", b"one\n") == 4
    box.sh("echo two >> sub/log", cwd=here, timeout=DEADLINE)
    box.append(f"{here}/sub/log", "drei ä\n")
    assert box.exec(["cat", f"{here}/sub/log"], timeout=DEADLINE).stdout == "one\ntwo\ndrei ä\n".encode()


def test_appends_at_once_lose_nothing(box: Sandbox, here: str) -> None:
    """Appends from several threads at once all arrive, each in one piece.

    Why: a log that two write to is cut up.
    Check: that an append is one write to a descriptor opened with O_APPEND.
    """

    def one(number: int) -> None:
        for _ in range(25):
            box.append(f"{here}/log", f"{number}" * 200 + "\n")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    lines = box.exec(["sort", f"{here}/log"], timeout=DEADLINE).stdout.split()
    assert lines == sorted([str(number).encode() * 200 for number in range(4)] * 25)


def test_missing_file_raises(box: Sandbox, here: str) -> None:
    """A path that is not there raises PathNotFoundError, which is a FileNotFoundError with errno and filename.

    Why: every engine has another error for it, or returns an empty result.
    Check: how the agent's errno is turned into an error.
    """
    for call in (box.read_bytes, box.stat, box.remove, box.list_dir, box.realpath, box.walk):
        with pytest.raises(PathNotFoundError) as caught:
            call(f"{here}/none")
        error = caught.value
        assert isinstance(error, FileNotFoundError)
        assert isinstance(error, SandboxError)
        assert (error.errno, error.filename) == (errno.ENOENT, f"{here}/none"), call


def test_directory_in_place_of_a_file_raises(box: Sandbox, here: str) -> None:
    """Reading or writing a directory raises PathIsADirectoryError, which is an IsADirectoryError.

    Why: an archive call happily returns the whole tree for a read.
    Check: how the agent's errno is turned into an error.
    """
    for call in (lambda: box.read_bytes(here), lambda: box.write_text(here, "x"), lambda: box.append(here, "x")):
        with pytest.raises(PathIsADirectoryError) as caught:
            call()
        assert isinstance(caught.value, IsADirectoryError)
        assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, here)


def test_file_in_place_of_a_directory_raises(box: Sandbox, here: str) -> None:
    """A path through a file, or a listing of one, raises PathNotADirectoryError, which is a NotADirectoryError.

    Why: mapped to "not found" a write would try to make the parents, and fail with another error.
    Check: how the agent's errno is turned into an error.
    """
    box.write_text(f"{here}/file", "")
    for call in (
        lambda: box.read_bytes(f"{here}/file/below"),
        lambda: box.write_text(f"{here}/file/below", "x"),
        lambda: box.list_dir(f"{here}/file"),
    ):
        with pytest.raises(PathNotADirectoryError) as caught:
            call()
        assert isinstance(caught.value, NotADirectoryError)
        assert caught.value.errno == errno.ENOTDIR


def test_fifo_does_not_hang(box: Sandbox, here: str) -> None:
    """Reading or writing a FIFO raises at once.

    Why: opening one waits for the other side: a hostile guest hangs its host with one mkfifo.
    Check: O_NONBLOCK, and fstat before the read.
    """
    box.sh("mkfifo fifo", cwd=here, timeout=DEADLINE)
    for call in (lambda: box.read_bytes(f"{here}/fifo"), lambda: box.write_text(f"{here}/fifo", "x")):
        with pytest.raises(NotARegularFileError) as caught:
            call()
        assert isinstance(caught.value, OSError)
        assert caught.value.filename == f"{here}/fifo"


def test_device_does_not_hang(box: Sandbox) -> None:
    """Reading a device raises instead of reading for ever.

    Why: /dev/zero has no end and /dev/tty waits; "read this file" must be safe for any name.
    Check: fstat before the read.
    """
    with pytest.raises(NotARegularFileError):
        box.read_bytes("/dev/zero", limit=100)


def test_link_to_a_fifo_does_not_hang(box: Sandbox, here: str) -> None:
    """Reading a link to a FIFO raises at once too.

    Why: a check of the name, instead of what was opened, is passed by the link.
    Check: that the opened descriptor is looked at.
    """
    box.sh("mkfifo fifo; ln -s fifo link", cwd=here, timeout=DEADLINE)
    with pytest.raises(NotARegularFileError):
        box.read_bytes(f"{here}/link")


def test_read_over_the_limit_raises(box: Sandbox, here: str) -> None:
    """A file over the limit raises FileTooLargeError with its size; one of exactly the limit is read.

    Why: a guest's file of many gigabytes takes the host's memory.
    Check: that the agent compares before it sends.
    """
    box.sh("head -c 1001 /dev/zero > file", cwd=here, timeout=DEADLINE)
    with pytest.raises(FileTooLargeError) as caught:
        box.read_bytes(f"{here}/file", limit=1000)
    assert (caught.value.errno, caught.value.size) == (errno.EFBIG, 1001), caught.value
    assert len(box.read_bytes(f"{here}/file", limit=1001)) == 1001


def test_growing_file_stays_within_the_limit(box: Sandbox, here: str) -> None:
    """A file that grows while it is read gives no more than the limit.

    Why: the size is checked, and then the guest goes on writing: endless input for the host.
    Check: that what is read is counted, and not the size believed.
    """
    script = "head -c 900 /dev/zero > file; echo up; while :; do head -c 65536 /dev/zero >> file; done"
    with box.spawn(["sh", "-c", script], cwd=here, timeout=DEADLINE) as process:
        assert process.stdout.readline() == b"up\n"
        for _ in range(50):
            try:
                assert len(box.read_bytes(f"{here}/file", limit=20_000_000)) <= 20_000_000
            except FileTooLargeError:
                break
        process.kill()
    box.remove(f"{here}/file")


def test_procfs_can_be_read(box: Sandbox) -> None:
    """A file whose size the kernel gives as 0 is read to its end.

    Why: /proc and /sys say 0 for what has content; reading "size" bytes gives nothing.
    Check: that the end of the file decides.
    """
    assert b"Linux" in box.read_bytes("/proc/version")


def test_stat_tells_what_is_there(box: Sandbox, here: str) -> None:
    """`stat` tells type, size, mode, owner, links and the time in nanoseconds.

    Why: parsing the output of ls or of a tool's stat goes wrong with locale, busybox and odd names.
    Check: by stat inside the sandbox.
    """
    box.sh("printf 12345 > file; chmod 640 file; ln file second; touch -d '2001-02-03 04:05:06' file", cwd=here)
    info = box.stat(f"{here}/file")
    told = box.exec(["stat", "-c", "%s %a %u %g %h %i %Y", f"{here}/file"], timeout=DEADLINE).text.split()
    seen = [info.size, f"{info.mode:o}", info.uid, info.gid, info.links, info.inode, info.mtime_ns // 10**9]
    assert [str(value) for value in seen] == told
    assert (info.type, info.is_file, info.is_dir, info.is_symlink) == ("file", True, False, False)


def test_stat_tells_types_apart(box: Sandbox, here: str) -> None:
    """Files, directories, links, FIFOs and devices are told apart.

    Why: a guest's FIFO taken for a file hangs the next step.
    Check: the type's letter on the wire.
    """
    box.sh("mkdir dir; mkfifo fifo; ln -s dir link; : > file", cwd=here, timeout=DEADLINE)
    types = {name: box.stat(f"{here}/{name}", follow=False).type for name in ("dir", "fifo", "link", "file")}
    assert types == {"dir": "directory", "fifo": "fifo", "link": "symlink", "file": "file"}
    assert box.stat("/dev/null").type == "char"


def test_exists_is_a_plain_question(box: Sandbox, here: str) -> None:
    """`exists` is True or False, also through a file in the place of a directory, and follows links.

    Why: an exception for "no" has callers catch everything, and so the real errors too.
    Check: which errors mean no.
    """
    box.sh(": > file; ln -s none dangling; ln -s file good", cwd=here, timeout=DEADLINE)
    asked = ("file", "none", "file/below", "dangling", "good")
    assert [box.exists(f"{here}/{name}") for name in asked] == [True, False, False, False, True]
    assert box.exists(f"{here}/dangling", follow=False)


def test_listing_is_complete_and_sorted(box: Sandbox, here: str) -> None:
    """`list_dir` gives every entry but . and .., hidden ones too, in the order of their bytes.

    Why: readdir's order is the file system's: it differs between engines, and tests get flaky.
    Check: the sorting in the agent.
    """
    box.sh("touch b a .hidden B 10 9; mkdir dir", cwd=here, timeout=DEADLINE)
    assert [info.name for info in box.list_dir(here)] == [".hidden", "10", "9", "B", "a", "b", "dir"]


def test_make_dir_makes_parents(box: Sandbox, here: str) -> None:
    """`make_dir` makes parents, accepts a directory that is there, and refuses a file.

    Why: whether a second call fails differs from library to library.
    Check: the flags' defaults.
    """
    box.make_dir(f"{here}/a/b")
    box.make_dir(f"{here}/a/b")
    assert box.sh("test -d a/b && stat -c %a a/b", cwd=here, timeout=DEADLINE).stdout == b"755\n"
    box.write_text(f"{here}/file", "")
    for path, settings in (("file", {}), ("a/b", {"exist_ok": False})):
        with pytest.raises(PathExistsError):
            box.make_dir(f"{here}/{path}", **settings)
    with pytest.raises(PathNotFoundError):
        box.make_dir(f"{here}/x/y", parents=False)


def test_remove_removes(box: Sandbox, here: str) -> None:
    """`remove` removes a file or an empty directory; a full one only with `recursive`.

    Why: an accident must need a word.
    Check: the flags' defaults.
    """
    box.sh("touch file; mkdir -p empty full/sub; touch full/sub/x", cwd=here, timeout=DEADLINE)
    box.remove(f"{here}/file")
    box.remove(f"{here}/empty")
    with pytest.raises(SandboxOSError) as caught:
        box.remove(f"{here}/full")
    assert caught.value.errno == errno.ENOTEMPTY, caught.value
    assert box.exists(f"{here}/full/sub/x")
    box.remove(f"{here}/full", recursive=True)
    assert box.exec(["ls", "-A", here], timeout=DEADLINE).stdout == b""


def test_remove_of_what_is_missing(box: Sandbox, here: str) -> None:
    """Removing what is not there raises, unless that is expected.

    Why: a typing error in a path should not look like a success.
    Check: `missing_ok`.
    """
    with pytest.raises(PathNotFoundError):
        box.remove(f"{here}/none")
    box.remove(f"{here}/none", missing_ok=True)


@pytest.mark.parametrize("path", [".", "", "./", "..", "/", "./../{name}", "link-to-workdir/."])
def test_remove_refuses_the_workdir(box: Sandbox, path: str) -> None:
    """`remove` refuses the workdir and what is above it, however it is written.

    Why: an empty variable in a path has removed many a home directory.
    Check: that the resolved path is compared, and not the text.
    """
    workdir = box.realpath(".")
    box.write_text("keep-me", "x")
    box.symlink(workdir, "link-to-workdir", replace=True)
    with pytest.raises((ProtectedPathError, PathNotFoundError)) as caught:
        box.remove(path.format(name=workdir.rpartition("/")[2]), recursive=True)
    assert path == "" or isinstance(caught.value, ProtectedPathError), repr(caught.value)
    assert box.read_text(f"{workdir}/keep-me") == "x"
    box.remove("link-to-workdir")


def test_workdir_by_its_absolute_path_is_refused(box: Sandbox) -> None:
    """`remove` refuses the workdir by its absolute path, and each directory above.

    Why: `remove(os.environ["DIR"])` with the wrong variable has deleted whole home directories.
    Check: that the resolved path is compared with the workdir's, and each ancestor's.
    """
    path = box.realpath(".")
    while path != "/":
        with pytest.raises(ProtectedPathError) as caught:
            box.remove(path, recursive=True)
        assert isinstance(caught.value, OSError)
        assert caught.value.filename == path
        path = path.rpartition("/")[0] or "/"
    assert box.exists(".")


def test_edit_replaces_a_text(box: Sandbox, here: str) -> None:
    """`edit` replaces a text that is there exactly once, and changes nothing otherwise.

    Why: replacing the first of several matches edits the wrong place without a word.
    Check: the count of what is found.
    """
    box.write_text(f"{here}/file", "one two\r\ntwo three\n", mode=0o755)
    assert box.edit(f"{here}/file", "one two", "1 2") == 1
    with pytest.raises(EditError, match="0 times"):
        box.edit(f"{here}/file", "four", "4")
    box.write_text(f"{here}/file", "a b a")
    with pytest.raises(EditError, match="2 times") as caught:
        box.edit(f"{here}/file", "a", "x")
    assert (caught.value.found, caught.value.expected) == (2, 1)
    assert box.read_text(f"{here}/file") == "a b a"
    assert box.edit(f"{here}/file", "a", "x", count=0) == 2
    assert box.sh("cat file; stat -c %a file", cwd=here, timeout=DEADLINE).stdout == b"x b x755\n"


def test_edit_keeps_other_bytes(box: Sandbox, here: str) -> None:
    """`edit` and `patch` keep what is not UTF-8, and the line ends, as they are.

    Why: decoding and encoding the whole file changes bytes far from the edit.
    Check: that the edit works on bytes.
    """
    box.sh(r"printf 'a\377\r\nb\n\000c' > file", cwd=here, timeout=DEADLINE)
    box.edit(f"{here}/file", "b", "bee")
    box.patch(f"{here}/file", 1, 1, "new\r\n")
    dump = box.exec(["od", "-An", "-v", "-tx1", f"{here}/file"], timeout=DEADLINE)
    assert bytes.fromhex(dump.text) == b"new\r\nbee\n\0c", dump


def test_patch_replaces_lines(box: Sandbox, here: str) -> None:
    """`patch` replaces, inserts and deletes ranges of lines, and refuses those that are not there.

    Why: off by one, an edit hits the neighbour.
    Check: that lines count from 1 and ranges include their end.
    """
    path = f"{here}/file"
    box.write_text(path, "1\n2\n3\n4\n")
    box.patch(path, 2, 3, "two\nthree\n")
    box.patch(path, 1, 0, "zero\n")
    box.patch(path, 5, 5, "")
    box.patch(path, 5, 4, "end\n")
    assert box.exec(["cat", path], timeout=DEADLINE).stdout == b"zero\n1\ntwo\nthree\nend\n"
    with pytest.raises(EditError, match="5 lines"):
        box.patch(path, 7, 7, "x")


def test_part_of_a_file(box: Sandbox, here: str) -> None:
    """`offset` and `length` read a part of a file, which may be larger than the limit as a whole.

    Why: who wants the head of a log has to bring all of it, or is refused for its size.
    Check: that the agent reads the part, and the end of the file is no error.
    """
    box.sh("head -c 300000 /dev/zero > file; printf 0123456789 >> file", cwd=here, timeout=DEADLINE).check()
    path = f"{here}/file"
    for offset, length, found in (
        (300_000, None, b"0123456789"),
        (300_002, 3, b"234"),
        (300_008, 100, b"89"),
        (300_010, 5, b""),
        (400_000, None, b""),
        (299_999, 2, b"\x000"),
        (300_000, 0, b""),
    ):
        assert box.read_bytes(path, offset=offset, length=length, limit=1000) == found, (offset, length)
    with pytest.raises(FileTooLargeError):
        box.read_bytes(path, offset=10, limit=1000)
    wrong: tuple[dict[str, int], ...] = ({"offset": -1}, {"length": -1}, {"length": 1001})
    for settings in wrong:
        with pytest.raises(ValueError, match="offset is a number from 0, and length one from 0 to the limit of 1000"):
            box.read_bytes(path, limit=1000, **settings)


def test_lines_of_a_file(box: Sandbox, here: str) -> None:
    """`read_lines` has some lines with their ends, and reads nothing after them.

    Why: a model reads files by lines, and a log of gigabytes has a first line too.
    Check: lines at the edges of what is read at a time, and a last line without an end.
    """
    box.sh("seq 100000 > file; printf last >> file; : > empty", cwd=here, timeout=DEADLINE).check()
    path = f"{here}/file"
    assert box.read_lines(path, count=2) == ["1\n", "2\n"]
    assert box.read_lines(path, 50_000, 3) == ["50000\n", "50001\n", "50002\n"]
    assert box.read_lines(path, 100_000) == ["100000\n", "last"]
    assert box.read_lines(path, 100_002) == []
    assert box.read_lines(path) == [*(f"{number}\n" for number in range(1, 100_001)), "last"]
    assert (box.read_lines(path, 5, 0), box.read_lines(f"{here}/empty")) == ([], [])
    with pytest.raises(OutputLimitError, match=r"the lines have more than 100 bytes; give a larger limit, or a count"):
        box.read_lines(path, limit=100)
    with pytest.raises(ValueError, match="start is a line's number from 1"):
        box.read_lines(path, 0)


def test_target_of_a_link(box: Sandbox, here: str) -> None:
    """`read_link` has a link's target as it is written, whether it is there or not; what is no link is EINVAL.

    Why: `realpath` follows every link on the way, and fails where the target is missing.
    Check: that the link itself is read.
    """
    box.symlink("../no/such", f"{here}/link")
    assert box.read_link(f"{here}/link") == "../no/such"
    box.write_text(f"{here}/file", "x")
    with pytest.raises(OSError, match=r".") as caught:
        box.read_link(f"{here}/file")
    assert caught.value.errno == errno.EINVAL, caught.value
    with pytest.raises(FileNotFoundError):
        box.read_link(f"{here}/missing")


def test_search_tells_that_there_is_more(box: Sandbox, here: str) -> None:
    """A search that stops at its limit says so, and one with exactly so many matches does not.

    Why: a list that is as long as its limit may be all, or a part.
    Check: that one match more than the limit is looked for.
    """
    box.write_text(f"{here}/file", "match\n" * 5)
    for limit, truncated in ((4, True), (5, False), (6, False), (0, True)):
        found = box.grep("match", here, limit=limit)
        assert (len(found), found.truncated) == (min(limit, 5), truncated), limit
