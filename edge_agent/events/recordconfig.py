"""What users write under ``records:``: where a machine's records stand, and how they are handed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.events.advance import modulus_of
from edge_agent.events.codes import Code
from edge_agent.events.reason import Words
from edge_agent.events.registers import Wraps
from edge_agent.model.quantity import Duration

SLOT = "{slot}"
"""Stands in the names of a ring's tags for the number of the slot."""

RecordEvent = Literal["quality.result", "unit.produced", "scrap.recorded", "material.consumed", "operator.input", "cycle.completed"]
Pattern = Literal["ring", "seq_ack", "seq", "trigger_ack", "edge"]

FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "quality.result": (frozenset({"value"}), frozenset({"verdict", "serial", "lot", "sample_no", "lsl", "usl"})),
    "unit.produced": (frozenset({"serial"}), frozenset({"lot", "result", "station", "cycle_id"})),
    "scrap.recorded": (frozenset({"reason"}), frozenset({"qty", "station", "serial"})),
    "material.consumed": (frozenset({"lot"}), frozenset({"qty", "material", "position", "serial"})),
    "operator.input": (frozenset({"value"}), frozenset({"kind", "user"})),
    "cycle.completed": (frozenset(), frozenset({"cycle_no", "duration", "result", "parts"})),
}
"""The fields of a record of each event: those that it must have, and those that it may have."""

_TAGS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "seq_ack": (frozenset({"seq", "seq_end", "ack"}), frozenset()),
    "seq": (frozenset({"seq"}), frozenset({"seq_end"})),
    "ring": (frozenset({"write_index", "size"}), frozenset({"wraps", "first_slot"})),
    "trigger_ack": (frozenset({"trigger", "ack"}), frozenset()),
    "edge": (frozenset({"trigger"}), frozenset()),
}
_ALL = ("seq", "seq_end", "ack", "trigger", "write_index", "size", "wraps", "first_slot")
_WHY = {
    "seq_ack": "without them a record can be torn or shown for ever",
    "seq": "it is the record's number",
    "ring": "the agent reads from its own place to the index, size slots at most",
    "trigger_ack": "the PLC holds the record until its acknowledgement",
    "edge": "it goes on when a record is there",
}


class RecordFields(BaseModel):
    """Which tag holds which part of a record (device.tag); which of them there are depends on the event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str | None = None
    verdict: str | None = None
    serial: str | None = None
    lot: str | None = None
    sample_no: str | None = Field(default=None, description="number of the sample; left out = the record's own number")
    lsl: str | None = Field(default=None, description="lower specification limit, where the PLC gives it")
    usl: str | None = Field(default=None, description="upper specification limit, where the PLC gives it")
    result: str | None = None
    station: str | None = None
    cycle_id: str | None = None
    qty: str | None = None
    reason: str | None = None
    material: str | None = None
    position: str | None = None
    kind: str | None = None
    user: str | None = None
    cycle_no: str | None = None
    duration: str | None = None
    parts: str | None = None


class Measured(BaseModel):
    """One more value of a record: a measurement of a unit, a parameter of a cycle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="device.tag of the value")
    uom: str | None = Field(default=None, description="UNECE Rec 20 code")
    lsl: float | None = Field(default=None, description="lower specification limit")
    usl: float | None = Field(default=None, description="upper specification limit")


