"""What the MES retained while the agent was away stands ahead of what the devices say: a count of the absence is not silently the old order's."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.derive import Tick
from edge_agent.events.mescontext import DEVICE
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, DeviceUp, Tag

T0 = 1_792_904_400 * NS
UNIT = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "press",
        "context": {"order": {"mqtt": "mes/order"}, "lot": {"mqtt": "mes/lot"}},
        "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "10/s"}},
    }
)
MEMBERS = {"order": 0, "lot": 1}


def at(t: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(t * NS)


def mes(t: float, **named: str) -> Batch:
    """Return what the MES says, heard at ``t``."""
    rows = len(named)
    tags = [MEMBERS[member] for member in named]
    return Batch(DEVICE, at(t), tags, list(named.values()), [0] * rows, [0] * rows, [0] * rows, asked=at(t))


def plc(t: float, count: int, *, up: bool = False) -> Batch:
    """Return a sample of the counter."""
    return Batch("plc", at(t), [0], [count], [0], [at(t)], [0], before=(DeviceUp("plc", at(t)),) if up else ())


class Line:
    """A press that made three parts of WO-1, lot L-A, and whose agent was away from 10 to 100."""

    def __init__(self, period: int = NS // 10) -> None:
        self.fold = fold_of(UNIT, devices={"plc": (Tag("plc", "count", period=period),)})
        self.state = self.fold.start({})[0]
        self.settled = 0
        self.give(mes(0, order="WO-1", lot="L-A"), plc(1, 0, up=True), plc(5, 3))
        self.state = self.fold.start(self.fold.stored(self.state))[0]
        self.give(Batch("", at(100), before=(AgentDown(at(10), at(100)),)))

    def give(self, *given: Batch | Tick) -> list[ProductionEvent]:
        """Return what is told of it."""
        events: list[ProductionEvent] = []
        for one in given:
            turn = self.fold.fold(self.state, [one])
            self.state, self.settled, events = turn.state, turn.settled, events + list(turn.events)
        return events


def counts(events: list[ProductionEvent]) -> list[tuple[Any, ...]]:
    """Return delta, order, candidates of the order, lot."""
    return [
        (e.data["delta"], e.ctx.order, e.data.get("candidates", {}).get("order"), e.ctx.lot)
        for e in events
        if e.type == "production.count"
    ]


BACK, SAME, OTHER = plc(100.2, 43, up=True), mes(100.6, order="WO-1", lot="L-A"), mes(100.6, order="WO-2", lot="L-A")
LATE = [Tick(at(t)) for t in range(101, 107)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([BACK, SAME], [(40, "WO-1", None, "L-A")]),
        ([BACK, OTHER], [(40, None, ["WO-1", "WO-2"], "L-A")]),
        ([mes(100.1, order="WO-2", lot="L-A"), BACK], [(40, None, ["WO-1", "WO-2"], "L-A")]),
        ([BACK, mes(100.3, order="WO-2"), mes(100.9, lot="L-A")], [(40, None, ["WO-1", "WO-2"], "L-A")]),
        ([BACK, mes(100.3, lot="L-B"), mes(100.9, order="WO-1")], [(40, "WO-1", None, None)]),
        ([BACK, mes(100.6, order="", lot="")], [(40, None, ["WO-1", None], None)]),
        ([BACK, *LATE], [(40, "WO-1", None, "L-A")]),
        ([BACK, *LATE, mes(107, order="WO-2", lot="L-A"), plc(108, 45)], [(40, "WO-1", None, "L-A"), (2, "WO-2", None, "L-A")]),
        ([BACK, OTHER, plc(103, 46)], [(40, None, ["WO-1", "WO-2"], "L-A"), (3, "WO-2", None, "L-A")]),
    ],
    ids=["same", "another", "heard before the PLC", "one topic after the other", "the lot alone", "none any more", "no word in time", "a word too late", "and goes on"],
)  # fmt: skip
def test_whose_the_parts_of_an_absence_are(given: list[Batch | Tick], expected: list[tuple[Any, ...]]) -> None:
    """Surely the old order's when the MES says that it still holds, or says nothing in time; else nobody's, with the candidates."""
    assert counts(Line().give(*given)) == expected


def test_an_order_that_changed_in_the_absence_has_its_interval_and_not_its_parts() -> None:
    """Neither order's ``totals_at`` holds what is nobody's."""
    events = Line().give(BACK, OTHER, plc(103, 46), mes(110, order="WO-3"))
    orders = [(e.type, e.data["order"], e.data["totals_at"], e.interval) for e in events if e.type.startswith("order.")]
    away = (at(10), at(100))
    assert orders == [
        ("order.completed", "WO-1", {"total": 3}, away),
        ("order.started", "WO-2", {"total": 0}, away),
        ("order.completed", "WO-2", {"total": 3}, None),
        ("order.started", "WO-3", {"total": 0}, None),
    ]


def test_what_waits_for_the_mes_is_in_nobodys_custody_yet() -> None:
    """A crash in the meantime: the batches are not settled, and the time up to which is known is that of the return."""
    line = Line()
    before = line.settled
    assert line.give(BACK, Tick(at(101))) == []
    assert line.settled == before
    assert line.state.window.retained is not None
    assert line.state.window.retained.since == at(100)
    assert counts(line.give(Tick(at(102), final=True))) == [(40, "WO-1", None, "L-A")]


def test_a_unit_without_topics_waits_for_nobody() -> None:
    """Its context comes from its PLC."""
    config = UNIT.model_copy(update={"context": None})
    fold = fold_of(config, devices={"plc": (Tag("plc", "count"),)})
    state = fold.fold(fold.start({})[0], [plc(1, 0, up=True)]).state
    state = fold.fold(state, [Batch("", at(100), before=(AgentDown(at(10), at(100)),))]).state
    assert [e.data["delta"] for e in fold.fold(state, [BACK]).events if e.type == "production.count"] == [43]
