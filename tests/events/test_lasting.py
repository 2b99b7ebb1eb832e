"""Durations across a clock that was set: as long as it truly was, never negative."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.lasting import lasted
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Batch, DeviceUp, Tag

T0 = 1_792_904_400 * NS
UNIT = UnitConfig.model_validate({"version": 1, "unit": "press", "state": {"tag": "plc.state"}})
TAGS = (Tag("plc", "state", "int32", period=NS // 10),)


def at(t: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(t * NS)


@pytest.mark.parametrize(
    ("own", "passed", "moved", "expected"),
    [
        (12.0, 12.1, False, 12.0),
        (12.0, 40.0, False, 12.0),
        (3612.0, 12.0, False, 12.0),
        (-3588.0, 12.0, False, 12.0),
        (-1.0, 2.0, False, 2.0),
        (0.0, 12.0, True, 12.0),
        (3600.0, 7200.0, False, 7200.0),
        (60.0, 1.7e9, False, 60.0),
        (60.0, None, False, 60.0),
        (-60.0, None, False, 0.0),
        (-60.0, -5.0, False, 0.0),
    ],
    ids=["both agree", "late delivery", "set forward", "set back", "set back a little", "set back, told by another clock", "back to winter time",
         "gateway gets its time", "kept by the device", "kept by the device, backwards", "both backwards"],
)  # fmt: skip
def test_how_long_it_was(own: float, passed: float | None, moved: bool, expected: float) -> None:
    """The device's stamps where its clock ran, the agent's clock where it was set."""
    now = None if passed is None else at(passed)
    assert lasted(T0, T0, at(own), now, moved=moved) == round(expected * NS)


def told(*samples: tuple[float, int, float]) -> list[ProductionEvent]:
    """Return what is told of states: (agent's seconds, code, how far the PLC's clock is ahead then)."""
    fold = fold_of(UNIT, devices={"plc": TAGS})
    state = fold.fold(fold.start({})[0], [Batch("plc", at(-1), before=(DeviceUp("plc", at(-1)),))]).state
    events: list[ProductionEvent] = []
    for t, code, ahead in samples:
        turn = fold.fold(state, [Batch("plc", at(t), [0], [code], [0], [at(t + ahead)], [0])])
        state, events = turn.state, events + list(turn.events)
    return events


def seen(events: list[ProductionEvent], kind: str, member: str) -> list[Any]:
    """Return one member of each event of a type."""
    return [event.data[member] for event in events if event.type == kind]


@pytest.mark.parametrize("step", [3600.0, -3600.0, 45.0, -45.0, -8.0, 80_000.0])
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("ahead", [0.0, 5000.0, -5000.0])
def test_a_plc_clock_that_is_set_changes_no_duration(ahead: float, after: int, step: float) -> None:
    """Wherever the step falls, in running or in a stop, and however wrong the clock was before: five minutes stay five minutes."""
    codes = (6, 9, 2, 6, 9, 6)
    times = [300.0 * k for k in range(len(codes))]
    events = told(*((t, code, ahead + step * (k > after)) for k, (t, code) in enumerate(zip(times, codes, strict=True))))
    durations = seen(events, "state.changed", "prev_duration_s")
    assert durations == pytest.approx([300.0] * 5, abs=8.0 if abs(step) < 30 else 1e-6)
    assert seen(events, "downtime.ended", "duration_s") == pytest.approx([600.0, 300.0], abs=8.0 if abs(step) < 30 else 1e-6)
    for event in events:
        assert event.interval is None or event.interval[0] <= event.interval[1]
    for started, ended in zip(*([e for e in events if e.type == f"downtime.{what}"] for what in ("started", "ended")), strict=True):
        assert started.time <= ended.time


def test_times_behind_a_step_are_the_plcs_own() -> None:
    """A clock set back by an hour: what comes then has its new time at once, not the time that it had for an hour."""
    events = told((0, 6, 3600.0), (100, 2, 3600.0), (200, 6, 0.0), (300, 2, 0.0))
    assert [(e.time - T0) / NS for e in events if e.type == "state.changed"] == [3700.0, 200.0, 300.0]
