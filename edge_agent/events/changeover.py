"""Setup, the window between two products (``setup.started``, ``setup.completed``; ISO 22400 AUST; Weihenstephan Changeover).

It begins and ends with a bit, with values of a tag, with modes or with states of the unit. Its duration is measured between the edges; where
one of them was not seen, there is an interval and no duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.belonging import named
from edge_agent.events.follow import Neighbours
from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Change, Sight, heed, look, plain, usable
from edge_agent.events.tables import Code, code_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Quality, Reading, Tag, Timestamps


class SetupConfig(BaseModel):
    """``setup:`` of a unit: what says that it is being changed over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str | None = Field(default=None, description="device.tag of a bit, or of a number with values")
    values: tuple[Code, ...] = Field(default=(), description="the values of tag that mean setup; left out = a bit that is on")
    modes: tuple[int, ...] = Field(default=(), description="the unit's modes that mean setup, by number")
    states: tuple[Code, ...] = Field(default=(), description="the unit's states that mean setup, by number or name")
    to_product: str | None = Field(
        default=None, description="device.tag of the product that is set up for; left out = the context's at the end"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if sum((self.tag is not None, bool(self.modes), bool(self.states))) != 1:
            raise ValueError("say what means setup: tag: device.tag, or modes: [4], or states: [Changeover]")
        if self.values and self.tag is None:
            raise ValueError("values belong to a tag; name it as tag: device.tag")
        return self


class SetupMemory(msgspec.Struct, frozen=True):
    """Whether the unit is being set up, since when, the products known so far, and whether the begin was seen."""

    on: Sight = Sight()
    started: int | None = None
    seen: bool = True
    product: str | None = None
    to_product: str | None = None
    last: str | None = None


class SetupRule:
    """Tells ``setup.started`` and ``setup.completed``: setup_id, from_product, to_product, duration_s."""

    name = "setup"
    phase = Phase.RECORD
    version = 1
    state_type = SetupMemory

    def __init__(self, config: SetupConfig, unit: str, watched: str, product: str | None) -> None:
        """Listen to ``watched``, the tag behind the bit, the mode or the state."""
        self._config, self._unit, self._watched = config, unit, watched
        refs = (watched, product, config.to_product)
        self.tags = tuple(dict.fromkeys(ref for ref in refs if ref is not None))
        self.ticks = bool(config.states)  # a state may come late, when it has stood long enough
        self.fingerprint = f"tag={config.tag} by={'modes' if config.modes else 'states' if config.states else 'tag'}"

    def initial(self) -> SetupMemory:
        """Nothing seen."""
        return SetupMemory()

    def step(self, state: SetupMemory, moment: Moment) -> tuple[SetupMemory, Outcome]:
        """Fold one moment."""
        memory = msgspec.structs.replace(state, on=heed(state.on, self._watched, moment.notices))
        memory = self._products(memory, moment)
        found = self._found(moment)
        if found is None:
            return (state if memory == state else memory), NOTHING
        on, reading = found
        sight, change = look(memory.on, on, reading)
        memory = msgspec.structs.replace(memory, on=sight)
        if change is None:
            return (state if memory == state else memory), NOTHING
        memory, event = self._began(memory, change, moment) if change.new else self._ended(memory, change, moment)
        return memory, Outcome((event,))

    def _products(self, memory: SetupMemory, moment: Moment) -> SetupMemory:
        ref = self._config.to_product
        reading = None if ref is None else moment.readings.get(ref)
        if reading is not None and usable(reading):
            memory = msgspec.structs.replace(memory, to_product=named(reading.value))
        now = moment.picture.context.product
        if memory.started is None and now is not None and memory.last != now and not self._begins(moment):
            memory = msgspec.structs.replace(memory, last=now)
        return memory

    def _begins(self, moment: Moment) -> bool:
        found = self._found(moment)
        return found is not None and found[0]

    def _found(self, moment: Moment) -> tuple[bool, Reading] | None:
        """Return whether the moment says that the unit is being set up, and the sample that says so; None: it does not say."""
        config, picture, reading = self._config, moment.picture, moment.readings.get(self._watched)
        if config.states:
            state = picture.state
            if state is None or state.category == "unknown":
                return None
            on = state.code in config.states or state.name in config.states
            at = reading.at if reading is not None else Timestamps(None, None, moment.time)
            return on, Reading(self._watched, on, Quality.GOOD, msgspec.structs.replace(at, source=state.since))
        if reading is None or not usable(reading):
            return None
        if config.modes:
            return picture.mode_code in config.modes, reading
        value = plain(reading.value)
        return (code_of(value) in config.values if config.values else bool(value)), reading

    def _began(self, memory: SetupMemory, change: Change, moment: Moment) -> tuple[SetupMemory, ProductionEvent]:
        product = moment.before.context.product or memory.last
        memory = msgspec.structs.replace(memory, started=change.time, seen=change.interval is None, product=product)
        return memory, self._event("started", memory, change, moment, memory.to_product, None)

    def _ended(self, memory: SetupMemory, change: Change, moment: Moment) -> tuple[SetupMemory, ProductionEvent]:
        to_product = memory.to_product or moment.picture.context.product
        exact = memory.started is not None and memory.seen and change.interval is None
        duration = round((change.time - (memory.started or 0)) / NS, 9) if exact else None
        event = self._event("completed", memory, change, moment, to_product, duration)
        after = msgspec.structs.replace(
            memory, started=None, seen=True, product=None, to_product=None, last=moment.picture.context.product
        )
        return after, event

    def _event(
        self, what: str, memory: SetupMemory, change: Change, moment: Moment, to_product: str | None, duration: float | None
    ) -> ProductionEvent:
        name = f"{self._unit}/setup/{change.time if memory.started is None else memory.started}"
        data: dict[str, Any] = {"setup_id": name, "from_product": memory.product, "to_product": to_product, "duration_s": duration}
        return ProductionEvent(
            type=f"setup.{what}",
            time=change.time,
            data=data,
            at=change.reading.at,
            interval=change.interval,
            quality=change.reading.quality,
            late=moment.late,
            causation=name,
        )


def build(config: SetupConfig, *, unit: str, tags: Mapping[str, Tag], near: Neighbours) -> tuple[Rule[Any], ...]:
    """Return the rule of ``setup:``; ``near`` knows the tags of mode, state and product. Raises ValueError where one is missing."""
    where = f"unit {unit}, setup"
    check_references([(f"{where}.tag", config.tag), (f"{where}.to_product", config.to_product)], tags)
    watched = config.tag or (near.mode if config.modes else near.state)
    if watched is None:
        lacking = "mode" if config.modes else "tag"
        raise ValueError(f"{where}: the unit has no such source; add state: {{{lacking}: device.tag}}")
    return (SetupRule(config, unit, watched, near.context.get("product")),)
