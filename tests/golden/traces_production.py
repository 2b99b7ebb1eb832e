"""Scrap, orders, setup, material: what explains the counts."""

from __future__ import annotations

from golden_story import BAD, Story, trace

COUNT = {"wraps": "packml", "max_rate": "3/s"}
COUNTERS = {
    "counters": {
        "total": {"tag": "plc1.count", "role": "total", **COUNT},
        "reject": {"tag": "plc1.bad", "role": "scrap", **COUNT},
    }
}
CONTEXT = {"context": {"order": "plc1.order", "product": "plc1.product", "lot": "plc1.lot"}}
NAMES = {"order": "string", "product": "string", "lot": "string"}
REASONS = {
    "file": "reasons.csv",
    "rows": [
        {"code": 12, "text": "Underfill", "language": "en", "mes": "Q-UF", "category": "quality"},
        {"code": 12, "text": "Unterfüllt", "language": "de", "mes": "Q-UF"},
        {"code": 13, "text": "No cap", "language": "en"},
    ],
}
SCRAP = {**COUNTERS, "scrap": {"weigher": {"counter": "reject", "reason": {"tag": "plc1.why", "table": REASONS}, "station": "CW1"}}}
SCRAP_TAGS = {"count": "int32", "bad": "int32", "why": "int16"}


@trace(unit=SCRAP, plc1=SCRAP_TAGS)
def scrap_with_reasons(story: Story) -> None:
    """The reason that is read with a reject is its own; one for several, and one that no table knows, are told as what they are."""
    story.at(0, count=0, bad=0, why=0)
    story.at(2, count=2, bad=1, why=12)
    story.at(4, count=5, bad=2, why=13)
    story.at(6, count=7, bad=4, why=12)
    story.at(8, count=9, bad=5, why=77)
    story.at(10, count=11, bad=6, why=0)
    story.wait(12)


@trace(unit=SCRAP, plc1=SCRAP_TAGS)
def scrap_reason_bad_and_lost(story: Story) -> None:
    """A reason that cannot be read gives no scrap event; rejects of a loss have the reason that stands there, uncertain."""
    story.at(0, count=0, bad=0, why=0)
    story.at(2, count=2, bad=1, why=BAD)
    story.at(4, count=4, bad=2, why=12)
    story.cut(5)
    story.at(12, count=14, bad=5, why=13)
    story.join(20)
    story.wait(22)


OWN = {"scrap": {f"bin{k}": {"count": {"tag": f"plc1.bin{k}", **COUNT}, "reason": {"code": k, "text": f"Bin {k}"}} for k in (1, 2)}}


@trace(unit=OWN, plc1={"bin1": "int32", "bin2": "int32"})
def scrap_register_per_reason(story: Story) -> None:
    """A register for each reason; one is zeroed, and the agent is away for the other."""
    story.at(0, bin1=5, bin2=50)
    story.at(3, bin1=6, bin2=51)
    story.at(6, bin1=0)
    story.gone(8)
    story.at(12, bin2=54)
    story.back(15)
    story.at(18, bin1=1)
    story.wait(20)


ORDERS = {
    **COUNTERS,
    **CONTEXT,
    "orders": {
        "state": "plc1.job",
        "states": {1: "waiting", 2: "running", 3: "paused", 4: "completed", 5: "aborted"},
        "planned_qty": "plc1.planned",
    },
}
ORDER_TAGS = {"count": "int32", "bad": "int32", **NAMES, "job": "int16", "planned": "uint32"}
EMPTY = {"count": 0, "bad": 0, "order": "", "product": "", "lot": "", "job": 0, "planned": 0}


@trace(unit=ORDERS, plc1=ORDER_TAGS)
def order_by_state_tag(story: Story) -> None:
    """Waiting, running, paused, running, completed; the next one is aborted; state 9 says nothing."""
    story.at(0, EMPTY)
    story.at(2, order="WO-1", product="4711", lot="L-A", planned=10, job=1)
    story.at(4, job=2)
    story.at(8, count=6, bad=1)
    story.at(10, job=3)
    story.at(14, job=9)
    story.at(16, job=2)
    story.at(20, count=10, job=4)
    story.at(24, order="WO-2", planned=5, job=2)
    story.at(28, count=12, job=5)
    story.wait(30)


