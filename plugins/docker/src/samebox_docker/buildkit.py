"""BuildKit: what the daemon's newer builder says of a build's progress, as lines like those of the older one.

The daemon's build API takes the same archive for it. What needs a session with the client does not work: what a build
begins with is there before, and the daemon's own frontend is used in place of one that `# syntax=` would have fetched.
"""

from __future__ import annotations

import base64
import io
import re
import tarfile
import tempfile
from typing import IO, TYPE_CHECKING, Any

from samebox_docker.progress import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TRACE = "moby.buildkit.trace"
_STEP = re.compile(r"\[.*\d+/\d+\] ")
_SYNTAX = re.compile(r"\A((?:\s*#[^\n]*\n)*?\s*#\s*)syntax(\s*=)", re.IGNORECASE)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VERTEXES, _LOGS = 1, 3
_DIGEST, _NAME, _STARTED, _ERROR = 1, 3, 5, 7
_MESSAGE = 4
_MEMORY = 16 << 20
_UNREADABLE = "the progress of the build can't be read"


def progress(answers: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the text of a build's log: a line for each step that begins, and what the steps write.

    Args:
        answers: The daemon's answers.

    Raises:
        StreamError: The build failed.
    """
    begun: dict[bytes, str] = {}
    current = b""
    for answer in answers:
        if error := answer.get("error"):
            raise StreamError(str(error))
        if answer.get("id") != _TRACE:
            continue
        for number, data in _fields(_trace(answer)):
            fields = dict(_fields(data)) if number in {_VERTEXES, _LOGS} else {}
            digest, name = fields.get(_DIGEST, b""), fields.get(_NAME, b"").decode(errors="replace")
            if number == _LOGS:
                yield fields.get(_MESSAGE, b"").decode(errors="replace")
            elif _STEP.match(name) and ((fields.get(_STARTED) and digest not in begun) or _failed(fields, current)):
                begun[digest], current = name, digest
                yield f"Step {' '.join(name.split())}\n"


def _trace(answer: dict[str, Any]) -> bytes:
    aux = answer.get("aux")
    try:
        return base64.b64decode(aux if isinstance(aux, str) else "%", validate=True)
    except ValueError:
        raise StreamError(_UNREADABLE) from None


def _failed(fields: dict[int, bytes], current: bytes) -> bool:
    """Tell whether a step failed beside the one whose line was the last."""
    return _ERROR in fields and fields.get(_DIGEST) != current


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers and contents of a protocol buffer's fields that are bytes, texts or messages; pass over others.

    Raises:
        StreamError: It is none.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        else:
            raise StreamError(_UNREADABLE)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise StreamError(_UNREADABLE)


def without_frontend(file: IO[bytes], dockerfile: str) -> IO[bytes]:
    """Return a build's archive whose Dockerfile names no frontend; the same archive if it names none anyway.

    Args:
        file: The archive, at its beginning, which stays open.
        dockerfile: The Dockerfile's path in it.
    """
    with tarfile.open(fileobj=file, mode="r:") as archive:
        content = archive.extractfile(dockerfile)
        text = content.read() if content is not None else b""
        changed = _SYNTAX.sub(r"\1daemon's own instead of syntax\2", text.decode(errors="surrogateescape"))
        new = changed.encode(errors="surrogateescape")
        if new == text:
            file.seek(0)
            return file
        result: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 - the caller's
        with tarfile.open(fileobj=result, mode="w", format=tarfile.PAX_FORMAT) as out:
            for member in archive:
                if member.name == dockerfile:
                    member.size = len(new)
                    out.addfile(member, io.BytesIO(new))
                else:
                    out.addfile(member, archive.extractfile(member) if member.isreg() else None)
    result.seek(0)
    return result
