"""What a device's figures say, and that the short way to the newest time is the long one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.agent.tally import DeviceTally, newest
from edge_agent.model.histogram import Histogram
from edge_agent.model.reading import Batch, ClockOffset, Gap, Quality
from edge_agent.ports import PollCounts

GOOD, UNCERTAIN, BAD = int(Quality.GOOD), int(Quality.UNCERTAIN), int(Quality.BAD)
ROW = st.tuples(st.sampled_from([GOOD, UNCERTAIN, BAD]), st.sampled_from([0, 5, 7]), st.sampled_from([0, 6, 9]))


def batch(*rows: tuple[int, int], historical: bool = False, asked: int = 0) -> Batch:
    """Return rows of (tag, quality)."""
    tags, quality = [tag for tag, _ in rows], [each for _, each in rows]
    nothing = [0] * len(rows)
    return Batch("plc1", 1_000_000_000, tags, [1] * len(rows), quality, nothing, nothing, asked=asked, historical=historical)


@given(st.lists(ROW, max_size=6))
def test_the_newest_time_is_the_best_one_of_every_row_that_is_not_bad(rows: list[tuple[int, int, int]]) -> None:
    """Looked at as columns or row by row: source before server before the moment of the answer."""
    count = len(rows)
    made = Batch("plc1", 8, [*range(count)], [1] * count, *([row[at] for row in rows] for at in range(3)))
    long_way = max((source or server or 8 for quality, source, server in rows if quality != BAD), default=None)
    assert newest(made) == long_way


def test_bad_tags_are_those_whose_newest_sample_is_bad() -> None:
    """A tag that is good again leaves, also where its batch holds no bad one; what comes late from the past says nothing of now."""
    tally = DeviceTally()
    tally.seen(batch((0, BAD), (1, GOOD), (2, BAD)))
    assert tally.bad == {0, 2}
    tally.seen(batch((0, BAD), historical=True))
    tally.seen(batch((0, GOOD), (2, BAD)))
    assert tally.bad == {2}
    tally.seen(batch((2, UNCERTAIN)))
    assert tally.bad == set()
    assert (tally.batches, tally.samples) == (4, 7)


def test_polls_go_on_over_connections() -> None:
    """A driver counts since its connect; the device's figures never fall, and each connection counts."""
    tally, first, second = DeviceTally(), PollCounts(), PollCounts()
    assert tally.polls is None
    tally.connected(first)
    first.polls, first.lateness = 5, 100
    tally.connected(second)
    second.polls, second.missed = 2, 1
    assert tally.polls == PollCounts(polls=7, missed=1, lateness=100)
    assert tally.connects == 2
    subscribed = DeviceTally()
    subscribed.connected(None)
    assert (subscribed.polls, subscribed.connects) == (None, 1)


def test_requests_are_timed_in_machine_time() -> None:
    """In a plant that runs ten times as fast, 40 ms of the plant are 4 ms; a notification was not asked for."""
    tally = DeviceTally(speed=10.0)
    tally.seen(batch((0, GOOD), asked=960_000_000))
    tally.seen(batch((0, GOOD)))
    assert sum(tally.requests.counts) == 1
    assert abs(tally.requests.total - 0.004) < 1e-9


def test_notices_are_counted_by_reason() -> None:
    """Gaps by their reason, and the newest offset of the device's clock."""
    tally = DeviceTally()
    told = batch((0, GOOD))
    told.before = (Gap("plc1", "comm_loss", 1, 2), ClockOffset("plc1", 3, -250_000_000))
    told.after = (Gap("plc1", "comm_loss", 4, 5), Gap("plc1", "queue_overflow", 6, 7))
    tally.seen(told)
    assert tally.gaps == {"comm_loss": 2, "queue_overflow": 1}
    assert tally.clock_offset == -250_000_000


def test_a_duration_falls_into_the_class_whose_bound_it_does_not_exceed() -> None:
    """Bounds belong to their class, what is longer than all is counted behind them, a stepped clock gives 0."""
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.1, 0.11, 1.0, 7.0, -3.0):
        histogram.observe(seconds)
    assert histogram.counts == [2, 2, 1]
    assert abs(histogram.total - 8.21) < 1e-9
