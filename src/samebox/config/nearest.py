"""nearest: what somebody who misspelt a name may have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], what: str = "there are", *, prefix: str = "") -> str:
    """Return the end of a sentence that says which known names are meant, or which there are.

    Args:
        name: The name that is not known.
        known: The names that are.
        what: The words before all of them, where none is near.
        prefix: What all of the names begin with, which makes none of them near.

    Returns:
        As "; did you mean 'memory'?" or "; there are: a, b".
    """
    import difflib  # noqa: PLC0415 - for errors alone

    known = list(known)
    rests = [each.removeprefix(prefix) for each in known]
    if found := difflib.get_close_matches(name.removeprefix(prefix), rests, 3, 0.7):
        return f"; did you mean {' or '.join(repr(prefix + each) for each in found)}?"
    return f"; {what}: {', '.join(known) or 'none'}"
