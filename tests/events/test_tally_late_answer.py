"""An answer that was long on its way: the time between two samples is bounded by when they were asked for, not by when they came."""

from __future__ import annotations

import pytest

from edge_agent.events.advance import Register
from edge_agent.events.tally import Tally, Watch, sample
from edge_agent.model.instant import NS
from edge_agent.model.reading import Quality, Reading, Timestamps

T0 = 1_792_904_400 * NS
WATCH = Watch("gen", "c0", Register(modulus=1 << 32, rate=20 * NS, burst=2))
"""Twenty a second at most."""


def reading(value: int, came: float, asked: float | None) -> Reading:
    """A sample that was asked for and came at these seconds."""
    at = Timestamps(None, None, T0 + round(came * NS), None if asked is None else T0 + round(asked * NS))
    return Reading("gen.c0", value, Quality.GOOD, at)


@pytest.mark.parametrize(("asked", "counted"), [(0.0, 4), (None, 0)], ids=["asked for long before", "nobody asked"])
def test_what_came_right_behind_a_late_answer_is_counted(asked: float | None, counted: int) -> None:
    """Sampled at 0.02 s and 0.2 s, arrived at 0.2 s and 0.201 s: four parts in a fifth of a second are no wonder."""
    tally, _ = sample(WATCH, Tally(), reading(100, 0.2, asked))
    after, moves = sample(WATCH, tally, reading(104, 0.201, 0.2))
    assert after.total == counted
    assert [move.kind for move in moves] == [None] * bool(counted)


def test_too_fast_is_still_too_fast() -> None:
    """What cannot have been made since the answer before was asked for is held, not counted."""
    tally, _ = sample(WATCH, Tally(), reading(100, 0.2, 0.0))
    after, moves = sample(WATCH, tally, reading(200, 0.201, 0.2))
    assert (after.total, moves) == (0, ())
    assert after.held is not None
