"""Symbolic links, and operations confined to a directory, against a guest that swaps things meanwhile."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import (
    PathEscapesError,
    PathNotFoundError,
    ProtectedPathError,
    SandboxError,
    SandboxOSError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samebox.sandbox.interface import ConfinedFiles
    from samebox.sandbox.sandbox import Sandbox


def test_write_goes_through_a_link(box: Sandbox, here: str) -> None:
    """A write through a link changes what it points to and leaves the link a link.

    Why: a rename over the link turns it into a file, and the real one keeps the old content.
    Check: that the link is resolved before the temporary file is placed.
    """
    box.sh("mkdir real; echo old > real/file; ln -s real/file link", cwd=here, timeout=DEADLINE)
    box.write_text(f"{here}/link", "new")
    seen = box.sh("cat real/file; readlink link; ls -A . real", cwd=here, timeout=DEADLINE)
    assert seen.stdout == b"newreal/file\n.:\nlink\nreal\n\nreal:\nfile\n", seen


def test_write_through_a_dangling_link(box: Sandbox, here: str) -> None:
    """A write through a link that points to nothing yet makes what it points to.

    Why: it is what open does; refusing breaks `latest -> log.1`.
    Check: how the last component is resolved.
    """
    box.sh("ln -s later link", cwd=here, timeout=DEADLINE)
    box.write_text(f"{here}/link", "x")
    assert box.sh("cat later; readlink link", cwd=here, timeout=DEADLINE).stdout == b"xlater\n"


def test_read_follows_links(box: Sandbox, here: str) -> None:
    """Reads and listings follow links, chains of them too.

    Why: an lstat in the place of a stat says "not a regular file".
    Check: which call follows.
    """
    box.sh("mkdir d; echo x > d/f; ln -s d l1; ln -s l1/f l2; ln -s l2 l3", cwd=here, timeout=DEADLINE)
    assert box.read_text(f"{here}/l3") == "x\n"
    assert [info.name for info in box.list_dir(f"{here}/l1")] == ["f"]
    assert box.stat(f"{here}/l3").type == "file"
    assert box.stat(f"{here}/l3", follow=False).target == "l2"


def test_link_loop_raises(box: Sandbox, here: str) -> None:
    """A loop of links raises an OSError with ELOOP instead of going round.

    Why: a resolver of one's own goes round for ever.
    Check: the limit on links.
    """
    box.sh("ln -s b a; ln -s a b", cwd=here, timeout=DEADLINE)
    for call in (box.read_bytes, box.stat, box.realpath, box.list_dir, lambda path: box.write_text(path, "x")):
        with pytest.raises(SandboxOSError) as caught:
            call(f"{here}/a")
        assert caught.value.errno == 40, (call, caught.value)


def test_symlink_is_made_as_given(box: Sandbox, here: str) -> None:
    """`symlink` stores its target exactly as given, any bytes, and replaces a link only when told to.

    Why: normalising the target, or making it absolute, breaks relative links when a tree moves.
    Check: by readlink inside the sandbox.
    """
    box.symlink(b"../\xff x/./y", f"{here}/link")
    seen = box.sh("readlink link | od -An -v -tx1", cwd=here, timeout=DEADLINE)
    assert bytes.fromhex(seen.text) == b"../\xff x/./y\n", seen
    with pytest.raises(FileExistsError):
        box.symlink("other", f"{here}/link")
    box.symlink("other", f"{here}/link", replace=True)
    assert box.sh("readlink link", cwd=here, timeout=DEADLINE).stdout == b"other\n"
    box.write_text(f"{here}/file", "x")
    with pytest.raises(FileExistsError):
        box.symlink("other", f"{here}/file", replace=True)
    assert box.read_text(f"{here}/file") == "x"


def test_realpath_resolves(box: Sandbox, here: str) -> None:
    """`realpath` gives the path without links, `.` or `..`, and raises for what is not there.

    Why: comparing paths as text is passed by every link.
    Check: by the sandbox's own realpath.
    """
    box.sh("mkdir -p a/b; ln -s a/b l; echo x > a/b/f", cwd=here, timeout=DEADLINE)
    assert box.realpath(f"{here}/l/../b/./f") == f"{here}/a/b/f"
    assert box.exec(["readlink", "-f", f"{here}/l/f"], timeout=DEADLINE).text.strip() == box.realpath(f"{here}/l/f")
    with pytest.raises(PathNotFoundError):
        box.realpath(f"{here}/l/none")


@pytest.fixture
def jail(box: Sandbox, here: str) -> ConfinedFiles:
    """File operations confined to `in`, beside a secret in `out`."""
    box.sh("mkdir in out; echo secret > out/secret; echo x > in/file; mkdir in/sub", cwd=here, timeout=DEADLINE)
    return box.confined(f"{here}/in")


ESCAPES = {
    "parent": "../out/secret",
    "deep-parent": "sub/../../out/secret",
    "absolute": "/etc/passwd",
    "absolute-inside": "{here}/in/file",
    "root": "/",
    "dotdot": "..",
    "relative-link": "rel",
    "absolute-link": "abs",
    "through-link-directory": "dir/secret",
    "through-absolute-directory": "absdir/secret",
    "link-chain": "chain",
    "proc-root": "procroot/etc/passwd",
}

every_escape = pytest.mark.parametrize("path", list(ESCAPES.values()), ids=list(ESCAPES))


@every_escape
def test_confined_refuses_to_leave(box: Sandbox, here: str, jail: ConfinedFiles, path: str) -> None:
    """A path that leads out of the directory is refused with PathEscapesError, whatever the operation.

    Why: a check of the text is passed by links; an agent's "only below the project" is worth nothing then.
    Check: openat2 with RESOLVE_BENEATH, or the walk that takes its place.
    """
    box.sh(
        f"ln -s ../out/secret rel; ln -s {here}/out/secret abs; ln -s ../out dir; ln -s {here}/out absdir; "
        "ln -s rel chain; ln -s /proc/self/root procroot",
        cwd=f"{here}/in",
        timeout=DEADLINE,
    )
    path = path.format(here=here)
    calls: dict[str, Callable[[], object]] = {
        "read_bytes": lambda: jail.read_bytes(path),
        "write_text": lambda: jail.write_text(path, "overwritten"),
        "append": lambda: jail.append(path, "appended"),
        "stat": lambda: jail.stat(path),
        "realpath": lambda: jail.realpath(path),
        "chmod": lambda: jail.chmod(path, 0o777),
        "list_dir": lambda: jail.list_dir(path),
        "walk": lambda: jail.walk(path),
        "grep": lambda: jail.grep("secret", path),
    }
    for name, call in calls.items():
        with pytest.raises(PathEscapesError) as caught:
            call()
        assert isinstance(caught.value, SandboxError)
        assert isinstance(caught.value, ValueError)
        assert path in str(caught.value), (name, caught.value)
    assert box.sh("cat out/secret; ls out", cwd=here, timeout=DEADLINE).stdout == b"secret\nsecret\n"


def test_confined_refuses_two_paths(box: Sandbox, here: str, jail: ConfinedFiles, tmp_path: Path) -> None:
    """Both ends of a copy or a move, and both of a transfer, are confined.

    Why: checking the source alone lets a copy write anywhere.
    Check: which paths are resolved beneath the root.
    """
    (tmp_path / "up").write_text("x")
    for call in (
        lambda: jail.copy("../out/secret", "stolen"),
        lambda: jail.copy("file", "../out/planted"),
        lambda: jail.move("../out/secret", "stolen"),
        lambda: jail.move("file", "../out/planted"),
        lambda: jail.symlink("x", "../out/planted"),
        lambda: jail.make_dir("../out/planted"),
        lambda: jail.remove("../out/secret"),
        lambda: jail.upload(tmp_path / "up", "../out/planted"),
        lambda: jail.download("../out", tmp_path / "down"),
    ):
        with pytest.raises(PathEscapesError):
            call()
    assert box.sh("cat out/secret; ls out in", cwd=here, timeout=DEADLINE).stdout == (
        b"secret\nin:\nfile\nsub\n\nout:\nsecret\n"
    )
    assert not (tmp_path / "down").exists()


def test_confined_works_inside(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """Inside its directory a confined operation does all that a plain one does, links that stay inside included.

    Why: refusing every link breaks each node_modules and venv.
    Check: that `..` and links are judged by where they lead.
    """
    box.sh("ln -s sub/../file good; ln -s sub dir", cwd=f"{here}/in", timeout=DEADLINE)
    assert jail.read_text("good") == "x\n"
    jail.write_text("dir/new", "n")
    jail.write_text("a/b/c", "deep")
    jail.copy("a", "copy")
    jail.move("copy/b/c", "sub/c")
    assert jail.read_text("sub/../sub/./c") == "deep"
    assert jail.realpath("dir/new") == "sub/new"
    assert sorted(jail.glob("*/*")) == ["a/b", "copy/b", "sub/c", "sub/new"]
    assert "a/b/c" in [info.name for info in jail.walk()]
    assert jail.exists("good")
    jail.edit("file", "x", "y")
    jail.make_dir("d/e")
    jail.remove("a", recursive=True)
    assert box.sh("cat file; ls", cwd=f"{here}/in", timeout=DEADLINE).stdout == b"y\ncopy\nd\ndir\nfile\ngood\nsub\n"


def test_confined_remove_removes_the_link(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """Removing a link that leads out removes the link.

    Why: it is the way to get rid of it; and following it would delete outside.
    Check: that the last component is never followed.
    """
    box.sh("ln -s ../out dir; ln -s ../out/secret file2", cwd=f"{here}/in", timeout=DEADLINE)
    jail.remove("dir", recursive=True)
    jail.remove("file2")
    assert box.sh("cat out/secret; ls in", cwd=here, timeout=DEADLINE).stdout == b"secret\nfile\nsub\n"


def test_confined_root_is_protected(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """The directory of a confinement can't be removed through the confinement.

    Why: whatever takes its place would be the confinement then.
    Check: how the root itself is named.
    """
    for path in (".", "sub/.."):
        with pytest.raises(ProtectedPathError):
            jail.remove(path, recursive=True)
    assert box.exists(f"{here}/in/file")


def test_confined_stat_tells_of_the_link(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """A link that leads out is told of as a link by listings and by `stat` without following.

    Why: it has to be seen to be removed.
    Check: that only following is refused.
    """
    box.sh("ln -s ../out/secret bad", cwd=f"{here}/in", timeout=DEADLINE)
    assert jail.stat("bad", follow=False).target == "../out/secret"
    assert [info.type for info in jail.list_dir() if info.name == "bad"] == ["symlink"]
    assert "secret" not in [match.text for match in jail.grep("secret")]


def test_swapped_directory_does_not_let_out(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """A guest that swaps a directory for a link to the outside, over and over, lets no operation out.

    Why: between a check and its use is a race, and the guest has all the time in the world.
    Check: that every step works on descriptors.
    """
    # Only `rm` and not `mv`: what the guest itself moves through the link is its own affair.
    script = (
        "echo up; while :; do rm -rf swap; mkdir swap; echo mine > swap/secret; rm -rf swap; ln -s ../out swap; done"
    )
    with box.spawn(["sh", "-c", script], cwd=f"{here}/in", timeout=60) as process:
        assert process.stdout.readline() == b"up\n"
        seen = {"mine": 0, "escape": 0, "missing": 0}
        for n in range(400):
            try:
                if n % 2:
                    assert jail.read_text("swap/secret") in {"", "mine\n"}, "the secret was read"
                else:
                    jail.write_text("swap/secret", "mine\n")
                seen["mine"] += 1
            except PathEscapesError:
                seen["escape"] += 1
            except SandboxOSError:
                seen["missing"] += 1
        process.kill()
    assert box.read_text(f"{here}/out/secret") == "secret\n", seen
    assert [info.name for info in box.list_dir(f"{here}/out")] == ["secret"], seen


def test_swapped_file_does_not_let_out(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """A guest that swaps the file itself for a link to the outside gets nothing written there.

    Why: a check of the file's name before the write is a race that the guest can run ten thousand times a second.
    Check: that what was opened is written, and the rename stays in the opened directory.
    """
    box.sh("echo mine > in/real; ln -s ../out/secret in/evil", cwd=here, timeout=DEADLINE)
    script = "echo up; while :; do ln -f real t; mv -f t target; cp -P evil t; mv -f t target; done"
    with box.spawn(["sh", "-c", script], cwd=f"{here}/in", timeout=60) as process:
        assert process.stdout.readline() == b"up\n"
        for _ in range(200):
            with contextlib.suppress(PathEscapesError, SandboxOSError):
                jail.write_text("target", "mine\n")
            with contextlib.suppress(PathEscapesError, SandboxOSError):
                assert jail.read_text("target") != "secret\n", "the secret was read"
        process.kill()
    assert box.read_text(f"{here}/out/secret") == "secret\n"


def test_swapped_tree_is_removed_inside_only(box: Sandbox, here: str, jail: ConfinedFiles) -> None:
    """Removing a tree while the guest swaps its directories for links removes nothing outside.

    Why: CVE-2022-21658 and its kin: `remove_dir_all` followed a link that came between check and use.
    Check: that the removal descends by descriptors, without following.
    """
    script = (
        "echo up; while :; do mkdir -p in/t/d; mv in/t/d in/keep; ln -s ../../out in/t/d; rm -rf in/t/d in/keep; done"
    )
    box.sh("mkdir in/t; echo x > out/other", cwd=here, timeout=DEADLINE)
    with box.spawn(["sh", "-c", script], cwd=here, timeout=60) as process:
        assert process.stdout.readline() == b"up\n"
        for _ in range(150):
            with contextlib.suppress(SandboxError):
                jail.remove("t", recursive=True, missing_ok=True)
        process.kill()
    assert box.sh("cat out/secret out/other", cwd=here, timeout=DEADLINE).stdout == b"secret\nx\n"


def test_download_leaves_out_links_that_lead_out(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`download` leaves out links that point out of the tree, names them, and keeps those that stay inside.

    Why: a link to /etc on the host, written by the next download's file below it, is the oldest escape there is.
    Check: how a link's target is judged.
    """
    box.sh(
        "mkdir -p t/d; echo x > t/f; ln -s ../f t/d/good; ln -s /etc t/abs; ln -s ../../x t/d/up; "
        "ln -s d/../../x t/via; ln -s .. t/parent",
        cwd=here,
        timeout=DEADLINE,
    )
    counted = box.download(f"{here}/t", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert names == ["d", "f", "good"], names
    assert sorted(text.partition(":")[0] for text in counted.skipped) == ["abs", "d/up", "parent", "via"], counted


def test_download_does_not_write_through_links(box: Sandbox, here: str, tmp_path: Path) -> None:
    """`download` writes through no link that is in its destination already, left there by an earlier download.

    Why: two downloads: the first brings the link, the second the file below it.
    Check: that the host's side opens directories without following, and replaces links by files.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    dst = tmp_path / "dst"
    dst.mkdir()
    (dst / "dir").symlink_to(outside)
    (dst / "link").symlink_to(outside / "file")
    box.sh("mkdir -p t/dir; echo planted > t/dir/file; echo planted > t/link", cwd=here, timeout=DEADLINE)
    with pytest.raises(OSError, match=r"link|directory"):
        box.download(f"{here}/t", dst)
    assert (outside / "file").read_text() == "mine"
    assert os.listdir(outside) == ["file"]  # noqa: PTH208
    box.download(f"{here}/t/link", dst / "link")
    assert (outside / "file").read_text() == "mine"
    assert (dst / "link").read_text() == "planted\n"
    assert not (dst / "link").is_symlink()


def test_download_while_the_tree_is_swapped(box: Sandbox, here: str, tmp_path: Path) -> None:
    """A tree that changes while it is downloaded gives files of it or an error, and nothing of outside.

    Why: a packer that follows a swapped directory sends what was not asked for.
    Check: that the packer descends by descriptors, without following.
    """
    box.sh("mkdir -p t/d out; echo secret > out/file; echo mine > t/d/file", cwd=here, timeout=DEADLINE)
    script = "echo up; while :; do mv t/d spare; ln -s ../out t/d; rm t/d; mv spare t/d; done"
    with box.spawn(["sh", "-c", script], cwd=here, timeout=60) as process:
        assert process.stdout.readline() == b"up\n"
        for n in range(60):
            try:
                box.download(f"{here}/t", tmp_path / str(n))
            except OSError:
                continue
            for path in (tmp_path / str(n)).rglob("file"):
                assert path.read_text() == "mine\n", path
        process.kill()


def test_confined_to_a_missing_directory(box: Sandbox, here: str) -> None:
    """A confinement to a directory that is not there raises PathNotFoundError at its use.

    Why: falling back to no confinement is the worst of all answers.
    Check: the opening of the root.
    """
    with pytest.raises(PathNotFoundError):
        box.confined(f"{here}/none").read_bytes("file")
