"""Inputs and small rules for the tests of the fold: a PLC with one clock, and rules that tell what they saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_agent.events.derive import Fold, Tick, Turn, UnitState
from edge_agent.events.rule import CounterFacts, Moment, Outcome, Phase
from edge_agent.events.shift import Calendar, ShiftConfig
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, parse
from edge_agent.model.reading import Batch, Notice, Snapshot, Tag

T0 = parse("2026-10-25T04:50:00Z")
"""Ten minutes before the shift boundary N to M in Berlin."""

PLC = tuple(Tag("plc", name) for name in ("count", "order", "product", "lot", "state", "speed"))
METER = tuple(Tag("meter", name) for name in ("energy", "power"))
PLACE = {tag.name: place for tags in (PLC, METER) for place, tag in enumerate(tags)}


def at(t: float) -> int:
    """Return the instant ``t`` seconds into the story."""
    return T0 + round(t * NS)


def tick(t: float, *, final: bool = False) -> Tick:
    """Return the tick of ``t``."""
    return Tick(at(t), final)


def batch(
    received: float,
    *rows: tuple[str, Any, float],
    device: str = "plc",
    bad: tuple[str, ...] = (),
    before: tuple[Notice, ...] = (),
    after: tuple[Notice, ...] = (),
    snapshots: tuple[Snapshot, ...] = (),
    stamped: bool = True,
) -> Batch:
    """Return a batch with rows (tag, value, source time); ``stamped=False`` = a device without a clock."""
    sources = [at(source) if stamped else 0 for _, _, source in rows]
    return Batch(
        device,
        at(received),
        [PLACE[name] for name, _, _ in rows],
        [value for _, value, _ in rows],
        [2 if name in bad else 0 for name, _, _ in rows],
        sources,
        [0] * len(rows),
        before=before,
        after=after,
        snapshots=snapshots,
    )


def berlin() -> Calendar:
    """Return the demo line's calendar."""
    shifts = {"N": ("22:00", "06:00"), "M": ("06:00", "14:00"), "A": ("14:00", "22:00")}
    return Calendar({name: ShiftConfig(start=start, end=end) for name, (start, end) in shifts.items()}, "Europe/Berlin")


class Seen(msgspec.Struct, frozen=True):
    """How many moments a rule took part in."""

    moments: int = 0


class Witness:
    """A rule that tells every moment it takes part in, as an event ``seen`` with what it saw."""

    version = 1
    state_type = Seen

    def __init__(
        self,
        name: str = "witness",
        *,
        phase: Phase = Phase.STATE,
        tags: tuple[str, ...] = (),
        ticks: bool = False,
        fingerprint: str = "",
    ) -> None:
        self.name, self.phase, self.tags, self.ticks, self.fingerprint = name, phase, tags, ticks, fingerprint

    def initial(self) -> Seen:
        return Seen()

    def step(self, state: Seen, moment: Moment) -> tuple[Seen, Outcome]:
        saw: dict[str, Any] = {"by": self.name, "readings": {ref: reading.value for ref, reading in moment.readings.items()}}
        if any(reading.at.best != moment.time for reading in moment.readings.values()):
            saw["times"] = [(reading.at.best - T0) / NS for reading in moment.readings.values()]
        if moment.snapshots:
            saw["snapshots"] = {group: {ref: one.value for ref, one in read.items()} for group, read in moment.snapshots.items()}
        if moment.notices:
            saw["notices"] = [type(notice).__name__ for notice in moment.notices]
        if moment.tick:
            saw["tick"] = True
        event = ProductionEvent(type="seen", time=moment.time, data=saw)
        return Seen(state.moments + 1), Outcome((event,))


class CountState(msgspec.Struct, frozen=True):
    """The last value and the sum."""

    last: int | None = None
    total: int = 0


class Counter:
    """A counter without wraps: one event per increase, its total in the picture."""

    name = "counters.total"
    phase = Phase.COUNT
    tags = ("plc.count",)
    ticks = False
    version = 1
    fingerprint = "plc.count"
    state_type = CountState

    def initial(self) -> CountState:
        return CountState()

    def step(self, state: CountState, moment: Moment) -> tuple[CountState, Outcome]:
        reading = moment.readings.get("plc.count")
        if reading is None or not isinstance(reading.value, int):
            return state, Outcome()
        delta = 0 if state.last is None else reading.value - state.last
        after = CountState(reading.value, state.total + delta)
        facts = CounterFacts("total", after.total, reading.value)
        picture: Mapping[str, Any] = {"counters": {**moment.picture.counters, "total": facts}}
        if not delta:
            return after, Outcome(picture=picture)
        event = ProductionEvent(
            type="production.count", time=moment.time, data={"delta": delta, "total": after.total}, at=reading.at
        )
        return after, Outcome((event,), picture=picture)


def run(fold: Fold, *turns: list[Batch | Tick], state: UnitState | None = None) -> tuple[list[ProductionEvent], Turn]:
    """Fold the turns one after another; return all events and the last turn."""
    state = state or fold.start({})[0]
    events: list[ProductionEvent] = []
    turn = Turn(state)
    for inputs in turns:
        turn = fold.fold(state, inputs)
        state = turn.state
        events += turn.events
    return events, turn


def told(events: list[ProductionEvent], kind: str = "seen") -> list[tuple[float, Any]]:
    """Return the events of one type as (seconds, data)."""
    return [((event.time - T0) / NS, event.data) for event in events if event.type == kind]
