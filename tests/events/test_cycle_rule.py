"""Row 15 of the catalogue: machine cycles from a counter with the last cycle's time, or from bits."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import at
from unitbench import UnitBench, brief

from edge_agent.events.catalog import UnitConfig, wiring_of
from edge_agent.model.reading import Quality
from edge_agent.ports import Trigger

REGISTER = {"tag": "plc.cycles", "wraps": "uint16", "max_rate": "1/s"}
COUNTED: dict[str, Any] = {
    "count": REGISTER,
    "duration": "plc.last",
    "duration_unit": "ms",
    "cavities": 4,
    "ideal": "12s",
    "result": "plc.result",
    "results": {1: "ok", 2: "nok"},
    "params": {"force": "plc.force"},
}


def press(cycle: dict[str, Any] = COUNTED) -> UnitBench:
    """Return a press with these cycles."""
    return UnitBench({"cycles": {"stroke": cycle}})


def shot(line: UnitBench, t: float, cycles: int, last: int = 11800, result: int = 1, bad: tuple[str, ...] = ()) -> list[Any]:
    """Read the group of a counted cycle."""
    rows = {"plc.cycles": cycles, "plc.last": last, "plc.result": result, "plc.force": 812.5}
    return line.read(t, "cycles.stroke", rows, bad)


def test_row_15_one_cycle_is_told_with_its_time_and_parts() -> None:
    """The counter and the last cycle's time are read in one request."""
    line = press()
    assert shot(line, 0, 100) == []
    (event,) = shot(line, 12, 101)
    assert (event.type, event.time, event.quality) == ("cycle.completed", at(12), Quality.GOOD)
    assert event.data == {
        "cycle_id": f"press/stroke/{at(12)}",
        "cycle_no": 101,
        "count": 1,
        "duration_s": 11.8,
        "ideal_s": 12,
        "parts": 4,
        "cavities": 4,
        "result": "ok",
        "params": {"force": 812.5},
    }
    assert event.causation == f"press/stroke/{at(12)}"


def test_row_15_p_a_counter_that_moved_by_more_tells_one_event_without_a_duration() -> None:
    """Count n, duration null; what belongs to one cycle is told of none."""
    line = press()
    shot(line, 0, 100)
    (event,) = shot(line, 40, 103)
    assert brief([event], "count", "parts", "duration_s", "result", "params") == [
        ("cycle.completed", 3, 12, None, None, {"force": None})
    ]


def test_row_15_the_poll_between_two_reads_does_not_count() -> None:
    """Where something is read with the counter, its own samples alone would tell a cycle without its time."""
    line = press()
    shot(line, 0, 100)
    assert line.say(12, {"plc.cycles": 101}) == []
    assert brief(shot(line, 12.1, 101), "count", "duration_s") == [("cycle.completed", 1, 11.8)]


def test_row_15_a_counter_wraps_and_resets_as_all_counters_do() -> None:
    """The cycle counter is followed by the rule of the counters, with its audit trail."""
    line = press({"count": REGISTER, "cavities": "plc.cav"})
    line.read(0, "cycles.stroke", {"plc.cycles": 65535, "plc.cav": 2})
    (event,) = line.read(12, "cycles.stroke", {"plc.cycles": 1, "plc.cav": 2})
    assert brief([event], "count", "parts") == [("cycle.completed", 2, 4)]
    assert [one.data["kind"] for one in line.told("counter.discontinuity")] == ["baseline", "rollover"]


def test_row_15_cavities_that_cannot_be_read_give_no_parts() -> None:
    """Nothing is guessed."""
    line = press({"count": REGISTER, "cavities": "plc.cav"})
    line.read(0, "cycles.stroke", {"plc.cycles": 1, "plc.cav": 2})
    (event,) = line.read(12, "cycles.stroke", {"plc.cycles": 2, "plc.cav": 2}, bad=("plc.cav",))
    assert (event.data["parts"], event.quality) == (None, Quality.UNCERTAIN)


def test_row_15_cycles_behind_a_loss_have_no_duration() -> None:
    """One cycle behind a loss is recovered; whose time the PLC shows is not known."""
    line = press()
    shot(line, 0, 100)
    line.down(20, 10)
    line.up(30)
    (event,) = shot(line, 31, 101)
    assert (event.data["duration_s"], event.derivation) == (None, "recovered")


def test_row_15_the_group_is_fired_by_the_counter() -> None:
    """The driver reads everything at once when the counter moves."""
    config = UnitConfig.model_validate({"version": 1, "unit": "press", "cycles": {"stroke": COUNTED}})
    assert wiring_of(config)["plc"].triggers == (Trigger("press/cycles.stroke", "cycles", ("cycles", "last", "result", "force")),)


def test_row_15_bits_give_started_and_completed_with_the_time_between() -> None:
    """One bit that is on during a cycle."""
    line = press({"running": "plc.run", "cavities": 2})
    assert line.say(0, {"plc.run": False}) == []
    (started,) = line.say(1, {"plc.run": True})
    (completed,) = line.say(13.5, {"plc.run": False})
    assert started.data == {"cycle_id": f"press/stroke/{at(1)}", "cycle_no": None}
    assert brief([completed], "cycle_id", "count", "duration_s", "parts") == [
        ("cycle.completed", f"press/stroke/{at(1)}", 1, 12.5, 2)
    ]
    assert started.causation == completed.causation == f"press/stroke/{at(1)}"


