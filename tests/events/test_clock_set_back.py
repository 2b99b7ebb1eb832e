"""A PLC whose clock is set back: what it samples is in order again, and one old sample is still only late."""

from __future__ import annotations

import pytest

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.clocks import DeviceClock
from edge_agent.events.derive import Tick
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Batch, ClockOffset, DeviceUp, Tag

T0 = 1_792_904_400 * NS
UNIT = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "press",
        "context": {"order": "plc.order"},
        "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "10/s"}},
    }
)
TAGS = (Tag("plc", "count", period=NS // 10), Tag("plc", "order", period=NS // 10))


def at(t: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(t * NS)


def sent(t: float, value: int, *, skew: float = 0, order: str | None = None, measured: float | None = None) -> Batch:
    """Return a notification of the counter, 50 ms after it was sampled at ``t`` by a clock that is ``skew`` ahead."""
    rows = [value] if order is None else [value, order]
    known = () if measured is None else (ClockOffset("plc", at(t + 0.05), round(measured * NS)),)
    length = len(rows)
    return Batch(
        "plc", at(t + 0.05), list(range(length)), list(rows), [0] * length, [at(t + skew)] * length, [0] * length, before=known
    )


def counts(*batches: Batch) -> list[tuple[float, int, bool, str | None]]:
    """Return what the fold counts: (seconds of its time, delta, late, order)."""
    fold = fold_of(UNIT, devices={"plc": TAGS})
    state = fold.fold(fold.start({})[0], [Batch("plc", at(-1), before=(DeviceUp("plc", at(-1)),))]).state
    events: list[ProductionEvent] = []
    for batch in (*batches, Tick(batches[-1].received, final=True)):
        turn = fold.fold(state, [batch])
        state, events = turn.state, events + list(turn.events)
    return [((e.time - T0) / NS, e.data["delta"], e.late, e.ctx.order) for e in events if e.type == "production.count"]


@pytest.mark.parametrize("back", [8, 60, 3600, 86_400 * 400])
def test_samples_behind_a_step_back_are_late_for_a_second_at_most(back: int) -> None:
    """Not until the clock has passed the time it had: that could be an hour, or a year. A stamp from before the connection is taken for none."""
    story = [sent(t, 2 * t, order="A" if t == 0 else None) for t in range(10)]
    story += [sent(t, 2 * t, skew=-back) for t in range(10, 20)]
    told = counts(*story)
    assert sum(delta for _, delta, _, _ in told) == 38
    assert [late for _, _, late, _ in told] == [False] * 9 + [back == 8] + [False] * 9
    assert told[-1][0] == 19 - back


def test_a_step_that_was_measured_makes_nothing_late() -> None:
    """The device was asked: its clock is known to have been set before its next sample comes."""
    story = [sent(0, 0, order="A", measured=0.0), *(sent(t, t) for t in range(1, 15))]
    story += [sent(15, 15, skew=-8, measured=-8.0), *(sent(t, t, skew=-8) for t in range(16, 20))]
    assert [late for _, _, late, _ in counts(*story)] == [False] * 19


def test_the_order_of_what_is_sampled_behind_a_step_back_holds() -> None:
    """A change of order behind the step splits the counts as ever."""
    story = [sent(0, 0, order="A"), *(sent(t, t) for t in range(1, 5)), *(sent(t, t, skew=-600) for t in range(5, 9))]
    story += [sent(9, 9, skew=-600, order="B"), sent(10, 12, skew=-600)]
    assert [(delta, order) for _, delta, _, order in counts(*story)][-2:] == [(1, "A"), (3, "B")]


def test_an_old_sample_among_new_ones_is_late_and_no_step() -> None:
    """What a server held back for a while comes between present samples: the clock goes on."""
    story = [sent(0, 0, order="A"), sent(10, 5), sent(11, 6, skew=-8), sent(12, 7), sent(13, 8, skew=-8), sent(14, 9)]
    assert [late for _, _, late, _ in counts(*story)] == [False, True, False, True, False]


def test_a_burst_of_old_samples_is_no_step() -> None:
    """They come faster than they were taken: nothing of the past goes on at the pace of time."""
    clock = DeviceClock().stamped(at(100), at(100))
    for number in range(20):
        clock = clock.judged(at(80 + number / 2), at(101 + number / 100))
        assert clock.reached == at(100)
    assert clock.judged(at(101), at(102)).suspect is None
