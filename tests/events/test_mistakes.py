"""Mistakes that other agents make, each as the story in which it shows, through a whole unit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.derive import Fold, Tick, Turn, UnitState
from edge_agent.events.encode import encode
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, parse
from edge_agent.model.reading import Batch, DeviceUp, Quality, Tag

T0 = parse("2026-10-25T04:00:00Z")
TAGS = (Tag("plc", "count"), Tag("plc", "state"))
UNIT: dict[str, Any] = {
    "version": 1, "unit": "filler", "state": {"tag": "plc.state"},
    "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "packml", "max_rate": "100/s"}},
}  # fmt: skip


def at(t: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(t * NS)


def started() -> tuple[Fold, UnitState]:
    """Return a unit with a counter and a state."""
    fold = fold_of(UnitConfig.model_validate(UNIT), devices={"plc": TAGS})
    return fold, fold.start({})[0]


def scan(received: float, *rows: tuple[int, Any, float], bad: int | None = None, up: bool = False) -> Batch:
    """Return rows (tag, value, source time) that came at ``received``; those of tag ``bad`` are bad."""
    before = (DeviceUp("plc", at(received)),) if up else ()
    quality = [int(Quality.BAD if tag == bad else Quality.GOOD) for tag, _, _ in rows]
    sources = [at(source) for _, _, source in rows]
    return Batch("plc", at(received), [r[0] for r in rows], [r[1] for r in rows], quality, sources, [0] * len(rows), before=before)


def of(turn: Turn, kind: str) -> list[ProductionEvent]:
    """Return the events of one type."""
    return [event for event in turn.events if event.type == kind]


def test_mistake_1_arrival_time_instead_of_source_time() -> None:
    """A backlog of ten seconds arrives at once: every change keeps the time at which it happened, in that order."""
    fold, state = started()
    backlog = scan(11, (1, 11, 2.0), (0, 101, 1.0), (1, 6, 5.0), (0, 102, 8.0))
    turn = fold.fold(state, [scan(0, (0, 100, 0), (1, 6, 0), up=True), backlog])
    told = [(event.type, (event.time - T0) / NS) for event in turn.events if event.type in {"production.count", "state.changed"}]
    assert told == [("production.count", 1.0), ("state.changed", 2.0), ("state.changed", 5.0), ("production.count", 8.0)]


def test_mistake_7_quality_dropped_or_misread() -> None:
    """A bad zero is neither a reset nor a stop, and that nobody looked for so long is a gap and no silence."""
    fold, state = started()
    turn = fold.fold(
        state,
        [scan(0, (0, 100, 0), (1, 6, 0), up=True), scan(1, (0, 0, 1), bad=0), scan(9, (0, 110, 9)), Tick(at(12))],
    )
    assert [event.data["kind"] for event in of(turn, "counter.discontinuity")] == ["baseline"]
    assert [event.data["delta"] for event in of(turn, "production.count")] == [10]
    assert [(event.data["reason"], event.data["lost"]) for event in of(turn, "collection.gap")] == [("bad_quality", "none")]
    assert of(turn, "state.changed") == []


def test_mistake_11_initial_values_taken_for_changes() -> None:
    """What is there at the first connect, and again at a second one, is a baseline: no part, no transition, no downtime."""
    fold, state = started()
    turn = fold.fold(
        state, [scan(0, (0, 754, -3600), (1, 6, -7200), up=True), scan(5, (0, 754, -3600), (1, 6, -7200), up=True), Tick(at(9))]
    )
    assert {event.type for event in turn.events} == {"counter.discontinuity", "state.snapshot"}


@pytest.mark.parametrize("number", [2**53, 2**63 - 1, 2**64 - 1, -(2**63)])
def test_mistake_13_number_corruption(number: int) -> None:
    """An integer that a double cannot hold travels as text and comes back as it was; a smaller one stays a number."""
    event = ProductionEvent(type="process.value", time=at(0), data={"value": number, "small": 2**53 - 1})
    told = msgspec.json.decode(encode(event, stream="filler", recorded=at(1), cfg="").body)
    assert (int(told["value"]), type(told["value"]), told["small"]) == (number, str, 2**53 - 1)


def test_mistake_14_clock_naivety() -> None:
    """A PLC whose clock is set back by an hour in a downtime: no negative duration, no lost part."""
    fold, state = started()
    story = [
        scan(0, (0, 100, 0), (1, 6, 0), up=True), scan(10, (1, 11, 10)), scan(40, (1, 6, 40 - 3600)), scan(41, (0, 103, 41 - 3600)), Tick(at(45)),
    ]  # fmt: skip
    turn = fold.fold(state, story)
    (ended,) = of(turn, "downtime.ended")
    assert ended.data["duration_s"] >= 0
    assert all(event.data["prev_duration_s"] >= 0 for event in of(turn, "state.changed"))
    assert sum(event.data["delta"] for event in of(turn, "production.count")) == 3
    assert all(event.data["interval"][0] <= event.data["interval"][1] for event in of(turn, "production.count"))
