"""A register that counts something else than the unit's production: cycles, material, rejects of one reason.

It is followed by the very rule of the counters, so wraps, resets, restarts, losses and the context behind them are judged alike; only what
is told of a count differs. Its `counter.discontinuity` events keep their audit trail, under the name of the entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events import counter
from edge_agent.events.advance import WRAPS, OnRestart
from edge_agent.events.belonging import Modes
from edge_agent.events.counter import CounterConfig, CounterRule, CounterState
from edge_agent.events.registers import Wraps, require
from edge_agent.events.rule import Moment
from edge_agent.model.event import ProductionEvent
from edge_agent.model.quantity import Duration, Rate
from edge_agent.model.reading import Tag


class RegisterConfig(BaseModel):
    """A counting register. ``max_rate`` and ``burst`` are in raw units of the register, before scaling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="the register, as device.tag")
    wraps: Wraps = Field(description=f"how the register wraps: {WRAPS}")
    max_rate: Rate = Field(gt=0, description="the fastest it can count; judges wraps, resets and wrong values")
    burst: int = Field(default=2, ge=0, description="units beyond max_rate that are still believed")
    reset_evidence: str | None = Field(default=None, description="a tag that goes down at a reset, as device.tag")
    on_restart: OnRestart = Field(default="unknown", description="what it does when its PLC restarts or the evidence goes down")
    stale_after: Duration = Field(
        default=10_000_000_000, ge=1_000_000_000, description="silence after which nothing is taken for granted"
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        return require(given, cls.model_fields, "wraps", "max_rate")


class Neighbours(msgspec.Struct, frozen=True):
    """What a rule needs to know of the others in its unit: the tags by counter and by context key, the modes, and the tags of mode and state."""

    counters: Mapping[str, str] = msgspec.field(default_factory=dict)
    context: Mapping[str, str] = msgspec.field(default_factory=dict)
    modes: Modes | None = None
    mode: str | None = None
    state: str | None = None


def follow(
    config: RegisterConfig,
    *,
    unit: str,
    name: str,
    role: Literal["total", "scrap", "consumed"],
    uom: str,
    tags: Mapping[str, Tag],
    near: Neighbours,
) -> CounterRule:
    """Return the rule that follows the register of the entry ``name``. Raises ValueError where its tag is unknown or cannot count."""
    full = CounterConfig(role=role, uom=uom, **config.model_dump())
    (rule,) = counter.build(full, unit=unit, name=name, tags=tags, context_tags=near.context, modes=near.modes)
    assert isinstance(rule, CounterRule)  # noqa: S101 - what it builds
    return rule


def counted(
    rule: CounterRule, state: CounterState, moment: Moment
) -> tuple[CounterState, list[ProductionEvent], list[ProductionEvent]]:
    """Fold one moment through ``rule``; return its state, its counts (`production.count`, to be told otherwise), and all else it told.

    The counts have the context of the time before the moment, as all counts have.
    """
    seen = msgspec.structs.replace(moment, picture=msgspec.structs.replace(moment.before, down=moment.picture.down))
    state, outcome = rule.step(state, seen)
    counts = [event for event in outcome.events if event.type == "production.count"]
    return state, counts, [event for event in outcome.events if event.type != "production.count"]


def retold(count: ProductionEvent, kind: str, data: Mapping[str, Any], **more: Any) -> ProductionEvent:
    """Return an event of another type that stands where ``count`` stood; what is not sure of its context stays told."""
    members = dict(data)
    if count.data.get("spans"):
        members |= {"spans": count.data["spans"], "candidates": count.data["candidates"]}
    return msgspec.structs.replace(count, type=kind, data=members, **more)
