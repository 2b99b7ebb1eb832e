"""The record of a part belongs where its count belongs: in the scan of a change to what ends there, also when it is read behind that scan."""

from __future__ import annotations

from typing import Any

import pytest
from derive_feed import at

from edge_agent.events.catalog import UnitConfig, fold_of, wiring_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Batch, DeviceDown, DeviceUp, Snapshot, Tag

REGISTER = {"wraps": "uint16", "max_rate": "100/s"}
FIELDS: dict[str, dict[str, str]] = {
    "unit.produced": {"serial": "plc.serial"},
    "quality.result": {"serial": "plc.serial", "value": "plc.value"},
    "scrap.recorded": {"reason": "plc.value"},
    "material.consumed": {"lot": "plc.serial"},
    "cycle.completed": {"cycle_no": "plc.value"},
    "operator.input": {"value": "plc.serial"},
}
PATTERNS: dict[str, tuple[str, dict[str, Any]]] = {
    "seq": ("plc.seq", {"pattern": "seq", "seq": "plc.seq"}),
    "seq_ack": ("plc.seq", {"pattern": "seq_ack", "seq": "plc.seq", "seq_end": "plc.end", "ack": "plc.ack"}),
    "trigger_ack": ("plc.seq", {"pattern": "trigger_ack", "trigger": "plc.seq", "ack": "plc.ack"}),
    "edge": ("plc.seq", {"pattern": "edge", "trigger": "plc.seq"}),
    "ring": ("plc.seq", {"pattern": "ring", "write_index": "plc.seq", "size": 2}),
}
NAMES = ("order", "lot", "count", "seq", "end", "ack", "serial", "value", "serial0", "serial1", "value0", "value1")
TAGS = tuple(Tag("plc", name, acknowledge=name == "ack") for name in NAMES)
PLACE = {name: place for place, name in enumerate(NAMES)}


class Press:
    """A press on the real fold; ``show`` has tags show values at a time of the PLC, and ``read`` reads its record."""

    def __init__(self, pattern: str, event: str) -> None:
        more = {"characteristic": "net_weight"} if event == "quality.result" else {}
        slot = "{slot}" if pattern == "ring" else ""
        fields = {member: f"{ref}{slot}" for member, ref in FIELDS[event].items()}
        record = {**PATTERNS[pattern][1], "event": event, "fields": fields, **more}
        written = {
            "version": 1, "unit": "press", "context": {"order": "plc.order", "lot": "plc.lot"},
            "counters": {"total": {"tag": "plc.count", "role": "total", **REGISTER}}, "records": {"part": record},
        }  # fmt: skip
        config = UnitConfig.model_validate(written)
        self.fold = fold_of(config, devices={"plc": TAGS})
        self.state, _ = self.fold.start({})
        (self.group,) = wiring_of(config)["plc"].triggers
        self.shown: dict[str, tuple[Any, int]] = {}

    def show(
        self, t: float, received: float | None = None, *, read: bool = False, notices: tuple[Any, ...] = (), **values: Any
    ) -> list[ProductionEvent]:
        """Return what it tells."""
        alike = {"seq": ("end",), "serial": ("serial0", "serial1"), "value": ("value0", "value1")}
        for name, value in values.items():
            self.shown |= dict.fromkeys((name, *alike.get(name, ())), (value, at(t)))
        return self._fold(list(values), t if received is None else received, read=read, notices=notices)

    def read(self, received: float) -> list[ProductionEvent]:
        """Return what the read of the record alone tells, behind the samples of its scan."""
        return self._fold([], received, read=True)

    def _fold(self, names: list[str], received: float, *, read: bool, notices: tuple[Any, ...] = ()) -> list[ProductionEvent]:
        rows = [*names, *self.group.tags] if read else names
        values = [self.shown[name] for name in rows]
        parts = (Snapshot(self.group.name, len(names), len(rows)),) if read else ()
        batch = Batch(
            "plc", at(received), [PLACE[name] for name in rows], [value for value, _ in values], [0] * len(rows),
            [time for _, time in values], [0] * len(rows), before=notices, snapshots=parts,
        )  # fmt: skip
        turn = self.fold.fold(self.state, [batch])
        self.state = turn.state
        return list(turn.events)


