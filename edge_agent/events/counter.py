"""Counters: differences of a register become `production.count`, whatever the register does.

A count is what the register moved between two usable samples. How a wrap, a reset, a restart and a lie are told apart stands in
`advance.py`, what a loss does in `tally.py`, whom the count belongs to in `belonging.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.advance import WRAPS, OnRestart, Register, modulus_of
from edge_agent.events.belonging import Bounds, Modes, Place, before_loss, read
from edge_agent.events.crossing import Change, Crossed, crossed, from_when, kept, told
from edge_agent.events.losses import gauge, heed, sign, stand
from edge_agent.events.reference import check_references
from edge_agent.events.registers import Wraps, discontinuity, facts_of, find_register, fingerprint, happened, interval_text, require
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.shift import in_units
from edge_agent.events.tally import Move, Tally, Watch, sample
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.quantity import Duration, Rate
from edge_agent.model.reading import Reading, Tag

Role = Literal["total", "good", "scrap", "rework", "sample", "infeed", "outfeed", "consumed"]


_PARTS = frozenset({"total", "good", "scrap", "rework", "sample", "infeed", "outfeed"})
"""Roles of what the machine makes or handles one by one: none of it is faster than the machine. What it consumes has a unit of its own."""

_DESIGN = (
    ", or give the unit its design speed, as speed: {actual: device.tag, design: 120, uom: /min, deadband: 5}: 1.5 x it is taken"
)


def _optional_rate(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name != "max_rate"]


class CounterConfig(BaseModel):
    """One counter of a work unit. ``max_rate``, ``burst`` and ``back_tol`` are in raw units of the register, before scaling."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_optional_rate)

    tag: str = Field(description="The register, as device.tag")
    role: Role = Field(description="What it counts; nothing is added up or subtracted behind your back")
    wraps: Wraps = Field(description=f"How the register wraps: {WRAPS}")
    max_rate: Rate = Field(
        gt=0,
        description="The fastest it can count; judges wraps, resets and wrong values. Left out = 1.5 x the unit's design speed, for parts",
    )
    burst: int = Field(default=2, ge=0, description="Units beyond max_rate that are still believed (jitter, several parts at once)")
    back_tol: int = Field(default=0, ge=0, description="How far it may be pulled back as a correction (counted negative)")
    reset_evidence: str | None = Field(default=None, description="A tag that goes down at a reset, as device.tag")
    reset_policy: Literal["never", "per_order"] = Field(default="never", description="Whether the PLC zeroes it at each order")
    on_restart: OnRestart = Field(default="unknown", description="What it does when its PLC restarts or the evidence goes down")
    stale_after: Duration = Field(
        default=10_000_000_000, ge=1_000_000_000, description="Silence after which nothing is taken for granted"
    )
    uom: str = Field(default="H87", description="Unit of measure, UNECE Rec 20 (H87 = piece)")
    same_read_as: str | None = Field(default=None, description="The counter that is read in one request with this one")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        try:
            return require(given, cls.model_fields, "role", "wraps", "max_rate")
        except ValueError as error:
            parts = given.get("role") in _PARTS and given.get("max_rate") is None
            raise ValueError(f"{error}{_DESIGN}" if parts else str(error)) from None


def limited(given: Any, rate: str) -> Any:
    """Return a counter as written, with ``max_rate: rate`` where it counts parts and names none."""
    if not isinstance(given, Mapping) or given.get("role") not in _PARTS or given.get("max_rate") is not None:
        return given
    return {**given, "max_rate": rate} if given.get("uom", "H87") == "H87" else given


class CounterState(msgspec.Struct, frozen=True, eq=False):
    """The tally, and the context in which the last sample (or, behind a loss, the last moment before it) stood.

    ``aside`` is how much of the tally's total belongs to no order although one was open (raw units): made outside production, or across a change of
    order. ``changes`` are those of the context since the last sample. ``seen`` is from when that is (agent's UTC ns): it moves with every sample and is
    not worth a commit, so it makes no state another one; after a restart an older one only means less certainty.
    """

    tally: Tally = Tally()
    place: Place = Place()
    aside: int = 0
    changes: tuple[Change, ...] = ()
    seen: int = 0

    @property
    def _stored(self) -> tuple[object, ...]:
        return self.tally, self.place, self.aside, self.changes

    def __eq__(self, other: object) -> bool:
        """Whether both are the same but for when the last sample was taken."""
        return isinstance(other, CounterState) and self._stored == other._stored

    def __ne__(self, other: object) -> bool:
        """As `__eq__` says: a Struct brings one of its own."""
        return not self == other

    def __hash__(self) -> int:
        """As `__eq__` demands."""
        return hash((self.tally, self.aside))


