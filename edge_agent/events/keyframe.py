"""The whole picture of a unit as a numbered event, ``state.snapshot`` (the keyframe of OPC UA PubSub, the birth of Sparkplug)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import msgspec

from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Picture
from edge_agent.events.shift import in_units
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, iso
from edge_agent.model.reading import AgentDown, DeviceUp

Reason = Literal["start", "reconnect", "agent_restart", "hourly", "final"]

_HOUR = 3600 * NS
_PATIENCE = 5 * NS  # so long a snapshot waits for devices that do not answer; then it says which ones are missing


class SnapshotState(msgspec.Struct, frozen=True):
    """The hour (UTC) of the last snapshot, and the one that is due: why, and since when (UTC ns)."""

    hour: int | None = None
    due: Reason | None = "start"
    since: int | None = None


class SnapshotRule:
    """Emits ``state.snapshot`` once the data are there after a start or a reconnect, every hour, and at the end."""

    name = "snapshot"
    phase = Phase.GAP
    tags: tuple[str, ...] = ()
    ticks = True
    version = 1
    fingerprint = ""
    state_type = SnapshotState

    def __init__(self, *, counters: Collection[str] = (), state: bool = False) -> None:
        """``counters`` and ``state`` are what a picture has to hold before it is worth telling."""
        self._counters = frozenset(counters)
        self._state = state

    def initial(self) -> SnapshotState:
        """The first picture is due."""
        return SnapshotState()

    def step(self, state: SnapshotState, moment: Moment) -> tuple[SnapshotState, Outcome]:
        """Note what calls for a snapshot; tell it on a tick, when everything is there."""
        for notice in moment.notices:
            if isinstance(notice, AgentDown):
                state = SnapshotState(state.hour, "agent_restart", moment.time)
            elif isinstance(notice, DeviceUp) and (state.due is None or state.since is None):
                state = SnapshotState(state.hour, state.due or "reconnect", moment.time)
        if not moment.tick:
            return state, NOTHING
        if moment.final:
            return state, Outcome((self._event("final", moment),))
        hour = moment.time // _HOUR
        due = state.due or ("hourly" if state.hour is not None and hour > state.hour else None)
        if due is None:
            return state, NOTHING
        if state.since is None and state.due is not None:
            return SnapshotState(state.hour, due, moment.time), NOTHING
        if state.due is not None and not self._complete(moment.picture) and moment.time - (state.since or 0) < _PATIENCE:
            return state, NOTHING
        return SnapshotState(hour, None, None), Outcome((self._event(due, moment),))

    def _complete(self, picture: Picture) -> bool:
        known = self._counters <= picture.counters.keys() and (picture.state is not None or not self._state)
        return known and not picture.down

    def _event(self, reason: Reason, moment: Moment) -> ProductionEvent:
        data = {"reason": reason, **describe(moment.picture)}
        return ProductionEvent(type="state.snapshot", time=moment.time, data=data)


def describe(picture: Picture) -> dict[str, Any]:
    """Return ``picture`` as the members of a snapshot: state, mode, since, order, totals in their units, open alarms and downtime."""
    state, context = picture.state, picture.context
    return {
        "state": None
        if state is None
        else {"code": state.code, "name": state.name, "category": state.category, "model": state.model},
        "since": None if state is None else iso(state.since),
        "mode": None if picture.mode_code is None else {"code": picture.mode_code, "name": context.mode},
        "order": context.order,
        "product": context.product,
        "lot": context.lot,
        "shift": context.shift,
        "totals": totals(picture),
        "alarms": [{"instance_id": name, **alarm} for name, alarm in sorted(picture.alarms.items())],
        "downtime_id": picture.downtime,
        "down": sorted(picture.down),
    }


def totals(picture: Picture) -> dict[str, float]:
    """Return every counter's accumulator in its unit, by name."""
    return {name: in_units(facts.total, facts.scale) for name, facts in picture.counters.items()}
