"""Downtimes: when they open and close, what they are put down to, and how their reason finds them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rulebench import Bench, at, seconds, tags_of

from edge_agent.events import alarm, downtime, state
from edge_agent.events.alarm import AlarmConfig
from edge_agent.events.context import ContextConfig, ContextRule
from edge_agent.events.downtime import DowntimeConfig
from edge_agent.events.state import StateConfig
from edge_agent.model.instant import iso

REFS = ("plc.state", "plc.mode", "plc.starved", "plc.blocked", "plc.stop", "plc.order", "plc.alarm")
TAGS = tags_of(*REFS)


def bench(when: str | None = None, **more: Any) -> Bench:
    """Return a bench with order, mode, state, one alarm and downtimes, running in production."""
    config = StateConfig.model_validate(
        {
            "tag": "plc.state",
            "mode": "plc.mode",
            "starved": "plc.starved",
            "blocked": "plc.blocked",
            "reason": {"tag": "plc.stop"},
            **more,
        }
    )
    wanted = None if when is None else DowntimeConfig.model_validate({"when": when})
    one = AlarmConfig.model_validate({"bit": "plc.alarm", "id": "2101", "text": "Capper torque"})
    line = Bench(
        (
            ContextRule(ContextConfig(order="plc.order")),
            *state.build(config, unit="filler", tags=TAGS),
            *alarm.build(one, unit="filler", name="capper", tags=TAGS),
            *downtime.build(wanted, config, unit="filler", tags=TAGS, order="plc.order"),
        )
    )
    line.say(0, dict.fromkeys(REFS, False) | {"plc.state": 6, "plc.mode": 1, "plc.stop": 0, "plc.order": "WO-1"})
    line.events.clear()
    return line


def go(line: Bench, t: float, **values: Any) -> list[Any]:
    """Say tags of the PLC and return what downtimes had to tell."""
    return [
        event
        for event in line.say(t, {f"plc.{name}": value for name, value in values.items()})
        if event.type.startswith("downtime")
    ]


def test_a_starved_stop_is_one_downtime() -> None:
    """D1 of the demo line: 343 to 404, 61.0 s starved, no reason."""
    line = bench()
    (started,) = go(line, 343, state=13, starved=True)
    assert (started.type, started.data["category"], started.data["reason"]) == ("downtime.started", "starved", None)
    name = f"filler/downtime/{at(343)}"
    assert (started.data["downtime_id"], started.causation, line.picture.downtime) == (name, name, name)
    go(line, 344, state=5)
    go(line, 403, state=14, starved=False)
    (ended,) = go(line, 404, state=6)
    assert ended.type == "downtime.ended"
    assert ended.data == {
        "downtime_id": name,
        "category": "starved",
        "reason": None,
        "first_out_alarm": None,
        "started_at": iso(at(343)),
        "duration_s": 61.0,
        "micro": False,
        "state_path": [13, 5, 14],
        "ended_interval": None,
    }
    assert (ended.causation, ended.correlation, line.picture.downtime) == (name, "WO-1", None)


def test_a_fault_gets_the_reason_that_latches_after_it() -> None:
    """D2 of the demo line: Aborting at 524, StopReason 2101 at 524.8, 134.0 s faulted, first-out alarm 2101."""
    line = bench()
    line.say(523.8, {"plc.alarm": True})
    (started,) = go(line, 524, state=8)
    assert (started.data["category"], started.data["reason"], started.data["first_out_alarm"]) == ("faulted", None, "2101")
    (reason,) = go(line, 524.8, stop=2101)
    assert (reason.type, seconds(reason.time), reason.causation) == ("downtime.reason", 524.8, started.causation)
    assert reason.data == {
        "downtime_id": started.data["downtime_id"],
        "reason": {"code": 2101, "text": "Capper torque", "source": "plc.stop"},
    }
    go(line, 525, state=9)
    line.say(640, {"plc.alarm": False})
    for t, code in ((640, 1), (642, 2), (650, 15), (652, 4), (655, 3)):
        go(line, t, state=code)
    go(line, 650.5, stop=0)
    (ended,) = go(line, 658, state=6)
    assert (ended.data["category"], ended.data["duration_s"], ended.data["reason"]["code"]) == ("faulted", 134.0, 2101)
    assert ended.data["state_path"] == [8, 9, 1, 2, 15, 4, 3]
    assert ended.data["first_out_alarm"] == "2101"


def test_a_flag_that_comes_after_the_state_gives_the_cause() -> None:
    """D3 of the demo line: Suspending at 860, Starved at 860.5; 4.0 s, micro."""
    line = bench()
    (started,) = go(line, 860, state=13)
    assert started.data["category"] == "stopped"
    go(line, 860.5, state=5, starved=True)
    go(line, 863.5, state=14, starved=False)
    (ended,) = go(line, 864, state=6)
    assert (ended.data["category"], ended.data["duration_s"], ended.data["micro"]) == ("starved", 4.0, True)


def test_completing_opens_none_and_neither_does_what_follows() -> None:
    """958 Completing, 960 Complete, 966 Resetting, Idle, Maintenance: the order is done, nothing is down."""
    line = bench()
    for t, code in ((958, 16), (960, 17), (966, 15), (968, 4), (970, 2)):
        assert go(line, t, state=code) == []
    assert go(line, 980, mode=2) == []


@pytest.mark.parametrize(
    ("path", "flags", "category"),
    [
        ((8, 9), {}, "faulted"),
        ((13, 5), {"starved": True}, "starved"),
        ((13, 5), {"blocked": True}, "blocked"),
        ((13, 5), {}, "stopped"),
        ((10, 11), {}, "held"),
        ((7, 2), {}, "stopped"),
        ((4,), {}, "stopped"),
        ((10, 11, 8, 9), {}, "held"),
        ((13, 8, 9), {}, "faulted"),
        ((13, 5, 8, 9), {"starved": True}, "starved"),
        ((2, 8, 9), {}, "stopped"),
    ],
)
def test_the_first_cause_wins(path: tuple[int, ...], flags: dict[str, bool], category: str) -> None:
    """The states passed give the category; the first that says something is the cause."""
    line = bench()
    for i, code in enumerate(path):
        go(line, 10 + i, state=code, **flags)
    (ended,) = go(line, 30, state=6)
    assert ended.data["category"] == category


# -- reasons -----------------------------------------------------------------------------------------------------------------


def test_a_stale_reason_explains_nothing() -> None:
    """The reason of an earlier stop still stands: the next stop has none of it, also when the value is read again."""
    line = bench()
    go(line, 10, state=8)
    go(line, 10.8, stop=2101)
    go(line, 20, state=6)
    go(line, 60, state=13, starved=True)
    assert go(line, 61, stop=2101) == []
    (ended,) = go(line, 70, state=6)
    assert ended.data["reason"] is None


def test_a_reason_that_stood_there_at_the_beginning_explains_nothing() -> None:
    """Its latching was not seen."""
    config = StateConfig.model_validate({"tag": "plc.state", "reason": {"tag": "plc.stop"}})
    line = Bench((*state.build(config, unit="filler", tags=TAGS), *downtime.build(None, config, unit="filler", tags=TAGS)))
    line.say(0, {"plc.state": 6, "plc.stop": 2101})
    (started,) = go(line, 0.5, state=8)
    assert started.data["reason"] is None
    assert go(line, 1, stop=2101) == []


def test_a_reason_in_the_same_scan_goes_into_the_start() -> None:
    """Where the machine latches at once, no second event is needed."""
    line = bench(reason={"tag": "plc.stop", "texts": {7: "Guard open"}})
    (started,) = go(line, 10, state=8, stop=7)
    assert started.data["reason"] == {"code": 7, "text": "Guard open", "source": "plc.stop"}


def test_only_the_first_reason_counts() -> None:
    """PackML: the first event captured; what latches later in the same stop is a consequence."""
    line = bench()
    go(line, 10, state=8)
    assert len(go(line, 10.8, stop=2101)) == 1
    assert go(line, 30, stop=2205) == []
    (ended,) = go(line, 40, state=6)
    assert ended.data["reason"]["code"] == 2101


def test_a_stop_that_was_over_before_its_reason_still_gets_it() -> None:
    """0.5 s stop, reason after 0.8 s: same id, after the end."""
    line = bench()
    (started,) = go(line, 10, state=8)
    (ended,) = go(line, 10.5, state=6)
    assert ended.data["reason"] is None
    (reason,) = go(line, 10.8, stop=2101)
    assert (reason.type, reason.causation) == ("downtime.reason", started.causation)
    (again,) = go(line, 11, state=8)
    assert again.data["reason"] is None


def test_a_reason_after_the_wait_is_not_of_a_stop_that_is_over() -> None:
    """Two seconds after the start the machine has had its time."""
    line = bench()
    go(line, 10, state=8)
    go(line, 10.5, state=6)
    assert go(line, 12.5, stop=2101) == []


def test_a_reason_long_into_a_stop_is_told_late() -> None:
    """As long as the stop runs, its first reason is told when it comes."""
    line = bench()
    go(line, 10, state=8)
    (reason,) = go(line, 60, stop=2101)
    assert reason.data["reason"]["code"] == 2101


# -- what opens none, what ends one ------------------------------------------------------------------------------------------


def test_outside_production_nothing_opens() -> None:
    """Dry cycles in Maintenance: 989 Execute, 995 Idle."""
    line = bench()
    go(line, 1, state=16)
    go(line, 980, mode=2)
    go(line, 989, state=6)
    assert go(line, 995, state=4) == []
    assert go(line, 999, mode=1) == []


def test_leaving_production_splits_a_downtime() -> None:
    """A mechanic takes over: the downtime ends at the mode change, and a new one begins when production is back before the machine runs."""
    line = bench()
    go(line, 10, state=8)
    (ended,) = go(line, 30, mode=2)
    assert (ended.type, seconds(ended.time), ended.data["duration_s"]) == ("downtime.ended", 30.0, 20.0)
    (started,) = go(line, 60, mode=1)
    name = f"filler/downtime/{at(60)}"
    assert (started.type, started.time, started.data["downtime_id"]) == ("downtime.started", at(60), name)
    assert (started.data["category"], line.picture.downtime) == ("faulted", name)
    assert go(line, 70, state=2) == []
    (ended,) = go(line, 90, state=6)
    assert (ended.data["downtime_id"], ended.data["duration_s"], ended.data["state_path"]) == (name, 30.0, [8, 2])


CAME_BACK: list[tuple[str, list[dict[str, Any]], str | None]] = [
    ("a test run and a way to Idle in between", [{"state": 8}, {"mode": 2}, {"state": 6}, {"state": 4}, {"mode": 1}], "stopped"),
    ("on the way to running", [{"state": 11}, {"mode": 2}, {"state": 3}, {"mode": 1}], "stopped"),
    ("running", [{"state": 8}, {"mode": 2}, {"mode": 1, "state": 6}], None),
    ("complete", [{"state": 8}, {"mode": 2}, {"state": 17}, {"mode": 1}], None),
    ("through a second mode", [{"state": 8}, {"mode": 2}, {"mode": 3}, {"mode": 1}], "faulted"),
    ("in its first production again, then idle", [{"state": 8}, {"mode": 2}, {"state": 6}, {"mode": 1}, {"mode": 2, "state": 4}, {"mode": 1}], None),
    ("it ran when production was left, and faulted", [{"mode": 2}, {"state": 8}, {"state": 9}, {"mode": 1}], "faulted"),
    ("it ran when production was left, and was stopped", [{"mode": 2}, {"state": 2}, {"mode": 1}], "stopped"),
    ("it ran when production was left, and is held", [{"mode": 2}, {"state": 11}, {"mode": 1}], "held"),
    ("it ran when production was left, and starves", [{"mode": 2}, {"state": 5, "starved": True}, {"mode": 1}], "starved"),
    ("it ran when production was left, and is idle", [{"mode": 2}, {"state": 4}, {"mode": 1}], None),
    ("it stops in the scan of the change", [{"mode": 2}, {"mode": 1, "state": 8}], "faulted"),
    ("its state is not known", [{"state": 8}, {"mode": 2}, {"state": 42}, {"mode": 1}], None),
    ("it is known later", [{"state": 8}, {"mode": 2}, {"state": 42}, {"mode": 1}, {"state": 2}], "stopped"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "category"), [row[1:] for row in CAME_BACK], ids=[row[0] for row in CAME_BACK])
@pytest.mark.parametrize("restarts", [False, True])
def test_coming_back_into_production_opens_one_for_what_stands(
    steps: list[dict[str, Any]], category: str | None, *, restarts: bool
) -> None:
    """A downtime that a mode ended goes on, and a machine that is down when production begins is down; who waits for work is not."""
    line = bench()
    line.restarts = restarts
    for place, values in enumerate(steps):
        told = go(line, 10.0 * (place + 1), **values)
    started = [event for event in told if event.type == "downtime.started"]
    assert [(event.data["category"], event.time) for event in started] == [(category, at(10.0 * len(steps)))] * bool(category)
    assert line.picture.downtime == (started[0].data["downtime_id"] if started else None)


def test_coming_back_follows_when_with_order() -> None:
    """Without an order nothing opens behind the mode, and an order that starts later opens none either."""
    line = bench("with_order")
    go(line, 10, state=8)
    go(line, 20, mode=2)
    go(line, 30, order="")
    assert go(line, 40, mode=1) == []
    assert go(line, 50, order="WO-2") == []
    go(line, 60, state=6)
    go(line, 70, state=8)
    go(line, 80, mode=2)
    assert [event.ctx.order for event in go(line, 90, mode=1)] == ["WO-2"]


@pytest.mark.parametrize(("stood", "count"), [(8, 1), (6, 0)])
def test_a_mode_that_came_back_unseen_carries_its_interval(stood: int, count: int) -> None:
    """Behind a loss, only a downtime that the mode ended goes on: whether another stop fell into production, nobody saw."""
    line = bench()
    go(line, 10, state=stood)
    go(line, 20, mode=2)
    line.down(32, 30)
    line.up(50)
    told = go(line, 50, mode=1, state=9, order="WO-1", stop=0, starved=False, blocked=False)
    assert [(event.type, event.interval) for event in told] == [("downtime.started", (at(30), at(50.01)))] * count


def test_the_machine_that_stops_with_the_mode_change_is_not_down() -> None:
    """Maintenance and Stopped in one scan: the stop is the mode's."""
    line = bench()
    assert go(line, 10, mode=2, state=2) == []
    assert go(line, 20, mode=1, state=6) == []
    assert len(go(line, 30, state=8)) == 1


