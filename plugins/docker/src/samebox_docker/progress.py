"""The lines that Docker sends during a pull, a load or an import."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.refusal import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_NUMBER = re.compile(r"\b\d+ seconds?$")


class StreamError(RefusedError):
    """A long call failed in the middle, and said so in its answer's stream.

    Args:
        words: Docker's own words.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words, words=words)


def objects(lines: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield those of Docker's lines that are objects, as all of its own are."""
    return (line for line in lines if isinstance(line, dict))


def follow(lines: Iterable[Any]) -> Iterator[str]:
    """Turn Docker's lines into ones for a person: one for each change of a layer's state, no growing bars.

    Raises:
        StreamError: A line says that the call failed.
    """
    seen: dict[str, str] = {}
    for line in objects(lines):
        detail = line.get("errorDetail")
        if error := line.get("error") or (detail.get("message") if isinstance(detail, dict) else detail):
            raise StreamError(str(error))
        status, layer = str(line.get("status") or line.get("stream") or "").strip(), str(line.get("id") or "")
        kind = _NUMBER.sub("", status)  # "Retrying in 5 seconds" counts down
        if status and seen.get(layer) != kind:
            seen[layer] = kind
            yield f"{layer}: {status}" if layer else status


def parse_lines(text: str) -> Iterator[Any]:
    """Parse an answer that has one JSON object in each line."""
    for line in text.splitlines():
        if line.strip():
            yield json.loads(line)
