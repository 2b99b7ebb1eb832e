"""Production rules on the real fold: what they are stamped with, and that restarts at any point change nothing."""

from __future__ import annotations

from typing import Any

import msgspec
from derive_feed import at
from hypothesis import given, settings
from hypothesis import strategies as st
from unitbench import fits

from edge_agent.events.catalog import UnitConfig, fold_of, wiring_of
from edge_agent.events.members import MEMBERS
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import AgentDown, Batch, Boot, DeviceDown, DeviceUp, Snapshot, Tag

REGISTER = {"wraps": "uint16", "max_rate": "100/s"}
WRITTEN: dict[str, Any] = {
    "version": 1,
    "unit": "press",
    "context": {"order": "plc.order", "product": "plc.product", "lot": "plc.lot"},
    "counters": {"total": {"tag": "plc.count", "role": "total", **REGISTER}, "reject": {"tag": "plc.reject", "role": "scrap", **REGISTER}},
    "cycles": {
        "stroke": {"count": {"tag": "plc.cycles", **REGISTER}, "duration": "plc.last", "cavities": 2},
        "oven": {"running": "plc.oven"},
    },
    "scrap": {"why": {"counter": "reject", "reason": {"tag": "plc.why"}}},
    "orders": {"state": "plc.job", "states": {0: "waiting", 1: "running", 2: "paused", 3: "completed", 4: "aborted"}},
    "setup": {"tag": "plc.setup"},
    "materials": {
        "caps": {"lot": "plc.cap_lot", "consumed": {"tag": "plc.caps", **REGISTER}},
        "film": {"lot": "plc.film_lot", "per_part": {"counter": "total", "qty": 0.5}},
    },
    "recipe": {"tag": "plc.recipe"},
    "setpoints": {"bar": {"tag": "plc.bar", "deadband": 0.1}},
    "derived": {"bar": {"expr": "pa / 100", "tags": {"pa": "plc.pa"}}, "good": {"expr": "total - reject", "same_read_as": "total"}},
    "tools": {"die": {"tool": "plc.tool", "life": "plc.life", "limit": 5}},
    "inputs": {"scan": {"tag": "plc.scan"}},
    "speed": {"actual": "plc.speed", "deadband": 1, "design": 9},
    "records": {
        "held": {
            "pattern": "trigger_ack", "trigger": "plc.ready", "ack": "plc.done", "event": "unit.produced", "fields": {"serial": "plc.serial"},
        },
        "edge": {"pattern": "edge", "trigger": "plc.ready", "event": "operator.input", "fields": {"value": "plc.serial"}},
        "ring": {"pattern": "ring", "write_index": "plc.index", "size": 2, "event": "material.consumed", "fields": {"lot": "plc.s{slot}"}},
    },
}  # fmt: skip
CONFIG = UnitConfig.model_validate(WRITTEN)
VALUES: dict[str, tuple[Any, ...]] = {
    "order": ("", "WO-1", "WO-2"), "product": ("A", "B"), "lot": ("L1", "L2"), "recipe": ("R1", "R2"), "job": (0, 1, 2, 3, 4, 9),
    "count": (0, 1, 2, 7, 65535), "reject": (0, 1, 5), "why": (0, 3, 9), "cycles": (0, 1, 3), "last": (1.5, 2.5), "oven": (False, True),
    "setup": (False, True), "cap_lot": ("", "C1", "C2"), "caps": (0, 4, 9), "film_lot": ("F1", "F2"), "pa": (100, 104, 150),
    "tool": ("T1", "T2"), "life": (0, 4, 6), "scan": ("", "x"), "speed": (0.0, 5.0, 5.5, 8.0), "ready": (False, True), "done": (False, True),
    "serial": ("S1", "S2", "S3"), "index": (0, 1, 2, 5), "s0": ("X", "Y"), "s1": ("P", "Q"),
}  # fmt: skip
TAGS = tuple(Tag("plc", name, acknowledge=name == "done") for name in VALUES)
PLACE = {tag.name: place for place, tag in enumerate(TAGS)}
GROUPS = {group.name: group for group in wiring_of(CONFIG)["plc"].triggers}


def samples(t: float, values: dict[str, Any], bad: frozenset[str] = frozenset()) -> Batch:
    """Return one scan, and the reads of the groups that it fires."""
    names = list(values)
    snapshots = []
    for name, group in GROUPS.items():
        if group.trigger in values and all(tag in values for tag in group.tags):
            snapshots.append(Snapshot(name, len(names), len(names) + len(group.tags)))
            names += group.tags
    rows = [values[name] for name in names]
    times = [at(t)] * len(rows)
    return Batch(
        "plc",
        at(t),
        [PLACE[name] for name in names],
        rows,
        [2 if name in bad else 0 for name in names],
        times,
        [0] * len(rows),
        snapshots=tuple(snapshots),
    )