@dataclass(frozen=True)
class CounterRule:
    """The rule of one counter: `production.count`, `counter.discontinuity`, and its place in the unit's picture."""

    counter: str
    watch: Watch
    role: Role
    uom: str
    per_order: bool
    context: Mapping[str, str]
    modes: Modes
    tags: tuple[str, ...]
    fingerprint: str
    phase: Phase = Phase.COUNT
    ticks: bool = True
    version: int = 1
    state_type: type[CounterState] = CounterState

    @property
    def name(self) -> str:
        """The name under which the state is stored."""
        return f"counters.{self.counter}"

    def initial(self) -> CounterState:
        """Return the state before anything was seen: no baseline."""
        return CounterState()

    def step(self, state: CounterState, moment: Moment) -> tuple[CounterState, Outcome]:
        """Fold one moment: losses and evidence first, then the sample; a tick only proves that the value stood."""
        watch, here, aside = self.watch, read(moment, self.context, self.modes), state.aside
        lost = state.place if state.tally.broken or state.tally.last is None else before_loss(moment, state.place)
        tally = heed(watch, state.tally, moment.notices)
        evidence = moment.readings.get(watch.evidence) if watch.evidence is not None else None
        if evidence is not None:
            tally = gauge(watch, tally, evidence)
        reading = moment.readings.get(watch.ref)
        events: tuple[ProductionEvent, ...] = ()
        now = Place(moment.picture.context, moment.picture.mode_code, moment.picture.production)
        changes, since = self._changes(state, moment, now, here, reading)
        if reading is not None:
            if self.per_order and here.ctx.order != state.place.ctx.order and self._may_be_zeroed(tally, reading):
                tally = sign(watch, tally, "reset", "order_changed", reading.at.agent)
            tally, moves = sample(watch, tally, reading)
            across = crossed(state.changes, reading, moment, watch.period, now)
            bounds = Bounds(state.place, lost, here)
            told_by = [self._tell(move, moment, reading, bounds, across) for move in moves]
            events = tuple(event for some, _ in told_by for event in some)
            aside += sum(outside for _, outside in told_by)
            if tally.good and tally.held is None:
                changes = across.later
        elif moment.tick and watch.device not in moment.picture.down:
            tally = stand(watch, tally, moment.time)
        seen = reading is not None or moment.tick
        after = self._after(state, CounterState(tally, here, aside), lost, seen=seen)
        if changes is not state.changes or since != state.seen:
            after = msgspec.structs.replace(after, changes=changes, seen=since)
        return after, self._outcome(tally, aside, moment, events)

    def _changes(
        self, state: CounterState, moment: Moment, now: Place, here: Place, reading: Reading | None
    ) -> tuple[tuple[Change, ...], int]:
        """Return the changes of context that no sample came with, and from when the last sample is."""
        usable = reading is not None and self.watch.raw(reading) is not None
        if reading is not None and usable:
            return state.changes, max(state.seen, from_when(reading, moment))
        new = (
            told(moment, self.context, now, here, counter=self.watch.device, seen=state.seen)
            if state.tally.last is not None
            else None
        )
        return (state.changes if new is None else kept(state.changes, new)), state.seen

    @staticmethod
    def _after(state: CounterState, new: CounterState, lost: Place, *, seen: bool) -> CounterState:
        """Return the new state: the very same when nothing changed that matters after a restart."""
        tally = new.tally
        if state.tally.broken and not seen and not tally.broken:  # the loss has hidden nothing: what comes stands where it began
            return CounterState(tally, state.place, new.aside, state.changes, state.seen)
        if tally.broken:
            return state if tally is state.tally else CounterState(tally, lost, new.aside, state.changes, state.seen)
        if tally is not state.tally or (seen and tally.last is not None and new.place.ctx.shift != state.place.ctx.shift):
            return msgspec.structs.replace(new, changes=state.changes, seen=state.seen)
        return state

    def _may_be_zeroed(self, tally: Tally, reading: Reading) -> bool:
        """An order change alone zeroes nothing that was seen to go on counting; unseen, or with a lower value, it may have."""
        raw = self.watch.raw(reading)
        return tally.broken or (raw is not None and tally.last is not None and raw < tally.last)

    def _tell(
        self, move: Move, moment: Moment, reading: Reading, bounds: Bounds, across: Crossed
    ) -> tuple[list[ProductionEvent], int]:
        """Return what a move is told by, and how much of it belongs to no order although one was open."""
        events, aside, picture = [], 0, moment.picture
        if move.kind is not None:
            events.append(discontinuity(move, self.counter, moment, reading))
        if move.delta:
            stamped = reading.at.source is not None
            zeroed = self.per_order and move.kind == "reset" and not move.recovered  # what it shows was made since
            places = () if zeroed else across.places
            ctx, candidates = bounds.owner(across.end, recovered=move.recovered, stamped=stamped, across=places)
            data = self._count(move, candidates)
            events.append(happened("production.count", data, move, moment=moment, reading=reading, ctx=ctx))
            aside = move.delta if ctx.order != picture.context.order else 0
        return events, aside

    def _count(self, move: Move, candidates: dict[str, list[str | None]]) -> dict[str, Any]:
        data: dict[str, Any] = {
            "counter": self.counter,
            "disposition": self.role,
            "delta": in_units(move.delta, self.watch.scale),
            "total": in_units(move.total, self.watch.scale),
            "raw": str(move.after),
            "uom": self.uom,
            "interval": interval_text(move.since, move.until),
            "reason": None,
            "spans": list(candidates),
        }
        if candidates:
            data["candidates"] = candidates
        return data

    def _outcome(self, tally: Tally, aside: int, moment: Moment, events: tuple[ProductionEvent, ...]) -> Outcome:
        """Return the events, and the counter's part of the picture where it is not in it yet."""
        facts = facts_of(tally, self.watch, self.role, self.uom, aside)
        if facts is None or moment.picture.counters.get(self.counter) == facts:
            return Outcome(events) if events else NOTHING
        return Outcome(events, picture={"counters": {**moment.picture.counters, self.counter: facts}})


