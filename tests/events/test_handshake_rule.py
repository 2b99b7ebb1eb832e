"""Handshake patterns 1, 3 and 4 and the events that records can be: rows 15, 16, 17, 20, 22 and 27 of the catalogue."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import at
from unitbench import UnitBench

from edge_agent.events.catalog import UnitConfig, wiring_of
from edge_agent.model.errors import ConfigError
from edge_agent.model.event import Acknowledge
from edge_agent.model.instant import iso
from edge_agent.model.reading import Quality

UNIT: dict[str, Any] = {
    "event": "unit.produced",
    "fields": {"serial": "plc.serial", "result": "plc.result"},
    "results": {1: "ok", 2: "nok"},
    "station": "ST40",
    "measurements": {"torque": {"tag": "plc.torque", "uom": "NMT", "lsl": 10, "usl": 14}},
}
HELD = UNIT | {"pattern": "trigger_ack", "trigger": "plc.ready", "ack": "plc.done"}
EDGE = UNIT | {"pattern": "edge", "trigger": "plc.ready"}


def station(record: dict[str, Any]) -> UnitBench:
    """Return a station with one kind of record."""
    return UnitBench({"records": {"out": record}})


def show(line: UnitBench, t: float, ready: bool, serial: str = "S1", *, done: bool | None = False, **more: Any) -> list[Any]:
    """Read everything at once; the effects are those of this read."""
    rows = {"plc.ready": ready, "plc.serial": serial, "plc.result": 1, "plc.torque": 12.5, **more}
    line.effects.clear()
    return line.read(t, "out", rows if done is None else {**rows, "plc.done": done})


def ack(value: Any) -> list[Acknowledge]:
    """Return the one acknowledgement."""
    return [Acknowledge("plc.done", value)]


# -- pattern 3 -----------------------------------------------------------------------------------------------------------


def test_pattern_3_a_whole_handshake() -> None:
    """Rise, read, acknowledge; fall, acknowledgement taken back; the next rise is the next record."""
    line = station(HELD)
    assert show(line, 0, ready=False) == []
    (event,) = show(line, 1, ready=True)
    assert line.effects == ack(True)
    assert (event.type, event.time, event.quality) == ("unit.produced", at(1), Quality.GOOD)
    assert event.data == {
        "serial": "S1",
        "lot": None,
        "result": "ok",
        "station": "ST40",
        "cycle_id": None,
        "measurements": [{"name": "torque", "value": 12.5, "uom": "NMT", "lsl": 10, "usl": 14}],
        "source_key": {"device": "plc", "generation": 0, "seq": at(1) // 1000},
    }
    assert show(line, 2, ready=False, done=True) == []
    assert line.effects == ack(False)
    (event,) = show(line, 3, ready=True, serial="S2")
    assert event.data["serial"] == "S2"


def test_pattern_3_a_record_that_stands_there_is_told_once_and_acknowledged_again() -> None:
    """The acknowledgement was lost: until the fall was seen, it is the same record."""
    line = station(HELD)
    show(line, 0, ready=False)
    show(line, 1, ready=True)
    assert show(line, 2, ready=True, serial="S2") == []
    assert line.effects == ack(True)


def test_pattern_3_a_lost_acknowledgement_is_written_again_as_time_passes() -> None:
    """Nobody reads the group again while the trigger stands."""
    line = station(HELD)
    show(line, 0, ready=False)
    show(line, 1, ready=True)
    line.effects.clear()
    line.tick(3)
    assert line.effects == []
    line.tick(7)
    assert line.effects == ack(True)


def test_pattern_3_an_acknowledgement_that_stays_on_is_taken_back_again() -> None:
    """The PLC waits for its fall before the next record."""
    line = station(HELD)
    show(line, 0, ready=False)
    show(line, 1, ready=True)
    show(line, 2, ready=False, done=True)
    line.effects.clear()
    line.tick(8)
    assert line.effects == ack(False)


def test_pattern_3_a_trigger_that_fell_before_its_read_lost_its_record() -> None:
    """Announced and withdrawn: the loss is declared, nothing is read from what is no longer held."""
    line = station(HELD)
    show(line, 0, ready=False)
    line.say(1, {"plc.ready": True})
    assert show(line, 1.2, ready=False) == []
    (gap,) = line.told("collection.gap")
    assert (gap.data["reason"], gap.data["lost"]) == ("handshake_overrun", {"min": 1, "max": 1})
    assert line.effects == []


def test_pattern_3_a_record_that_waits_when_the_agent_comes_is_told() -> None:
    """Nobody has acknowledged it: it is no baseline."""
    line = station(HELD)
    assert [event.data["serial"] for event in show(line, 0, ready=True)] == ["S1"]
    other = station(HELD)
    assert show(other, 0, ready=True, done=True) == []
    assert other.effects == ack(True)


def test_pattern_3_across_an_absence_another_content_is_another_record() -> None:
    """The fall may have been missed: the same content is the same record, another one is not."""
    line = station(HELD)
    show(line, 0, ready=False)
    show(line, 1, ready=True)
    line.agent_down(5, 60)
    assert show(line, 61, ready=True) == []
    line.agent_down(70, 120)
    assert [event.data["serial"] for event in show(line, 121, ready=True, serial="S9")] == ["S9"]


def test_pattern_3_a_restart_of_the_plc_opens_a_generation() -> None:
    """No key of a re-initialised PLC looks like an old one."""
    line = station(HELD)
    line.up(0, boot=1)
    show(line, 0, ready=False)
    show(line, 1, ready=True)
    line.up(30, boot=2)
    show(line, 31, ready=False)
    (event,) = show(line, 32, ready=True, serial="S2")
    assert event.data["source_key"]["generation"] == 1


# -- pattern 4 -----------------------------------------------------------------------------------------------------------


def test_pattern_4_an_edge_is_told_at_most_once_and_says_so() -> None:
    """No acknowledgement: guarantee best_effort; what is on when the agent comes is a baseline."""
    line = station(EDGE)
    assert show(line, 0, ready=True, done=None) == []
    assert show(line, 1, ready=False, done=None) == []
    (event,) = show(line, 2, ready=True, done=None)
    assert event.data["guarantee"] == "best_effort"
    assert event.data["source_key"]["seq"] == at(2) // 1000
    assert show(line, 3, ready=True, serial="S7", done=None) == []
    assert line.effects == []


def test_pattern_4_a_short_pulse_that_was_seen_is_told_as_uncertain() -> None:
    """The bit had fallen when its record was read: that may be the next one's."""
    line = station(EDGE)
    show(line, 0, ready=False, done=None)
    line.say(1, {"plc.ready": True})
    line.say(1.1, {"plc.ready": False})
    (event,) = show(line, 1.2, ready=False, done=None)
    assert (event.quality, event.time) == (Quality.UNCERTAIN, at(1))
    assert show(line, 1.3, ready=False, done=None) == []