def test_a_machine_that_ran_in_maintenance_was_not_producing() -> None:
    """It stops in the very scan in which production comes back: nothing was lost, so nothing is down."""
    line = bench()
    go(line, 10, mode=2)
    assert go(line, 20, mode=1, state=4) == []


def test_with_order_needs_one_and_ends_with_it() -> None:
    """``when: with_order``: the order's end ends the downtime, and without an order none opens."""
    line = bench("with_order")
    assert len(go(line, 10, state=8)) == 1
    (ended,) = go(line, 30, order="")
    assert (ended.type, seconds(ended.time)) == ("downtime.ended", 30.0)
    go(line, 40, state=6)
    assert go(line, 50, state=8) == []


def test_always_does_not_care_for_orders() -> None:
    """The default keeps the downtime over the end of the order."""
    line = bench()
    go(line, 10, state=8)
    assert go(line, 30, order="") == []
    assert line.picture.downtime is not None


# -- what nobody saw ---------------------------------------------------------------------------------------------------------


def test_a_lost_link_opens_none() -> None:
    """Execute, Unknown, Execute: no downtime."""
    line = bench()
    line.down(455, 450)
    line.up(481)
    go(line, 481, state=6)
    assert line.told("downtime.started") == []


def test_a_stop_found_after_an_outage_opens_at_the_return() -> None:
    """Execute, Unknown, Held: opens with the interval in which it happened."""
    line = bench()
    line.down(455, 450)
    line.up(481)
    (started,) = go(line, 481, state=11)
    assert (started.data["category"], seconds(started.time), started.interval) == ("held", 481.0, (at(450), at(481)))