@trace(unit=ORDERS, plc1=ORDER_TAGS)
def order_by_state_tag_over_losses(story: Story) -> None:
    """An order that ended and another that began unseen; then one that is paused while the agent is away."""
    story.at(0, EMPTY)
    story.at(2, order="WO-1", product="4711", planned=10, job=2)
    story.cut(6)
    story.at(12, order="WO-2", count=9, job=2)
    story.join(18)
    story.gone(22)
    story.at(30, job=3, count=12)
    story.back(35)
    story.at(38, job=2)
    story.wait(40)


BITS = {
    **CONTEXT,
    "orders": {"bits": [{"when": "plc1.hold", "is": "paused"}, {"when": "plc1.busy", "is": "running"}], "otherwise": "completed"},
}


@trace(unit=BITS, plc1={**NAMES, "hold": "bool", "busy": "bool"})
def order_by_bits(story: Story) -> None:
    """The first bit that is on holds; the order's number changes while it runs."""
    story.at(0, order="WO-1", product="4711", lot="", hold=False, busy=False)
    story.at(3, busy=True)
    story.at(6, hold=True)
    story.at(9, hold=False)
    story.at(12, order="WO-2")
    story.at(15, busy=False)
    story.wait(18)


@trace(
    unit={**CONTEXT, "setup": {"tag": "plc1.setup", "to_product": "plc1.next"}}, plc1={**NAMES, "setup": "bool", "next": "string"}
)
def setup_by_bit(story: Story) -> None:
    """From one product to the next, measured between the edges; then one whose end nobody saw."""
    story.at(0, order="WO-1", product="4711", lot="", setup=False, next="")
    story.at(5, setup=True, next="4712")
    story.at(20, product="4712", order="WO-2")
    story.at(25, setup=False)
    story.at(30, setup=True, next="4713")
    story.cut(35)
    story.at(40, setup=False, product="4713")
    story.join(50)
    story.wait(55)


MODED = {"state": {"tag": "plc1.state", "mode": "plc1.mode"}, **CONTEXT}


@trace(unit={**MODED, "setup": {"modes": [4]}}, plc1={**NAMES, "state": "int32", "mode": "int32"})
def setup_by_mode(story: Story) -> None:
    """Mode 4 is a changeover; the agent is killed in it."""
    story.at(0, order="WO-1", product="4711", lot="", state=6, mode=1)
    story.at(5, state=2)
    story.at(8, mode=4)
    story.kill(12, 16)
    story.at(20, product="4712")
    story.at(24, mode=1)
    story.at(26, state=6)
    story.wait(28)


CAPS = {
    "caps": {
        "material": "CAP-28",
        "lot": "plc1.caps",
        "position": "hopper 1",
        "per_part": {"counter": "total", "qty": 1},
    },
    "resin": {"material_tag": "plc1.grade", "lot": "plc1.resin", "uom": "KGM", "consumed": {"tag": "plc1.kg", **COUNT}},
}
MATERIAL = {**COUNTERS, **CONTEXT, "materials": CAPS}
MATERIAL_TAGS = {"count": "int32", "bad": "int32", **NAMES, "caps": "string", "grade": "string", "resin": "string", "kg": "int32"}
FILLED = {**EMPTY, "order": "WO-1", "lot": "L-A", "caps": "C-7", "grade": "PET-A", "resin": "R-1", "kg": 100}
FILLED = {name: value for name, value in FILLED.items() if name in MATERIAL_TAGS}


@trace(unit=MATERIAL, plc1=MATERIAL_TAGS)
def material_lots_and_consumption(story: Story) -> None:
    """Genealogy: what was consumed before a lot changed is the old lot's, into the order and lot of then."""
    story.at(0, FILLED)
    story.at(3, count=4, kg=102)
    story.at(6, count=8, caps="C-8", kg=103)
    story.at(9, count=11, order="WO-2", lot="L-B")
    story.at(12, count=15, resin="R-2", grade="PET-B", kg=106)
    story.at(15, count=18, caps="")
    story.at(18, count=20)
    story.wait(20)


@trace(unit=MATERIAL, plc1=MATERIAL_TAGS)
def material_lot_changed_unseen(story: Story) -> None:
    """A lot that changed in a loss: what was consumed in it belongs to neither for certain."""
    story.at(0, FILLED)
    story.at(3, count=4, kg=102)
    story.cut(5)
    story.at(12, count=20, kg=108, resin="R-2")
    story.join(20)
    story.gone(24)
    story.at(30, count=30, kg=110, caps="C-9")
    story.back(34)
    story.at(36, count=33, kg=111)
    story.wait(38)
