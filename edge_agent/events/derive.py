"""The fold of one unit: everything that arrived goes through the unit's rules, moment by moment.

    state, inputs -> state, events, effects, changed rule states, telemetry

A fold is pure: it may be repeated from the state before, and the new state counts only once its events are committed. For a unit
with one clock the same inputs give the same events however they are cut into turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edge_agent.events.clocks import LATENESS, DeviceClock, watermark
from edge_agent.events.mescontext import DEVICE as OUTSIDE
from edge_agent.events.moments import arrange, together
from edge_agent.events.rule import Moment, Picture, Rule
from edge_agent.events.shift import Calendar
from edge_agent.events.step import RuleError, Steps, Work
from edge_agent.events.stored import pack, pack_rule, unpack, unpack_rule, without
from edge_agent.events.telemetry import Columns, Telemetry, TelemetryConfig, TelemetrySpec
from edge_agent.events.window import Item, Patience, Read, Route, Tick, Window
from edge_agent.model.event import Acknowledge, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, Reading, Tag
from edge_agent.model.stream import Entry

__all__ = ["Fold", "RuleError", "Tick", "Turn", "UnitState"]

SETTLE = 500_000_000
"""How long a tick waits for readings of its time (plant ns), when the agent says nothing else."""


OUTSIDE_WAIT = 5_000_000_000
"""How long a unit waits, behind an absence of the agent, for what the MES has retained meanwhile (plant ns), when the agent says nothing else."""

_LONG_AWAY = 14 * 86_400_000_000_000  # boundaries further back than two weeks are not ticked one by one


class _Offsets(msgspec.Struct, frozen=True):
    """The devices' clocks minus the agent's, in ns, as stored: after a restart they tell what an old stamp is; ``measured`` by asking."""

    ns: Mapping[str, int] = msgspec.field(default_factory=dict)
    measured: Mapping[str, int] = msgspec.field(default_factory=dict)


class _Passed(msgspec.Struct, frozen=True):
    """How far time has passed: the next shift boundary, and the newest tick (UTC ns)."""

    boundary: int | None
    ticked: int

    def seen(self, item: Item) -> _Passed:
        """Return it after ``item`` was folded."""
        return _Passed(self.boundary, max(self.ticked, item.time)) if isinstance(item.what, Tick) else self


class UnitState(msgspec.Struct, frozen=True):
    """Everything one unit remembers. Immutable: the agent keeps the old one until the new one is committed.

    ``boundary`` is the next shift boundary, ``since`` the last one crossed, ``ticked`` the newest tick (UTC ns).
    """

    rules: tuple[msgspec.Struct, ...]
    picture: Picture
    window: Window
    telemetry: Columns
    boundary: int | None = None
    since: int = 0
    ticked: int = 0

    @property
    def last_seen(self) -> int:
        """The agent's plant time up to which the inputs are folded (UTC ns)."""
        return self.window.now


class Turn(msgspec.Struct, frozen=True):
    """What one fold made. ``settled``: of all batches handed over since `Fold.start`, so many (from the first) are done with."""

    state: UnitState
    events: tuple[ProductionEvent, ...] = ()
    effects: tuple[Acknowledge, ...] = ()
    changed: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    telemetry: tuple[Entry, ...] = ()
    settled: int = 0


