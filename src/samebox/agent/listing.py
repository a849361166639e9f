"""Listing: takes the items of a directory's listing, a walk or a search, which come from a hostile agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from samebox.agent.names import link_target
from samebox.agent.records import ItemDecoder, Record
from samebox.errors import ProtocolError
from samebox.guest.results import FileInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.guest.results import FileType

LISTING_LIMIT = 256 << 20
"""The most bytes of one listing that the host takes from a sandbox."""
_TYPES: dict[bytes, FileType] = {
    b"f": "file", b"d": "directory", b"l": "symlink", b"s": "socket", b"p": "fifo", b"c": "char", b"b": "block",
}  # fmt: skip

T = TypeVar("T")


class Listing(Generic[T]):
    """Takes a listing's items, at most `LISTING_LIMIT` bytes.

    Args:
        make: Makes a result of an item's record, and raises `ProtocolError` for a record that can't be.
    """

    def __init__(self, make: Callable[[Record], T]) -> None:
        self._decoder = ItemDecoder()
        self._make = make
        self._size = 0
        self._items: list[T] = []

    def receive(self, data: bytes) -> int:
        """Take bytes; see `Sink.receive`."""
        self._size += len(data)
        if self._size > LISTING_LIMIT:
            msg = f"the agent sent a listing of more than {LISTING_LIMIT} bytes"
            raise ProtocolError(msg)
        self._items += [self._make(record) for record in self._decoder.feed(data)]
        return len(data)

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
