"""What order the fold gives to what arrives."""

from __future__ import annotations

from derive_feed import METER, PLC, T0, Witness, at, batch, run, tick, told

from edge_agent.events.derive import Fold
from edge_agent.events.rule import Phase
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, ClockOffset, DeviceDown, DeviceUp, Snapshot

_DEVICES = {"plc": PLC, "meter": METER}


def _fold(*, tags: tuple[str, ...] = ("plc.count", "plc.order", "meter.energy"), **options: object) -> Fold:
    return Fold("unit", [Witness(tags=tags, ticks=True)], _DEVICES, **options)


def _values(events: list) -> list:
    return [(t, *saw["readings"].values()) for t, saw in told(events) if saw["readings"]]


def test_rows_of_one_turn_are_folded_by_their_own_time():
    """Rows of two devices that arrived in one turn are folded by time, not by arrival."""
    plc = batch(1.3, ("count", 1, 1.0), ("count", 2, 1.2))
    meter = batch(1.1, ("energy", 9, 1.1), device="meter", stamped=False)
    events, _ = run(_fold(), [meter, plc])
    assert _values(events) == [(1.0, 1), (1.1, 9), (1.2, 2)]


def test_arrival_order_inside_a_tag_is_never_broken():
    """A source time that goes backwards keeps its own time but not another place than the order of arrival."""
    events, _ = run(_fold(), [batch(3, ("count", 1, 2.0), ("count", 2, 1.0), ("count", 3, 2.5))])
    assert _values(events) == [(2.0, 1), (1.0, 2), (2.5, 3)]


def test_samples_of_one_instant_are_one_moment():
    """Order and count of one scan reach the rule together; two values of one tag never do."""
    events, _ = run(_fold(), [batch(2, ("count", 1, 1.0), ("order", "A", 1.0), ("count", 2, 1.0))])
    assert told(events) == [
        (1.0, {"by": "witness", "readings": {"plc.count": 1, "plc.order": "A"}}),
        (1.0, {"by": "witness", "readings": {"plc.count": 2}}),
    ]


def test_notices_keep_their_place():
    """What came before a notice stays before it and what came after stays after, whatever the stamps say."""
    down = DeviceDown("plc", at(5), at(2), "gone")
    up = DeviceUp("plc", at(8))
    first = batch(2, ("count", 1, 2.0), after=(down,))
    second = batch(8.2, ("count", 2, 3.0), before=(up,))
    events, _ = run(_fold(), [first, second])
    assert [(t, saw.get("notices") or saw["readings"]["plc.count"]) for t, saw in told(events)] == [
        (2.0, 1), (5.0, ["DeviceDown"]), (8.0, ["DeviceUp"]), (3.0, 2),
    ]  # fmt: skip


def test_every_rule_hears_notices_and_only_listeners_hear_readings():
    """A notice reaches a rule that listens to nothing; a reading of another tag does not."""
    rules = [Witness("one", tags=("plc.count",)), Witness("two", tags=("plc.order",)), Witness("gap", phase=Phase.GAP)]
    fold = Fold("unit", rules, _DEVICES)
    events, _ = run(fold, [batch(1, ("count", 1, 1.0), before=(DeviceUp("plc", at(0.5)),))])
    assert [saw["by"] for t, saw in told(events) if t == 0.5] == ["one", "two", "gap"]
    assert [saw["by"] for t, saw in told(events) if t == 1.0] == ["one", "gap"], "the gap rule comes where others made events"


def test_a_tick_comes_after_the_readings_of_its_time():
    """A tick waits half a second for what was stamped before it, and no longer."""
    events, turn = run(_fold(), [tick(1)])
    assert not events
    assert turn.state.last_seen == at(1)
    events, _ = run(_fold(), [tick(1)], [batch(1.2, ("count", 1, 0.9))], [batch(1.5, ("count", 2, 1.6))])
    assert [t for t, _ in told(events)] == [0.9, 1.0, 1.6]
    one_clock = _fold(tags=("plc.count",))
    events, _ = run(
        one_clock, [batch(0.5, ("count", 0, 0.5)), tick(1)], [batch(1.2, ("count", 1, 0.9), ("count", 2, 1.1))], [tick(2)]
    )
    assert [t for t, _ in told(events)] == [0.5, 0.9, 1.0, 1.1], "where there is one clock, its own next reading is enough"
    events, _ = run(_fold(), [tick(1)], [tick(2)])
    assert [t for t, _ in told(events)] == [1.0]


def test_the_final_tick_waits_for_nothing():
    """At the end everything that waits is folded at once."""
    events, turn = run(_fold(reorder=10 * NS), [batch(1, ("count", 1, 0.9)), tick(1)], [tick(1.5, final=True)])
    assert [t for t, _ in told(events)] == [0.9, 1.0, 1.5]
    assert turn.settled == 1


def test_rows_of_a_trigger_group_stay_together():
    """A snapshot is one part of one moment, its rows are no readings, and groups of other units are not heard."""
    rules = [Witness("ordinary", tags=("plc.count", "plc.order")), Witness("record", phase=Phase.RECORD)]
    fold = Fold("unit", rules, _DEVICES)
    rows = (("count", 1, 1.0), ("count", 7, 0.2), ("order", "A", 1.0), ("speed", 3.0, 0.5))
    events, _ = run(fold, [batch(1.3, *rows, snapshots=(Snapshot("unit/rec", 1, 4),))])
    assert told(events) == [
        (1.0, {"by": "ordinary", "readings": {"plc.count": 1}, "snapshots": {"rec": {"plc.count": 7, "plc.order": "A", "plc.speed": 3.0}}}),
        (1.0, {"by": "record", "readings": {"plc.count": 1}, "snapshots": {"rec": {"plc.count": 7, "plc.order": "A", "plc.speed": 3.0}}}),
    ]  # fmt: skip
    events, _ = run(fold, [batch(1.3, *rows[1:], snapshots=(Snapshot("other/rec", 0, 3),))])
    assert not events


