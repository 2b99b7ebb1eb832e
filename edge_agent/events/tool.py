"""Tools and lifetimes: which tool is in, how much of its life is used, and when that reached its limit (OPC 40501, ToolLife)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.belonging import named
from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Change, Sight, event_of, heed, look, number_of, usable
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Tag


class ToolConfig(BaseModel):
    """One entry of ``tools:``: a place that holds a tool, or anything else whose use is limited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str | None = Field(default=None, description="device.tag of the tool's name or number")
    life: str | None = Field(default=None, description="device.tag of the life that is used")
    limit: float | str | None = Field(default=None, description="the life at which it is worn, or its device.tag")
    uom: str = Field(default="H87", description="unit of the life, UNECE Rec 20 (H87 = piece, SEC, MTR)")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tool is None and self.life is None:
            raise ValueError("there is nothing to watch; name tool or life as device.tag")
        if self.limit is not None and self.life is None:
            raise ValueError("a limit needs the life that it limits; name it as life: device.tag")
        return self

    @property
    def references(self) -> dict[str, str]:
        """The tags by what they give."""
        return {part: ref for part in ("tool", "life", "limit") if isinstance(ref := getattr(self, part), str)}


class ToolMemory(msgspec.Struct, frozen=True):
    """The tool, the life used and the limit as seen last, and whether the life was known to be (and not to be) at its limit."""

    tool: Sight = Sight()
    life: int | float | None = None
    limit: int | float | None = None
    reached: Sight = Sight()


class ToolRule:
    """Tells ``tool.changed`` (place, tool_old, tool_id, life_used of the old one, limit, uom) and ``counter.limit`` (place, tool_id, life_used, limit, uom)."""

    phase = Phase.RECORD
    ticks = False
    version = 1
    state_type = ToolMemory

    def __init__(self, config: ToolConfig, place: str) -> None:
        """Watch the tool in ``place``."""
        self.name = f"tools.{place}"
        self.tags = tuple(config.references.values())
        self.fingerprint = f"tool={config.tool} life={config.life}"
        self._config, self._place = config, place

    def initial(self) -> ToolMemory:
        """Nothing seen."""
        return ToolMemory()

    def step(self, state: ToolMemory, moment: Moment) -> tuple[ToolMemory, Outcome]:
        """Fold one moment: a new tool first, then what its life says."""
        events: list[ProductionEvent] = []
        memory = self._tool(state, moment, events)
        memory = self._life(memory, moment, events)
        return (state if memory == state else memory), Outcome(tuple(events)) if events else NOTHING

    def _tool(self, memory: ToolMemory, moment: Moment, events: list[ProductionEvent]) -> ToolMemory:
        ref = self._config.tool
        if ref is None:
            return memory
        sight, reading = heed(memory.tool, ref, moment.notices), moment.readings.get(ref)
        if reading is not None and usable(reading):
            sight, change = look(sight, named(reading.value), reading)
            if change is not None:
                old = {"tool_old": change.old}
                events.append(self._event("tool.changed", change, memory, change.new, moment, old))
        return msgspec.structs.replace(memory, tool=sight)

    def _life(self, memory: ToolMemory, moment: Moment, events: list[ProductionEvent]) -> ToolMemory:
        config = self._config
        if config.life is None:
            return memory
        life = number_of(moment.readings, config.life)
        given = number_of(moment.readings, config.limit) if isinstance(config.limit, str) else config.limit
        limit = memory.limit if given is None else given
        reached = heed(memory.reached, config.life, moment.notices)
        memory = msgspec.structs.replace(memory, life=memory.life if life is None else life, limit=limit, reached=reached)
        if life is None or limit is None:
            return memory
        reached, change = look(reached, life >= limit, moment.readings[config.life])
        if change is not None and change.new:
            events.append(self._event("counter.limit", change, memory, memory.tool.value, moment, {}))
        return msgspec.structs.replace(memory, reached=reached)

    def _event(
        self, kind: str, change: Change, memory: ToolMemory, tool: Any, moment: Moment, more: dict[str, Any]
    ) -> ProductionEvent:
        data = {"place": self._place, "tool_id": tool, "life_used": memory.life, "limit": memory.limit, "uom": self._config.uom}
        return event_of(kind, data | more, change, moment)


def build(config: ToolConfig, *, unit: str, name: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of the place ``name``. Raises ValueError for an unknown tag."""
    check_references([(f"unit {unit}, tools.{name}.{part}", ref) for part, ref in config.references.items()], tags)
    return (ToolRule(config, name),)
