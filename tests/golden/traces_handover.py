"""Records of six kinds by five ways of handing them over: ring, seq_ack, seq, trigger_ack and edge."""

from __future__ import annotations

from golden_story import Story, trace

RING = {
    "records": {
        "units": {
            "event": "unit.produced",
            "pattern": "ring",
            "write_index": "plc1.index",
            "size": 4,
            "wraps": "modulus:100",
            "fields": {"serial": "plc1.sn{slot}", "result": "plc1.res{slot}"},
            "results": {1: "ok", 2: "nok"},
            "measurements": {"torque": {"tag": "plc1.nm{slot}", "uom": "NM"}},
        }
    }
}
RING_TAGS = {"index": "uint16"} | {
    f"{name}{k}": kind for k in range(4) for name, kind in (("sn", "string"), ("res", "int16"), ("nm", "float32"))
}
EMPTY_RING = {f"{name}{k}": empty for k in range(4) for name, empty in (("sn", ""), ("res", 0), ("nm", 0.0))}


def produced(story: Story, t: float, first: int, last: int) -> None:
    """Have the PLC write units ``first`` to ``last`` into their slots, and then its index."""
    rows = {name: value for k in range(first, last + 1) for name, value in
            ((f"sn{k % 4}", f"S{k:03d}"), (f"res{k % 4}", 2 if k % 3 == 0 else 1), (f"nm{k % 4}", k / 2))}  # fmt: skip
    story.at(t, rows, index=(last + 1) % 100)


@trace(unit=RING, plc1=RING_TAGS)
def record_ring_units(story: Story) -> None:
    """Units with serials out of a ring; its index wraps from 99 to 0."""
    story.at(0, EMPTY_RING, index=97)
    produced(story, 3, 97, 97)
    produced(story, 6, 98, 100)
    produced(story, 9, 101, 101)
    story.wait(11)


@trace(unit=RING, plc1=RING_TAGS)
def record_ring_overrun_in_losses(story: Story) -> None:
    """A loss is shorter than the ring and nothing is missing; an absence is longer: three are overrun, the oldest left is uncertain."""
    story.at(0, EMPTY_RING, index=10)
    produced(story, 2, 10, 10)
    story.cut(4)
    produced(story, 8, 11, 13)
    story.join(12)
    story.gone(15)
    produced(story, 20, 14, 20)
    story.back(25)
    produced(story, 28, 21, 21)
    story.wait(30)


SEQ = {
    "records": {
        "rejects": {
            "event": "scrap.recorded",
            "pattern": "seq",
            "seq": "plc1.seq",
            "fields": {"reason": "plc1.why", "qty": "plc1.qty", "serial": "plc1.sn"},
            "reasons": {12: "Underfill"},
            "station": "CW1",
        }
    }
}


@trace(unit=SEQ, plc1={"seq": "uint32", "why": "int16", "qty": "uint16", "sn": "string"})
def record_seq_scrap(story: Story) -> None:
    """Scrap by number without an acknowledgement: one is passed over, one is shown again behind a restart of the agent."""
    story.at(0, seq=7, why=12, qty=1, sn="A7")
    story.at(2, seq=8, why=12, qty=1, sn="A8")
    story.at(4, seq=10, why=99, qty=3, sn="A10")
    story.kill(6, 10)
    story.at(12, seq=11, why=12, qty=1, sn="A11")
    story.wait(14)


TRIGGER = {
    "records": {
        "dosing": {
            "event": "material.consumed",
            "pattern": "trigger_ack",
            "trigger": "plc1.there",
            "ack": "plc1.ack",
            "fields": {"lot": "plc1.lot", "qty": "plc1.kg", "material": "plc1.mat", "serial": "plc1.batch"},
            "uom": "KGM",
        }
    }
}
TRIGGER_TAGS = {
    "there": "bool",
    "lot": "string",
    "kg": "float32",
    "mat": "string",
    "batch": "string",
    "ack": {"type": "bool", "acknowledge": True},
}
IDLE = {"there": False, "lot": "", "kg": 0.0, "mat": "", "batch": "", "ack": False}


