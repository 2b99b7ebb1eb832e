"""Material that goes in: which lot is at which place, and how much of it went into which order, lot or serial (genealogy; ISA-95 MaterialActual).

What is consumed is a register of its own, or so much for every part that a counter counts. It explains production and is never added to
it. A count belongs to the material lot that stood at its place before the moment; where the lot may have changed unseen in between, it
belongs to none and both are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.belonging import named
from edge_agent.events.counter import CounterRule, CounterState
from edge_agent.events.follow import Neighbours, RegisterConfig, counted, follow, retold
from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Change, Sight, event_of, heed, look, usable, value_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Quality, Tag


class PerPart(BaseModel):
    """So much for every part that a counter of the unit counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: str = Field(description="the counter of this unit")
    qty: float = Field(default=1, gt=0, description="how much of the material goes into one part, in uom")


class MaterialConfig(BaseModel):
    """One entry of ``materials:``: a place from which the unit takes material."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    material: str | None = Field(default=None, description="the material's number, where it is always the same")
    material_tag: str | None = Field(default=None, description="device.tag of the material's number")
    lot: str | None = Field(default=None, description="device.tag of the lot at this place; empty and 0 mean none")
    position: str | None = Field(default=None, description="the place (hopper, reel); left out = the entry's name")
    serial: str | None = Field(default=None, description="device.tag of the serial that it goes into")
    uom: str = Field(default="H87", description="unit of measure, UNECE Rec 20 (H87 = piece, KGM, MTR)")
    per_part: PerPart | None = None
    consumed: RegisterConfig | None = Field(default=None, description="the register that counts what is consumed")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.per_part is not None and self.consumed is not None:
            raise ValueError("per_part and consumed both say how much; leave one out, or it counts twice")
        if self.lot is None and self.per_part is None and self.consumed is None:
            raise ValueError("there is nothing to tell; name lot as device.tag, or per_part, or consumed")
        if self.material is not None and self.material_tag is not None:
            raise ValueError("material and material_tag both name the material; leave one out")
        return self


class MaterialMemory(msgspec.Struct, frozen=True):
    """The lot and the material at the place, and where the register stands."""

    lot: Sight = Sight()
    material: str | None = None
    register: CounterState = CounterState()


class MaterialRule:
    """Tells ``material.consumed`` (material, lot_new, qty, uom, position, into) and ``material.lot_changed`` (material, lot_old, lot_new, position)."""

    phase = Phase.COUNT
    version = 1
    state_type = MaterialMemory

    def __init__(self, config: MaterialConfig, name: str, register: CounterRule | None, parts: tuple[str, ...]) -> None:
        """Follow ``register``, or hear the counts of ``config.per_part``, whose tags are ``parts``."""
        self.name = f"materials.{name}"
        own = (config.lot, config.material_tag, config.serial)
        followed = register.tags if register is not None else ()
        self.tags = tuple(dict.fromkeys(ref for ref in (*own, *followed, *parts) if ref is not None))
        self.ticks = register is not None
        self.fingerprint = f"lot={config.lot} {'' if register is None else register.fingerprint}"
        self._config, self._position, self._register = config, config.position or name, register

    def initial(self) -> MaterialMemory:
        """Nothing seen."""
        return MaterialMemory()

    def step(self, state: MaterialMemory, moment: Moment) -> tuple[MaterialMemory, Outcome]:
        """Fold one moment: what was consumed came from the lot before; then the lot changes."""
        config, before = self._config, state
        sight, change = state.lot, None
        if config.lot is not None:
            before = msgspec.structs.replace(state, lot=heed(state.lot, config.lot, moment.notices))
            sight, reading = before.lot, moment.readings.get(config.lot)
            if reading is not None and usable(reading):
                sight, change = look(sight, named(reading.value), reading)
        register, events = self._consumed(before, change, moment)
        material = self._material(state, moment)
        if change is not None:
            data = {"material": material, "lot_old": change.old, "lot_new": change.new, "position": self._position}
            events.append(event_of("material.lot_changed", data, change, moment))
        after = MaterialMemory(sight, material, register)
        return (state if after == state else after), Outcome(tuple(events)) if events else NOTHING

    def _material(self, state: MaterialMemory, moment: Moment) -> str | None:
        ref = self._config.material_tag
        reading = None if ref is None else moment.readings.get(ref)
        if reading is not None and usable(reading):
            return named(reading.value)
        return self._config.material or state.material

    def _consumed(self, state: MaterialMemory, change: Change | None, moment: Moment) -> tuple[CounterState, list[ProductionEvent]]:
        register, told, factor = state.register, list[ProductionEvent](), 1.0
        counts: list[ProductionEvent] = []
        if self._register is not None:
            register, counts, told = counted(self._register, register, moment)
        elif self._config.per_part is not None:
            part = self._config.per_part
            factor = part.qty
            counts = [one for one in moment.events if one.type == "production.count" and one.data["counter"] == part.counter]
        return register, [*told, *(self._use(count, factor, state, change, moment) for count in counts)]

    def _use(
        self, count: ProductionEvent, factor: float, state: MaterialMemory, change: Change | None, moment: Moment
    ) -> ProductionEvent:
        """Return what a count says of the material: the lot that it came from, and what it went into."""
        lot = state.lot.value if state.lot.known or change is None else change.new
        qty = count.data["delta"] if factor == 1 else round(count.data["delta"] * factor, 9)
        into = {"order": count.ctx.order, "lot": count.ctx.lot, "serial": value_of(moment.readings, self._config.serial)}
        data: dict[str, Any] = {
            "material": self._config.material or state.material or self._material(state, moment),
            "lot_new": lot,
            "qty": qty,
            "uom": self._config.uom,
            "position": self._position,
            "into": into,
        }
        event = retold(count, "material.consumed", data)
        if change is not None and change.interval is not None:
            unsure = {"lot_new": [change.old, change.new], **event.data.get("candidates", {})}
            event.data.update({"lot_new": None, "spans": ["material_lot", *event.data.get("spans", ())], "candidates": unsure})
            event = msgspec.structs.replace(event, quality=Quality.UNCERTAIN)
        return event


def build(
    config: MaterialConfig,
    *,
    unit: str,
    name: str,
    tags: Mapping[str, Tag],
    near: Neighbours,
) -> tuple[Rule[Any], ...]:
    """Return the rule of the place ``name``; ``near`` knows the unit's counters.

    Raises ValueError for an unknown tag or counter.
    """
    where = f"unit {unit}, materials.{name}"
    named_tags = {"lot": config.lot, "material_tag": config.material_tag, "serial": config.serial}
    check_references([(f"{where}.{place}", ref) for place, ref in named_tags.items()], tags)
    parts: tuple[str, ...] = ()
    if config.per_part is not None:
        parts = (counter_tag(config.per_part.counter, near.counters, f"{where}.per_part.counter"),)
    register = None
    if config.consumed is not None:
        register = follow(
            config.consumed, unit=unit, name=f"materials.{name}", role="consumed", uom=config.uom,
            tags=tags, near=near,
        )  # fmt: skip
    return (MaterialRule(config, name, register, parts),)


def counter_tag(counter: str, counters: Mapping[str, str], where: str) -> str:
    """Return the tag of a counter of the unit. Raises ValueError, ``place: cause; remedy``, where it has none of that name."""
    if counter not in counters:
        known = ", ".join(counters) or "none"
        raise ValueError(f"{where}: the unit has no counter '{counter}'; it has {known}")
    return counters[counter]
