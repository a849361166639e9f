"""What a hostile sandbox can make the host hold: as much as a limit says, as Python holds it."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from lying_guest import LyingGuest
from samebox.agent import listing
from samebox.agent.budget import Budget, held
from samebox.agent.frames import WINDOW
from samebox.agent.listing import Listing, file_info
from samebox.agent.output import BATCH
from samebox.agent.records import Record, decode_path, encode_item
from samebox.errors import OutputLimitError, ProtocolError
from samebox.guest.operation import run
from samebox.guest.results import GrepMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samebox.agent.records import Field

FACTS: list[Field] = [("file_type", "f"), ("size", 1 << 40), ("mode", 0o644), ("mtime", 1 << 60)]
FACTS += [("uid", 1 << 31), ("gid", 1 << 31), ("inode", 1 << 40), ("links", 1000)]
WIDE = "\N{GRINNING FACE}".encode()
"""One of these makes each character of a text take four bytes."""


def names(size: int, *, wide: bool) -> Iterator[bytes]:
    """Yield names, all of them different."""
    for number in range(size):
        yield b"%d" % number + (WIDE + b"x" * 200 if wide else b"")


def test_a_budget_refuses_what_is_more() -> None:
    """Up to the limit and not a byte more; the error says the limit."""
    budget = Budget(10, "the box takes more than {limit} bytes")
    budget.take(4)
    budget.take(6)
    with pytest.raises(OutputLimitError, match="the box takes more than 10 bytes"):
        budget.take(1)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda record: file_info(record, decode_path(record.data("name"))),
        lambda record: decode_path(record.data("name")),
        lambda record: GrepMatch(decode_path(record.data("name")), record.number("size"), record.text("name")),
    ],
    ids=["walk", "glob", "grep"],
)
def test_a_result_is_charged_what_it_costs(make: Callable[[Record], Any], *, wide: bool) -> None:
    """At least its memory, and not much more, so that the limit means what it says."""
    data = [encode_item([("name", name), *FACTS]) for name in names(2000, wide=wide)]
    taken = Listing(make)
    gc.collect()
    tracemalloc.start()
    try:
        for item in data:
            taken.receive(item)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    charged = sum(map(held, taken.result()))

    assert used - 5000 < charged < 1.6 * used


def test_a_listing_over_its_limit_fails_its_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory counts: 3,000 short names are 40 KiB on the wire."""
    monkeypatch.setattr(listing, "LISTING_LIMIT", 150_000)
    data = b"".join(encode_item([("name", name)]) for name in names(3000, wide=False))
    with LyingGuest(data) as guest:
        with pytest.raises(
            OutputLimitError, match="takes more than 150000 bytes of memory, the most for one; list the"
        ):
            run(guest.glob("*"))
        assert len(data) < 50_000
        assert guest.peer.connection.usable
        assert run(guest.exec(["true"])).ok


def test_a_search_that_finds_more_than_was_asked_for_is_a_lie() -> None:
    """`limit` is kept by the host too."""
    data = encode_item([("name", b"f"), ("line", 1), ("text", b"x")]) * 5
    with LyingGuest(data) as guest:
        assert len(run(guest.grep("x", limit=5))) == 5
        found = run(guest.grep("x", limit=4))
        assert (len(found), found.truncated) == (4, True)
        with pytest.raises(ProtocolError, match="the agent sent more than the 4 items that were asked for"):
            run(guest.grep("x", limit=3))


def test_a_listing_gives_credit_in_batches() -> None:
    """A credit for each single byte would fill the queue to an agent that takes nothing."""
    data = b"".join(encode_item([("name", name), *FACTS]) for name in names(3000, wide=False))
    taken = Listing(lambda record: record.data("name"))
    credits_given = [taken.receive(data[at : at + 1]) for at in range(len(data))]

    assert len(data) - BATCH < sum(credits_given) <= len(data)
    assert sum(map(bool, credits_given)) <= len(data) // BATCH


@pytest.mark.parametrize("given", [None, 1000])
def test_a_line_without_an_end_is_refused_and_kept(given: int | None) -> None:
    """`cat /dev/zero` filled the host's memory; what has come is there for `read`."""
    written = b"first\n" + bytes(range(11, 256)) * 20
    with LyingGuest(written, output_limit=1 << 20 if given else 1000) as guest:
        process = run(guest.spawn(["yes"]))
        assert run(process.stdout.readline(limit=given)) == b"first\n"
        for _ in range(2):
            with pytest.raises(
                OutputLimitError, match=r"yes.* has written a line of more than 1000 bytes; give a larger"
            ):
                run(process.stdout.readline(limit=given))
        assert run(process.stdout.read(100)) == written[6:106]
        assert run(process.stdout.readline(limit=5000)) == written[106:]
        assert run(process.stdout.readline()) == b""


@pytest.mark.parametrize("given", [None, 1000])
def test_reading_to_the_end_is_refused_over_the_limit(given: int | None) -> None:
    """Nothing is lost, and a larger limit has all of it."""
    written = bytes(range(256)) * 20
    with LyingGuest(written, output_limit=1 << 20 if given else 1000) as guest:
        process = run(guest.spawn(["yes"]))
        with pytest.raises(
            OutputLimitError, match=r"has written the output of more than 1000 bytes; give .*read\(limit="
        ):
            run(process.stdout.read(limit=given))
        assert run(process.stdout.read(10)) == written[:10]
        assert run(process.stdout.read(limit=len(written))) == written[10:]


def test_a_limit_is_the_longest_that_is_given() -> None:
    """A line of exactly that many bytes, its end included, is no error."""
    with LyingGuest(b"1234\n12345\n") as guest:
        process = run(guest.spawn(["x"]))
        assert run(process.stdout.readline(limit=5)) == b"1234\n"
        with pytest.raises(OutputLimitError):
            run(process.stdout.readline(limit=5))
        assert run(process.stdout.readline(limit=6)) == b"12345\n"
        assert run(process.stdout.read(limit=0)) == b""


def test_an_endless_line_in_single_bytes_costs_what_it_holds() -> None:
    """Each byte would be an object of 34 bytes where a reader keeps up with its writer."""
    size = WINDOW // 8
    with LyingGuest(b"x" * size, piece=1) as guest:
        process = run(guest.spawn(["x"]))
        gc.collect()
        tracemalloc.start()
        try:
            with pytest.raises(OutputLimitError):
                run(process.stdout.readline(limit=size - 1))
            used = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert used < 2.5 * size + 20_000