# -- pattern 1 -----------------------------------------------------------------------------------------------------------

RING: dict[str, Any] = {
    "pattern": "ring",
    "event": "unit.produced",
    "write_index": "plc.index",
    "size": 4,
    "fields": {"serial": "plc.s{slot}", "result": "plc.r{slot}"},
}


class Ring:
    """A PLC with a ring of four slots."""

    def __init__(self, line: UnitBench, index: int = 0, modulus: int | None = None) -> None:
        self.line, self.index, self.slots, self.modulus = line, index, ["-"] * 4, modulus

    def write(self, *serials: str) -> None:
        """Write records."""
        for serial in serials:
            self.slots[self.index % 4] = serial
            self.index += 1
            if self.modulus is not None:
                self.index %= self.modulus

    def read(self, t: float) -> list[Any]:
        """Read the whole ring at once."""
        rows: dict[str, Any] = {"plc.index": self.index}
        for place, serial in enumerate(self.slots):
            rows |= {f"plc.s{place}": serial, f"plc.r{place}": 1}
        return self.line.read(t, "out", rows)


def serials(events: list[Any]) -> list[tuple[str, int]]:
    """Return serial and key of each record."""
    return [(event.data["serial"], event.data["source_key"]["seq"]) for event in events if event.type == "unit.produced"]


