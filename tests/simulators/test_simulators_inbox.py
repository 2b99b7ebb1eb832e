"""The consumer's side of the contract: whatever the order of what arrives, every hole is closed by the loss record that names it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulators.books import Books
from simulators.inbox import Inbox

SOURCE = "/acme/plant1/gw1/filler"


def event(seq: int, type_: str = "production.count", epoch: str = "E1", **data: Any) -> dict[str, Any]:
    """One event of the stream as it arrives."""
    return {
        "id": f"{epoch}-filler-{seq:012d}",
        "source": SOURCE,
        "type": f"edgeagent.{type_}.v1",
        "sequence": f"{seq:020d}",
        "time": "2026-10-25T04:00:00Z",
        "recordedtime": "2026-10-25T04:00:00Z",
        "data": {"epoch": epoch, "seq": seq, **data},
    }


def count(seq: int, total: int, **more: Any) -> dict[str, Any]:
    """One part more."""
    return event(seq, counter="total", disposition="total", delta=1, total=total, ctx={}, **more)


def loss(first: int, last: int, **more: Any) -> dict[str, Any]:
    """A loss record over a range, with the last number of it."""
    return event(last, "collection.gap", reason="rejected", seq_from=first, seq_to=last, **more)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.permutations(range(1, n + 1)), st.sets(st.integers(1, n)))))
def test_records_and_losses_in_any_order_end_in_the_same_state(case: tuple[list[int], set[int]]) -> None:
    """Rejected records come as losses at any time, early, in their turn or late: all is applied in order and nothing is missing."""
    order, rejected = case
    inbox = Inbox()
    applied = [
        each["data"]["seq"] for seq in order for each in inbox.receive(loss(seq, seq) if seq in rejected else event(seq), 0.0)
    ]
    assert applied == list(range(1, len(order) + 1))
    assert inbox.missing() == 0
    assert not list(inbox.holes(100.0))
    assert not inbox.tally.conflicts


@given(st.data())
def test_a_range_that_was_dropped_is_closed_wherever_its_loss_record_arrives(data: st.DataObject) -> None:
    """Numbers that are gone for good, some of which had arrived: one record closes the hole, and what had arrived is applied once at most."""
    last = data.draw(st.integers(2, 20))
    first = data.draw(st.integers(1, last - 1))
    known = data.draw(st.sets(st.integers(first, last - 1)))
    arriving = [event(seq) for seq in range(1, last + 5) if not first <= seq <= last or seq in known]
    arriving.append(loss(first, last))
    inbox = Inbox()
    applied = [each["data"]["seq"] for one in data.draw(st.permutations(arriving)) for each in inbox.receive(one, 0.0)]
    assert applied == sorted(set(applied))
    assert set(range(1, last + 5)) - set(applied) <= set(range(first, last))
    assert inbox.missing() == 0
    assert list(inbox.watermarks()) == [(SOURCE, "E1", last + 4)]


def test_a_retried_letter_is_booked_once_and_only_where_its_content_is_missing() -> None:
    """The loss moved the total on; the retry tells which part it was. One whose original had arrived after all is passed over."""
    inbox, books = Inbox(), Books(datetime(2026, 10, 25, tzinfo=UTC))
    stream = [
        count(1, 1),
        loss(2, 2, totals_at_from={"total": 1}, totals_at_to={"total": 2}),
        count(3, 3),
        count(4, 2, late=True, retry_of="E1-filler-000000000002"),
        count(5, 1, late=True, retry_of="E1-filler-000000000001"),
        count(6, 2, late=True, retry_of="E1-filler-000000000002"),
    ]
    for one in stream:
        for each in inbox.receive(one, 0.0):
            books.apply(each)
    assert books.counts[None, None, None, "total"] == 3
    assert books.totals["total"] == (0, 3)
    assert books.declared["total"] == 0
    assert not books.disagreeing
    assert (inbox.tally.retried, inbox.tally.retried_in_vain) == (3, 2)
    assert inbox.streams[SOURCE].last == 6


def test_what_a_checkpoint_says_was_sent_is_asked_for_until_it_comes() -> None:
    """A broker died with the last two events: nothing comes behind them, so only the checkpoint tells; who gets no answer asks again."""
    inbox = Inbox()
    list(inbox.receive(event(1), 0.0))
    stream = inbox.streams[SOURCE]
    inbox.published(stream, "E0", 9, 1.0)
    assert (inbox.missing(), list(inbox.holes(9.0))) == (0, [])
    inbox.published(stream, "E1", 3, 10.0)
    assert inbox.missing() == 2
    asked = [list(inbox.holes(now)) for now in (10.2, 10.6, 11.0, 12.7)]
    assert asked == [[], [(SOURCE, "E1", 2, 3)], [], [(SOURCE, "E1", 2, 3)]]
    list(inbox.receive(event(2), 12.8))
    assert list(inbox.holes(14.8)) == [(SOURCE, "E1", 3, 3)]
    list(inbox.receive(event(3), 14.9))
    assert (inbox.missing(), list(inbox.holes(99.0))) == (0, [])