class RecordTime(BaseModel):
    """When the record was made, where the PLC says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="device.tag of the record's time, UTC")
    unit: Literal["ns", "us", "ms", "s"] = Field(default="ms", description="the unit of a number, since 1970; text is ISO 8601")


class RecordConfig(BaseModel):
    """One entry of ``records:``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: Pattern = Field(description="how records are handed over, best first")
    event: RecordEvent = "quality.result"
    seq: str | None = Field(default=None, description="device.tag of the record's number; 0 = no record")
    seq_end: str | None = Field(default=None, description="device.tag of the number once more, written last")
    ack: str | None = Field(default=None, description="device.tag to write the number (seq_ack) or the bit (trigger_ack) back to")
    trigger: str | None = Field(default=None, description="device.tag of the bit that is on while a record is there")
    min_pulse: Duration | None = Field(
        default=None, description="how long the trigger stays on at least (edge); it must be looked at twice"
    )
    write_index: str | None = Field(default=None, description="device.tag of how many records were written (ring)")
    size: int | None = Field(default=None, ge=2, le=1000, description="slots of the ring")
    wraps: Wraps | None = Field(default=None, description="how the write index wraps; left out = never")
    first_slot: int | None = Field(default=None, ge=0, description="what {slot} is for the first slot; left out = 0")
    fields: RecordFields
    measurements: dict[str, Measured] = Field(default_factory=dict, description="more values, as name: {tag: device.tag, uom: ...}")
    time: RecordTime | None = None
    verdicts: dict[Code, Literal["ok", "nok"]] = Field(default_factory=dict, description="what the machine's verdicts mean")
    results: dict[Code, str] = Field(
        default_factory=dict, description="what the results of units and cycles mean: ok, nok, aborted"
    )
    reasons: Words = Field(default_factory=dict, description="what the reasons mean: inline, or a CSV file")
    language: str | None = Field(default=None, description="which language's lines of the file of reasons: de, en, ...")
    characteristic: str | None = Field(default=None, description="what was measured")
    test_id: str | None = Field(default=None, description="the entry's name when it is left out")
    uom: str | None = Field(default=None, description="UNECE Rec 20 code of value or qty")
    lsl: float | None = Field(default=None, description="lower specification limit")
    usl: float | None = Field(default=None, description="upper specification limit")
    station: str | None = Field(default=None, description="the station, where it is always the same")
    material: str | None = Field(default=None, description="the material, where it is always the same")
    position: str | None = Field(default=None, description="the place of the material; left out = the entry's name")
    kind: str | None = Field(default=None, description="what people enter; left out = the entry's name")
    duration_unit: Literal["ms", "s", "min"] = Field(default="s", description="the unit of fields.duration")
    remember: int = Field(default=200, ge=0, le=10_000, description="a serial among the last so many units is not told again")

    @field_validator("wraps")
    @classmethod
    def _turns(cls, wraps: str | None) -> str | None:
        if wraps == "dint":
            raise ValueError("a write index is not negative; write uint16, uint32 or modulus:N")
        return wraps

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed, allowed = _TAGS[self.pattern]
        if lacking := [name for name in _ALL if name in needed and getattr(self, name) is None]:
            raise ValueError(
                f"pattern {self.pattern} needs {' and '.join(_named(needed))}: {_WHY[self.pattern]}; add {', '.join(lacking)}"
            )
        for name in _ALL:
            if getattr(self, name) is not None and name not in needed | allowed:
                hint = (
                    "acknowledges nothing; leave ack out, or use seq_ack or trigger_ack"
                    if name == "ack"
                    else f"has no {name}; leave it out"
                )
                raise ValueError(f"pattern {self.pattern} {hint}")
        if self.min_pulse is not None and self.pattern != "edge":
            raise ValueError(f"pattern {self.pattern} has no min_pulse: its PLC holds the record; leave it out")
        self._check_fields()
        self._check_ring()
        return self

    def _check_fields(self) -> None:
        needed, allowed = FIELDS[self.event]
        given = {name for name, ref in self.fields if ref is not None}
        if lacking := sorted(needed - given):
            raise ValueError(f"fields.{lacking[0]} is missing; {self.event} needs it")
        if strange := sorted(given - needed - allowed):
            raise ValueError(f"{self.event} has no field {strange[0]}; it has {', '.join(sorted(needed | allowed))}")
        if self.event == "quality.result" and self.characteristic is None:
            raise ValueError("characteristic is missing; say what was measured, as characteristic: net_weight")
        if self.measurements and self.event not in {"unit.produced", "cycle.completed"}:
            raise ValueError(f"{self.event} has no measurements; give each its own entry with event: quality.result")

    def _check_ring(self) -> None:
        if self.pattern != "ring":
            return
        for place, ref in self._contents():
            if SLOT not in ref:
                raise ValueError(
                    f"{place}: '{ref}' is the same in every slot; write its number as {SLOT}, as in plc1.ring{SLOT}_serial"
                )
        modulus = modulus_of(self.wraps) if self.wraps else None
        if modulus is not None and modulus < 2 * (self.size or 0):
            raise ValueError(
                f"a write index that wraps at {modulus} cannot show that {self.size} slots were overrun; let it count on, at least to twice the size"
            )

    def _contents(self) -> Iterator[tuple[str, str]]:
        """Yield the tags of a record's content by their place in the entry; those of a ring still have `SLOT` in them."""
        yield from ((f"fields.{name}", ref) for name, ref in self.fields if ref is not None)
        yield from ((f"measurements.{name}", one.tag) for name, one in self.measurements.items())
        if self.time is not None:
            yield "time.tag", self.time.tag

    @property
    def slots(self) -> tuple[str, ...]:
        """What `SLOT` is for each slot of the ring."""
        first = self.first_slot or 0
        return tuple(str(first + place) for place in range(self.size or 0)) if self.pattern == "ring" else ("",)

    @property
    def references(self) -> dict[str, str]:
        """Every tag that is named, by its place in the entry, in the order in which it is read: seq first, what fires last after the fields."""
        contents = {
            f"{place}{f'[{slot}]' if slot else ''}": ref.replace(SLOT, slot)
            for slot in self.slots
            for place, ref in self._contents()
        }
        named: dict[str, Any] = {"write_index": self.write_index, "seq": self.seq, **contents}
        named |= {"seq_end": self.seq_end, "trigger": self.trigger, "ack": self.ack}
        return {place: ref for place, ref in named.items() if ref is not None}

    @property
    def key(self) -> str:
        """The tag by which records are told apart."""
        return self.seq or self.trigger or self.write_index or ""

    @property
    def fires(self) -> str:
        """The tag whose change makes the record be read: the one that is written last."""
        return self.seq_end or self.key


def _named(names: frozenset[str]) -> list[str]:
    return [name for name in ("ack", "seq_end", "trigger", "write_index", "size") if name in names] or ["seq"]