def dosed(story: Story, t: float, lot: str, kg: float, *, slow: bool = False) -> None:
    """Have a doser tell what went in, and take its trigger back a second after the acknowledgement."""
    story.at(t, lot=lot, kg=kg, mat="SUGAR", batch="B-1")
    story.at(t + 0.2, there=True)
    if not slow:
        story.at(t + 1, ack=True)
        story.at(t + 2, there=False)
        story.at(t + 3, ack=False)


@trace(unit=TRIGGER, plc1=TRIGGER_TAGS)
def record_trigger_ack_material(story: Story) -> None:
    """Two doses handed over by a bit that the PLC holds; an acknowledgement that got lost is written again."""
    story.at(0, IDLE)
    dosed(story, 2, "L-1", 25.5)
    dosed(story, 7, "L-2", 24.75, slow=True)
    story.at(20, ack=True)
    story.at(21, there=False)
    story.at(22, ack=False)
    story.wait(24)


@trace(unit=TRIGGER, plc1=TRIGGER_TAGS)
def record_trigger_ack_over_losses(story: Story) -> None:
    """The same record stands there behind a loss and a restart of the agent: told once; another stands there behind the next loss."""
    story.at(0, IDLE)
    dosed(story, 2, "L-1", 25.5, slow=True)
    story.cut(3)
    story.join(6)
    story.kill(8, 12)
    story.at(13, ack=True)
    story.cut(14)
    story.at(16, there=True, lot="L-2", kg=20.0)
    story.join(18)
    story.at(20, there=False)
    story.wait(22)


EDGE = {
    "records": {
        "scan": {
            "event": "operator.input",
            "pattern": "edge",
            "trigger": "plc1.scan",
            "min_pulse": "2s",
            "fields": {"value": "plc1.code", "user": "plc1.user"},
        }
    }
}


@trace(unit=EDGE, plc1={"scan": "bool", "code": "string", "user": "string"})
def record_edge_operator_input(story: Story) -> None:
    """The same code scanned twice is two entries; what was scanned in a loss is not seen, and declared with it."""
    story.at(0, scan=False, code="", user="anna")
    for t in (2, 6):
        story.at(t, scan=True, code="4006381333931")
        story.at(t + 2, scan=False)
    story.cut(10)
    story.at(12, scan=True, code="999")
    story.at(14, scan=False)
    story.join(16)
    story.kill(18, 20)
    story.at(22, scan=True, code="123", user="ben")
    story.at(24, scan=False)
    story.wait(26)


CYCLE = {
    "records": {
        "shot": {
            "event": "cycle.completed",
            "pattern": "seq_ack",
            "seq": "plc1.seq",
            "seq_end": "plc1.end",
            "ack": "plc1.ack",
            "fields": {"cycle_no": "plc1.no", "duration": "plc1.ms", "result": "plc1.res", "parts": "plc1.parts"},
            "duration_unit": "ms",
            "results": {1: "ok", 2: "nok"},
            "measurements": {"cushion": {"tag": "plc1.mm", "uom": "MMT"}},
            "time": {"tag": "plc1.made", "unit": "ms"},
        }
    }
}
CYCLE_TAGS = {
    "seq": "uint32",
    "no": "uint32",
    "ms": "uint32",
    "res": "int16",
    "parts": "uint16",
    "mm": "float32",
    "made": "uint64",
    "end": "uint32",
    "ack": {"type": "uint32", "acknowledge": True},
}


@trace(unit=CYCLE, plc1=CYCLE_TAGS)
def record_seq_ack_cycles(story: Story) -> None:
    """An injection moulding machine's cycles with their own time, by number and acknowledgement, over a kill of the agent."""
    story.at(0, dict.fromkeys(CYCLE_TAGS, 0))
    for k, t in enumerate((4, 14, 34), 1):
        made = story.ns(t - 0.4) // 1_000_000
        story.at(t, seq=k, no=900 + k, ms=9800 + k, res=k % 2 + 1, parts=4, mm=5.25, made=made, end=k)
        if k == 2:
            story.kill(t, 24)
        story.at(t + 12 if k == 2 else t + 1, ack=k)
    story.wait(38)
