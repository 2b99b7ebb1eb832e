"""Energy: the meter's register, cut into intervals at the clock grid and where the order changes.

Only the register counts, power is never integrated. An interval ends with a sample: the first one at or after the grid, which is the poll
that was asked for at the grid. While the meter cannot be read nothing is closed: the first sample after it closes one longer interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.advance import WRAPS, OnRestart, Register, modulus_of
from edge_agent.events.belonging import Place, read
from edge_agent.events.crossing import crossed, from_when, kept, told
from edge_agent.events.interval import EnergyState, Meter, changed, closed
from edge_agent.events.losses import heed, stand
from edge_agent.events.reference import check_references
from edge_agent.events.registers import Wraps, discontinuity, facts_of, find_register, fingerprint, require
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.tally import Tally, Watch, sample
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.quantity import Duration, Rate
from edge_agent.model.reading import Quality, Reading, Tag

_PATIENCE = 2 * NS  # so long after the grid a tick closes what no sample has closed


class CloseOn(BaseModel):
    """What closes an interval besides the clock grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: bool = Field(default=True, description="Close when the order changes, so that an interval has one order")


class EnergyConfig(BaseModel):
    """One meter of a work unit. ``max_rate`` and ``burst`` are in raw units of the register, before scaling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="The energy (or volume) register, as device.tag")
    meter: str | None = Field(default=None, description="The meter's name in the events; left out = the device's name")
    carrier: Literal["el", "air", "gas", "water", "steam"] = Field(default="el", description="What is consumed")
    uom: str | None = Field(default=None, description="Unit of measure, UNECE Rec 20; left out = the tag's, else KWH")
    wraps: Wraps = Field(description=f"How the register wraps: {WRAPS}")
    max_rate: Rate = Field(gt=0, description="The fastest it can count, in register units; judges wraps, resets and wrong values")
    burst: int = Field(default=2, ge=0, description="Register units beyond max_rate that are still believed")
    on_restart: OnRestart = Field(default="keeps", description="What the register does when its meter restarts")
    every: Duration = Field(default=60_000_000_000, ge=1_000_000_000, description="The clock grid at which intervals close")
    power: str | None = Field(default=None, description="The meter's power, as device.tag; for the reader, it is never integrated")
    close_on: CloseOn = CloseOn()
    stale_after: Duration = Field(
        default=10_000_000_000, ge=1_000_000_000, description="Silence after which nothing is taken for granted"
    )

    @property
    def label(self) -> str:
        """The meter's name in events and totals."""
        return self.meter or self.tag.partition(".")[0]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        return require(given, cls.model_fields, "wraps", "max_rate")