def play(batches: list[Batch], *, restart: bool) -> list[ProductionEvent]:
    """Fold batch by batch, with the state through its stored form in between where ``restart``."""
    fold = fold_of(CONFIG, devices={"plc": TAGS})
    state, events = fold.start({})[0], list[ProductionEvent]()
    for batch in batches:
        turn = fold.fold(state, [batch])
        events += turn.events
        state = turn.state
        if restart:
            fresh = fold_of(CONFIG, devices={"plc": TAGS})
            begun, dropped = fresh.start(fold.stored(state))
            assert dropped == ()
            fold, state = fresh, msgspec.structs.replace(state, rules=begun.rules, picture=begun.picture)
    return events


def everything(**values: Any) -> dict[str, Any]:
    """Return a value of each tag."""
    return {name: some[0] for name, some in VALUES.items()} | values


def test_what_was_used_before_an_order_change_is_stamped_with_the_order_before() -> None:
    """Cycles, consumption and scrap of the moment of the change belong to what ends there; so do the totals of the order."""
    first = everything(order="WO-1", job=1, why=3, cap_lot="C1")
    second = first | {"order": "WO-2", "count": 4, "reject": 1, "caps": 4, "film_lot": "F2", "cycles": 1}
    events = play([samples(0, first), samples(1, second)], restart=True)
    used = [event for event in events if event.type in {"material.consumed", "scrap.recorded", "cycle.completed"}]
    assert sorted((event.type, event.ctx.order) for event in used) == [
        ("cycle.completed", "WO-1"),
        ("material.consumed", "WO-1"),
        ("material.consumed", "WO-1"),
        ("scrap.recorded", "WO-1"),
    ]
    assert [event.data["lot_new"] for event in used if event.data.get("position") == "film"] == ["F1"]
    ends = [(event.type, event.ctx.order, event.data["totals_at"]) for event in events if event.type.startswith("order.")]
    assert ends == [
        ("order.completed", "WO-1", {"total": 4, "reject": 1}),
        ("order.started", "WO-2", {"total": 0, "reject": 0}),
    ]


def test_nothing_but_counts_moves_quantities() -> None:
    """Every event that explains production has a type of its own; the counts are those of the counters alone."""
    events = play([samples(0, everything()), samples(1, everything(count=2, reject=1, cycles=3, caps=9, why=3))], restart=False)
    assert {event.data["counter"] for event in events if event.type == "production.count"} == {"total", "reject"}


@st.composite
def stories(draw: st.DrawFn) -> list[Batch]:
    """Return a line's life: scans of some or all tags, losses of the device and the agent, restarts of the PLC."""
    batches, boot = [samples(0, everything())], 1
    for step in range(1, draw(st.integers(2, 14))):
        t = step * 3.0
        kind = draw(st.integers(0, 9))
        if kind == 0:
            batches.append(Batch("plc", at(t), after=(DeviceDown("plc", at(t), at(t - 2), "cut"),)))
            boot += draw(st.integers(0, 1))
            t += 1
            batches.append(Batch("plc", at(t), before=(DeviceUp("plc", at(t)), Boot("plc", at(t), boot))))
        elif kind == 1:
            batches.append(Batch("", at(t), before=(AgentDown(at(t - 2), at(t)),)))
        names = draw(st.sets(st.sampled_from(sorted(VALUES)))) if draw(st.booleans()) else set(VALUES)
        values = {name: draw(st.sampled_from(VALUES[name])) for name in sorted(names)}
        bad = draw(st.frozensets(st.sampled_from(sorted(VALUES)), max_size=3))
        if values:
            batches.append(samples(t + 1, values, bad))
    return batches


@settings(max_examples=60, deadline=None)
@given(stories())
def test_whatever_happens_restarts_change_nothing_and_every_event_fits_its_type(story: list[Batch]) -> None:
    """Pure rules: the state in its stored form is all that they remember; intervals and times are never turned round."""
    events = play(story, restart=False)
    assert play(story, restart=True) == events
    for event in events:
        fits(event)
        if event.interval is not None and event.type in MEMBERS:
            assert event.interval[0] <= event.interval[1]
        duration = event.data.get("duration_s")
        assert duration is None or duration >= 0
    keys = [(event.type, *event.data["source_key"].values()) for event in events if "source_key" in event.data]
    assert len(set(keys)) == len(keys)
