"""Names of files: any byte but a slash and NUL."""

from __future__ import annotations

import errno
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from samebox.conformance.contract.harness import DEADLINE
from samebox.errors import SandboxOSError

if TYPE_CHECKING:
    from pathlib import Path

    from samebox.sandbox.sandbox import Sandbox

NAMES = {
    "space": b"a b",
    "leading-dash": b"-rf",
    "leading-space": b" x",
    "newline": b"line\nend",
    "carriage-return": b"cr\r",
    "tab": b"a\tb",
    "quotes": b"'\"`$(id)",
    "backslash": b"a\\nb",
    "glob": b"*?[a]",
    "percent": b"%s%n",
    "control": b"\x01\x1b[31m\x7f",
    "utf-8": "äöü€😀".encode(),
    "decomposed": "a\u0308".encode(),
    "not-utf-8": b"\xff\xfe\x80",
    "dots": b"...",
    "tilde": b"~",
    "long": b"n" * 255,
}

every_name = pytest.mark.parametrize("name", list(NAMES.values()), ids=list(NAMES))


def octal(name: bytes) -> str:
    """Return a name as escapes for printf, so that a command in the sandbox makes the name."""
    return "".join(f"\\{byte:03o}" for byte in name)


@every_name
def test_name_made_inside_is_seen(box: Sandbox, here: str, name: bytes) -> None:
    """A file that a command made under any name is listed, found and read under that name.

    Why: `ls` output parsed by lines, JSON and decoded headers lose or change such names.
    Check: that names travel as bytes, with surrogate escapes on the host's side alone.
    """
    box.sh(f"f=$(printf '{octal(name)}x'); echo inside > \"./${{f%x}}\"", cwd=here, timeout=DEADLINE).check()
    text = os.fsdecode(name)
    assert [info.name for info in box.list_dir(here)] == [text]
    assert [info.name for info in box.walk(here)] == [text]
    assert box.glob("**", here) == [text]
    assert box.read_text(f"{here}/{text}") == "inside\n"
    assert box.read_bytes(here.encode() + b"/" + name) == b"inside\n"


@every_name
def test_name_made_by_files_is_exact(box: Sandbox, here: str, name: bytes) -> None:
    """A file that is written under any name has exactly that name inside.

    Why: a name that is normalised, quoted or decoded is another file.
    Check: by a shell's own glob inside the sandbox, dumped by od.
    """
    box.write_text(f"{here}/{os.fsdecode(name)}", "x")
    script = 'for f in ..?* .[!.]* *; do [ -e "$f" ] && printf %s "$f"; done | od -An -v -tx1'
    dump = box.sh(script, cwd=here, timeout=DEADLINE)
    assert bytes.fromhex(dump.text) == name, dump


@every_name
def test_name_survives_transfers(box: Sandbox, here: str, name: bytes, tmp_path: Path) -> None:
    """A file under any name is moved, copied, downloaded and uploaded under that name.

    Why: tar headers are limited to 100 bytes and ASCII unless extended ones are written and read.
    Check: the tree stream's names.
    """
    text = os.fsdecode(name)
    box.write_text(f"{here}/one/{text}", "x")
    box.make_dir(f"{here}/two")
    box.copy(f"{here}/one/{text}", f"{here}/two/{text}")
    box.download(f"{here}/two", tmp_path / "out")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [name]  # noqa: PTH208 - bytes
    box.upload(tmp_path / "out", f"{here}/three")
    box.move(f"{here}/three/{text}", f"{here}/three/moved")
    assert box.exec(["cat", "three/moved"], cwd=here, timeout=DEADLINE).stdout == b"x"
    box.remove(f"{here}/one/{text}")
    assert box.list_dir(f"{here}/one") == []


def test_too_long_a_name_raises(box: Sandbox, here: str) -> None:
    """A name of 256 bytes raises an OSError with ENAMETOOLONG, and changes nothing.

    Why: cut to what fits it is another file.
    Check: that the kernel's word is passed on; and that a temporary name is no longer than the name itself.
    """
    with pytest.raises(SandboxOSError) as caught:
        box.write_text(f"{here}/{'n' * 256}", "x")
    assert caught.value.errno == errno.ENAMETOOLONG, caught.value
    assert box.list_dir(here) == []


def test_longest_path(box: Sandbox, here: str) -> None:
    """A path of nearly 4096 bytes is written, read and removed.

    Why: buffers of 1024 bytes, and temporary names beside the target, cut it.
    Check: buffers for paths in the agent.
    """
    part = "d" * 200
    depth = (4000 - len(here)) // (len(part) + 1)
    path = "/".join([here, *[part] * depth, "file"])
    box.write_text(path, "deep")
    assert box.exec(["cat", path], timeout=DEADLINE).stdout == b"deep"
    assert box.realpath(path) == path
    box.remove(f"{here}/{part}", recursive=True)
    assert box.list_dir(here) == []


def test_nul_in_a_name_is_refused(box: Sandbox, here: str) -> None:
    """A NUL in a path is refused, not cut at.

    Why: C strings end there, so a check of the suffix is passed by `secret` NUL `.txt`.
    Check: the encoding of paths on the host's side.
    """
    box.write_text(f"{here}/secret", "x")
    with pytest.raises(ValueError, match="NUL"):
        box.read_bytes(f"{here}/secret\0.txt")


def test_path_objects_are_taken(box: Sandbox, here: str) -> None:
    """Paths are given as text, bytes or path objects.

    Why: `str(path)` of a bytes path is `b'...'`: a file of that name is made.
    Check: os.fspath before the encoding.
    """
    box.write_text(PurePosixPath(here) / "object", "x")
    box.write_text(here.encode() + b"/bytes", "x")
    assert [info.name for info in box.list_dir(PurePosixPath(here))] == ["bytes", "object"]


def test_relative_paths_start_at_the_workdir(box: Sandbox, here: str) -> None:
    """Relative paths, `.` and `..` among them, start at the workdir; doubled slashes mean one.

    Why: relative to the agent's own directory, or to `/`, they mean another file.
    Check: what the agent resolves them against.
    """
    name = here.rpartition("/")[2]
    box.write_text(f"{name}/./sub/..//file", "x")
    assert box.exec(["cat", f"{here}/file"], timeout=DEADLINE).stdout == b"x"
    assert box.realpath(f"{name}/sub/../file") == f"{here}/file"
