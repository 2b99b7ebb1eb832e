"""Amounts: deltas as told, and what only the cumulative total tells; whatever happens, the sum is the truth."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from consumer_bench import feed, gap, payload, piece, total
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.consumer.database import Database, open_database
from edge_agent.consumer.schema import migrate
from edge_agent.consumer.store import Store
from edge_agent.consumer.totals import amount


@pytest.mark.parametrize("text", ["nan", "Infinity", "", "1e", True, None, [1]])
def test_what_is_no_amount_is_refused(text: object) -> None:
    """NaN, infinities and words never get into a sum."""
    with pytest.raises(ValueError, match="no amount"):
        amount(text)


def test_a_number_beyond_2_53_stays_exact() -> None:
    """Totals that travel as text keep every digit."""
    assert str(amount("9007199254740993")) == "9007199254740993"


def test_a_loss_with_totals_is_booked_without_an_order(store: Store) -> None:
    """What went with dropped events is counted once, as reconciled, and belongs to nobody."""
    feed(store, piece(1, 5, 5), gap(4, 2, totals_at_from={"total": 5}, totals_at_to={"total": 12}), piece(5, 1, 13))
    rows = store.database.read("SELECT seq, kind, order_id, unassigned FROM counts ORDER BY seq, part")
    assert rows == [(1, "told", "WO-1", 0), (4, "reconciled", None, 1), (5, "told", "WO-1", 0)]
    assert total(store.database) == 13


def test_a_loss_without_totals_is_made_good_by_the_next_total(store: Store) -> None:
    """The difference that no delta tells is booked when the next total comes."""
    feed(store, piece(1, 5, 5), gap(4, 2), piece(5, 1, 13))
    assert total(store.database) == 13


def test_a_correction_takes_pieces_back(store: Store) -> None:
    """A negative delta is booked as it is, and the view says how much was corrected."""
    feed(store, piece(1, 5, 5), piece(2, -2, 3))
    assert store.database.read("SELECT total, corrections FROM order_totals") == [(3, -2)]


def test_a_fresh_store_begins_its_totals_anew(store: Store) -> None:
    """Totals that start at zero again are added, not compared."""
    feed(store, piece(1, 5, 5), piece(1, 2, 2, epoch="E2"), piece(2, 1, 3, epoch="E2"))
    assert total(store.database) == 8


def test_an_adopted_stream_goes_on_from_the_total(store: Store) -> None:
    """A replaced gateway that continues the totals brings what was made during the swap, also where a count of before is missing."""
    feed(store, piece(1, 5, 5), piece(1, 4, 12, epoch="E2"))
    assert total(store.database) == 12


def test_a_restored_store_does_not_count_twice(store: Store) -> None:
    """After `store_rolled_back` the totals alone count: what the copy tells again is booked already."""
    rolled = payload(1, "collection.gap", epoch="E2", reason="store_rolled_back", lost="unknown", seq_from=None, seq_to=None)
    feed(store, piece(1, 5, 5), piece(2, 5, 10), rolled, piece(2, 6, 11, epoch="E2"), piece(3, 1, 12, epoch="E2"))
    assert total(store.database) == 12


def test_a_store_restored_to_its_beginning_does_not_count_twice(store: Store) -> None:
    """Also where the copy's totals begin at zero, so that it looks like a fresh store."""
    rolled = payload(1, "collection.gap", epoch="E2", reason="store_rolled_back", lost="unknown", seq_from=None, seq_to=None)
    feed(store, piece(1, 5, 5), piece(2, 5, 10), rolled, piece(2, 12, 12, epoch="E2"))
    assert total(store.database) == 12


def test_after_a_baseline_the_total_is_a_new_one(store: Store) -> None:
    """A counter that is based anew (other address, other scale) brings no difference to its old total."""
    based = payload(2, "counter.discontinuity", counter="total", kind="baseline", counted_delta=0, uncounted={"min": 0, "max": 0})
    feed(store, piece(1, 50, 50), based, piece(3, 1, 1))
    assert total(store.database) == 51


