"""Order, product and lot: one change of context per scan, and the events of the order."""

from __future__ import annotations

from typing import Any

import pytest
from derive_feed import PLC, Counter, at, batch, run, tick

from edge_agent.events.context import ContextConfig, ContextRule, build
from edge_agent.events.derive import Fold
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.reading import AgentDown, DeviceDown, DeviceUp

_CONFIG = ContextConfig(order="plc.order", product="plc.product", lot="plc.lot")
_UP = (DeviceUp("plc", at(0)),)


def _fold() -> Fold:
    return Fold("unit", [*build(_CONFIG, unit="unit", name="context", tags={}), Counter()], {"plc": PLC})


def _orders(events: list[ProductionEvent]) -> list[tuple[str, str | None, int]]:
    return [(event.type, event.data["order"], event.time) for event in events if event.type.startswith("order.")]


_START = batch(0, ("count", 0, 0), ("order", "", 0), ("product", "", 0), ("lot", "", 0), before=_UP)


def test_an_order_from_begin_to_end():
    """Started with nothing made, completed with what was made in it; both carry the absolute totals."""
    scan = (("order", "WO-1001", 35), ("product", "4711", 35), ("lot", "L-A", 35))
    events, turn = run(_fold(), [_START], [batch(20, ("count", 7, 20))], [batch(35.1, *scan)], [batch(60, ("count", 1439, 60))],
                       [batch(960.1, ("order", "", 960))])  # fmt: skip
    started, completed = [event for event in events if event.type.startswith("order.")]
    assert (started.type, started.time, started.correlation) == ("order.started", at(35), "WO-1001")
    assert started.ctx == Context("WO-1001", "4711", "L-A")
    assert started.data == {
        "order": "WO-1001", "operation": None, "product": "4711", "lot": "L-A", "state": "Running", "source": "plc",
        "totals_at": {"total": 0}, "totals": {"total": 7},
    }  # fmt: skip
    assert (completed.type, completed.time, completed.correlation) == ("order.completed", at(960), "WO-1001")
    assert completed.data["state"] == "Ended.Completed"
    assert (completed.data["totals_at"], completed.data["totals"]) == ({"total": 1432}, {"total": 1439})
    assert turn.state.picture.context == Context(None, "4711", "L-A")


def test_an_order_cleared_and_set_in_one_scan_is_two_events():
    """A to B in one sample: completed(A), then started(B), at the same time (matrix: order cleared and set in same scan)."""
    events, _ = run(_fold(), [_START], [batch(10, ("order", "A", 10))], [batch(20, ("count", 9, 20), ("order", "B", 20))])
    assert _orders(events)[1:] == [("order.completed", "A", at(20)), ("order.started", "B", at(20))]
    assert [event.data["totals_at"]["total"] for event in events if event.type != "production.count"] == [0, 9, 0]
    assert [event.ctx.order for event in events if event.time == at(20)] == ["A", "A", "B"]


def test_the_first_sample_is_a_baseline():
    """An order that already runs at first sight is known, but its start was not seen."""
    events, turn = run(_fold(), [batch(0, ("order", "WO-7", 0), ("product", "P", 0), before=_UP)])
    assert not events
    assert turn.state.picture.context == Context("WO-7", "P")


def test_what_changes_in_one_scan_is_one_change_of_context():
    """No event ever stands in a context that mixes the old order with the new lot."""
    events, _ = run(_fold(), [_START], [batch(5, ("lot", "L1", 5), ("order", "A", 5), ("product", "P", 5))],
                    [batch(9, ("product", "Q", 9), ("lot", "L2", 9), ("count", 3, 9), ("order", "B", 9))])  # fmt: skip
    assert {event.ctx for event in events} == {Context("A", "P", "L1"), Context("B", "Q", "L2")}


@pytest.mark.parametrize(
    ("value", "order"),
    [
        ("", None),
        (None, None),
        (0, None),
        ("  ", None),
        ("\0\0", None),
        (4711, "4711"),
        ("WO-1\0\0", "WO-1"),
        (b"WO-2", "WO-2"),
        ("0", "0"),
    ],
)
def test_what_plcs_write_for_no_order(value: Any, order: str | None):
    """Empty text, zero and nothing mean none; padding is no part of a name."""
    _, turn = run(_fold(), [batch(0, ("order", value, 0), before=_UP)])
    assert turn.state.picture.context.order == order


def test_a_bad_sample_changes_nothing():
    """While the order tag is bad, the order goes on."""
    events, turn = run(_fold(), [_START], [batch(5, ("order", "A", 5))], [batch(6, ("order", None, 6), bad=("order",))])
    assert _orders(events) == [("order.started", "A", at(5))]
    assert turn.state.picture.context.order == "A"


def test_a_change_during_an_outage_carries_the_interval():
    """Behind a loss of the device, the change is told with when it can have happened; no change is no event."""
    cut = batch(40, after=(DeviceDown("plc", at(45), at(39), "gone"),))
    back = batch(60, ("order", "B", 52), ("count", 8, 59), before=(DeviceUp("plc", at(59.9)),))
    opening = [[_START], [batch(39, ("order", "A", 39))], [cut]]
    events, _ = run(_fold(), *opening, [back])
    told = [(event.type, event.time, event.interval) for event in events if event.type.startswith("order.")]
    assert told[1:] == [("order.completed", at(52), (at(39), at(52))), ("order.started", at(52), (at(39), at(52)))]
    events, turn = run(
        _fold(), *opening, [batch(60, ("order", "A", 39), before=(DeviceUp("plc", at(59.9)),))], [batch(70, ("order", "B", 70))]
    )
    assert [event.interval for event in events if event.type.startswith("order.")] == [None, None, None]
    assert turn.state.picture.context.order == "B"


def test_a_change_while_the_agent_was_away_carries_the_interval():
    """After a restart the persisted order is compared with the one found."""
    fold = _fold()
    _, turn = run(fold, [_START], [batch(39, ("order", "A", 39))], [tick(40)])
    state, _ = fold.start(fold.stored(turn.state))
    away = batch(60, device="", before=(AgentDown(at(40), at(60)),))
    events, _ = run(fold, [away], [batch(61, ("order", "", 55), ("count", 0, 0), before=(DeviceUp("plc", at(61)),))], state=state)
    assert [(event.type, event.data["order"], event.interval) for event in events] == [("order.completed", "A", (at(40), at(55)))]


def test_without_an_order_tag_product_and_lot_still_count():
    """A unit that has only a lot stamps the lot."""
    fold = Fold("unit", [ContextRule(ContextConfig(lot="plc.lot"))], {"plc": PLC})
    events, turn = run(fold, [batch(0, ("lot", "L", 0))], [batch(1, ("lot", "M", 1))])
    assert not events
    assert turn.state.picture.context == Context(lot="M")
