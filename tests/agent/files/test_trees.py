"""LIST, WALK, GREP and the recursive operations: order, depth, what is hidden from us, what moves meanwhile."""

from __future__ import annotations

import errno
import os
import random
import re
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fileclient import AgentError

if TYPE_CHECKING:
    from pathlib import Path

    from fileclient import Caller

FILES, DIRECTORIES = 1, 2
RECURSIVE = 1
ODD = [b"a\nb", b"\xff\xfe", b"n" * 255, b"-rf", b" ", "é".encode(), b"\\", b"*", b".dot"]


def make_deep(workdir: Path, name: str, depth: int, part: str, owner: int) -> None:
    """Make a directory of that depth, with a file in each fifth; paths get far too long to be used whole."""
    here = os.open(workdir, os.O_RDONLY)
    for level in range(depth):
        os.mkdir(name if level == 0 else part, 0o755, dir_fd=here)
        below = os.open(name if level == 0 else part, os.O_RDONLY, dir_fd=here)
        os.fchown(below, owner, owner)
        os.close(here)
        here = below
        if level % 5 == 0:
            file = os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
            os.write(file, b"needle\n")
            os.fchown(file, owner, owner)
            os.close(file)
    os.close(here)


def open_files(agent: Caller) -> int:
    """Return how many descriptors the agent has open."""
    return len(os.listdir(f"/proc/{agent.pid}/fd"))


def test_list(agent: Caller, workdir: Path) -> None:
    """Sorted by bytes, with all that STAT says; follows a link at the path's end."""
    for name in ODD:
        agent.write(name, name)
    agent.call("make_dir", "dir", mode=0o700)
    (workdir / "link").symlink_to("dir")
    os.mkfifo(workdir / "fifo")
    answer = agent.call("list", ".")
    assert answer.names == sorted([*ODD, b"dir", b"link", b"fifo"])
    assert answer.end.number("count") == len(answer.names)
    for item in answer.items:
        told = agent.call("stat", item["name"]).end
        told.pop("device")
        assert {**told, "name": item["name"]} == item
    assert agent.call("list", "link").names == []
    agent.write("dir/inside")
    assert agent.call("list", "link/").names == [b"inside"]
    assert agent.failure("list", "-rf") == (errno.ENOTDIR, "", b"-rf")
    assert agent.failure("list", "absent") == (errno.ENOENT, "", b"absent")
    assert agent.failure("list", "fifo") == (errno.ENOTDIR, "", b"fifo")


def test_large_directory(agent: Caller, workdir: Path) -> None:
    """More than the windows hold."""
    (workdir / "dir").mkdir()
    for i in range(5000):
        (workdir / f"dir/{i:0100}").touch()
    assert agent.call("list", "dir").names == [b"%0100d" % i for i in range(5000)]
    assert agent.call("walk", "dir", limit=7).end.number("count") == 7


def test_walk(agent: Caller, workdir: Path) -> None:
    """Depth first, sorted in each directory; depth, kinds, patterns and the limit count; links aren't followed."""
    for path in ["b/file", "b/sub/x.py", "a/y.py", "a-file", "a/b/c/z.py", ".hidden/w.py"]:
        agent.write(path)
    (workdir / "link").symlink_to("b")
    everything = [
        b".hidden", b".hidden/w.py", b"a", b"a/b", b"a/b/c", b"a/b/c/z.py", b"a/y.py", b"a-file", b"b", b"b/file",
        b"b/sub",
        b"b/sub/x.py", b"link",
    ]  # fmt: skip
    assert agent.call("walk", ".").names == everything
    assert agent.call("walk", ".", depth=1).names == [name for name in everything if b"/" not in name]
    assert agent.call("walk", ".", depth=2).names == [name for name in everything if name.count(b"/") < 2]
    assert agent.call("walk", ".", depth=0).names == []
    assert agent.call("walk", ".", limit=3).names == everything[:3]
    assert agent.call("walk", ".", limit=0).names == []
    assert agent.call("walk", ".", flags=DIRECTORIES).names == [b".hidden", b"a", b"a/b", b"a/b/c", b"b", b"b/sub"]
    assert agent.call("walk", ".", flags=FILES, pattern="**/*.py").names == [
        name for name in everything if name.endswith(b".py")
    ]
    assert agent.call("walk", ".", pattern="*/*.py").names == [b".hidden/w.py", b"a/y.py"]
    assert agent.call("walk", ".", pattern="a/**").names == [b"a/b", b"a/b/c", b"a/b/c/z.py", b"a/y.py"]
    assert agent.call("walk", ".", pattern="[!.]*/*").names == [b"a/b", b"a/y.py", b"b/file", b"b/sub"]
    assert agent.call("walk", ".", pattern="**/*.py", limit=1).names == [b".hidden/w.py"]
    assert agent.call("walk", "link").names == [b"file", b"sub", b"sub/x.py"]
    assert agent.failure("walk", "a-file") == (errno.ENOTDIR, "", b"a-file")


