"""What the fold promises: pure, the same however it is cut, restartable, and the context stamped where it belongs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from derive_feed import METER, PLC, T0, Counter, CountState, Seen, Witness, at, batch, berlin, run, tick, told
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.events.context import ContextConfig, ContextRule
from edge_agent.events.derive import Fold, RuleError, Tick, UnitState
from edge_agent.events.keyframe import SnapshotRule
from edge_agent.events.rule import Moment, Outcome, Phase
from edge_agent.events.shift import ShiftRule
from edge_agent.model.event import Acknowledge, Context, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, DeviceDown, DeviceUp

_CONTEXT = ContextConfig(order="plc.order", product="plc.product", lot="plc.lot")


def _line(*, devices: dict[str, Any] | None = None, context: ContextConfig = _CONTEXT) -> Fold:
    calendar = berlin()
    rules = [
        SnapshotRule(counters=("total",)),
        Witness(tags=("plc.state",), ticks=True),
        ShiftRule(calendar),
        ContextRule(context),
        Counter(),
    ]
    return Fold("unit", rules, devices or {"plc": PLC}, calendar=calendar)


# -- one unit, one clock: any cut, any restart ------------------------------------------------------------------------

_ORDERS = st.sampled_from(["", "A", "B"])


@st.composite
def stories(draw: st.DrawFn) -> list[Batch | Tick]:
    """Twelve seconds around a shift boundary: counts, orders, states, losses and ticks, as one PLC and one agent tell them."""
    things: list[tuple[float, int, Batch | Tick]] = [
        (590.0, 0, batch(590, ("count", 0, 590), ("order", "", 590), before=(DeviceUp("plc", at(590)),)))
    ]
    count, last = 0, 590.0
    for step in range(draw(st.integers(0, 40))):
        source = 590.2 + step * 0.3
        lag = draw(st.sampled_from([0.0, 0.05, 0.2]))
        rows: list[tuple[str, Any, float]] = []
        if draw(st.booleans()):
            count += draw(st.integers(0, 3))
            rows.append(("count", count, source))
        if draw(st.integers(0, 4)) == 0:
            rows += [("order", draw(_ORDERS), source), ("product", draw(_ORDERS), source)]
        if draw(st.integers(0, 4)) == 0:
            rows.append(("state", draw(st.integers(0, 6)), source))
        down = draw(st.integers(0, 9)) == 0
        received = source + lag
        after = (DeviceDown("plc", at(received), at(source if rows else last), "gone"),) if down else ()
        up = (DeviceUp("plc", at(received + 0.02)),) if down else ()
        things.append((received, step, batch(received, *rows, after=after)))
        if up:
            things.append((received + 0.02, step, batch(received + 0.02, before=up)))
        last = source if rows else last
    things += [(second + 0.25, 1000, tick(second)) for second in range(591, 604)]
    things.sort(key=lambda thing: thing[:2])
    return [thing for _, _, thing in things]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[Batch | Tick], list[int], list[int]]:
    """A story, where it is cut into turns, and after which turns the agent is started again from its stored state."""
    story = draw(stories())
    places = sorted(draw(st.sets(st.integers(1, len(story)), max_size=len(story))))
    return story, places, draw(st.lists(st.integers(0, len(places)), max_size=3))


def _turns(story: list[Batch | Tick], places: list[int]) -> list[list[Batch | Tick]]:
    edges = [0, *places, len(story)]
    return [story[a:b] for a, b in pairwise(edges) if a < b]


@settings(max_examples=150, deadline=None)
@given(cuts())
def test_the_same_inputs_make_the_same_events_however_they_are_cut(cut: tuple[list[Batch | Tick], list[int], list[int]]):
    """Turns are an accident of timing: events, their order, times and contexts do not depend on them."""
    story, places, _ = cut
    whole, _ = run(_line(), [*story, tick(604, final=True)])
    pieces, _ = run(_line(), *_turns(story, places), [tick(604, final=True)])
    assert pieces == whole


@settings(max_examples=150, deadline=None)
@given(cuts())
def test_a_state_that_went_through_its_stored_form_goes_on_as_before(cut: tuple[list[Batch | Tick], list[int], list[int]]):
    """What is stored after each turn is all that rules and picture need; what only changed is what was handed out."""
    story, places, restarts = cut
    fold = _line()
    state, _ = fold.start({})
    stored: dict[str, bytes] = {}
    events: list[ProductionEvent] = []
    for number, inputs in enumerate([*_turns(story, places), [tick(604, final=True)]]):
        turn = fold.fold(state, inputs)
        events += turn.events
        stored.update(turn.changed)
        state = turn.state
        if number in restarts:
            fresh, dropped = fold.start(stored)
            assert not dropped
            assert (fresh.rules, fresh.picture) == (state.rules, state.picture)
            state = UnitState(fresh.rules, fresh.picture, state.window, state.telemetry, state.boundary, state.since, state.ticked)
    whole, _ = run(_line(), [*story, tick(604, final=True)])
    assert events == whole


@settings(max_examples=60, deadline=None)
@given(stories())
def test_every_count_stands_in_the_shift_of_its_time_and_after_its_shift_event(story: list[Batch | Tick]):
    """What has time < boundary belongs to the old shift, the rest comes after shift.changed, whose totals are what was made."""
    events, _ = run(_line(), [*story, tick(604, final=True)])
    counts = [event for event in events if event.type == "production.count"]
    assert all(event.ctx.shift == ("N" if event.time < at(600) else "M") for event in counts)
    (change,) = [event for event in events if event.type == "shift.changed"]
    place = events.index(change)
    assert change.time == at(600)
    assert change.data["totals"] == {
        "total": sum(event.data["delta"] for event in events[:place] if event.type == "production.count")
    }
    assert all(event.time >= at(600) for event in events[place:] if event.type == "production.count")


# -- context -----------------------------------------------------------------------------------------------------------


def test_counts_seen_with_a_change_of_order_belong_to_the_old_one():
    """A difference seen at t was made before t; what comes from t on belongs to the new order."""
    events, _ = run(
        _line(),
        [batch(1, ("count", 0, 1), ("order", "A", 1), before=(DeviceUp("plc", at(1)),))],
        [batch(2, ("count", 5, 2), ("order", "B", 2))],
        [batch(3, ("count", 6, 3), ("state", 6, 3))],
    )
    mine = [
        (event.type, event.ctx.order, event.correlation)
        for event in events
        if event.type != "state.snapshot" and event.data.get("readings") != {}
    ]
    assert mine == [
        ("production.count", "A", "A"),
        ("order.completed", "A", "A"),
        ("order.started", "B", "B"),
        ("production.count", "B", "B"),
        ("seen", "B", "B"),
    ]


def test_what_changes_with_the_order_stands_in_the_new_one():
    """A mode or a state that changes in the scan of the order belongs to the new order, whichever rule speaks first."""
    rules = [
        Witness("mode", phase=Phase.CONTEXT, tags=("plc.state",)),
        ContextRule(_CONTEXT),
        Witness("state", tags=("plc.state",)),
    ]
    fold = Fold("unit", rules, {"plc": PLC})
    events, _ = run(fold, [batch(1, ("order", "A", 1))], [batch(2, ("state", 6, 2), ("order", "B", 2))])
    assert [(event.data["by"], event.ctx.order) for event in events if event.type == "seen"] == [("mode", "B"), ("state", "B")]


class _Saying:
    """A counter that says its own context, or that there is none because the difference spans two."""

    name, phase, tags, ticks, version, fingerprint, state_type = "saying", Phase.COUNT, ("plc.count",), False, 1, "", Seen

    def initial(self) -> Seen:
        return Seen()

    def step(self, state: Seen, moment: Moment) -> tuple[Seen, Outcome]:
        own = ProductionEvent(type="own", time=moment.time, data={}, ctx=Context(order="Z"))
        spanning = ProductionEvent(type="spanning", time=moment.time, data={"spans": ["order"]})
        plain = ProductionEvent(type="plain", time=moment.time, data={"spans": []})
        return state, Outcome((own, spanning, plain), (Acknowledge("plc.ack", 1),))


def test_a_context_that_a_rule_says_is_kept():
    """An event with a context of its own keeps it, one that spans two keeps none, every other is stamped."""
    fold = Fold("unit", [ContextRule(_CONTEXT), _Saying()], {"plc": PLC})
    events, turn = run(fold, [batch(1, ("order", "A", 1))], [batch(2, ("count", 1, 2))])
    assert [(event.type, event.ctx.order, event.correlation) for event in events] == [
        ("own", "Z", "Z"), ("spanning", None, None), ("plain", "A", "A"),
    ]  # fmt: skip
    assert turn.effects == (Acknowledge("plc.ack", 1),)


def test_rules_of_one_phase_see_each_others_part_of_the_picture():
    """Order and shift that change in one moment are both in the context afterwards."""
    fold = _line()
    events, turn = run(
        fold, [batch(590, ("order", "A", 590), ("product", "P", 590), ("lot", "L", 590))], [batch(600, ("order", "B", 600))]
    )
    assert turn.state.picture.context == Context("B", "P", "L", None, "M", None)
    mine = [event.type for event in events if event.type not in {"seen", "state.snapshot"}]
    assert mine == ["shift.changed", "order.completed", "order.started"]


def test_a_mixed_unit_crosses_a_shift_only_when_every_device_had_its_say():
    """With two clocks, what is stamped after a boundary waits half a second for what another device made before it."""
    fold = _line(devices={"plc": PLC, "meter": METER}, context=ContextConfig(order="plc.order", lot="meter.power"))
    start = [batch(598, ("count", 0, 598), ("power", "L", 598), before=(DeviceUp("plc", at(598)),))]
    meter = [batch(600.1, ("power", "M", 600.1), device="meter", stamped=False)]
    plc = [batch(600.2, ("count", 3, 599.9))]
    events, turn = run(fold, start, meter, plc)
    assert turn.settled == 1, "nothing beyond the boundary is done with"
    more, turn = run(fold, [tick(600), tick(601)], state=turn.state)
    kept = [(event.type, event.ctx.shift) for event in [*events, *more] if event.type in {"production.count", "shift.changed"}]
    assert kept == [("production.count", "N"), ("shift.changed", "M")]
    straggler, _ = run(fold, [batch(601.1, ("count", 4, 599.95))], state=turn.state)
    assert [(event.type, event.ctx.shift) for event in straggler] == [("production.count", "N")], (
        "even what comes later is the old shift's"
    )


# -- keeping and losing state ------------------------------------------------------------------------------------------


def test_a_turn_that_changes_nothing_stores_nothing():
    """Time alone is no change: only the heartbeat stores it."""
    fold = _line()
    _, turn = run(fold, [batch(1, ("count", 1, 1.0), ("order", "A", 1.0))], [tick(2), tick(3), tick(4)])
    again = fold.fold(turn.state, [tick(5), tick(6)])
    assert again.changed.keys() <= {"witness"}
    assert "counters.total" in fold.stored(turn.state)
    quiet = Fold("unit", [Counter()], {"plc": PLC})
    _, turn = run(quiet, [batch(1, ("count", 1, 1.0))])
    assert set(turn.changed) == {"counters.total", "picture"}
    assert quiet.fold(turn.state, [batch(2, ("count", 1, 2.0)), tick(3)]).changed == {}


def test_a_store_that_was_deleted_gives_baselines_only():
    """Without stored states the first samples are baselines: no count, no order event (matrix: store deleted)."""
    events, _ = run(_line(), [batch(700, ("count", 754, 700.0), ("order", "WO-1001", 700.0), before=(DeviceUp("plc", at(700)),))])
    assert [event.type for event in events if event.type != "seen"] == []


@pytest.mark.parametrize(
    ("other", "dropped"),
    [
        (Witness(fingerprint="another tag"), ("witness",)),
        (Witness("renamed"), ("witness",)),
        (Witness(), ()),
    ],
)
def test_a_stored_state_is_taken_over_only_while_it_means_the_same(other: Witness, dropped: tuple[str, ...]):
    """Another fingerprint, or no such rule: the rule starts anew and it is said which."""
    fold = Fold("unit", [Witness(ticks=True)], {"plc": PLC})
    _, turn = run(fold, [tick(1), tick(2)])
    state, gone = Fold("unit", [other], {"plc": PLC}).start(fold.stored(turn.state))
    assert gone == dropped
    assert state.rules == ((Seen(1),) if not dropped else (Seen(),))


def test_what_a_dropped_counter_had_said_leaves_the_picture():
    """A counter that starts anew shows no total of its former self."""
    fold = Fold("unit", [Counter()], {"plc": PLC})
    _, turn = run(fold, [batch(1, ("count", 1, 1.0))], [batch(2, ("count", 4, 2.0))])
    stored = fold.stored(turn.state)
    stored["counters.total"] = b"\x00garbage"
    state, dropped = fold.start(stored)
    assert dropped == ("counters.total",)
    assert state.picture.counters == {}
    assert state.rules == (CountState(),)


def test_a_shift_is_crossed_after_an_absence():
    """An agent that was away over the boundary tells it on return, at its own time, before what came after."""
    fold = _line()
    _, turn = run(fold, [batch(590, ("count", 5, 590.0), before=(DeviceUp("plc", at(590)),))], [tick(591)], [tick(592)])
    state, _ = fold.start(fold.stored(turn.state))
    away = batch(620, device="", before=(AgentDown(at(592), at(620)),))
    events, _ = run(fold, [away, batch(621, ("count", 9, 620.5), before=(DeviceUp("plc", at(620.9)),))], state=state)
    kinds = [
        (event.type, (event.time - T0) / NS, event.ctx.shift) for event in events if event.type not in {"seen", "state.snapshot"}
    ]
    assert kinds == [("shift.changed", 600.0, "M"), ("production.count", 620.5, "M")]


class _Broken:
    name, phase, tags, ticks, version, fingerprint, state_type = "broken", Phase.STATE, ("plc.count",), False, 1, "", Seen

    def initial(self) -> Seen:
        return Seen()

    def step(self, state: Seen, moment: Moment) -> tuple[Seen, Outcome]:
        return Seen(1 // moment.readings["plc.count"].value), Outcome()


def test_a_rule_that_fails_is_named_and_leaves_the_state_alone():
    """The agent learns which rule of which unit failed and why; folding again from the state before is possible."""
    fold = Fold("unit", [Counter(), _Broken()], {"plc": PLC})
    _, turn = run(fold, [batch(1, ("count", 1, 1.0))])
    before = msgspec.msgpack.encode(fold.stored(turn.state))
    with pytest.raises(RuleError, match="rule 'broken' of unit 'unit' failed: ZeroDivisionError") as caught:
        fold.fold(turn.state, [batch(2, ("count", 0, 2.0))])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.rule, caught.value.unit) == ("broken", "unit")
    assert msgspec.msgpack.encode(fold.stored(turn.state)) == before


def test_reachability_stands_in_the_picture():
    """A device that does not answer is in the picture until it does."""
    fold = _line()
    _, turn = run(fold, [batch(1, before=(DeviceUp("plc", at(1)),), after=(DeviceDown("plc", at(2), None, "gone"),))])
    assert turn.state.picture.down == {"plc"}
    _, turn = run(fold, [batch(3, before=(DeviceUp("plc", at(3)),))], state=turn.state)
    assert turn.state.picture.down == frozenset()


def test_the_next_boundary_is_the_nearest_shift_or_grid():
    """The agent polls and ticks where a shift or an energy interval ends."""
    fold = Fold("unit", [], {}, calendar=berlin(), grids=(60 * NS,))
    assert fold.next_boundary(at(1)) == at(60)
    assert fold.next_boundary(at(599)) == at(600)
    assert Fold("unit", [], {}, calendar=berlin()).next_boundary(at(1)) == at(600)
    assert Fold("unit", [], {}).next_boundary(at(1)) is None


def test_events_of_the_earlier_phases_are_shown_to_the_gap_phase():
    """What a moment made so far is in the moment, with its context."""
    seen: list[tuple[str, ...]] = []

    class Gap(Witness):
        def step(self, state: Seen, moment: Moment) -> tuple[Seen, Outcome]:
            seen.append(tuple(f"{event.type}:{event.ctx.order}" for event in moment.events))
            return state, Outcome()

    fold = Fold("unit", [Gap(phase=Phase.GAP), Counter(), ContextRule(_CONTEXT)], {"plc": PLC})
    run(fold, [batch(1, ("count", 1, 1), ("order", "A", 1))], [batch(2, ("count", 2, 2), ("order", "B", 2))])
    assert seen == [("production.count:A", "order.completed:A", "order.started:B")]


def test_told_helper_reads_events():
    """The tests' own reader gives seconds and data."""
    assert told([ProductionEvent(type="seen", time=at(2), data={"x": 1})]) == [(2.0, {"x": 1})]