class Fold:
    """The rules of one unit and the devices they read from; holds no state of its own.

    ``devices`` gives each device's tags in the order that batches index; ``calendar`` and ``grids`` (periods in ns) say at
    which instants the unit wants a tick and a poll. Waiting times are plant ns.
    """

    def __init__(
        self,
        unit: str,
        rules: Sequence[Rule[Any]],
        devices: Mapping[str, Sequence[Tag]],
        *,
        telemetry: TelemetryConfig | None = None,
        prefix: str = "edgeagent",
        cfg: str = "",
        calendar: Calendar | None = None,
        grids: Sequence[int] = (),
        reorder: int = 0,
        settle: int = SETTLE,
        outside: int = OUTSIDE_WAIT,
    ) -> None:
        self._unit, self._calendar, self._grids = unit, calendar, tuple(grids)
        self._rules = tuple(sorted(rules, key=lambda rule: rule.phase))
        self._steps = Steps(unit, self._rules, calendar, [device for device in devices if device != OUTSIDE])
        listened = {ref for rule in rules for ref in rule.tags}
        self._routes = {device: _route(tags, listened) for device, tags in devices.items()}
        self._mixed = sum(1 for route in self._routes.values() if route.wanted) > 1
        self._telemetry = Telemetry(_spec(unit, telemetry, devices, prefix, cfg), devices)
        self._reorder, self.settle, self._outside = reorder, settle, outside

    # -- start ---------------------------------------------------------------------------------------------------

    def start(self, states: Mapping[str, bytes]) -> tuple[UnitState, tuple[str, ...]]:
        """Return the state to begin with: stored rule states where they still mean the same, else the rules' own beginning.

        The second part names the stored states that could not be taken over: another version or fingerprint, unreadable, or no such rule.
        """
        found = {rule.name: unpack_rule(rule, states[rule.name]) for rule in self._rules if rule.name in states}
        own = {"picture": Picture, "clocks": _Offsets}
        dropped = tuple(name for name in states if name not in own and found.get(name) is None)
        picture = unpack(states["picture"], Picture, version=1, fingerprint="") if "picture" in states else None
        offsets = unpack(states["clocks"], _Offsets, version=1, fingerprint="") if "clocks" in states else None
        rules = tuple(found.get(rule.name) or rule.initial() for rule in self._rules)
        known = offsets or _Offsets()
        clocks = {
            device: DeviceClock(offset=known.ns.get(device, 0), measured=known.measured.get(device))
            for device in known.ns.keys() | known.measured.keys()
        }
        return UnitState(rules, without(picture or Picture(), dropped), Window(clocks=clocks), Columns()), dropped

    def stored(self, state: UnitState) -> dict[str, bytes]:
        """Return every rule state of ``state`` in its stored form, as `start` takes it."""
        return self._changed(None, state)

    # -- fold ----------------------------------------------------------------------------------------------------

    def fold(self, state: UnitState, inputs: Sequence[Batch | Tick]) -> Turn:
        """Fold everything that arrived. Raises RuleError when a rule fails; ``state`` is still good then."""
        columns = self._telemetry.take(state.telemetry, inputs)
        boundary = state.boundary if self._mixed else None
        patience = Patience(self._reorder, self._outside, self.settle, boundary)
        window, items = arrange(state.window, inputs, self._routes, self._unit, patience)
        work = self._steps.begin(state.rules, state.picture, state.since)
        passed = _Passed(state.boundary, state.ticked)
        for run in together(items):
            if isinstance(run[0].what, AgentDown):  # told before the boundaries of the absence: what they close was not watched
                work.step(_moment(run, self._unit))
                passed = self._pass(work, passed, run[0])
                continue
            passed = self._pass(work, passed, run[0])
            if not isinstance(run[0].what, Tick) or run[0].what.final or run[0].time > passed.ticked:
                work.step(_moment(run, self._unit))
                passed = passed.seen(run[0])
        columns, entries = self._telemetry.flush(columns, window.now, final=_is_final(items))
        after = UnitState(tuple(work.states), work.picture, window, columns, passed.boundary, work.since, passed.ticked)
        changed = self._changed(state, after)
        return Turn(after, tuple(work.events), tuple(work.effects), changed, entries, window.settled)

    @property
    def sampled(self) -> tuple[str, ...]:
        """Return the ``device.tag`` of the unit's telemetry."""
        return self._telemetry.tags

    def next_boundary(self, now: int) -> int | None:
        """Return the next instant after ``now`` (UTC ns) that wants a tick and a poll: a shift boundary or the energy grid."""
        instants = [(now // grid + 1) * grid for grid in self._grids]
        shift = self._calendar.next_boundary(now) if self._calendar else None
        return min([*instants, shift] if shift is not None else instants, default=None)

    def watermark(self, state: UnitState) -> int:
        """Return T: what follows is newer than T or flagged late (UTC ns)."""
        waiting = min((item.time for item in state.window.waiting), default=state.window.now)
        return min(watermark(state.window.clocks.values(), state.window.now, max(self._reorder, LATENESS)), waiting)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _pass(self, work: Work, passed: _Passed, item: Item) -> _Passed:
        """Tick at every shift boundary up to ``item``, and, where there is one clock only, at its whole second.

        Thus a unit with one clock gets its ticks between the same readings however its inputs were cut.
        """
        passed = self._cross(work, passed, item)
        second = min(item.time, item.received) // NS * NS
        if not self._mixed and second > passed.ticked and not isinstance(item.what, Tick):
            if passed.ticked:
                work.step(Moment(second, self._unit, tick=True))
            return _Passed(passed.boundary, second)
        return passed

    def _cross(self, work: Work, passed: _Passed, item: Item) -> _Passed:
        calendar, time, boundary, ticked = self._calendar, item.time, passed.boundary, passed.ticked
        if calendar is None:
            return passed
        if (
            boundary is None or time - boundary > _LONG_AWAY
        ):  # the first sight, or a clock that was set: the shift rule sorts it out
            work.step(Moment(time, self._unit, tick=True))
            occurrence = calendar.at(time)
            work.since = occurrence.starts if occurrence else time
            return _Passed(calendar.next_boundary(time), max(ticked, time))
        while boundary is not None and boundary <= time:
            work.step(Moment(boundary, self._unit, tick=True))
            work.since, ticked = boundary, max(ticked, boundary)
            boundary = calendar.next_boundary(boundary)
        return _Passed(boundary, ticked)

    def _changed(self, before: UnitState | None, after: UnitState) -> dict[str, bytes]:
        """Return what differs from ``before`` in its stored form (everything when there is no before)."""
        changed: dict[str, bytes] = {}
        for place, (rule, new) in enumerate(zip(self._rules, after.rules, strict=True)):
            if before is None or (new is not before.rules[place] and new != before.rules[place]):
                changed[rule.name] = pack_rule(rule, new)
        if before is None or (after.picture is not before.picture and after.picture != before.picture):
            changed["picture"] = pack(after.picture, version=1, fingerprint="")
        offsets = _offsets_of(after.window)
        if before is None or offsets != _offsets_of(before.window):
            changed["clocks"] = pack(offsets, version=1, fingerprint="")
        return changed


def _spec(unit: str, config: TelemetryConfig | None, devices: Mapping[str, Sequence[Tag]], prefix: str, cfg: str) -> TelemetrySpec:
    if config is None:
        return TelemetrySpec(unit)
    known = {tag.ref: tag for tags in devices.values() for tag in tags}
    return TelemetrySpec(unit, tuple(known[ref] for ref in config.tags if ref in known), config.publish, prefix, cfg)


def _route(tags: Sequence[Tag], listened: set[str]) -> Route:
    refs = tuple(tag.ref for tag in tags)
    return Route(refs, tuple(ref in listened for ref in refs), frozenset(i for i, ref in enumerate(refs) if ref in listened))


def _moment(run: Sequence[Item], unit: str) -> Moment:
    """Return the run as the moment that rules see; steps fill in the picture."""
    first = run[0]
    what = first.what
    if isinstance(what, Tick):
        return Moment(first.time, unit, tick=True, final=what.final)
    if not isinstance(what, Reading | Read):
        return Moment(first.time, unit, notices=(what,))
    readings = {item.what.tag: item.what for item in run if isinstance(item.what, Reading)}
    snapshots = {item.what.group: item.what.readings for item in run if isinstance(item.what, Read)}
    offsets = {item.device: item.offset for item in run if item.offset is not None}
    return Moment(first.time, unit, readings, snapshots, late=first.late, historical=first.historical, offsets=offsets)


def _offsets_of(window: Window) -> _Offsets:
    clocks = window.clocks.items()
    return _Offsets(
        {device: clock.offset for device, clock in clocks if clock.offset},
        {device: clock.measured for device, clock in clocks if clock.measured is not None},
    )


def _is_final(items: Sequence[Item]) -> bool:
    return any(isinstance(item.what, Tick) and item.what.final for item in items)
