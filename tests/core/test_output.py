"""How output is kept: its beginning and its end within a limit, or piece by piece."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from samebox.agent.frames import WINDOW
from samebox.agent.output import Collector, Pipe
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

    assert [pipe.take()[0] for _ in range(3)] == [b"one", b"two", b""]


def test_pipe_reports_a_lost_connection_after_what_it_holds() -> None:
    """What arrived before the loss can still be read."""
    pipe = Pipe()
    pipe.receive(b"last")
    pipe.finish(ConnectionLostError("gone"))

    assert pipe.take()[0] == b"last"
    with pytest.raises(ConnectionLostError, match="gone"):
        pipe.take()


def test_pipe_credits_exactly_what_is_taken() -> None:
    """A reader that takes everything leaves the window as it was."""
    pipe = Pipe()
    for _ in range(10):
        pipe.receive(bytes(1000))
    assert sum(pipe.take()[1] for _ in range(10)) == 10_000


def test_released_pipe_drops_beyond_its_limit() -> None:
    """A process that is only waited for does not block on output that nobody reads, and memory stays bounded."""
    pipe = Pipe()
    pipe.receive(bytes(100))
    assert pipe.release(150) == 100
    assert pipe.receive(bytes(100)) == 100
    assert pipe.truncated
    assert (len(pipe.take()[0] or b""), len(pipe.take()[0] or b"")) == (100, 50)