def test_what_we_may_not_read(agent: Caller, workdir: Path) -> None:
    """Is an entry as others, but not entered; names whose files can't be looked at are told with what is known."""
    for name in ["closed", "names-only", "open"]:
        agent.write(f"{name}/file", b"needle")
    (workdir / "closed").chmod(0)
    (workdir / "names-only").chmod(0o444)
    names = agent.call("walk", ".").names
    if agent.uid == 0:
        assert names == [b"closed", b"closed/file", b"names-only", b"names-only/file", b"open", b"open/file"]
        return
    assert names == [b"closed", b"names-only", b"names-only/file", b"open", b"open/file"]
    assert agent.call("list", "names-only").items[0].number("inode") == 0
    assert [item["name"] for item in agent.call("grep", ".", pattern="needle").items] == [b"open/file"]
    assert agent.failure("walk", "closed") == (errno.EACCES, "", b"closed")
    assert agent.failure("list", "closed") == (errno.EACCES, "", b"closed")
    assert agent.failure("pack", ".") == (errno.EACCES, "", b"./closed")
    assert agent.failure("copy", "closed", destination="x", flags=RECURSIVE) == (errno.EACCES, "", b"closed")
    assert not (workdir / "x").exists()


def reference(pattern: str) -> re.Pattern[str]:
    """What a pattern means, as a regular expression."""
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            end = at
            while end < len(pattern) and pattern[end] == "*":
                end += 1
            if (at == 0 or pattern[at - 1] == "/") and pattern[end : end + 1] == "/":
                out, at = out + "(?:[^/]*/)*", end + 1
            else:
                out, at = out + ".*", end
        elif pattern[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif pattern[at] == "?":
            out, at = out + "[^/]", at + 1
        elif (found := re.compile(r"\[([!^]?)(\]?[^]/]*)\]").match(pattern, at)) and found.group(2):
            members = re.sub(r"([]\\[&~|^])", r"\\\1", found.group(2))
            out += f"(?!/)[{'^' if found.group(1) else ''}{members}]"
            at = found.end()
        else:
            out, at = out + re.escape(pattern[at]), at + 1
    return re.compile(out, re.DOTALL)


def test_glob_against_a_reference(agent: Caller, workdir: Path) -> None:
    """Many random patterns over names that nearly match."""
    made = random.Random(7)  # noqa: S311 - the same each time
    for _ in range(150):
        path = "/".join("".join(made.choices("abé.", k=made.randint(1, 3))) for _ in range(made.randint(1, 4)))
        if all(part.strip(".") for part in path.split("/")):
            agent.attempt("write", path, b"")
    names = [os.fsdecode(name) for name in agent.call("walk", ".").names]
    assert len(names) > 100
    patterns = [
        "*",
        "**",
        "**/*",
        "*/**",
        "**/a*",
        "a/**/b*",
        "[a-b]*",
        "[!a]*/?",
        "[]a]*",
        "[a",
        "a**b",
        "**b/**",
        "*é*",
        "??",
        "**/?/**",
    ]
    pieces = ["*", "**", "?", "/", "a", "b", "é", ".", "[ab]", "[!a]", "**/", "/**"]
    patterns += ["".join(made.choices(pieces, k=made.randint(1, 7))) for _ in range(300)]
    for pattern in patterns:
        wanted = reference(pattern)
        got = [os.fsdecode(name) for name in agent.call("walk", ".", pattern=pattern).names]
        assert got == [name for name in names if wanted.fullmatch(name)], pattern


def test_glob_does_not_explode(agent: Caller) -> None:
    """Patterns that take for ever with backtracking over every star."""
    agent.write("/".join(["a" * 250] * 15) + "/x", b"")
    begun = time.monotonic()
    for pattern in ["a*" * 100 + "b", "**a" * 100 + "b", "**/*a" * 50 + "b", "*a*a" * 30 + "/" + "**/a*" * 30]:
        assert agent.call("walk", ".", pattern=pattern).names == []
    assert time.monotonic() - begun < 10


def grep(
    agent: Caller, pattern: str, path: str = ".", **fields: int | str | list[str]
) -> list[tuple[bytes, int, bytes]]:
    """Return names, line numbers and texts."""
    items = agent.call("grep", path, pattern=pattern, **fields).items
    return [(item.get("name", b""), item.number("line"), item["text"]) for item in items]


def test_grep(agent: Caller, workdir: Path) -> None:
    """Extended regular expressions, literals, case, includes, the limit; one file or a tree."""
    agent.write("a.py", b"import os\nx = 1\nIMPORT sys\nlast import")
    agent.write("sub/b.py", "größe\nGRÖSSE\nimport (x)\n".encode())
    agent.write("sub/c.txt", b"import txt\n\n")
    assert grep(agent, "^import") == [
        (b"a.py", 1, b"import os"),
        (b"sub/b.py", 3, b"import (x)"),
        (b"sub/c.txt", 1, b"import txt"),
    ]
    assert grep(agent, "^import", include=["*.py"], ignore_case=1) == [
        (b"a.py", 1, b"import os"), (b"a.py", 3, b"IMPORT sys"), (b"sub/b.py", 3, b"import (x)"),
    ]  # fmt: skip
    assert grep(agent, "import", include=["sub/*.txt", "a.*"], limit=2) == [
        (b"a.py", 1, b"import os"),
        (b"a.py", 4, b"last import"),
    ]
    assert grep(agent, "import (x)", fixed=1) == [(b"sub/b.py", 3, b"import (x)")]
    assert grep(agent, "IMPORT (X)", fixed=1, ignore_case=1) == [(b"sub/b.py", 3, b"import (x)")]
    assert grep(agent, "(x|os)$", "a.py") == [(b"", 1, b"import os")]
    assert grep(agent, "^$", "sub") == [(b"c.txt", 2, b"")]
    assert grep(agent, "x = [0-9]+|gr.{1,2}e$") == [(b"a.py", 2, b"x = 1"), (b"sub/b.py", 1, "größe".encode())]
    assert agent.call("grep", ".", pattern="x", limit=0).items == []
    (workdir / "link").symlink_to("a.py")
    assert grep(agent, "last", "link") == [(b"", 4, b"last import")]
    assert agent.failure("grep", "absent", pattern="x") == (errno.ENOENT, "", b"absent")


def test_grep_refuses_what_is_no_expression(agent: Caller) -> None:
    """With the reason, also if nothing would be searched."""
    for pattern in ["(", "[a", "a{2,1}"]:
        with pytest.raises(AgentError) as caught:
            agent.call("grep", ".", pattern=pattern)
        assert (caught.value.errno, caught.value.kind, caught.value.path) == (errno.EINVAL, "pattern", b".")
        assert caught.value.message not in ("", os.strerror(errno.EINVAL))
    assert grep(agent, "(", fixed=1) == []


def test_grep_of_odd_files(agent: Caller, workdir: Path) -> None:
    """Binary files, FIFOs and devices are passed over, long lines cut, bytes that are no UTF-8 searched too."""
    agent.write("binary", b"needle\n" + b"\0")
    agent.write("late-nul", b"x" * 8192 + b"\nneedle \0 x\n")
    agent.write("long", b"x" * 3_000_000 + b"needle\nneedle" + b"y" * 10_000 + b"\nneedle end")
    agent.write("latin1", "Gr\xf6\xdfe needle\n".encode("latin-1"))
    agent.write("crlf", b"needle\r\n")
    agent.write("empty", b"")
    os.mkfifo(workdir / "fifo")
    (workdir / "loop").symlink_to("loop")
    (workdir / "device").symlink_to("/dev/zero")
    assert grep(agent, "need.e") == [
        (b"crlf", 1, b"needle\r"), (b"late-nul", 2, b"needle \0 x"), (b"latin1", 1, b"Gr\xf6\xdfe needle"),
        (b"long", 2, b"needle" + b"y" * 4090), (b"long", 3, b"needle end"),
    ]  # fmt: skip
    assert agent.failure("grep", "fifo", pattern="x") == (errno.EINVAL, "special", b"fifo")
    assert agent.failure("grep", "device", pattern="x") == (errno.EINVAL, "special", b"device")


def test_remove_own_tree_whatever_its_modes(agent: Caller, workdir: Path) -> None:
    """Directories without rights are no obstacle to who owns them."""
    for path in ["t/none/a/file", "t/read/a/file", "t/exec/a/file", "t/no-write/a/file"]:
        agent.write(path)
    outside = workdir / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"kept")
    (workdir / "t/link").symlink_to("../outside")
    for name, mode in [("none", 0), ("read", 0o444), ("exec", 0o111), ("no-write", 0o555)]:
        (workdir / "t" / name / "a").chmod(mode)
        (workdir / "t" / name).chmod(mode)
    (workdir / "t").chmod(0)
    agent.call("remove", "t", flags=RECURSIVE)
    assert os.listdir(workdir) == ["outside"]
    assert (outside / "file").read_bytes() == b"kept"


