"""Edits of files with carriage returns: what is written keeps each line's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    from samebox.sandbox.sandbox import Sandbox

MADE = "printf 'one\\r\\ntwo\\r\\nthree\\r\\n' > dos; printf 'one\\r\\ntwo\\nthree\\r\\nfour\\n' > mixed"


def test_edit_matches_either_line_end(box: Sandbox, here: str) -> None:
    """A text with newlines is found in a file with carriage returns, and what takes its place has them too.

    Why: what a model has read as lines it gives back with newlines: nothing is found, or the file has both line ends.
    """
    box.sh(MADE, cwd=here, timeout=DEADLINE)
    assert box.edit(f"{here}/dos", "two\nthree\n", "2\n2.5\n3\n") == 1
    assert box.edit(f"{here}/dos", "one", "zero\none") == 1
    assert box.read_bytes(f"{here}/dos") == b"zero\r\none\r\n2\r\n2.5\r\n3\r\n"


def test_edit_keeps_each_line_end(box: Sandbox, here: str) -> None:
    """In a file with both line ends, an edit leaves each line its own.

    Why: converting the file shows changes in lines that nobody has touched, and spoils a script's or a format's.
    """
    box.sh(MADE, cwd=here, timeout=DEADLINE)
    box.edit(f"{here}/mixed", "one\ntwo\nthree\n", "one\n2\nthree\n")
    assert box.read_bytes(f"{here}/mixed") == b"one\r\n2\nthree\r\nfour\n"
    box.edit(f"{here}/mixed", "one\n2\nthree\n", "one\nthree\n")
    assert box.read_bytes(f"{here}/mixed") == b"one\r\nthree\r\nfour\n"


def test_edit_takes_carriage_returns_as_they_are(box: Sandbox, here: str) -> None:
    """Texts with a carriage return mean just these bytes, so that line ends can be changed.

    Why: where both line ends match always, a file can't be converted.
    """
    box.sh(MADE, cwd=here, timeout=DEADLINE)
    assert box.edit(f"{here}/mixed", "\r\n", "\n", count=0) == 2
    assert box.read_bytes(f"{here}/mixed") == b"one\ntwo\nthree\nfour\n"
    box.edit(f"{here}/mixed", "two\n", "two\r\n")
    assert box.read_bytes(f"{here}/mixed") == b"one\ntwo\r\nthree\nfour\n"


def test_patch_keeps_line_ends(box: Sandbox, here: str) -> None:
    """Lines that `patch` puts into a file get the line ends of those that they replace, or of the line before.

    Why: a file of another system has one line with another end after each patch.
    """
    box.sh(MADE, cwd=here, timeout=DEADLINE)
    box.patch(f"{here}/dos", 2, 2, "2\n2.5")
    box.patch(f"{here}/dos", 5, 4, "four")
    assert box.read_bytes(f"{here}/dos") == b"one\r\n2\r\n2.5\r\nthree\r\nfour\r\n"
    box.patch(f"{here}/mixed", 1, 3, "1\n2\n3\n")
    box.patch(f"{here}/mixed", 3, 3, "")
    box.patch(f"{here}/mixed", 1, 1, "new\n")
    assert box.read_bytes(f"{here}/mixed") == b"new\r\n2\nfour\n"