def test_an_outage_within_a_downtime_keeps_it() -> None:
    """Aborted before and after: one downtime, with the hole in its path."""
    line = bench()
    go(line, 10, state=8)
    go(line, 11, state=9)
    line.down(25, 20)
    line.up(40)
    go(line, 40, state=9)
    (ended,) = go(line, 60, state=6)
    assert (ended.data["duration_s"], ended.data["ended_interval"]) == (50.0, None)
    assert ended.data["state_path"] == [8, 9, None, 9]


def test_a_machine_found_running_after_an_outage_ends_it_uncertainly() -> None:
    """The end lies somewhere in the outage: ended_interval."""
    line = bench()
    go(line, 10, state=8)
    line.down(25, 20)
    line.up(40)
    (ended,) = go(line, 40, state=6)
    assert ended.data["ended_interval"] == [iso(at(20)), iso(at(40))]
    assert ended.interval == (at(20), at(40))


def test_a_machine_found_running_after_an_absence_of_the_agent_ends_it_uncertainly() -> None:
    """The downtime survives in the stored state and ends with the interval of the absence."""
    line = bench()
    (started,) = go(line, 10, state=8)
    line.agent_down(20, 40)
    (ended,) = [event for event in line.say(35, {"plc.state": 6}, agent=40) if event.type == "downtime.ended"]
    assert ended.causation == started.causation
    assert ended.data["ended_interval"] == [iso(at(20)), iso(at(40))]
    assert ended.data["duration_s"] == 25.0


