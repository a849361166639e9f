"""Record: the tagged fields inside frames and listings, and the coding of a listing's and a tree's items."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from samebox.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Field = tuple[str, "int | bytes | str"]

TAGS = {
    "version_min": 1, "version_max": 2, "version": 3, "digest": 4, "pid": 5, "uid": 6, "gid": 7, "workdir": 8, "env": 9,
    "argv": 10, "cwd": 11, "timeout": 12, "grace": 13, "tty": 14, "rows": 15, "columns": 16, "window": 17,
    "clear_env": 18,
    "path": 20, "root": 21, "flags": 22, "limit": 23, "offset": 24, "destination": 25, "pattern": 26, "errno": 33,
    "message": 34, "exit_code": 35, "signal": 36, "reason": 37, "kind": 38, "size": 39, "mode": 40, "file_type": 41,
    "mtime": 42, "target": 43, "inode": 44, "links": 45, "line": 46, "text": 47, "count": 48, "name": 49, "device": 50,
    "want_digest": 51, "ignore_case": 52, "fixed": 53, "host": 54, "port": 55, "depth": 56, "include": 57,
    "out_of_memory": 58,
}  # fmt: skip
"""The tags of fields by name (docs/protocol.md, section 2)."""
_NAMES = {tag: name for name, tag in TAGS.items()}
_HEAD = struct.Struct(">BI")
_NUMBER = struct.Struct(">q")
_LENGTH = struct.Struct(">I")
MAX_ITEM = 128 << 10
"""The longest item of a listing or tree, without a file's content."""


class Record(dict[str, bytes]):
    """The decoded fields by name; fields with unknown tags are left out."""

    def number(self, name: str, default: int | None = None) -> int:
        """Return a field that is a number.

        Raises:
            ProtocolError: The field is missing and has no default, or is not 8 bytes long.
        """
        value = self.get(name)
        if value is None and default is not None:
            return default
        if value is None or len(value) != _NUMBER.size:
            msg = f"the agent's answer has no number {name!r}"
            raise ProtocolError(msg)
        result: int = _NUMBER.unpack(value)[0]
        return result

    def text(self, name: str) -> str:
        """Return a field that is UTF-8 text for messages; "" if the field is missing."""
        return self.get(name, b"").decode(errors="replace")

    def path(self, name: str) -> str:
        """Return a field that is a path for messages as Python text (surrogateescape), whatever this host's locale is.

        Raises:
            ProtocolError: The field is missing, or has a NUL.
        """
        path = self.data(name)
        if b"\0" in path:
            msg = f"the agent's answer has a {name!r} with a NUL"
            raise ProtocolError(msg)
        return decode_path(path)

    def data(self, name: str) -> bytes:
        """Return a field as it is.

        Raises:
            ProtocolError: The field is missing.
        """
        if name not in self:
            msg = f"the agent's answer has no {name!r}"
            raise ProtocolError(msg)
        return self[name]


def encode_path(path: str | bytes) -> bytes:
    """Return a path's bytes: UTF-8, with lone surrogates as the bytes that they stand for (surrogateescape).

    Raises:
        ValueError: The path has a NUL, which no path can have.
    """
    data = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        msg = f"a path has no NUL (found {path!r})"
        raise ValueError(msg)
    return data


def decode_path(data: bytes) -> str:
    """Return a path's text; every byte survives the way back through `encode_path`."""
    return data.decode("utf-8", "surrogateescape")


def encode_record(fields: Iterable[Field]) -> bytes:
    """Return the bytes of a record."""
    out = bytearray()
    for name, value in fields:
        data = _NUMBER.pack(value) if isinstance(value, int) else value.encode() if isinstance(value, str) else value
        out += _HEAD.pack(TAGS[name], len(data))
        out += data
    return bytes(out)


def decode_record(data: bytes) -> Record:
    """Return the fields of a record.

    Raises:
        ProtocolError: The record is cut short, or has a field twice.
    """
    record = Record()
    position = 0
    while position < len(data):
        if len(data) - position < _HEAD.size:
            msg = "the agent sent a record that ends inside a field"
            raise ProtocolError(msg)
        tag, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        if length > len(data) - position:
            msg = "the agent sent a record that ends inside a field"
            raise ProtocolError(msg)
        name = _NAMES.get(tag)
        if name is not None:
            if name in record:
                msg = f"the agent sent a record with {name!r} twice"
                raise ProtocolError(msg)
            record[name] = data[position : position + length]
        position += length
    return record


def encode_item(fields: Iterable[Field]) -> bytes:
    """Return an item of a tree: a length and a record."""
    record = encode_record(fields)
    return _LENGTH.pack(len(record)) + record


END_OF_TREE = _LENGTH.pack(0)


class ItemDecoder:
    """Takes a listing's bytes apart into records, in whatever pieces the bytes come. Holds at most one item."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take more bytes and yield the records that are whole by now.

        Raises:
            ProtocolError: An item is longer than `MAX_ITEM`, or broken.
        """
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            if length > MAX_ITEM:
                msg = f"the agent sent an item of {length} bytes"
                raise ProtocolError(msg)
            if len(self._buffer) - position - _LENGTH.size < length:
                break
            position += _LENGTH.size
            yield decode_record(bytes(self._buffer[position : position + length]))
            position += length
        del self._buffer[:position]

    def finish(self) -> None:
        """Check that the listing ended after an item.

        Raises:
            ProtocolError: The listing ended inside an item.
        """
        if self._buffer:
            msg = "the agent's listing ends inside an item"
            raise ProtocolError(msg)