def test_pattern_1_everything_between_the_agents_place_and_the_index() -> None:
    """The first index is a baseline; after it no record is lost within the ring."""
    line = station(RING)
    ring = Ring(line, index=7)
    assert ring.read(0) == []
    ring.write("A", "B", "C")
    events = ring.read(1)
    assert serials(events) == [("A", 7), ("B", 8), ("C", 9)]
    assert {event.quality for event in events} == {Quality.GOOD}
    assert [event.interval for event in events] == [(at(0), at(1))] * 3
    assert ring.read(2) == []
    assert line.effects == []


def test_pattern_1_an_overrun_is_declared_with_its_number() -> None:
    """Six records in a ring of four: two are lost, and the oldest slot may be half new."""
    line = station(RING)
    ring = Ring(line)
    ring.read(0)
    ring.write(*"ABCDEF")
    events = ring.read(1)
    assert serials(events) == [("C", 2), ("D", 3), ("E", 4), ("F", 5)]
    assert next(event.quality for event in events if event.type == "unit.produced") is Quality.UNCERTAIN
    (gap,) = line.told("collection.gap")
    assert (gap.data["reason"], gap.data["lost"], gap.data["tags"]) == ("handshake_overrun", {"min": 2, "max": 2}, ["plc.index"])


def test_pattern_1_nothing_is_lost_while_the_agent_is_away() -> None:
    """The ring keeps what the agent did not see."""
    line = station(RING)
    ring = Ring(line)
    ring.read(0)
    ring.write("A")
    ring.read(1)
    line.agent_down(2, 60)
    ring.write("B", "C")
    assert serials(ring.read(61)) == [("B", 1), ("C", 2)]


def test_pattern_1_keys_go_on_over_a_wrap_of_the_index() -> None:
    """An index of 0 to 15: the seventeenth record is not the first one again."""
    line = station(RING | {"wraps": "modulus:16"})
    ring = Ring(line, index=14, modulus=16)
    ring.read(0)
    ring.write("A", "B", "C")
    assert serials(ring.read(1)) == [("A", 14), ("B", 15), ("C", 16)]


def test_pattern_1_an_index_that_ran_backwards_is_a_new_generation() -> None:
    """The PLC was re-initialised: all that is in the ring is new."""
    line = station(RING)
    ring = Ring(line, index=900)
    ring.read(0)
    ring.index = 0
    ring.write("A", "B")
    events = ring.read(1)
    assert serials(events) == [("A", 0), ("B", 1)]
    assert {event.data["source_key"]["generation"] for event in events} == {1}


def test_pattern_1_the_whole_ring_is_read_at_once() -> None:
    """The index fires it; every slot's tags come in the same request, and nothing may be written."""
    config = UnitConfig.model_validate({"version": 1, "unit": "press", "records": {"out": RING | {"size": 2, "first_slot": 1}}})
    wired = wiring_of(config)["plc"]
    (trigger,) = wired.triggers
    assert (trigger.trigger, trigger.tags) == ("index", ("index", "s1", "r1", "s2", "r2"))
    assert wired.acknowledge == frozenset()


# -- what records can be ---------------------------------------------------------------------------------------------------

NUMBERED = {"pattern": "seq_ack", "seq": "plc.seq", "seq_end": "plc.end", "ack": "plc.ack"}


def record(entry: dict[str, Any], seq: int = 1, **values: Any) -> Any:
    """Return the one event of a numbered record."""
    line = UnitBench({"records": {"out": NUMBERED | entry}})
    rows = {"plc.seq": seq, "plc.end": seq, "plc.ack": 0} | {f"plc.{name}": value for name, value in values.items()}
    (event,) = line.read(5, "out", rows)
    assert line.effects == [Acknowledge("plc.ack", seq)]
    return event


def test_row_16_a_serial_seen_again_is_dropped_and_acknowledged() -> None:
    """Another number, the same unit: it was produced once."""
    line = UnitBench({"records": {"out": NUMBERED | {"event": "unit.produced", "fields": {"serial": "plc.serial"}}}})
    first = line.read(1, "out", {"plc.seq": 1, "plc.end": 1, "plc.ack": 0, "plc.serial": "S1"})
    line.effects.clear()
    again = line.read(2, "out", {"plc.seq": 2, "plc.end": 2, "plc.ack": 1, "plc.serial": "S1"})
    assert (len(first), again, line.effects) == (1, [], [Acknowledge("plc.ack", 2)])


