"""What a machine makes outside production belongs to no order, whatever order the PLC still shows."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Batch, DeviceDown, DeviceUp, Notice, Tag

TAGS = tuple(
    Tag("plc", name, type=kind) for name, kind in (("count", "int32"), ("order", None), ("mode", "int32"), ("state", "int32"))
)
UNIT = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "filler",
        "path": ["acme", "plant1", "packaging", "line3"],
        "state": {"tag": "plc.state", "model": "packml", "mode": "plc.mode"},
        "context": {"order": "plc.order"},
        "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "packml", "max_rate": "10/s"}},
    }
)
PRODUCTION, MAINTENANCE = 1, 2


class Bench:
    """A unit's fold, and the events that it made; it begins in production, with order A, at 100 parts."""

    def __init__(self) -> None:
        self.fold = fold_of(UNIT, devices={"plc": TAGS})
        self.state, _ = self.fold.start({})
        self.events: list[ProductionEvent] = []
        self.scan(1, DeviceUp("plc", NS), count=100, order="A", mode=PRODUCTION, state=6)

    def scan(self, t: float, *notices: Notice, **values: Any) -> None:
        """Give the tags new values, all in one scan at ``t``."""
        at, names = round(t * NS), [tag.name for tag in TAGS]
        rows = [(names.index(name), value, 0, at, at) for name, value in values.items()]
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], [], []]
        turn = self.fold.fold(self.state, [Batch("plc", at, *columns, before=notices)])
        self.state = turn.state
        self.events += turn.events

    def counts(self) -> list[tuple[int, str | None, str | None]]:
        """Return (delta, order, mode) of every count."""
        found = [event for event in self.events if event.type == "production.count"]
        return [(event.data["delta"], event.ctx.order, event.ctx.mode) for event in found]

    def completed(self) -> list[int]:
        """Return what each completed order is said to have made."""
        return [event.data["totals_at"]["total"] for event in self.events if event.type == "order.completed"]


def test_parts_of_maintenance_belong_to_no_order_though_one_is_open():
    """Production, maintenance, production again: the order has what was made in production, and its total says the same."""
    line = Bench()
    line.scan(2, count=103)
    line.scan(3, mode=MAINTENANCE)
    line.scan(4, count=105)
    line.scan(5, mode=PRODUCTION)
    line.scan(6, count=106)
    line.scan(7, order="B")
    assert line.counts() == [(3, "A", "Production"), (2, None, "Maintenance"), (1, "A", "Production")]
    assert line.completed() == [4]


def test_a_part_in_the_scan_that_changes_the_mode_was_made_before_it():
    """What a scan counts was made in the mode and order that end with it."""
    line = Bench()
    line.scan(2, count=101, mode=MAINTENANCE)
    line.scan(3, count=102, mode=PRODUCTION)
    line.scan(4, count=103, order="B")
    assert line.counts() == [(1, "A", "Production"), (1, None, "Maintenance"), (1, "A", "Production")]
    assert line.completed() == [2]


@pytest.mark.parametrize(
    ("before", "after", "ctx", "candidates"),
    [
        (PRODUCTION, MAINTENANCE, (None, None), {"order": ["A", None], "mode": ["Production", "Maintenance"]}),
        (MAINTENANCE, PRODUCTION, (None, None), {"order": [None, "A"], "mode": ["Maintenance", "Production"]}),
        (MAINTENANCE, MAINTENANCE, (None, "Maintenance"), None),
        (PRODUCTION, PRODUCTION, ("A", "Production"), None),
    ],
)
def test_parts_across_a_loss_are_unsure_when_the_mode_changed_unseen(before, after, ctx, candidates):
    """A machine found in another mode may have made any of them in either: they are booked to no order, with both as candidates."""
    line = Bench()
    line.scan(2, mode=before)
    line.scan(3, DeviceDown("plc", 3 * NS, 2 * NS, "gone"))
    line.scan(9, DeviceUp("plc", 9 * NS), count=110, order="A", mode=after, state=6)
    (event,) = [event for event in line.events if event.type == "production.count"]
    assert (event.ctx.order, event.ctx.mode) == ctx
    assert event.data.get("candidates") == candidates


def test_what_was_made_outside_production_is_remembered_over_a_restart():
    """The order's total after a restart leaves out what was made in maintenance before it."""
    line = Bench()
    line.scan(2, mode=MAINTENANCE)
    line.scan(3, count=107)
    line.scan(4, count=108, mode=PRODUCTION)
    line.scan(4.5, count=109)
    line.state, dropped = line.fold.start(line.fold.stored(line.state))
    assert dropped == ()
    line.scan(5, DeviceUp("plc", 5 * NS), count=111, order="A", mode=PRODUCTION, state=6)
    line.scan(6, order="")
    assert line.completed() == [3]


@pytest.mark.parametrize(("order", "mode"), [("B", PRODUCTION), ("", PRODUCTION), ("A", MAINTENANCE)])
def test_what_a_loss_made_nobodys_is_in_no_orders_total(order, mode):
    """Where order or mode changed unseen, the count has no order, and the order's own total says what the counts with its number say."""
    line = Bench()
    line.scan(2, count=104)
    line.scan(3, DeviceDown("plc", 3 * NS, 2 * NS, "gone"))
    line.scan(9, DeviceUp("plc", 9 * NS), count=110, order=order, mode=mode, state=6)
    line.scan(10, order="C")
    assert line.counts()[:2] == [(4, "A", "Production"), (6, None, None if mode == MAINTENANCE else "Production")]
    assert line.completed()[0] == 4