def test_remove_goes_on_and_tells_the_first_failure(agent: Caller, workdir: Path) -> None:
    """What belongs to someone else stays, the rest is removed."""
    if os.geteuid() != 0 or agent.uid == 0:
        pytest.skip("needs another user")
    agent.call("make_dir", "t")
    (workdir / "t/theirs").mkdir()
    (workdir / "t/theirs/file").touch()
    agent.write("t/a/file")
    agent.write("t/z/file")
    assert agent.failure("remove", "t", flags=RECURSIVE) == (errno.EACCES, "", b"t/theirs/file")
    assert os.listdir(workdir / "t") == ["theirs"]


def test_chmod_tree(agent: Caller, workdir: Path) -> None:
    """Takes away and gives back the right to enter; leaves links alone."""
    for path in ["t/a/b/file", "t/file"]:
        agent.write(path)
    agent.write("outside")
    (workdir / "t/a/link").symlink_to("../../outside")
    for mode in [0, 0o500, 0, 0o750]:
        agent.call("chmod", "t", mode=mode, flags=RECURSIVE)
        assert stat.S_IMODE((workdir / "t").stat().st_mode) == mode
    assert [item.number("mode") for item in agent.call("walk", "t").items if item["file_type"] != b"l"] == [0o750] * 4
    assert stat.S_IMODE((workdir / "outside").stat().st_mode) == 0o644
    agent.call("chmod", "outside", mode=0o600, flags=RECURSIVE)
    assert stat.S_IMODE((workdir / "outside").stat().st_mode) == 0o600
    (workdir / "link").symlink_to("t")
    agent.call("chmod", "link", mode=0o700, flags=RECURSIVE)
    assert stat.S_IMODE((workdir / "t/a/b/file").stat().st_mode) == 0o700


