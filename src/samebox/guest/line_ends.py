"""Line ends: changes to a text that leave each line the end that it had, a newline with a carriage return or without.

A text of the caller's that has a carriage return is taken as it is, as that caller has line ends in mind.
"""

from __future__ import annotations

from itertools import takewhile


def replaced(data: bytes, old: bytes, new: bytes) -> tuple[bytes, int]:
    """Replace a text wherever it is; its newlines match either kind of line end.

    Lines that both texts have at their beginning or end keep their line ends. Others get those of the lines that they
    replace, and further ones that of the line before.

    Args:
        data: A file's content.
        old: The text to replace.
        new: The text in its place.

    Returns:
        The new content, and how often the old text was there.
    """
    if b"\r\n" not in data or b"\r" in old + new:
        return data.replace(old, new), data.count(old)
    text, ends = _apart(data)
    pieces = text.split(old)
    kept, at, lines = bytearray(), 0, old.count(b"\n")
    for number, piece in enumerate(pieces):
        if number:
            kept += _ends(old, new, ends[at : at + lines], ends[min(at, len(ends) - 1)])
            at += lines
        passed = piece.count(b"\n")
        kept += ends[at : at + passed]
        at += passed
    return _together(new.join(pieces), bytes(kept)), len(pieces) - 1


def patched(data: bytes, start: int, end: int, new: bytes) -> bytes:
    """Replace a range of lines, which has to be there; the line ends are chosen as by `replaced`.

    Args:
        data: A file's content.
        start: The first line to replace, from 1; the number after the last line's appends.
        end: The last line to replace; `start - 1` inserts.
        new: The text in place of the lines; a line end is added to a text without one if something follows.
    """
    text, ends = _apart(data)
    lines = split_lines(text)
    head, old, rest = (b"".join(part) for part in (lines[: start - 1], lines[start - 1 : end], lines[end:]))
    nearest = ends[max(0, min(start - 2, len(ends) - 1))] if ends else 0
    chosen = ends[: start - 1]
    if new and head and not head.endswith(b"\n"):
        head += b"\n"
        chosen += bytes([nearest])
    if b"\r" in new:
        new, own = _apart(new)
    else:
        own = b""
    if new and not new.endswith(b"\n") and (rest or text.endswith(b"\n")):
        new += b"\n"
        own += bytes([nearest]) if own else b""
    chosen += own or _ends(old, new, ends[start - 1 : end], nearest)
    return _together(head + new + rest, chosen + ends[end:])


def count_lines(data: bytes) -> int:
    """Return how many lines there are; newlines alone end one."""
    return data.count(b"\n") + bool(data and not data.endswith(b"\n"))


def _apart(data: bytes) -> tuple[bytes, bytes]:
    """Return a text with newlines alone, and for each of them whether a carriage return was before it."""
    ends = (
        bytes(line.endswith(b"\r") for line in data.split(b"\n")[:-1]) if b"\r\n" in data else bytes(data.count(b"\n"))
    )
    return data.replace(b"\r\n", b"\n"), ends


def _together(text: bytes, ends: bytes) -> bytes:
    if not any(ends):
        return text
    *lines, last = text.split(b"\n")
    return b"".join(line + (b"\r\n" if end else b"\n") for line, end in zip(lines, ends, strict=True)) + last


def _ends(old: bytes, new: bytes, ends: bytes, nearest: int) -> bytes:
    """Return the line ends of a new text from those of the text that it replaces.

    Args:
        old: The text that is replaced.
        new: The text in its place.
        ends: The line ends in the old text.
        nearest: That of a line nearby, if the old text has none.
    """
    before, after = old.split(b"\n")[:-1], new.split(b"\n")[:-1]
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    changed = ends[head : len(ends) - tail][: len(after) - head - tail]
    last = (ends[:head] + changed)[-1:] or ends[:1] or bytes([nearest])
    added = last * (len(after) - head - tail - len(changed))
    return ends[:head] + changed + added + ends[len(ends) - tail :]


def _alike(some: list[bytes], others: list[bytes]) -> int:
    """Return how many lines are the same from the beginning on."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


def split_lines(text: bytes) -> list[bytes]:
    """Split after newlines alone; `bytes.splitlines` also splits at carriage returns, which are part of a line here."""
    *whole, rest = text.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])
