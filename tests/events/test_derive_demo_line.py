"""The whole unit of the demo line, all rules together, against the truth of its scenario."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from demo_line_feed import T0, Faults, played, scenario

from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from simulators.truth import truth

_ALL = Faults(cuts=((450, 481),), kills=((700, 720),), bad_count=((900, 905),))
_SLOW = replace(_ALL, delay=1.5, seed=1)


def _counts(events: Sequence[ProductionEvent], *by: str) -> dict[tuple[Any, ...], dict[str, int]]:
    sums: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: {"total": 0, "scrap": 0})
    for event in events:
        if event.type == "production.count":
            sums[tuple(getattr(event.ctx, name) for name in by)][event.data["disposition"]] += event.data["delta"]
    return dict(sums)


def _of(events: Sequence[ProductionEvent], kind: str) -> list[ProductionEvent]:
    return [event for event in events if event.type == kind]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(Faults(), id="no faults"),
        pytest.param(_ALL, id="all faults"),
        pytest.param(
            Faults(cuts=((450, 481),), kills=((700, 720),), bad_count=((900, 905),), delay=1.5, seed=1), id="slow way to the PLC"
        ),
    ],
)
def test_the_demo_line_comes_out_as_it_was(faults: Faults):
    """Orders, maintenance, shifts, downtimes, samples and energy are the truth's, with faults and without."""
    events, true = played(faults), truth(scenario())
    orders = _counts(events, "order", "mode")
    for order in true.orders:
        assert orders.pop((order.order, "Production")) == {"total": order.total, "scrap": order.scrap}
    assert orders == {(None, "Maintenance"): {"total": 5, "scrap": 0}}
    shifts = _counts([event for event in events if event.ctx.mode == "Production"], "shift")
    assert shifts == {(one.shift,): {"total": one.total, "scrap": one.scrap} for one in true.shifts}
    ended = [
        (event.data["category"], round(event.data["duration_s"], 1), event.data["micro"]) for event in _of(events, "downtime.ended")
    ]
    assert ended == [("starved", 61.0, False), ("faulted", 134.0, False), ("starved", 4.0, True)]
    assert [event.data["unit"]["serial"] for event in _of(events, "quality.result")] == [f"CW-{k:05d}" for k in range(1, 19)]
    assert [round((event.time - T0) / NS) for event in _of(events, "quality.result") if event.data["verdict"] == "nok"] == [
        240,
        540,
        840,
    ]
    energy = sum(event.data["delta"] for event in _of(events, "energy.consumed"))
    assert round(energy * 100) == 283
    assert [(event.type, event.data["order"]) for event in events if event.type.startswith("order.")] == [
        ("order.started", "WO-1001"), ("order.completed", "WO-1001"), ("order.started", "WO-1002"),
    ]  # fmt: skip


def test_the_tricky_places_of_the_log():
    """What must stand in the stream at the wraps, the loss, the shift, the restart, the reset and the reboot."""
    events = played(_ALL)
    times = {kind: [round((event.time - T0) / NS, 2) for event in _of(events, kind)] for kind in {event.type for event in events}}
    started, completed, second = (event for event in events if event.type.startswith("order."))
    assert (started.time, completed.time, second.time) == (T0 + 35 * NS, T0 + 960 * NS, T0 + 1036 * NS)
    assert started.data["totals_at"] == {"total": 0, "reject": 0}
    assert completed.data["totals_at"] == {"total": 1432, "reject": 57}
    (shift,) = _of(events, "shift.changed")
    assert (shift.time, shift.data["totals"]) == (T0 + 600 * NS, {"total": 840, "reject": 33})
    assert events.index(shift) < next(place for place, event in enumerate(events) if event.ctx.shift == "M" and event is not shift)
    assert times["mode.changed"] == [980.0, 1020.0]
    assert [(round((event.time - T0) / NS), event.data["to"]["category"]) for event in _of(events, "state.changed") if event.data["to"]["code"] is None] == [
        (450, "unknown"), (1000, "unknown"),
    ]  # fmt: skip
    assert len(times["state.changed"]) == 36
    assert [event.data["reason"] for event in _of(events, "state.snapshot")] == [
        "start", "reconnect", "hourly", "agent_restart", "reconnect", "final",
    ]  # fmt: skip
    # the first good count is the bottle at 905.25: ten that were made while the tag was bad, and itself
    assert [(event.data["reason"], event.data["recovered"]) for event in _of(events, "collection.gap")][:3] == [
        ("comm_loss", {"total": 62, "reject": 3}), ("agent_down", {"total": 40, "reject": 2}), ("bad_quality", {"total": 11}),
    ]  # fmt: skip
    assert not [event for event in events if event.late]
    final = events[-1]
    assert (final.type, final.data["order"], final.data["downtime_id"] is not None) == ("state.snapshot", "WO-1002", True)


def test_events_are_told_in_an_order_that_an_mes_can_follow():
    """No event of an order comes before it was started or after it was completed, and no shift before its change."""
    for faults in (_ALL, _SLOW):
        events = played(faults)
        known: set[str | None] = {None}
        for event in events:
            known |= {event.data["order"]} if event.type == "order.started" else set()
            assert event.ctx.order in known, event
        done = next(place for place, event in enumerate(events) if event.type == "order.completed")
        assert not [event for event in events[done + 1 :] if event.ctx.order == "WO-1001" and event.type == "production.count"]