def test_a_restart_of_the_agent_keeps_it_open() -> None:
    """The id is made from data and lives in the state."""
    line = bench()
    (started,) = go(line, 10, state=8)
    line.agent_down(20, 40)
    assert go(line, 40, state=8) == []
    assert line.picture.downtime == started.data["downtime_id"]
    (ended,) = go(line, 60, state=6)
    assert ended.data["downtime_id"] == started.data["downtime_id"]


def test_a_code_that_nobody_knows_neither_opens_nor_closes() -> None:
    """Execute, 42, Held: opens with Held, somewhere since 42."""
    line = bench()
    assert go(line, 10, state=42) == []
    (started,) = go(line, 20, state=11)
    assert started.interval == (at(10), at(20))
    assert go(line, 30, state=42) == []
    (ended,) = go(line, 40, state=6)
    assert ended.data["ended_interval"] == [iso(at(30)), iso(at(40))]


def test_a_debounced_stop_opens_at_its_first_edge() -> None:
    """The tick that confirms the state opens the downtime, with the edge's time."""
    line = bench(debounce="200ms")
    go(line, 10, state=8)
    line.tick(11)
    (started,) = line.told("downtime.started")
    assert seconds(started.time) == 10.0


def test_an_old_alarm_is_not_the_first_out() -> None:
    """A warning that stands for minutes did not stop the machine; the alarm that rises in the stop did."""
    line = bench()
    line.say(1, {"plc.alarm": True})
    go(line, 100, state=8)
    (ended,) = go(line, 120, state=6)
    assert ended.data["first_out_alarm"] is None


def test_nothing_is_stored_when_nothing_happens() -> None:
    """A tick or an equal sample gives back the same memory."""
    line = bench()
    line.tick(1)
    before = list(line.states)
    line.tick(2)
    go(line, 3, state=6, stop=0)
    assert all(mine is theirs for mine, theirs in zip(line.states, before, strict=True))


def test_without_mode_reason_or_flags_downtimes_still_work() -> None:
    """The smallest configuration: a state tag."""
    config = StateConfig(tag="plc.state")
    line = Bench((*state.build(config, unit="filler", tags=TAGS), *downtime.build(None, config, unit="filler", tags=TAGS)))
    line.say(0, {"plc.state": 6})
    go(line, 1, state=7)
    (ended,) = go(line, 21, state=6)
    assert (ended.data["category"], ended.data["micro"], msgspec.to_builtins(ended.interval)) == ("stopped", False, None)
