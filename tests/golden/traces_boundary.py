"""Where what is being made changes: what was made before it stands before it, whatever tells of it."""

from __future__ import annotations

from golden_story import Story, trace

REGISTER = {"wraps": "uint32", "max_rate": "5/s"}
UNIT = {
    "context": {"order": "plc1.order", "product": "plc1.product", "lot": "plc1.lot"},
    "counters": {
        "total": {"tag": "plc1.count", "role": "total", **REGISTER},
        "reject": {"tag": "plc1.bad", "role": "scrap", **REGISTER},
    },
    "cycles": {"stroke": {"count": {"tag": "plc1.strokes", **REGISTER}, "duration": "plc1.last"}, "oven": {"running": "plc1.oven"}},
    "scrap": {"why": {"counter": "reject", "reason": {"tag": "plc1.why"}}},
    "materials": {"caps": {"lot": "plc1.caps", "per_part": {"counter": "total", "qty": 1}}},
    "records": {
        "scale": {
            "pattern": "seq",
            "seq": "plc1.seq",
            "fields": {"serial": "plc1.serial", "value": "plc1.weight"},
            "characteristic": "net_weight",
        },
        "parts": {
            "pattern": "ring",
            "write_index": "plc1.index",
            "size": 2,
            "event": "unit.produced",
            "fields": {"serial": "plc1.ring{slot}"},
        },
    },
}
TAGS = {
    "order": "string", "product": "string", "lot": "string", "count": "uint32", "bad": "uint32", "strokes": "uint32", "last": "float32",
    "oven": "bool", "why": "int16", "caps": "string", "seq": "uint32", "serial": "string", "weight": "float32", "index": "uint32",
    "ring0": "string", "ring1": "string",
}  # fmt: skip
FIRST = {
    "order": "WO-1",
    "product": "4711",
    "lot": "L-A",
    "count": 0,
    "bad": 0,
    "strokes": 0,
    "last": 0.0,
    "oven": True,
    "why": 0,
    "caps": "C-1",
}
FIRST |= {"seq": 0, "serial": "", "weight": 0.0, "index": 0, "ring0": "", "ring1": ""}


def made(k: int) -> dict[str, object]:
    """Return what shows when part ``k`` is made: it is counted, rejected, weighed, told with its serial, and the cycle of it ends."""
    names = {"count": k, "bad": k, "why": 12, "strokes": k, "last": 2.5, "oven": False}
    return names | {"seq": k, "serial": f"S{k}", "weight": 500.0 + k, "index": k, f"ring{(k - 1) % 2}": f"S{k}"}


@trace(unit=UNIT, plc1=TAGS)
def records_in_the_scan_of_an_order_change(story: Story) -> None:
    """The last part of an order is made in the very scan in which the next one shows: its count, reject, cycle, weight and serial are the old order's."""
    story.at(0, FIRST)
    story.at(3, made(1))
    story.at(4, oven=True)
    story.at(6, made(2), order="WO-2", product="4712", lot="L-B")
    story.at(7, oven=True)
    story.at(9, made(3))
    story.at(10, oven=True)
    story.at(12, made(4), order="", lot="")
    story.at(14, order="WO-3", lot="L-C")
    story.wait(16)


@trace(unit=UNIT, plc1=TAGS)
def records_behind_an_unseen_order_change(story: Story) -> None:
    """Part and order changed while the link was cut: nobody knows whose the part is, and its records say so as its count does."""
    story.at(0, FIRST)
    story.at(3, made(1))
    story.cut(4)
    story.at(8, made(2), order="WO-2", lot="L-B")
    story.join(10)
    story.at(12, made(3))
    story.wait(14)
