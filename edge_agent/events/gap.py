"""Gaps: every loss of data is an event of its own, with what is known of its size.

A lost device is declared when it is back and its counters have told what was made meanwhile, so that one event says it all; the same for
the agent's own absence, and for a tag that was bad too long. What a driver declares itself is passed on at once. A loss that is not over
when the agent stops stays open in the stored state and begins, in the end, where it truly began.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.outage import EVERYTHING, Loss, Outage, gap_event, usable
from edge_agent.events.reference import check_references, device_of
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.model.event import ProductionEvent
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import AgentDown, DeviceDown, DeviceUp, Gap, Notice, Reading, Recovered, Tag


class GapConfig(BaseModel):
    """What counts as a gap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stale_after: Duration = Field(default=2_000_000_000, description="A tag of an event that is bad for longer is declared")
    settle: Duration = Field(default=10_000_000_000, description="How long after a return its counters are waited for")


class Bad(msgspec.Struct, frozen=True):
    """Since when a tag is bad: by the clock of its samples and by the agent's (UTC ns)."""

    since: int
    agent: int


class GapState(msgspec.Struct, frozen=True):
    """The losses that are not over, and the event inputs that are bad now."""

    outages: tuple[Outage, ...] = ()
    bad: Mapping[str, Bad] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class GapRule:
    """The rule of all gaps of a unit. ``counters`` maps a counter's name to its ``device.tag``; ``sampled`` is telemetry, which it does not look at."""

    stale_after: int
    settle: int
    counters: Mapping[str, str]
    registers: frozenset[str]
    tags: tuple[str, ...]
    sampled: tuple[str, ...] = ()
    name: str = "gap"
    phase: Phase = Phase.GAP
    ticks: bool = True
    version: int = 1
    fingerprint: str = ""
    state_type: type[GapState] = GapState

    def initial(self) -> GapState:
        """Return the state before anything was lost."""
        return GapState()

    def step(self, state: GapState, moment: Moment) -> tuple[GapState, Outcome]:
        """Fold one moment: what was lost, what came back, what was made up for; then tell what is over."""
        outages, events = state.outages, list[ProductionEvent]()
        for notice in moment.notices:
            outages = self._heed(outages, notice, moment, events)
        bad = state.bad
        if moment.readings:
            bad = self._judge(bad, outages, moment, events)
        if outages and (moment.readings or moment.events or moment.tick):
            outages = self._fill(outages, moment)
            events += [outage.told(moment, (*self.tags, *self.sampled)) for outage in outages if self._is_over(outage, moment)]
            outages = tuple(outage for outage in outages if not self._is_over(outage, moment))
        if outages != state.outages or bad is not state.bad:
            state = GapState(outages, bad)
        return state, Outcome(tuple(events)) if events else NOTHING

    # -- lost and back -------------------------------------------------------------------------------------------

    def _heed(
        self, outages: tuple[Outage, ...], notice: Notice, moment: Moment, events: list[ProductionEvent]
    ) -> tuple[Outage, ...]:
        if isinstance(notice, AgentDown):
            away = Outage("agent_down", None, notice.since)
            return (
                *(one for one in outages if one.device is not None),
                _one_of(outages, None, away).back(notice.until, self.registers),
            )
        if isinstance(notice, DeviceDown):
            return self._down(outages, notice)
        if isinstance(notice, DeviceUp):
            return tuple(self._up(one, notice) for one in outages)
        if isinstance(notice, Recovered):
            mine = (*self.tags, *self.sampled)
            return tuple(one.refilled(notice, mine) if one.device in (None, notice.device) else one for one in outages)
        if isinstance(notice, Gap):
            return self._declared(outages, notice, moment, events)
        return outages

    def _down(self, outages: tuple[Outage, ...], notice: DeviceDown) -> tuple[Outage, ...]:
        since = notice.last_good
        if since is None:  # not seen since the agent came back: then it is out of sight since the agent went
            since = min([notice.time, *(one.since for one in outages if one.device is None)])
        lost = _one_of(outages, notice.device, Outage("comm_loss", notice.device, since)).again(since)
        others = (one.without(notice.device) if one.device is None else one for one in outages if one.device != notice.device)
        return (*others, lost)

    def _up(self, outage: Outage, notice: DeviceUp) -> Outage:
        if outage.device is None:
            return outage.heard(notice.device, notice.time)
        return outage.back(notice.time, self.registers) if outage.device == notice.device else outage

    def _declared(
        self, outages: tuple[Outage, ...], notice: Gap, moment: Moment, events: list[ProductionEvent]
    ) -> tuple[Outage, ...]:
        """Pass on what a driver declares, unless it is part of a loss that is told anyway."""
        refs = [f"{notice.device}.{name}" for name in notice.tags]
        if refs and not any(ref in self.tags for ref in refs):
            return outages  # nothing that events of this unit are made from
        lacking = refs or [ref for ref in (*self.tags, *self.sampled) if device_of(ref) == notice.device]
        if any(one.device == notice.device and not one.has(lacking) for one in outages):
            return tuple(one.covering(notice) if one.device == notice.device else one for one in outages)
        lost: Loss = "unknown" if notice.count is None else {"min": 0, "max": notice.count}
        interval = (min(notice.since, notice.until), notice.until)
        tags = refs or [f"{notice.device}.{EVERYTHING}"]
        events.append(gap_event(notice.reason, interval, tags, lost, moment=moment, device=notice.device))
        return outages

    def _fill(self, outages: tuple[Outage, ...], moment: Moment) -> tuple[Outage, ...]:
        filled = list(outages)
        for reading in moment.readings.values():
            filled = [outage.seen(reading, historical=moment.historical) for outage in filled]
        for counter, event in self._recovered(moment):
            concerned = [place for place, one in enumerate(filled) if one.concerns(self.counters[counter])]
            if concerned:  # a device's own loss comes before the agent's absence inside it: one count stands in one gap
                owner = min(concerned, key=lambda place: filled[place].device is None)
                filled[owner] = filled[owner].made_up(event)
        return tuple(filled)

    def _recovered(self, moment: Moment) -> list[tuple[str, ProductionEvent]]:
        return [
            (event.data["counter"], event)
            for event in moment.events
            if event.type == "production.count" and event.derivation == "recovered" and event.data["counter"] in self.counters
        ]

    def _is_over(self, outage: Outage, moment: Moment) -> bool:
        heard = outage.up is not None and not outage.unheard
        return outage.over or (moment.tick and heard and moment.time >= (outage.up or 0) + self.settle)

    # -- bad tags ------------------------------------------------------------------------------------------------

    def _judge(
        self, bad: Mapping[str, Bad], outages: tuple[Outage, ...], moment: Moment, events: list[ProductionEvent]
    ) -> Mapping[str, Bad]:
        """Note tags that went bad; declare those that are good again after too long."""
        away = {one.device for one in outages if one.up is None}
        found = dict(bad)
        ended: dict[tuple[int, int, bool], list[str]] = {}
        for ref, reading in moment.readings.items():
            if ref not in self.tags:
                continue
            if not usable(reading):
                if ref not in found and device_of(ref) not in away:
                    found[ref] = Bad(reading.at.best, reading.at.agent)
            elif (was := found.pop(ref, None)) is not None:
                until = _until(was, reading)
                if until - was.since > self.stale_after:
                    ended.setdefault((was.since, until, ref in self.registers), []).append(ref)
        for (since, until, register), refs in ended.items():
            recovered = {name: event.data["delta"] for name, event in self._recovered(moment) if self.counters[name] in refs}
            lost: Loss = "none" if register else "unknown"
            events.append(
                gap_event(
                    "bad_quality", (since, until), sorted(refs), lost, moment=moment, device=device_of(refs[0]), recovered=recovered
                )
            )
        return found if found != bad else bad


