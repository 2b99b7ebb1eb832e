"""One moment through the rules of a unit, phase by phase, and the context stamped into what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from edge_agent.events import boundary
from edge_agent.events.derived import DerivedRule, widened
from edge_agent.events.rule import Moment, Outcome, Phase, Picture, Rule
from edge_agent.events.shift import Calendar
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.event import NO_CONTEXT, Acknowledge, Context, ProductionEvent
from edge_agent.model.instant import MS
from edge_agent.model.reading import AgentDown, DeviceDown, DeviceUp, Notice, Timestamps


class RuleError(EdgeAgentError):
    """A rule failed on its input: the unit is set aside until somebody looks; ``__cause__`` holds the traceback."""

    def __init__(self, rule: str, unit: str, cause: Exception) -> None:
        super().__init__(f"rule {rule!r} of unit {unit!r} failed: {type(cause).__name__}: {cause}")
        self.rule, self.unit, self.cause = rule, unit, cause


class Steps:
    """Which rules of a unit take part in which moment. ``rules`` are sorted by phase."""

    def __init__(self, unit: str, rules: Sequence[Rule[Any]], calendar: Calendar | None, devices: Iterable[str]) -> None:
        self.unit, self.rules, self.calendar, self.devices = unit, tuple(rules), calendar, frozenset(devices)
        self.derived = tuple(i for i, rule in enumerate(self.rules) if rule.phase == Phase.DERIVE)
        self.every = tuple(i for i in range(len(self.rules)) if i not in self.derived)
        self._ticking = tuple(i for i in self.every if self.rules[i].ticks)
        self._records = tuple(i for i in self.every if self.rules[i].phase == Phase.RECORD)
        self.marks: tuple[str | None, ...] = tuple(getattr(rule, "mark", None) for rule in self.rules)
        self.named = frozenset(ref for i in self.every if self.rules[i].phase == Phase.CONTEXT for ref in self.rules[i].tags)
        self.first_gap = next((i for i in self.every if self.rules[i].phase == Phase.GAP), len(self.rules))
        self._derivers = [rule for rule in self.rules if isinstance(rule, DerivedRule)]
        self._by_tag: dict[str, tuple[int, ...]] = {}
        for i in self.every:
            for ref in self.rules[i].tags:
                known = self._by_tag.get(ref, ())
                self._by_tag[ref] = known if i in known else (*known, i)

    def begin(self, states: Sequence[msgspec.Struct], picture: Picture, since: int) -> Work:
        """Return the work of one turn, from the given states, picture and begin of the current shift (UTC ns)."""
        return Work(self, list(states), picture, since)

    def widened(self, moment: Moment) -> Moment:
        """Return the moment with its notices told of derived tags, too."""
        return msgspec.structs.replace(moment, notices=widened(moment.notices, self._derivers)) if moment.notices else moment

    def of(self, moment: Moment) -> tuple[int, ...]:
        """Return the rules that ``moment`` concerns, in the order of their phases."""
        if moment.notices:
            return self.every
        if moment.tick:
            return self._ticking
        if len(moment.readings) == 1 and not moment.snapshots:
            return self._by_tag.get(next(iter(moment.readings)), ())
        concerned = {i for ref in moment.readings for i in self._by_tag.get(ref, ())}
        if moment.snapshots:
            concerned.update(self._records)
        return tuple(sorted(concerned))


class Work:
    """One turn: states and picture as they become, events and effects as they are made. Thrown away when a rule fails."""

    def __init__(self, steps: Steps, states: list[msgspec.Struct], picture: Picture, since: int) -> None:
        self._steps = steps
        self.states, self.picture, self.since = states, picture, since
        self.events: list[ProductionEvent] = []
        self.effects: list[Acknowledge] = []
        self._unstamped: list[int] = []
        self._edge = 0  # where the context of this moment ended, among the events

    def step(self, moment: Moment) -> None:
        """Fold one moment. Raises RuleError."""
        steps, before, made = self._steps, self.picture, len(self.events)
        if moment.notices:
            self.picture = _reachable(before, moment.notices, steps.devices)
        if steps.derived and not moment.tick:
            moment = self._derive(moment)
        concerned = steps.of(moment)
        context: Context | None = before.context
        for i in concerned:
            phase = steps.rules[i].phase
            if phase == Phase.GAP:
                break
            if phase == Phase.CONTEXT:
                self._edge = self._edge if context is None else len(self.events)
                context = None  # in the making: what these rules say is stamped when all of them have spoken
            elif context is None:
                context = self._settle(moment, before)
            self._one(i, moment, before, made, context)
        if context is None:
            context = self._settle(moment, before)
        for i in range(steps.first_gap, len(steps.rules)):
            if i in concerned or len(self.events) > made:
                self._one(i, moment, before, made, context)

    def _derive(self, moment: Moment) -> Moment:
        """Return the moment with the samples of derived tags in it."""
        moment = self._steps.widened(moment)
        readings = dict(moment.readings)
        for i in self._steps.derived:
            rule = self._steps.rules[i]
            try:
                self.states[i], outcome = rule.step(self.states[i], moment)
            except Exception as cause:  # told to the agent, which sets the unit aside with this traceback
                raise RuleError(rule.name, self._steps.unit, cause) from cause
            readings |= outcome.readings or {}
        return moment if len(readings) == len(moment.readings) else msgspec.structs.replace(moment, readings=readings)

    def _settle(self, moment: Moment, before: Picture) -> Context:
        """Stamp what the rules of the context phase said with the context they left behind; return it."""
        self.picture = boundary.ended(before, self.picture, moment, self.events[self._edge :], self._steps.named)
        context = self.picture.context
        for place in self._unstamped:
            self.events[place] = self._stamp(self.events[place], context, moment)
        self._unstamped.clear()
        return context

    def _one(self, i: int, moment: Moment, before: Picture, made: int, context: Context | None) -> None:
        rule, picture = self._steps.rules[i], self.picture
        mark = self._steps.marks[i] if picture.ended else None
        if mark is not None and moment.snapshots:
            picture = self._as_of(mark, moment, before)
        seen = Moment(
            moment.time, moment.unit, moment.readings, moment.snapshots, moment.notices, picture, before,
            tuple(self.events[made:]), moment.tick, moment.final, moment.late, moment.historical, moment.offsets,
        )  # fmt: skip
        try:
            self.states[i], outcome = rule.step(self.states[i], seen)
            self._take(outcome, seen, context, mark)
        except Exception as cause:  # told to the agent, which sets the unit aside with this traceback
            raise RuleError(rule.name, self._steps.unit, cause) from cause

    def _as_of(self, mark: str, moment: Moment, before: Picture) -> Picture:
        """Return the picture as a record that was read now has it: parts that were made before a change belong to what was made then."""
        reading = next((rows[mark] for rows in moment.snapshots.values() if mark in rows), None)
        whose = boundary.owner(mark, reading.at, before, self.picture) if reading is not None else None
        return self.picture if whose is None else msgspec.structs.replace(self.picture, context=whose.ctx)

    def _take(self, outcome: Outcome, moment: Moment, context: Context | None, mark: str | None) -> None:
        if outcome.picture:
            self.picture = msgspec.structs.replace(self.picture, **outcome.picture)
        self.effects.extend(outcome.effects)
        for event in outcome.events:
            if mark is not None and event.type in boundary.PARTS and self._of_what_ended(event, moment, mark):
                continue
            if context is None:
                self._unstamped.append(len(self.events))
                self.events.append(event)
            else:
                self.events.append(self._stamp(event, context, moment))

    def _of_what_ended(self, event: ProductionEvent, moment: Moment, mark: str) -> bool:
        """Take the record of a part that belongs to a context that has ended, ahead of the change where that is told in this moment."""
        whose = boundary.owner(mark, event.at, moment.before, self.picture) if event.at is not None else None
        if whose is None:
            return False
        if event.ctx == NO_CONTEXT and not event.data.get("spans"):
            event = boundary.stamped(event, whose)
        event = self._stamp(event, whose.ctx, moment)
        if self.picture.ended == moment.before.ended:
            self.events.append(event)
        else:
            self.events.insert(self._edge, event)
            self._edge += 1
        return True

    def _stamp(self, event: ProductionEvent, context: Context, moment: Moment) -> ProductionEvent:
        changes: dict[str, Any] = {}
        ctx = event.ctx
        if ctx == NO_CONTEXT and not event.data.get("spans"):
            ctx = context
        if event.time < self.since and ctx.shift is not None:
            ctx = self._with_shift_of(ctx, event.time)
        if ctx != event.ctx:
            changes["ctx"] = ctx
        if event.correlation is None and ctx.order is not None:
            changes["correlation"] = ctx.order
        if moment.offsets and event.at is not None and (offset := _offset(event.at, moment)) is not None:
            changes["offset_ms"] = offset
        if moment.late and not event.late:
            changes["late"] = True
        if moment.historical and event.derivation == "observed":
            changes["derivation"] = "historical"
        return msgspec.structs.replace(event, **changes) if changes else event

    def _with_shift_of(self, ctx: Context, time: int) -> Context:
        """Return ``ctx`` with the shift of ``time``: what is seen after a boundary but happened before it is the old shift's."""
        calendar = self._steps.calendar
        occurrence = calendar.at(time) if calendar is not None else None
        return ctx if occurrence is None else msgspec.structs.replace(ctx, shift=occurrence.shift)


def _offset(at: Timestamps, moment: Moment) -> float | None:
    """Return the clock of the device that ``at`` comes from minus the agent's, in ms, None where nobody measured it."""
    rows = chain(moment.readings.values(), *(group.values() for group in moment.snapshots.values()))
    device = next((reading.tag.partition(".")[0] for reading in rows if reading.at is at or reading.at == at), None)
    offset = moment.offsets.get(device) if device is not None else None
    return None if offset is None else offset / MS


def _reachable(picture: Picture, notices: Sequence[Notice], devices: frozenset[str]) -> Picture:
    """Return ``picture`` with the devices that the notices call up or down; after an absence of the agent none answers yet."""
    down = set(picture.down)
    for notice in notices:
        if isinstance(notice, DeviceDown):
            down.add(notice.device)
        elif isinstance(notice, DeviceUp):
            down.discard(notice.device)
        elif isinstance(notice, AgentDown):
            down |= devices
    return picture if down == picture.down else msgspec.structs.replace(picture, down=frozenset(down))