EDGES = {"start": "plc.start", "end": "plc.end", "result": "plc.result", "results": {2: "nok"}, "abort": "plc.abort"}


def test_row_15_what_is_read_with_the_end_is_waited_for() -> None:
    """The end bit fires the read; the cycle is told with it."""
    line = press(EDGES)
    line.say(0, {"plc.start": False, "plc.end": False})
    line.say(1, {"plc.start": True})
    assert line.say(9, {"plc.start": False, "plc.end": True}) == []
    (event,) = line.read(9.1, "cycles.stroke", {"plc.end": True, "plc.result": 2, "plc.abort": False})
    assert brief([event], "duration_s", "result") == [("cycle.completed", 8, "nok")]
    assert event.time == at(9)


def test_row_15_a_read_that_never_comes_does_not_lose_the_cycle() -> None:
    """After two seconds the cycle is told without its result, uncertain."""
    line = press(EDGES)
    line.say(0, {"plc.start": False, "plc.end": False})
    line.say(1, {"plc.start": True})
    line.say(9, {"plc.end": True})
    assert line.tick(10) == []
    (event,) = line.tick(11)
    assert (event.data["result"], event.data["duration_s"], event.quality) == (None, 8, Quality.UNCERTAIN)


def test_row_15_an_aborted_cycle_says_so() -> None:
    """The abort bit is read with the end."""
    line = press(EDGES)
    line.say(0, {"plc.start": False, "plc.end": False})
    line.say(1, {"plc.start": True})
    line.say(9, {"plc.end": True})
    (event,) = line.read(9.1, "cycles.stroke", {"plc.end": True, "plc.result": 0, "plc.abort": True})
    assert event.data["result"] == "aborted"


def test_row_15_the_number_of_a_cycle_is_told_with_its_begin() -> None:
    """A number that the PLC sets with the begin names the cycle, also where its end is never seen."""
    line = press({"start": "plc.start", "end": "plc.end", "number": "plc.no"})
    line.say(0, {"plc.start": False, "plc.end": False, "plc.no": 6})
    (started,) = line.say(1, {"plc.start": True, "plc.no": 7})
    line.say(2, {"plc.start": False})
    ended, following = line.say(20, {"plc.start": True, "plc.no": 8})
    assert [one.data["cycle_no"] for one in (started, ended, following)] == [7, 7, 8]


def test_row_15_a_cycle_whose_end_was_missed_is_closed_by_the_next() -> None:
    """Two begins and no end: the first one has no duration, and an interval in which it ended."""
    line = press({"start": "plc.start", "end": "plc.end"})
    line.say(0, {"plc.start": False, "plc.end": False})
    line.say(1, {"plc.start": True})
    line.say(2, {"plc.start": False})
    first, second = line.say(20, {"plc.start": True})
    assert (first.type, first.data["duration_s"], first.interval) == ("cycle.completed", None, (at(1), at(20)))
    assert second.data["cycle_id"] == f"press/stroke/{at(20)}"


def test_row_15_a_cycle_that_an_outage_hides_has_no_duration() -> None:
    """Its end was not seen: an interval, no time."""
    line = press({"running": "plc.run"})
    line.say(0, {"plc.run": False})
    line.say(1, {"plc.run": True})
    line.down(20, 10)
    line.up(30)
    (event,) = line.say(31, {"plc.run": False})
    assert (event.data["duration_s"], event.interval, event.quality) == (None, (at(10), at(31)), Quality.UNCERTAIN)


def test_row_15_a_restart_of_the_plc_aborts_its_cycle() -> None:
    """The PLC forgot what it was doing; whatever it says next is a baseline."""
    line = press({"running": "plc.run"})
    line.up(0, boot=7)
    line.say(0, {"plc.run": False})
    line.say(1, {"plc.run": True})
    line.down(20, 10)
    (event,) = line.up(30, boot=8)
    assert (event.data["result"], event.data["duration_s"], event.interval) == ("aborted", None, (at(10), at(30)))
    assert line.say(31, {"plc.run": True}) == []


def test_row_15_a_cycle_that_runs_when_the_agent_comes_is_not_invented() -> None:
    """The first sample is a baseline: no begin, and no end of what was never begun."""
    line = press({"running": "plc.run"})
    assert line.say(0, {"plc.run": True}) == []
    assert line.say(1, {"plc.run": False}) == []


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({}, "say what marks a cycle"),
        ({"start": "plc.a"}, "start and end together"),
        ({"running": "plc.a", "duration": "plc.d"}, "measured from their edges"),
        ({"count": REGISTER, "abort": "plc.b"}, "belong to bits"),
        ({"running": "plc.a", "cavities": 0}, "1 or more"),
        ({"count": {"tag": "plc.c"}}, "wraps and max_rate are missing"),
    ],
)
def test_row_15_what_marks_no_cycle_is_refused(wrong: dict[str, Any], remedy: str) -> None:
    """The configuration says what is missing."""
    with pytest.raises(ValidationError, match=remedy):
        press(wrong)