def _until(since: Bad, reading: Reading) -> int:
    """Return when a bad tag was good again; a sample whose own time stood still is placed by the agent's clock."""
    return max(reading.at.best, since.since + reading.at.agent - since.agent)


def _one_of(outages: tuple[Outage, ...], device: str | None, otherwise: Outage) -> Outage:
    return next((one for one in outages if one.device == device), otherwise)


def build(
    config: GapConfig,
    *,
    unit: str,  # noqa: ARG001 - the convention of all rules
    name: str = "gap",
    tags: Mapping[str, Tag],
    counters: Mapping[str, str] | None = None,
    inputs: Collection[str] = (),
    sampled: Collection[str] = (),
) -> tuple[Rule[Any], ...]:
    """Return the rule of all gaps of a unit.

    ``counters`` maps the name of every counter and meter to its ``device.tag``: after a loss they are waited for, and a bad one loses nothing.
    ``inputs`` are all tags that events are made from ; telemetry is ``sampled``. Raises ValueError for an unknown tag.
    """
    registers = dict(counters or {})
    check_references([(f"counters.{counter}.tag", ref) for counter, ref in registers.items()], tags)
    listened = tuple(sorted({*inputs, *registers.values()}))
    return (GapRule(config.stale_after, config.settle, registers, frozenset(registers.values()), listened, tuple(sampled), name),)
