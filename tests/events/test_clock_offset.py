"""The offset of a device's clock, and by how much a time may be wrong, on every event that comes from it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from derive_feed import PLC, at, batch

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.derive import Fold, Turn, UnitState
from edge_agent.events.encode import encode
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import ClockOffset, DeviceUp, Timestamps

UNIT: dict[str, Any] = {
    "version": 1, "unit": "filler", "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "100/s"}},
}  # fmt: skip


def started() -> tuple[Fold, UnitState]:
    """Return a unit with one counter."""
    fold = fold_of(UnitConfig.model_validate(UNIT), devices={"plc": PLC})
    return fold, fold.start({})[0]


def offsets(turn: Turn) -> list[float | None]:
    """Return what the counts say of their clock."""
    return [event.offset_ms for event in turn.events if event.type == "production.count"]


def test_events_carry_the_measured_offset_of_their_device_also_over_a_restart() -> None:
    """42 ms behind, asked for at the connect; a restart of the agent inside the connection does not forget it."""
    fold, state = started()
    up = (DeviceUp("plc", at(0)), ClockOffset("plc", at(0), -42_000_000))
    turn = fold.fold(state, [batch(0, ("count", 100, 0), before=up), batch(1, ("count", 101, 1))])
    assert offsets(turn) == [-42.0]
    again, _ = fold.start(fold.stored(turn.state))
    assert offsets(fold.fold(again, [batch(2, ("count", 102, 2))])) == [-42.0]


def test_a_clock_that_nobody_asked_has_no_offset() -> None:
    """Nothing is invented for a device that cannot be asked."""
    fold, state = started()
    turn = fold.fold(state, [batch(0, ("count", 100, 0)), batch(1, ("count", 101, 1))])
    assert offsets(turn) == [None]


def test_a_step_between_two_questions_moves_the_offset() -> None:
    """What was measured before a clock was set by an hour is not true any more."""
    fold, state = started()
    up = (DeviceUp("plc", at(0)), ClockOffset("plc", at(0), 0))
    story = [
        batch(0, ("count", 100, 0), before=up),
        batch(1, ("count", 101, 1)),
        batch(2, ("count", 102, 3602)),
        batch(3, ("count", 103, 3603)),
    ]
    assert offsets(fold.fold(state, story)) == [0.0, 3_600_000.0, 3_600_000.0]


@pytest.mark.parametrize(
    ("times", "offset", "uncertainty"),
    [
        (Timestamps(at(1), None, at(1.01)), -42.0, 42.0), (Timestamps(at(1), None, at(1.01)), None, None),
        (Timestamps(None, None, at(1.01), at(1)), None, 10.0), (Timestamps(None, None, at(1.01)), None, None), (None, None, None),
    ],
)  # fmt: skip
def test_a_time_says_by_how_much_it_may_be_wrong(times: Timestamps | None, offset: float | None, uncertainty: float | None) -> None:
    """A device's stamp is as wrong as its clock was measured; what is stamped on arrival was sampled since it was asked for."""
    event = ProductionEvent(type="production.count", time=at(1), data={}, at=times, offset_ms=offset)
    told = msgspec.json.decode(encode(event, stream="filler", recorded=at(2), cfg="").body)["ts"]
    assert (told["uncertainty_ms"], told.get("offset_ms")) == (uncertainty, offset)