def test_copy_tree(agent: Caller, workdir: Path) -> None:
    """Content, modes, times, links as they are; FIFOs left out; over an empty directory only, and never half."""
    agent.write("t/a/file", b"content", mode=0o640)
    agent.call("make_dir", "t/closed", mode=0o500)
    agent.call("symlink", "t/a/link", target="file")
    os.mkfifo(workdir / "t/fifo")
    for path in ["t/a/file", "t/a", "t"]:
        os.utime(workdir / path, ns=(0, 1_000_000_000_123_456_789))
    assert agent.call("copy", "t", destination="new/copy", flags=RECURSIVE).end.number("count") == 5
    keys = ("name", "file_type", "mode", "mtime", "target")
    before = [
        [item.get(key) for key in keys]
        for item in agent.call("walk", "t").items
        if item["file_type"] not in (b"p", b"l")
    ]
    after = [
        [item.get(key) for key in keys] for item in agent.call("walk", "new/copy").items if item["file_type"] != b"l"
    ]
    assert before == after
    assert os.readlink(workdir / "new/copy/a/link") == "file"
    assert (workdir / "new/copy").stat().st_mtime_ns == 1_000_000_000_123_456_789
    assert agent.failure("copy", "t", destination="new/copy", flags=RECURSIVE) == (errno.EEXIST, "", b"new/copy")
    assert agent.failure("copy", "t", destination="new/copy", flags=3) == (errno.ENOTEMPTY, "", b"new/copy")
    agent.call("make_dir", "empty", mode=0o711)
    agent.call("copy", "t", destination="empty", flags=3)
    assert agent.read("empty/a/file") == b"content"
    assert stat.S_IMODE((workdir / "empty").stat().st_mode) == 0o711
    agent.write("t/z", b"")
    (workdir / "t/z").chmod(0)
    if agent.uid:
        assert agent.failure("copy", "t", destination="half", flags=RECURSIVE) == (errno.EACCES, "", b"t/z")
        assert not (workdir / "half").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("depth", "part"), [(5000, "d"), (400, "n" * 255)])
