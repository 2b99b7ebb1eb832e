"""What users write of a work unit: what is read, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from edge_agent.events.alarm import AlarmConfig
from edge_agent.events.context import ContextConfig
from edge_agent.events.counter import CounterConfig, limited
from edge_agent.events.downtime import DowntimeConfig
from edge_agent.events.energy import EnergyConfig
from edge_agent.events.production import ProductionConfig
from edge_agent.events.quality import RecordConfig
from edge_agent.events.speed import most_parts
from edge_agent.events.state import StateConfig
from edge_agent.events.suspect import SuspectConfig
from edge_agent.events.telemetry import TelemetryConfig
from edge_agent.model.quantity import Duration

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # it stands in topics, streams and ids
_LEVEL = r"^[^+#/$\x00]+$"  # what a topic segment may hold (MQTT 5, 4.7)

Level = Annotated[str, Field(pattern=_LEVEL)]
"""One level of the equipment path."""


class UnitConfig(ProductionConfig):
    """One work unit: what is read, and what it means. Tags are named ``device.tag``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    unit: str = Field(min_length=1, max_length=64, pattern=_NAME, description="name of the work unit, unique in the agent")
    path: tuple[Level, ...] = Field(default=(), description="the ISA-95 levels above it; left out = the agent's site")
    state: StateConfig | None = None
    downtime: DowntimeConfig | None = None
    context: ContextConfig | None = None
    counters: dict[str, CounterConfig] = Field(default_factory=dict)
    alarms: dict[str, AlarmConfig] = Field(default_factory=dict)
    records: dict[str, RecordConfig] = Field(default_factory=dict)
    energy: dict[str, EnergyConfig] = Field(default_factory=dict)
    plausibility: dict[str, SuspectConfig] = Field(default_factory=dict, description="signals that cannot be true together")
    telemetry: TelemetryConfig | None = None
    reorder: Duration = Field(default=0, description="how long samples wait for older ones of another device; 0 = not at all")
    stale_after: Duration = Field(
        default=2_000_000_000, description="an input of an event that is bad for longer is declared as a gap"
    )

    @model_validator(mode="before")
    @classmethod
    def _design_speed(cls, given: Any) -> Any:
        """Counters of parts are no faster than the machine, where their file leaves out how fast they can be."""
        counters, most = (given.get("counters"), most_parts(given.get("speed"))) if isinstance(given, Mapping) else (None, None)
        if most is None or not isinstance(counters, Mapping):
            return given
        return {**given, "counters": {name: limited(one, most) for name, one in counters.items()}}