def test_the_reorder_window_holds_what_another_device_may_overtake():
    """With a window, rows wait that long for older ones; their batch is settled only when they are folded."""
    fold = _fold(reorder=NS)
    meter = batch(1.0, ("energy", 9, 1.0), device="meter", stamped=False)
    events, turn = run(fold, [meter])
    assert not events
    assert turn.settled == 0
    later = fold.fold(turn.state, [batch(1.5, ("count", 1, 0.7))])
    assert not later.events
    last = fold.fold(later.state, [batch(2.2, ("count", 2, 2.1))])
    assert _values(list(last.events)) == [(0.7, 1), (1.0, 9)]
    assert last.settled == 2, "the third batch still waits"


def test_without_a_window_every_batch_is_settled_at_once():
    """The usual unit accepts what it folded in the same turn."""
    _, turn = run(_fold(), [batch(1, ("count", 1, 1.0)), batch(2, ("count", 2, 2.0))])
    assert turn.settled == 2


def test_a_standing_value_is_not_an_old_event():
    """What is read after a connect is one moment; a stamp from before the connection says nothing happened back then."""
    start = batch(10, ("count", 5, -3600.0), ("order", "A", 9.5), before=(DeviceUp("plc", at(9.9)),))
    events, turn = run(_fold(), [start])
    assert [t for t, saw in told(events) if saw["readings"]] == [10.0]
    fold = _fold()
    cut = batch(20, ("count", 6, 19.9), after=(DeviceDown("plc", at(21), at(19.9), "gone"),))
    back = batch(31, ("count", 6, 19.9), ("order", "B", 25.0), before=(DeviceUp("plc", at(30.9)),))
    events, _ = run(fold, [cut], [back], state=turn.state)
    assert _values(events) == [(19.9, 6), (31.0, 6, "B")]
    many = batch(31, ("count", 6, 19.9), ("order", "B", 25.0), ("count", 7, 26.0), before=(DeviceUp("plc", at(30.9)),))
    events, _ = run(fold, [cut], [many], state=turn.state)
    assert _values(events) == [(19.9, 6), (25.0, "B"), (31.0, 6), (26.0, 7)], "a history of the loss keeps its own times"
    assert not any(event.late for event in events)


def test_after_an_absence_stamps_from_before_it_stand():
    """After a restart of the agent an old stamp is no news, a stamp from the absence is."""
    away = batch(720, device="", before=(AgentDown(at(700), at(720)),))
    back = batch(720.5, ("order", "A", 35.0), ("count", 9, 710.0), before=(DeviceUp("plc", at(720.4)),))
    events, _ = run(_fold(), [away, back])
    assert _values(events) == [(720.5, "A", 9)]
    assert [reading_time for event in events for reading_time in event.data.get("times", [])] == [720.5, 710.0]


def test_late_is_what_a_device_sends_after_newer_data_of_its_own():
    """Two devices with different delays are not late; one that sends six seconds old data is, and keeps its own time."""
    meter = batch(100, ("energy", 1, 100), device="meter", stamped=False)
    plc = batch(100.4, ("count", 1, 99.9))
    old = batch(101, ("count", 2, 94.0), ("order", "A", 97.0))
    events, _ = run(_fold(), [meter], [plc], [old])
    assert [((event.time - T0) / NS, event.late) for event in events] == [(100, False), (99.9, False), (94.0, True), (97.0, False)]


def test_a_slow_plc_clock_makes_nothing_late():
    """A PLC whose clock runs an hour behind is judged by its own clock."""
    turns = [[batch(t, ("count", t, t - 3600.1)), tick(t + 0.5)] for t in range(10, 20)]
    start = batch(9, ("count", 1, 9 - 3600.1), before=(DeviceUp("plc", at(9)),))
    events, turn = run(_fold(), [start], *turns)
    assert not any(event.late for event in events)
    assert [t for t, saw in told(events) if saw["readings"]][1:] == [t - 3600.1 for t in range(10, 20)]
    fold = _fold()
    state, _ = fold.start(fold.stored(turn.state))
    away = batch(30, device="", before=(AgentDown(at(20), at(30)),))
    back = batch(30.5, ("count", 30, 25 - 3600.0), before=(DeviceUp("plc", at(30.4)),))
    events, _ = run(fold, [away, back], state=state)
    assert [t for t, saw in told(events) if saw["readings"]] == [25 - 3600.0], "the offset was remembered"


def test_a_lost_device_holds_the_watermark():
    """Nothing is called complete beyond the last good sample of a device that does not answer."""
    fold = _fold()
    up = batch(1, ("count", 1, 1.0), before=(DeviceUp("plc", at(1)),))
    _, turn = run(fold, [up], [tick(60)])
    assert fold.watermark(turn.state) == at(55)
    _, turn = run(fold, [batch(61, after=(DeviceDown("plc", at(61), at(58), "gone"),))], [tick(90)], state=turn.state)
    assert fold.watermark(turn.state) == at(53)


def test_a_clock_offset_is_no_barrier():
    """A measurement of a clock moves no reading out of its order."""
    first = batch(1, before=(ClockOffset("plc", at(1), 5),))
    second = batch(1.1, ("count", 1, 0.9))
    meter = batch(1.05, ("energy", 1, 0.95), device="meter")
    events, _ = run(_fold(), [first, second, meter])
    assert [t for t, saw in told(events) if saw["readings"]] == [0.9, 0.95]
