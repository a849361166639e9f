"""How output is kept: its beginning and its end within a limit, or piece by piece."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, strategies as st

from samebox.agent.frames import WINDOW
from samebox.agent.output import Blocks, Collector, Pipe
from samebox.errors import ConnectionLostError


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 100))
def test_collector_keeps_beginning_and_end(chunks: list[bytes], limit: int) -> None:
    """Within the limit everything is kept; beyond it the beginning and the end are, and `truncated` says so."""
    collector, whole = Collector(limit), b"".join(chunks)
    for chunk in chunks:
        collector.receive(chunk)
    data = collector.data

    if len(whole) <= limit:
        assert (data, collector.truncated) == (whole, False)
    else:
        head, tail = limit - limit // 2, limit // 2
        assert (data, collector.truncated) == (whole[:head] + whole[len(whole) - tail :], True)


def test_collector_gives_back_all_credit_in_batches() -> None:
    """What is dropped is credited as what is kept is: else a flood would stop."""
    collector = Collector(10)
    given_back = sum(collector.receive(bytes(1000)) for _ in range(1000))

    assert 1_000_000 - WINDOW < given_back <= 1_000_000


def test_pipe_gives_pieces_in_order_and_then_the_end() -> None:
    """`take` says not yet, data, and the end apart."""
    pipe = Pipe()
    assert pipe.take() == (None, 0)
    pipe.receive(b"one")
    pipe.receive(b"two")
    pipe.finish(None)

    assert pipe.take()[0] == b"onetwo"
    pipe.put_back(b"two")
    assert [pipe.take()[0] for _ in range(3)] == [b"two", b"", b""]


def test_pipe_reports_a_lost_connection_after_what_it_holds() -> None:
    """What arrived before the loss can still be read."""
    pipe = Pipe()
    pipe.receive(b"last")
    pipe.finish(ConnectionLostError("gone"))

    assert pipe.take()[0] == b"last"
    with pytest.raises(ConnectionLostError, match="gone"):
        pipe.take()


def test_pipe_credits_what_is_taken_in_batches() -> None:
    """A reader that takes everything never lets the window close, and sends no credit for each single byte."""
    pipe = Pipe()
    credits_given = []
    for _ in range(1000):
        assert pipe.receive(bytes(1000)) == 0
        credits_given.append(pipe.take()[1])

    assert 1_000_000 - WINDOW // 2 < sum(credits_given) <= 1_000_000
    assert sum(map(bool, credits_given)) < 10


def test_pipe_credits_nothing_twice() -> None:
    """What is put back and taken again, before and after a release, counts once."""
    pipe = Pipe()
    pipe.receive(bytes(WINDOW))
    given_back = 0
    for _ in range(3):
        data, credit = pipe.take()
        given_back += credit
        pipe.put_back(data or b"")
    data, credit = pipe.take()
    given_back += credit + pipe.release(1 << 20)
    pipe.put_back(data or b"")
    while (taken := pipe.take())[0]:
        given_back += taken[1]

    assert given_back == WINDOW


def test_released_pipe_drops_beyond_its_limit() -> None:
    """A process that is only waited for does not block on output that nobody reads, and memory stays bounded."""
    pipe = Pipe()
    pipe.receive(bytes(100))
    assert pipe.release(150) == 100
    assert sum(pipe.receive(bytes(100)) for _ in range(WINDOW)) > 99 * WINDOW
    assert pipe.truncated
    assert (len(pipe.take()[0] or b""), pipe.take()[0]) == (150, None)


def test_output_in_single_bytes_costs_what_it_holds() -> None:
    """An object for each of two bytes would cost thirty times as much, for whoever has a limit of 100 MB."""
    collector, pipe = Collector(1 << 20), Pipe()
    tracemalloc.start()
    try:
        for number in range(1 << 19):
            piece = bytes((number % 251, 0))
            collector.receive(piece)
            if number < WINDOW // 2:
                pipe.receive(piece)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert len(collector.data) == 1 << 20
    assert used < 1.5 * (1 << 20) + 1.5 * WINDOW


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=5), st.integers(1, 200_000).map(bytes)), max_size=30))
def test_blocks_are_the_bytes_in_their_order(pieces: list[bytes]) -> None:
    """However they are joined, taken and put back."""
    blocks, whole = Blocks(), b"".join(pieces)
    for piece in pieces:
        blocks.add(piece)
    assert (b"".join(blocks), blocks.size) == (whole, len(whole))
    taken = b"".join(blocks.pop() for _ in range(len(list(blocks)) // 2))
    blocks.put_back(taken)
    assert (b"".join(blocks), blocks.size) == (whole, len(whole))
