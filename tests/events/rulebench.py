"""A bench for rules: folds moments through real rules the way a unit does, and can put every state through its stored form in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edge_agent.events.rule import Moment, Phase, Picture, Rule
from edge_agent.events.stored import pack, pack_rule, unpack, unpack_rule
from edge_agent.model.event import Acknowledge, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, DeviceUp, Notice, Quality, Reading, Tag, Timestamps

T0 = 1_792_904_400 * NS
"""2026-10-25T04:00:00Z, t = 0 of the tests."""


def at(seconds: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(seconds * 1000) * 1_000_000


def seconds(time: int) -> float:
    """Return UTC ns as t."""
    return (time - T0) / NS


def tags_of(*refs: str, acknowledge: Iterable[str] = ()) -> dict[str, Tag]:
    """Return tags by reference; those in ``acknowledge`` may be written."""
    allowed = set(acknowledge)
    return {ref: Tag(*ref.split(".", 1), acknowledge=ref in allowed) for ref in (*refs, *allowed)}


def reading(ref: str, value: Any, t: float, *, quality: Quality = Quality.GOOD, agent: float | None = None) -> Reading:
    """Return a sample with source time ``t`` that the agent got at ``agent`` (default: 10 ms later)."""
    return Reading(ref, value, quality, Timestamps(at(t), None, at(t + 0.01 if agent is None else agent)))


class Bench:
    """Rules, their states and the picture; everything they said."""

    def __init__(self, rules: Sequence[Rule[Any]], *, unit: str = "filler") -> None:
        """Start with the rules' own beginning."""
        self.rules = tuple(sorted(rules, key=lambda rule: rule.phase))
        self.states: list[Any] = [rule.initial() for rule in self.rules]
        self.picture = Picture()
        self.events: list[ProductionEvent] = []
        self.effects: list[Acknowledge] = []
        self.restarts = False
        self.unit = unit

    def step(self, moment: Moment) -> list[ProductionEvent]:
        """Fold one moment; return what it caused."""
        if self.restarts:
            self.restart()
        before, events = self.picture, list[ProductionEvent]()
        for i, rule in enumerate(self.rules):
            if not self._concerns(rule, moment):
                continue
            seen = msgspec.structs.replace(moment, picture=self.picture, before=before, events=tuple(events))
            self.states[i], outcome = rule.step(self.states[i], seen)
            self.picture = msgspec.structs.replace(self.picture, **(outcome.picture or {}))
            events += outcome.events
            self.effects += outcome.effects
        context = self.picture.context
        self.events += [msgspec.structs.replace(event, ctx=context, correlation=context.order) for event in events]
        return self.events[len(self.events) - len(events) :]

    @staticmethod
    def _concerns(rule: Rule[Any], moment: Moment) -> bool:
        """Whether a rule is stepped, as the contract of rules says."""
        if moment.notices or (moment.tick and rule.ticks):
            return True
        return any(ref in moment.readings for ref in rule.tags) or (bool(moment.snapshots) and rule.phase is Phase.RECORD)

    def say(
        self, t: float, values: Mapping[str, Any] | None = None, *, agent: float | None = None, **quality: Quality
    ) -> list[ProductionEvent]:
        """Fold the samples of one instant; ``bad=Quality.BAD`` marks them all."""
        found = quality.get("quality", Quality.GOOD)
        readings = {ref: reading(ref, value, t, agent=agent, quality=found) for ref, value in (values or {}).items()}
        return self.step(Moment(at(t), self.unit, readings))

    def read(self, t: float, group: str, values: Mapping[str, Any], bad: Iterable[str] = ()) -> list[ProductionEvent]:
        """Fold one atomic read of a trigger group."""
        worse = set(bad)
        rows = {ref: reading(ref, value, t, quality=Quality.BAD if ref in worse else Quality.GOOD) for ref, value in values.items()}
        return self.step(Moment(at(t), self.unit, {}, {group: rows}))

    def note(self, notice: Notice) -> list[ProductionEvent]:
        """Fold a notice, which always is a moment of its own."""
        time = notice.until if isinstance(notice, AgentDown) else notice.time
        return self.step(Moment(time, self.unit, notices=(notice,)))

    def tick(self, t: float) -> list[ProductionEvent]:
        """Let time pass."""
        return self.step(Moment(at(t), self.unit, tick=True))

    def down(self, t: float, last_good: float | None, device: str = "plc") -> list[ProductionEvent]:
        """Lose a device."""
        return self.note(DeviceDown(device, at(t), None if last_good is None else at(last_good), "cut"))

    def up(self, t: float, boot: int | None = None, device: str = "plc") -> list[ProductionEvent]:
        """Find a device again, with its boot counter where it has one."""
        events = list(self.note(DeviceUp(device, at(t))))
        return events if boot is None else events + self.boot(t, boot, device)

    def boot(self, t: float, boot: int, device: str = "plc") -> list[ProductionEvent]:
        """Tell the device's boot counter."""
        return self.note(Boot(device, at(t), boot))

    def agent_down(self, since: float, until: float) -> list[ProductionEvent]:
        """Put the agent away for a while; its states go through their stored form."""
        self.restart()
        return self.note(AgentDown(at(since), at(until)))

    def restart(self) -> None:
        """Put every state and the picture through the stored form."""
        stored = [pack_rule(rule, state) for rule, state in zip(self.rules, self.states, strict=True)]
        self.states = [unpack_rule(rule, data) for rule, data in zip(self.rules, stored, strict=True)]
        assert all(state is not None for state in self.states)
        picture = unpack(pack(self.picture, version=1, fingerprint=""), Picture, version=1, fingerprint="")
        assert picture is not None
        self.picture = picture

    def told(self, *types: str) -> list[ProductionEvent]:
        """Return the events of these types."""
        return [event for event in self.events if event.type in types]


def plain(event: ProductionEvent) -> Any:
    """Return an event as comparable data."""
    return msgspec.to_builtins(event)