def test_deep_trees(agent: Caller, workdir: Path, depth: int, part: str) -> None:
    """Deeper than the stack or the descriptors reach, and with paths that no system call takes."""
    make_deep(workdir, "t", depth, part, agent.uid)
    limit = 96 * 1024
    visible = [level for level in range(1, depth) if 2 + level * (len(part) + 1) < limit]
    before = open_files(agent)
    walked = agent.call("walk", "t").items
    assert len([item for item in walked if item["file_type"] == b"d"]) == pytest.approx(len(visible), abs=3)
    assert len(grep(agent, "needle", "t")) == pytest.approx(len(visible) / 5, abs=3)
    assert agent.call("copy", "t", destination="copy", flags=RECURSIVE).end.number("count") == depth + (depth + 4) // 5
    agent.call("chmod", "copy", mode=0o700, flags=RECURSIVE)
    if len(visible) == depth - 1:
        packed = agent.call("pack", "t").data
        agent.call("unpack", "unpacked", packed)
        assert len(agent.call("walk", "unpacked").items) == len(walked)
        agent.call("remove", "unpacked", flags=RECURSIVE)
    else:
        assert agent.failure("pack", "t")[0] == errno.ENAMETOOLONG
    agent.call("remove", "copy", flags=RECURSIVE)
    agent.call("remove", "t", flags=RECURSIVE)
    assert os.listdir(workdir) == []
    assert open_files(agent) == before


MOVER = """
import os, sys
os.chdir(sys.argv[1])
os.makedirs("elsewhere", exist_ok=True)
print(flush=True)
while True:
    for inside, outside in [("t/a/b", "elsewhere/b"), ("t/a", "elsewhere/a")]:
        for here, there in [(inside, outside), (outside, inside)]:
            try:
                os.rename(here, there)
            except OSError:
                pass
"""


def test_directories_that_move_while_we_are_in_them(agent: Caller, workdir: Path) -> None:
    """`..` then leads elsewhere: the walk finds back, and nothing outside the tree is told, changed or removed."""
    for i in range(30):
        agent.write(f"t/a/b/c/d{i}/file", b"x")
        agent.write(f"t/x{i}/file", b"x")
        agent.write(f"elsewhere/secret{i}", b"secret")
    process = subprocess.Popen([sys.executable, "-c", MOVER, workdir], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            walked = agent.call("walk", "t").names
            assert not [name for name in walked if b"secret" in name]
            assert len([name for name in walked if name.startswith(b"x")]) == 60
            agent.attempt("chmod", "t", mode=0o755, flags=RECURSIVE)
            packed = agent.attempt("pack", "t")
            assert packed is None or b"secret" not in packed.data
            if agent.attempt("copy", "t", destination="copy", flags=RECURSIVE):
                assert len(agent.call("walk", "copy", pattern="x*").names) == 30
                agent.call("remove", "copy", flags=RECURSIVE)
        agent.attempt("remove", "t", flags=RECURSIVE)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert sum(1 for name in os.listdir(workdir / "elsewhere") if name.startswith("secret")) == 30
    assert stat.S_IMODE((workdir / "elsewhere/secret0").stat().st_mode) == 0o644


def test_cancel_ends_a_walk(agent: Caller) -> None:
    """A tree without an end is no reason to wait."""
    for delay in [0, 0, 0, 0.001, 0.01, 0.1]:
        stream = agent.begin("grep", "/proc", pattern="xxxxxxxxxxxx")
        time.sleep(delay)
        begun = time.monotonic()
        assert agent.cancel(stream).number("errno") == errno.ECANCELED
        assert time.monotonic() - begun < 1
    assert agent.call("walk", ".").names == []