@dataclass(frozen=True)
class EnergyRule:
    """The rule of one meter: `energy.consumed` and its `counter.discontinuity`."""

    meter_id: str
    watch: Watch
    meter: Meter
    by_order: bool
    context: Mapping[str, str]
    tags: tuple[str, ...]
    fingerprint: str
    phase: Phase = Phase.COUNT
    ticks: bool = True
    version: int = 1
    state_type: type[EnergyState] = EnergyState

    @property
    def name(self) -> str:
        """The name under which the state is stored."""
        return f"energy.{self.meter_id}"

    def initial(self) -> EnergyState:
        """Return the state before anything was seen: no baseline."""
        return EnergyState()

    def step(self, state: EnergyState, moment: Moment) -> tuple[EnergyState, Outcome]:
        """Fold one moment: what the register tells is added first, then the interval is closed where it ends."""
        here = read(moment, self.context)
        events: list[ProductionEvent] = []
        state = changed(state, tally=heed(self.watch, state.tally, moment.notices))
        if state.tally.broken and self._moved_on(state, here):
            state = self._split(state, here, moment, events)
        reading = moment.readings.get(self.watch.ref)
        if reading is not None:
            state = self._sampled(state, reading, here, moment, events)
        elif moment.tick and self.watch.device not in moment.picture.down:
            state = self._ticked(state, here, moment, events)
        if self.by_order and state.usable and here.ctx.order != state.place.ctx.order:
            state = self._order_ended(state, here, moment, events)
        return state, self._outcome(state.tally, moment, tuple(events))

    def _moved_on(self, state: EnergyState, here: Place) -> bool:
        if state.opened is None:
            return False
        then, now = state.place.ctx, here.ctx
        return now.shift != then.shift or (self.by_order and now.order != then.order)

    def _order_ended(self, state: EnergyState, here: Place, moment: Moment, events: list[ProductionEvent]) -> EnergyState:
        """Close what is the old order's: up to the change where a sample stands there, else up to the last one; what lies across waits for the next."""
        change = None
        if self.watch.ref not in moment.readings and (ref := self.context.get("order")) is not None:
            now = Place(moment.picture.context, moment.picture.mode_code, moment.picture.production)
            change = told(moment, {"order": ref}, now, here, counter=self.watch.device, seen=state.seen)
        if change is None:
            return self._close(state, self._changed_at(moment, state.tally), here, moment, events)
        return self._close(changed(state, changes=kept(state.changes, change)), state.tally.ts, here, moment, events)

    def _across(
        self, state: EnergyState, reading: Reading, here: Place, moment: Moment, events: list[ProductionEvent]
    ) -> EnergyState:
        """Tell whose it is what the first sample behind a change of order says."""
        now = Place(moment.picture.context, moment.picture.mode_code, moment.picture.production)
        across = crossed(state.changes, reading, moment, self.watch.period, now)
        state = changed(state, changes=across.later)
        if not state.pending or (not across.places and across.end.ctx.order == state.place.ctx.order):
            return state
        if across.places:
            state = changed(state, lost=across.places[0], across=across.places[1:])
        else:
            state = changed(state, place=across.end)
        return self._close(state, reading.at.best, here, moment, events)

    def _changed_at(self, moment: Moment, tally: Tally) -> int:
        """Return when the order changed, by the meter's clock; never before the last thing the meter told."""
        ref = self.context.get("order")
        reading = None if ref is None or ref.partition(".")[0] == self.watch.device else moment.readings.get(ref)
        return max(moment.time if reading is None else reading.at.agent, tally.ts)

    def _split(self, state: EnergyState, here: Place, moment: Moment, events: list[ProductionEvent]) -> EnergyState:
        """Close what was known before a loss; the rest of the loss stands between two contexts."""
        lost = state.lost or state.place
        if state.lost is None:
            state = self._close(state, state.tally.ts, here, moment, events)
        return changed(state, lost=lost, place=here)

    def _sampled(
        self, state: EnergyState, reading: Reading, here: Place, moment: Moment, events: list[ProductionEvent]
    ) -> EnergyState:
        tally, moves = sample(self.watch, state.tally, reading)
        events += [discontinuity(move, self.meter.label, moment, reading) for move in moves if move.kind is not None]
        counted = [move for move in moves if move.delta]
        state = changed(
            state,
            tally=tally,
            pending=state.pending + sum(move.delta for move in counted),
            recovered=state.recovered or any(move.recovered for move in counted),
            uncertain=state.uncertain or (bool(counted) and reading.quality is Quality.UNCERTAIN),
            seen=state.seen if self.watch.raw(reading) is None else max(state.seen, from_when(reading, moment)),
        )
        if not state.usable:
            return state
        if state.opened is None:
            return changed(state, opened=reading.at.best, place=here)
        if state.changes and state.lost is None:
            state = self._across(state, reading, here, moment, events)
        end = reading.at.best
        if (
            (state.opened is not None and end >= self.meter.grid(state.opened))
            or state.lost is not None
            or here.ctx.shift != state.place.ctx.shift
        ):
            return self._close(state, end, here, moment, events)
        return state

    def _ticked(self, state: EnergyState, here: Place, moment: Moment, events: list[ProductionEvent]) -> EnergyState:
        """Close by the clock what no sample has closed: the register stands, or the agent stops."""
        state = changed(state, tally=stand(self.watch, state.tally, moment.time))
        if not state.usable or state.opened is None:
            return state
        now = moment.time + state.tally.ts - state.tally.agent  # by the meter's clock
        if moment.final:
            return self._close(state, now, here, moment, events)
        if now - _PATIENCE >= self.meter.grid(state.opened):
            return self._close(state, (now - _PATIENCE) // self.meter.every * self.meter.every, here, moment, events)
        return state

    def _close(self, state: EnergyState, end: int, here: Place, moment: Moment, events: list[ProductionEvent]) -> EnergyState:
        reading = moment.readings.get(self.watch.ref)
        state, told = closed(self.meter, state, end, here, moment=moment, at=None if reading is None else reading.at)
        events += told
        return state

    def _outcome(self, tally: Tally, moment: Moment, events: tuple[ProductionEvent, ...]) -> Outcome:
        """Return the events, and the meter's part of the picture where it is not in it yet."""
        facts = facts_of(tally, self.watch, "energy", self.meter.uom)
        if facts is None or moment.picture.counters.get(self.meter.label) == facts:
            return Outcome(events) if events else NOTHING
        return Outcome(events, picture={"counters": {**moment.picture.counters, self.meter.label: facts}})


def build(
    config: EnergyConfig,
    *,
    unit: str,  # noqa: ARG001 - the convention of all rules
    name: str,
    tags: Mapping[str, Tag],
    context_tags: Mapping[str, str] | None = None,
) -> tuple[Rule[Any], ...]:
    """Return the rule of meter ``name`` (with or without ``energy.``). Raises ValueError for a tag that is unknown or cannot count.

    ``context_tags`` maps a context key (order, product, lot, mode) to the ``device.tag`` that gives it: an interval closes in the moment in
    which the order changes.
    """
    meter_id = name.removeprefix("energy.")
    place, context = f"energy.{meter_id}", dict(context_tags or {})
    tag = find_register(config.tag, tags, config.wraps, place)
    check_references([(f"{place}.power", config.power), *((f"context.{key}", ref) for key, ref in context.items())], tags)
    register = Register(
        modulus=modulus_of(config.wraps),
        rate=round(config.max_rate * NS),
        burst=config.burst,
        on_restart=config.on_restart,
        grace=config.stale_after,
    )
    rule = EnergyRule(
        meter_id=meter_id,
        watch=Watch(
            tag.device, tag.name, register, tag.scale, tag.offset, config.wraps == "dint", None, config.stale_after, tag.period
        ),
        meter=Meter(config.label, config.carrier, config.uom or tag.uom or "KWH", tag.scale, config.every),
        by_order=config.close_on.order,
        context=context,
        tags=tuple(dict.fromkeys([config.tag, *context.values()])),
        fingerprint=fingerprint(tag, config.wraps),
    )
    return (rule,)
