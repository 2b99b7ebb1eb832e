"""What users write under ``cycles:``, and what its extras say of a cycle that ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.follow import RegisterConfig
from edge_agent.events.sight import Plain, number_of, value_of
from edge_agent.events.tables import Code, code_of
from edge_agent.model.instant import NS
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import Reading

Result = Literal["ok", "nok", "aborted"]


class CycleConfig(BaseModel):
    """One entry of ``cycles:``: what marks a cycle, and what is read with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: RegisterConfig | None = Field(default=None, description="the register that counts cycles")
    duration: str | None = Field(default=None, description="device.tag of the last cycle's time, beside count")
    duration_unit: Literal["ms", "s", "min"] = Field(default="s", description="the unit of duration")
    running: str | None = Field(default=None, description="device.tag of a bit that is on during a cycle")
    start: str | None = Field(default=None, description="device.tag of a bit that goes on when a cycle begins")
    end: str | None = Field(default=None, description="device.tag of a bit that goes on when a cycle ends")
    abort: str | None = Field(default=None, description="device.tag of a bit that is on when the cycle that ends was aborted")
    number: str | None = Field(default=None, description="device.tag of the cycle's number, beside bits")
    cavities: int | str = Field(default=1, description="parts a cycle makes, or the device.tag of that")
    ideal: Duration | None = Field(default=None, description="how long a cycle should take")
    result: str | None = Field(default=None, description="device.tag of the cycle's result")
    results: dict[Code, Result] = Field(default_factory=dict, description="what the results mean")
    params: dict[str, str] = Field(default_factory=dict, description="what else belongs to a cycle, as name: device.tag")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        ways = [self.count is not None, self.running is not None, self.start is not None or self.end is not None]
        if sum(ways) != 1 or (self.start is None) != (self.end is None):
            raise ValueError("say what marks a cycle: count: {tag: ...}, or running: device.tag, or start and end together")
        if self.count is None and self.duration is not None:
            raise ValueError("duration belongs to a counter; with bits it is measured from their edges")
        if self.count is not None and (self.number is not None or self.abort is not None):
            raise ValueError("number and abort belong to bits; a counter's value is the cycle's number")
        if isinstance(self.cavities, int) and self.cavities < 1:
            raise ValueError("a cycle makes at least one part; write cavities: 1 or more")
        return self

    @property
    def extras(self) -> dict[str, str]:
        """What is read with a cycle's end, by its place in the entry."""
        read = {"duration": self.duration, "number": self.number, "result": self.result, "abort": self.abort}
        read["cavities"] = self.cavities if isinstance(self.cavities, str) else None
        return {place: ref for place, ref in read.items() if ref} | {f"params.{name}": ref for name, ref in self.params.items()}

    @property
    def marks(self) -> dict[str, str]:
        """The tags that mark a cycle, by their place in the entry."""
        named = {"running": self.running, "start": self.start, "end": self.end, "count.tag": self.count.tag if self.count else None}
        return {place: ref for place, ref in named.items() if ref}


class Ending:
    """What an entry's extras say of a cycle that ended."""

    def __init__(self, config: CycleConfig, unit: str, name: str) -> None:
        """Tell of the cycles of the entry ``name``."""
        self._config, self._kind = config, f"{unit}/{name}"

    def cycle_id(self, time: int) -> str:
        """Return the name of the cycle that began (or, where nobody saw that, ended) at ``time``."""
        return f"{self._kind}/{time}"

    def data(self, rows: Mapping[str, Reading], cycle_id: str, number: Plain, count: int) -> dict[str, Any]:
        """Return the members of ``cycle.completed``; what belongs to one cycle is not told of several."""
        config, one = self._config, count == 1
        cavities = config.cavities if isinstance(config.cavities, int) else number_of(rows, config.cavities)
        return {
            "cycle_id": cycle_id,
            "cycle_no": number,
            "count": count,
            "duration_s": None,
            "ideal_s": None if config.ideal is None else config.ideal / NS,
            "parts": None if cavities is None else round(count * cavities),
            "cavities": cavities,
            "result": self._result(rows) if one else None,
            "params": {name: value_of(rows, ref) if one else None for name, ref in config.params.items()},
        }

    def _result(self, rows: Mapping[str, Reading]) -> str | None:
        if self._config.abort is not None and value_of(rows, self._config.abort):
            return "aborted"
        code = code_of(value_of(rows, self._config.result))
        return None if code is None else self._config.results.get(code, str(code))
