"""Listing: takes the items of a directory's listing, a walk or a search, which come from a hostile agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from samebox.agent.budget import Budget, held
from samebox.agent.names import link_target
from samebox.agent.output import BATCH
from samebox.agent.records import ItemDecoder, Record
from samebox.errors import ProtocolError
from samebox.guest.results import FileInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.guest.results import FileType

LISTING_LIMIT = 256 << 20
"""The most memory that the results of one listing take, in bytes: some 500,000 files with their facts."""
_TYPES: dict[bytes, FileType] = {
    b"f": "file", b"d": "directory", b"l": "symlink", b"s": "socket", b"p": "fifo", b"c": "char", b"b": "block",
}  # fmt: skip

_REFUSAL = (
    "the listing takes more than {limit} bytes of memory, the most for one; "
    "list the directories below one by one, or give a narrower pattern"
)

T = TypeVar("T")


class Listing(Generic[T]):
    """Takes a listing's items.

    Args:
        make: Makes a result of an item's record, and raises `ProtocolError` for a record that can't be.
        most: The number of items that was asked for at most; None: any number.
    """

    def __init__(self, make: Callable[[Record], T], most: int | None = None) -> None:
        self._decoder = ItemDecoder()
        self._make = make
        self._most = most
        self._budget = Budget(LISTING_LIMIT, _REFUSAL)
        self._items: list[T] = []
        self._owed = 0

    def receive(self, data: bytes) -> int:
        """Take bytes; see `Sink.receive`."""
        for record in self._decoder.feed(data):
            item = self._make(record)
            if len(self._items) == self._most:
                msg = f"the agent sent more than the {self._most} items that were asked for"
                raise ProtocolError(msg)
            self._budget.take(held(item))
            self._items.append(item)
        self._owed += len(data)
        if self._owed < BATCH:
            return 0
        owed, self._owed = self._owed, 0
        return owed

    def finish(self, error: BaseException | None) -> None:
        """Take note that no more items come."""

    def result(self) -> list[T]:
        """Return the results of a listing that has ended.

        Raises:
            ProtocolError: The listing ended inside an item.
        """
        self._decoder.finish()
        return self._items


def file_info(record: Record, name: str) -> FileInfo:
    """Return the facts about a file that the record of a STAT or of a listing's item has.

    Args:
        record: The agent's record.
        name: The file's name, as it was asked for or checked.

    Raises:
        ProtocolError: A field is missing, or the link's target can't be one.
    """
    return FileInfo(
        name=name,
        type=_TYPES.get(record.get("file_type", b""), "unknown"),
        size=record.number("size"),
        mode=record.number("mode"),
        mtime_ns=record.number("mtime"),
        uid=record.number("uid"),
        gid=record.number("gid"),
        inode=record.number("inode", 0),
        links=record.number("links", 1),
        target=link_target(record["target"]) if "target" in record else None,
    )
