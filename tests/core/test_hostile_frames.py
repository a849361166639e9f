"""Whatever an agent sends, every call ends, with a result or an error that is documented."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from hostile_frames import survive


@settings(max_examples=150)
@given(st.binary(max_size=400))
def test_every_call_ends_whatever_the_frames_are(data: bytes) -> None:
    """Commands, files, listings, a download, an upload and a socket on one connection, then its end."""
    survive(data)


@pytest.mark.parametrize("seed", range(4))
def test_every_call_ends_after_long_talks(seed: int) -> None:
    """Random frames with many choices, of which hypothesis makes few."""
    source = random.Random(seed)  # noqa: S311 - to be repeated
    for _ in range(100):
        survive(source.randbytes(600))