def press(pattern: str, event: str = "unit.produced") -> Press:
    """Return a press with order WO-1, whose first record is known."""
    made = Press(pattern, event)
    off = pattern in {"edge", "trigger_ack"}
    made.show(0, order="WO-1", lot="L-A", count=0, seq=not off and 1, ack=not off and 1, serial="S0", value=0)
    made.read(0.1)
    return made


def one(pattern: str, k: int) -> Any:
    """Return what tells that record ``k`` is there."""
    return True if pattern in {"edge", "trigger_ack"} else k


@pytest.mark.parametrize("read", ["with its scan", "behind its scan"])
@pytest.mark.parametrize("event", FIELDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_record_in_the_scan_of_a_change_is_the_old_orders(pattern: str, event: str, read: str) -> None:
    """Whatever it tells and however it is handed over; what a person types in is no part, and of the present."""
    line = press(pattern, event)
    with_scan = read == "with its scan"
    new = {"order": "WO-2", "lot": "L-B", "count": 1, "seq": one(pattern, 2), "serial": "S1", "value": 7}
    told = line.show(6, 6.05, read=with_scan, **new)
    told += [] if with_scan else line.read(6.2)
    kinds = [each.type for each in told]
    (count,) = (each for each in told if each.type == "production.count")
    (record,) = (each for each in told if each.type == event)
    assert (count.ctx.order, count.data["spans"]) == ("WO-1", [])
    if event == "operator.input":
        assert record.ctx.order == "WO-2"
        return
    assert (record.ctx, record.correlation, "spans" in record.data) == (count.ctx, "WO-1", False)
    assert (kinds.index(event) < kinds.index("order.completed")) is with_scan
    lots = [record.data.get("lot"), (record.data.get("unit") or {}).get("lot"), (record.data.get("into") or {}).get("lot")]
    assert [lot for lot in lots if lot is not None] == ([] if event in {"scrap.recorded", "cycle.completed"} else ["L-A"])


@pytest.mark.parametrize(
    ("stamp", "read", "order"), [(6.0, 35.9, "WO-1"), (6.0, 36.2, "WO-2"), (6.1, 6.2, "WO-2"), (5.0, 6.2, "WO-1")]
)
def test_only_what_was_written_before_the_change_is_the_old_orders(stamp: float, read: float, order: str) -> None:
    """By the PLC's own clock; a stamp of before that comes long behind the change is of a clock that was set back."""
    line = press("seq")
    line.show(6, 6.05, order="WO-2")
    line.shown |= {"seq": (2, at(stamp)), "serial": ("S1", at(stamp))}
    (record,) = line.read(read)
    assert (record.type, record.ctx.order) == ("unit.produced", order)


def test_an_order_that_becomes_known_takes_nothing_from_what_is_made() -> None:
    """The first sample of the order ends no order: the record that stands there with it is of that order."""
    line = Press("seq_ack", "unit.produced")
    (record,) = [
        each for each in line.show(0, read=True, order="WO-1", seq=3, ack=0, serial="S3", value=0) if each.type == "unit.produced"
    ]
    assert record.ctx.order == "WO-1"


def test_a_record_behind_an_unseen_change_is_nobodys() -> None:
    """Part and order changed while the link was down: the record has the candidates that its count has."""
    line = press("seq")
    line.show(3, read=True, count=1, seq=2, serial="S1")
    line.show(5, notices=(DeviceDown("plc", at(5), at(3), "no answer"),))
    told = line.show(9, read=True, notices=(DeviceUp("plc", at(9)),), order="WO-2", lot="L-A", count=2, seq=3, serial="S2")
    found = {each.type: (each.ctx.order, each.data.get("spans"), each.data.get("candidates")) for each in told}
    assert found["production.count"] == found["unit.produced"] == (None, ["order"], {"order": ["WO-1", "WO-2"]})