def test_a_dead_letter_that_comes_late_moves_its_amount_to_its_order(store: Store) -> None:
    """What the loss record counted for nobody is taken out of there when the event itself tells whose it was."""
    feed(
        store,
        piece(1, 5, 5),
        gap(2, 2, reason="rejected", totals_at_from={"total": 5}, totals_at_to={"total": 8}),
        piece(3, 1, 9),
        piece(4, 3, 8, retry_of="E1-filler-000000000002", late=True),
    )
    assert total(store.database) == 9
    assert store.database.read("SELECT total, late FROM order_totals") == [(9, 3)]


# -- any course ------------------------------------------------------------------------------------------------------


class Agent:
    """Makes a stream with losses and new stores, and knows the truth."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self.truth = 0
        self._total = self._epoch = 0
        self._seq = 0

    def messages(self, count: int) -> Iterator[list[bytes]]:
        """Yield the messages of each epoch."""
        for _ in range(self._random.randint(1, 3)):
            self._epoch += 1
            self._seq = 0
            if self._epoch > 1 and self._random.random() < 0.5:
                self._total = 0  # the store was lost: a fresh one begins at zero
            elif self._epoch > 1:
                self._total += 3  # adopted: what was made meanwhile comes with the first count
                self.truth += 3
            yield list(self._epoch_of(count))

    def _epoch_of(self, count: int) -> Iterator[bytes]:
        began = self._total
        while self._seq < count:
            kind = self._random.random()
            if kind < 0.25 and self._seq:
                numbers = self._random.randint(1, 3)
                yield self._lose(numbers, last=self._seq + numbers >= count)
            else:
                delta = self._random.randint(1, 9) if kind < 0.9 or not self._seq or not self._total else -1
                self._add(delta)
                lead = 3 if self._seq == 1 and began else 0
                yield piece(self._seq, delta + lead, self._total, epoch=f"E{self._epoch}")

    def _lose(self, numbers: int, *, last: bool) -> bytes:
        before = self._total
        for _ in range(numbers):
            self._add(self._random.randint(0, 5))
        known = self._random.random() < 0.6 or last  # without totals the next count tells it; behind the last one there is none
        totals = {"totals_at_from": {"total": before}, "totals_at_to": {"total": self._total}} if known else {}
        return gap(self._seq, self._seq - numbers + 1, epoch=f"E{self._epoch}", t=float(self._seq), **totals)

    def _add(self, delta: int) -> None:
        self._seq += 1
        self._total += delta
        self.truth += delta


def deliver(random_: random.Random, messages: list[bytes]) -> list[bytes]:
    """Return ``messages`` as a bad line brings them: repeated, out of order, and at the end all of them again (a resend)."""
    sent = [one for one in messages for _ in range(random_.choice((0, 1, 1, 2)))]
    for place in range(len(sent) - 1):
        if random_.random() < 0.3:
            sent[place], sent[place + 1] = sent[place + 1], sent[place]
    return [*sent, *messages]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kills=st.integers(1, 6))
def test_whatever_comes_the_sum_is_the_truth(seed: int, kills: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Duplicates, disorder, losses with a resend, loss records, new epochs, restarts of the consumer at any place: the booked sum is the truth."""
    random_ = random.Random(seed)
    database = _fresh(tmp_path_factory)
    agent = Agent(random_)
    for epoch in agent.messages(12):
        arriving = deliver(random_, epoch)
        while arriving:
            batch, arriving = arriving[:kills], arriving[kills:]
            store = Store(database)  # it was killed: it knows what the database knows
            store.begin()
            feed(store, *batch)
    assert total(database) == agent.truth
    assert database.read("SELECT * FROM consumer_alarms") == []
    assert database.read("SELECT * FROM missing_ranges WHERE how = 'waiting'") == []
    database.close()


def _fresh(folder: pytest.TempPathFactory) -> Database:
    database = open_database(f"sqlite:///{folder.mktemp('books')}/books.db")
    migrate(database)
    database.write("PRAGMA synchronous=OFF")
    return database