def test_row_17_scrap_as_a_record_has_its_reason_and_key() -> None:
    """One reject, handed over by number."""
    entry = {"event": "scrap.recorded", "fields": {"reason": "plc.why", "serial": "plc.serial"}, "reasons": {7: "Dent"}}
    event = record(entry, seq=3, why=7, serial="S3")
    assert event.data == {
        "qty": 1,
        "uom": "H87",
        "reason": {"code": 7, "text": "Dent", "source": "plc.why"},
        "station": None,
        "serial": "S3",
        "source_key": {"device": "plc", "generation": 0, "seq": 3},
    }


def test_row_20_material_as_a_record_goes_into_a_serial() -> None:
    """Genealogy of a serialised part: which lot went into it."""
    entry = {
        "event": "material.consumed",
        "material": "PCB",
        "fields": {"lot": "plc.lot", "serial": "plc.serial"},
        "position": "P1",
    }
    event = record(entry, lot="L-9", serial="S3")
    assert event.data["into"] == {"order": None, "lot": None, "serial": "S3"}
    assert (event.data["material"], event.data["lot_new"], event.data["qty"], event.data["position"]) == ("PCB", "L-9", 1, "P1")


def test_row_27_what_people_enter_as_a_record_is_exact() -> None:
    """The same code twice is two entries: each has its number."""
    event = record(
        {"event": "operator.input", "kind": "reason", "fields": {"value": "plc.code", "user": "plc.badge"}}, code=12, badge="B"
    )
    assert event.data == {
        "kind": "reason",
        "value": 12,
        "user": "B",
        "source_key": {"device": "plc", "generation": 0, "seq": 1},
    }


def test_row_15_a_cycle_as_a_record() -> None:
    """OPC 40083: cycle data as a whole, never as variables."""
    entry = {
        "event": "cycle.completed",
        "fields": {"duration": "plc.ms", "result": "plc.result", "parts": "plc.parts"},
        "duration_unit": "ms",
        "results": {1: "ok"},
        "measurements": {"force": {"tag": "plc.force"}},
    }
    event = record(entry, seq=8, ms=11800, result=1, parts=4, force=812.5)
    assert (event.data["duration_s"], event.data["result"], event.data["parts"], event.data["cycle_no"]) == (11.8, "ok", 4, 8)
    assert event.data["params"] == {"force": 812.5}


@pytest.mark.parametrize(
    ("unit", "value", "made", "quality"),
    [
        ("ms", at(2) // 1_000_000, 2, Quality.GOOD),
        ("ms", iso(at(2)), 2, Quality.GOOD),
        ("s", 99_999_999_999, 5, Quality.UNCERTAIN),
        ("ms", "yesterday", 5, Quality.UNCERTAIN),
    ],
)
def test_a_record_happened_when_it_says_so_unless_that_cannot_be(unit: str, value: Any, made: float, quality: Quality) -> None:
    """events.md: of a record its own time field, else the read."""
    entry = {"event": "operator.input", "fields": {"value": "plc.code"}, "time": {"tag": "plc.when", "unit": unit}}
    event = record(entry, code=1, when=value)
    assert (event.time, event.quality) == (at(made), quality)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"ack": "plc.done", "pattern": "edge"}, "acknowledges nothing; leave ack out"),
        ({"pattern": "trigger_ack"}, "needs ack and trigger"),
        ({"fields": {"serial": "plc.s", "value": "plc.v"}}, "has no field value; it has cycle_id, lot"),
        ({"fields": {"result": "plc.r"}}, "fields.serial is missing"),
        (RING | {"fields": {"serial": "plc.serial"}, "trigger": None}, "is the same in every slot"),
        (RING | {"wraps": "modulus:10", "size": 8, "trigger": None, "measurements": {}}, "cannot show that 8 slots were overrun"),
        ({"seq": "plc.seq"}, "has no seq; leave it out"),
    ],
)
def test_a_hand_over_that_cannot_work_is_refused(change: dict[str, Any], remedy: str) -> None:
    """The configuration says what is missing or too much."""
    with pytest.raises((ValidationError, ConfigError), match=remedy):
        station(EDGE | change)
