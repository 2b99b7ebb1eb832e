"""The demo line's script through mode, state, alarm and downtime rules: the counts and durations of its truth."""

from __future__ import annotations

from typing import Any

import pytest
from rulebench import Bench, at, plain, seconds, tags_of

from edge_agent.events import alarm, downtime, state
from edge_agent.events.alarm import AlarmConfig
from edge_agent.events.state import StateConfig

STATES = [
    (0, 2), (30, 15), (32, 4), (40, 3), (43, 6), (343, 13), (344, 5), (403, 14), (404, 6), (524, 8), (525, 9), (640, 1), (642, 2),
    (650, 15), (652, 4), (655, 3), (658, 6), (860, 13), (860.5, 5), (863.5, 14), (864, 6), (958, 16), (960, 17), (966, 15), (968, 4),
    (989, 6), (995, 4), (1020, 2), (1030, 15), (1032, 4), (1040, 3), (1043, 6), (1103, 7), (1105, 2),
]  # fmt: skip
OTHERS: list[tuple[float, dict[str, Any]]] = [
    (0, {"mode": 1, "starved": False, "blocked": False, "stop": 0, "id": 0, "trigger": False}),
    (343, {"starved": True}),
    (403, {"starved": False}),
    (523.8, {"id": 2101, "trigger": True}),
    (524.8, {"stop": 2101}),
    (640, {"id": 0, "trigger": False}),
    (650, {"stop": 0}),
    (860.5, {"starved": True}),
    (863.5, {"starved": False}),
    (980, {"mode": 2}),
    (1020, {"mode": 1}),
]
TAGS = tags_of(*(f"plc.{name}" for name in ("state", "mode", "starved", "blocked", "stop", "id", "trigger")))


def script() -> list[tuple[float, dict[str, Any]]]:
    """Return what changes when, one scan an entry."""
    merged: dict[float, dict[str, Any]] = {}
    for t, values in [*((t, {"state": code}) for t, code in STATES), *OTHERS]:
        merged.setdefault(t, {}).update({f"plc.{name}": value for name, value in values.items()})
    return sorted(merged.items())


def play(*, cut: tuple[float, float] | None = None, kill: tuple[float, float] | None = None, restarts: bool = False) -> Bench:
    """Play the line with its reboot; an outage loses nothing but the view: what stands is read again afterwards."""
    config = StateConfig.model_validate(
        {"tag": "plc.state", "mode": "plc.mode", "starved": "plc.starved", "blocked": "plc.blocked", "reason": {"tag": "plc.stop"}}
    )
    slot = AlarmConfig.model_validate({"slots": [{"id": "plc.id", "trigger": "plc.trigger"}]})
    line = Bench(
        (
            *state.build(config, unit="filler", tags=TAGS),
            *alarm.build(slot, unit="filler", name="machine", tags=TAGS),
            *downtime.build(None, config, unit="filler", tags=TAGS),
        )
    )
    line.restarts = restarts
    line.up(0, boot=7)
    now: dict[str, Any] = {}
    holes = [(1000.0, 1020.0, 8)] + ([(*cut, 7)] if cut else [])
    todo = sorted(
        [(t, values) for t, values in script()] + [(end, {}) for _, end, _ in holes] + ([(kill[1], {})] if kill else []),
        key=lambda one: one[0],
    )
    for t, values in todo:
        now |= values
        hole = next((hole for hole in holes if hole[0] < t <= hole[1]), None)
        if hole is not None and t == hole[1] and values in ({}, script_at(t)):
            line.down(hole[0] + 2, hole[0])
            line.up(t, boot=hole[2])
            line.say(t, now)
            holes.remove(hole)
        elif kill and kill[0] < t <= kill[1]:
            if t == kill[1]:
                line.agent_down(*kill)
                line.say(t, now)
        elif hole is None and values:
            line.say(t, values)
        line.tick(t + 0.1)
    line.tick(1110)
    return line


def script_at(t: float) -> dict[str, Any]:
    """Return what the script changes at ``t``."""
    return dict(script()).get(t, {})


@pytest.mark.parametrize(("cut", "count"), [(None, 34), ((450.0, 481.0), 36)])
def test_the_line_has_as_many_transitions_as_its_truth(cut: tuple[float, float] | None, count: int) -> None:
    """34 state changes with the reboot as a pair through Unknown, 36 with the link cut; two mode changes."""
    line = play(cut=cut)
    assert len(line.told("state.changed")) == count
    assert [(event.data["from"]["code"], event.data["to"]["code"]) for event in line.told("mode.changed")] == [(1, 2), (2, 1)]


@pytest.mark.parametrize("faults", [{}, {"cut": (450.0, 481.0)}, {"kill": (700.0, 720.0)}, {"restarts": True}])
def test_the_line_has_the_downtimes_of_its_truth(faults: dict[str, Any]) -> None:
    """D1 61.0 s starved, D2 134.0 s faulted 2101, D3 4.0 s starved micro, D4 open at the end; nothing else, whatever happens around."""
    line = play(**faults)
    ended = [(event.data["category"], event.data["duration_s"], event.data["micro"]) for event in line.told("downtime.ended")]
    assert ended == [("starved", 61.0, False), ("faulted", 134.0, False), ("starved", 4.0, True)]
    assert [seconds(event.time) for event in line.told("downtime.started")] == [343.0, 524.0, 860.0, 1103.0]
    (reason,) = line.told("downtime.reason")
    assert (reason.data["reason"]["code"], reason.causation) == (2101, f"filler/downtime/{at(524)}")
    second = line.told("downtime.ended")[1].data
    assert (second["state_path"], second["first_out_alarm"]) == ([8, 9, 1, 2, 15, 4, 3], "2101")
    assert line.picture.downtime == f"filler/downtime/{at(1103)}"


def test_the_line_has_the_alarm_of_its_truth() -> None:
    """2101 from 523.8 to 640, the first out of its stop; the reboot adds nothing."""
    line = play()
    raised, cleared = line.told("alarm.raised", "alarm.cleared")
    assert (seconds(raised.time), raised.data["first_out"], seconds(cleared.time)) == (523.8, True, 640.0)


@pytest.mark.parametrize("faults", [{}, {"cut": (450.0, 481.0)}])
def test_states_and_unknown_sum_to_the_wall_span(faults: dict[str, Any]) -> None:
    """Every second belongs to exactly one state."""
    line = play(**faults)
    changes = line.told("state.changed")
    assert sum(event.data["prev_duration_s"] for event in changes) == pytest.approx(1105.0)
    known = [event for event in changes if event.data["to"]["code"] is None]
    assert [seconds(event.time) for event in known] == ([450.0] if faults else []) + [1000.0]


def test_a_restart_after_every_moment_changes_nothing() -> None:
    """All states through their stored form before every moment: the same events, byte for byte."""
    assert [plain(event) for event in play(restarts=True).events] == [plain(event) for event in play().events]


def test_an_absence_of_the_agent_in_execute_is_no_transition() -> None:
    """SIGKILL from 700 to 720: no state.changed."""
    line = play(kill=(700.0, 720.0))
    assert len(line.told("state.changed")) == 34