def build(
    config: CounterConfig,
    *,
    unit: str,  # noqa: ARG001 - the convention of all rules
    name: str,
    tags: Mapping[str, Tag],
    context_tags: Mapping[str, str] | None = None,
    modes: Modes | None = None,
) -> tuple[Rule[Any], ...]:
    """Return the rule of counter ``name`` (with or without ``counters.``). Raises ValueError for a tag that is unknown or cannot count.

    ``context_tags`` maps a context key (order, product, lot, mode) to the ``device.tag`` that gives it: behind a loss it is read in the same
    moment as the counter. Parts made in ``modes`` that are not production belong to no order.
    """
    counter = name.removeprefix("counters.")
    place, context = f"counters.{counter}", dict(context_tags or {})
    tag = find_register(config.tag, tags, config.wraps, place)
    evidence = config.reset_evidence
    check_references([(f"{place}.reset_evidence", evidence), *((f"context.{key}", ref) for key, ref in context.items())], tags)
    listened = [config.tag, *([evidence] if evidence else ()), *context.values()]
    register = Register(
        modulus=modulus_of(config.wraps),
        rate=round(config.max_rate * NS),
        burst=config.burst,
        back_tol=config.back_tol,
        on_restart=config.on_restart,
        grace=config.stale_after,
    )
    rule = CounterRule(
        counter=counter,
        watch=Watch(
            tag.device, tag.name, register, tag.scale, tag.offset, config.wraps == "dint", evidence, config.stale_after, tag.period
        ),
        role=config.role,
        uom=config.uom,
        per_order=config.reset_policy == "per_order",
        context=context,
        modes=modes or Modes(),
        tags=tuple(dict.fromkeys(listened)),
        fingerprint=fingerprint(tag, config.wraps, config.role),
    )
    return (rule,)
