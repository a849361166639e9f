"""Budget: how much of this process's memory, or of this host's disk, a sandbox may still take."""

from __future__ import annotations

import sys

from samebox.errors import OutputLimitError


class Budget:
    """Counts what a sandbox takes, as Python holds it and not as it travels, and refuses more than a limit.

    Args:
        limit: The most to take, in bytes.
        refusal: The text of the error; `{limit}` stands for the limit.
    """

    def __init__(self, limit: int, refusal: str) -> None:
        self._limit = self._left = limit
        self._refusal = refusal

    def take(self, size: int) -> None:
        """Take so many bytes.

        Raises:
            OutputLimitError: They are more than what is left of the limit.
        """
        self._left -= size
        if self._left < 0:
            raise OutputLimitError(self._refusal.format(limit=self._limit))


_PLACE = 9
"""A list's place for an item, in bytes, with the part of the places that a list which grows keeps free."""


def held(item: object) -> int:
    """Return how many bytes a list takes for an item: a text, or a tuple or slotted object of texts and numbers.

    A text may take four times the bytes that it came as, and each object fifty bytes and more of its own.
    """
    parts = item if isinstance(item, tuple) else [getattr(item, name) for name in getattr(item, "__slots__", ())]
    return _PLACE + sys.getsizeof(item) + sum(map(sys.getsizeof, parts))
