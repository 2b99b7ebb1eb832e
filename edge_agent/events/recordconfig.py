"""What users write under ``records:``: where a machine's records stand, and how they are handed over (events.md 1.5 i)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _known_pattern(pattern: object) -> object:
    if pattern in {"ring", "trigger_ack", "edge"}:
        raise ValueError(f"pattern '{pattern}' is not built yet; use seq_ack (acknowledged) or seq (read-only)")
    return pattern


class RecordFields(BaseModel):
    """Which tag holds which part of a record (device.tag)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str
    verdict: str | None = None
    serial: str | None = None
    lot: str | None = None
    sample_no: str | None = Field(default=None, description="number of the sample; left out = the record's own number")
    lsl: str | None = Field(default=None, description="lower specification limit, where the PLC gives it")
    usl: str | None = Field(default=None, description="upper specification limit, where the PLC gives it")


class RecordConfig(BaseModel):
    """One entry of ``records:``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: Annotated[Literal["seq_ack", "seq"], BeforeValidator(_known_pattern)]
    event: Literal["quality.result"] = "quality.result"
    seq: str = Field(description="device.tag of the record's number; 0 = no record")
    seq_end: str | None = Field(default=None, description="device.tag of the number once more, written last")
    ack: str | None = Field(default=None, description="device.tag to write the number back to (seq_ack only)")
    fields: RecordFields
    verdicts: dict[int | str, Literal["ok", "nok"]] = Field(default_factory=dict, description="what the machine's verdicts mean")
    characteristic: str = Field(description="what was measured")
    test_id: str | None = Field(default=None, description="the entry's name when it is left out")
    uom: str | None = Field(default=None, description="UNECE Rec 20 code")
    lsl: float | None = Field(default=None, description="lower specification limit")
    usl: float | None = Field(default=None, description="upper specification limit")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.pattern == "seq_ack" and (self.ack is None or self.seq_end is None):
            raise ValueError("pattern seq_ack needs ack and seq_end: without them a record can be torn or shown for ever")
        if self.pattern == "seq" and self.ack is not None:
            raise ValueError("pattern seq acknowledges nothing; leave ack out, or use seq_ack")
        return self

    @property
    def references(self) -> dict[str, str]:
        """Every tag that is named, by its place in the entry, in the order in which it is read: seq first, seq_end after the fields."""
        fields = {f"fields.{name}": ref for name, ref in self.fields if ref is not None}
        named = {"seq": self.seq, **fields, "seq_end": self.seq_end, "ack": self.ack}
        return {place: ref for place, ref in named.items() if ref is not None}
