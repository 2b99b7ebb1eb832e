"""Shifts: a calendar in the plant's time zone, and the event when a boundary is crossed (ISA-95 work calendar).

Boundaries are local wall times, computed to UTC once per occurrence: a night over the change to winter time is an hour longer.
A local time that exists twice means the first (fold=0) unless the shift says ``dst: second``; one that does not exist means the first instant after the hole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict

from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Picture
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, iso

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOCAL_TIME = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$")
_AHEAD = 9  # days to look for the next boundary: a week with one shift, and a day for each end
_MANY = (
    60  # boundaries crossed at once (three weeks of three shifts); after more, as by a clock that was set, only the last is told
)


def _local_time(text: str) -> str:
    if not _LOCAL_TIME.match(text):
        raise ValueError(f'{text!r} is not a time of day; write it in quotes as "06:00"')
    return text


LocalTime = Annotated[str, AfterValidator(_local_time)]
"""A time of day on the plant's clock, ``"22:00"``."""


class ShiftConfig(BaseModel):
    """One shift: from ``start`` to ``end`` in local time (an end before the start is on the next day; equal = 24 hours).

    ``days`` are the days on which it starts; left out = every day. ``dst`` says which is meant where a boundary comes twice, at the end of summer time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: LocalTime
    end: LocalTime
    days: tuple[Day, ...] = _DAYS
    dst: Literal["first", "second"] | None = None


class Occurrence(msgspec.Struct, frozen=True, order=True):
    """One shift on one day: UTC ns from ``starts`` (inclusive) to ``ends`` (exclusive)."""

    starts: int
    ends: int
    shift: str
    local_date: str


class Calendar:
    """The shifts of a plant in its IANA time zone. Raises ValueError for an unknown zone and for shifts that overlap."""

    def __init__(self, shifts: Mapping[str, ShiftConfig], time_zone: str) -> None:
        self.time_zone = time_zone
        try:
            self._zone = ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{time_zone!r} is no IANA time zone; write one such as Europe/Berlin") from error
        self._shifts = dict(shifts)
        self._known: dict[date, tuple[Occurrence, ...]] = {}
        self._refuse_overlaps()

    def at(self, ns: int) -> Occurrence | None:
        """Return the shift that contains the instant ``ns`` (UTC), None between shifts."""
        day = self._day(ns)
        for start in (day, day - timedelta(days=1), day + timedelta(days=1)):
            for found in self._on(start):
                if found.starts <= ns < found.ends:
                    return found
        return None

    def next_boundary(self, ns: int) -> int | None:
        """Return the first start or end of a shift after ``ns`` (UTC), None without shifts."""
        day = self._day(ns) - timedelta(days=2)
        for ahead in range(_AHEAD + 2):
            found = self._on(day + timedelta(days=ahead))
            later = [instant for one in found for instant in (one.starts, one.ends) if instant > ns]
            if later:
                following = self._on(day + timedelta(days=ahead + 1))
                return min([*later, *(one.starts for one in following if one.starts > ns)])
        return None

    def offset_minutes(self, ns: int) -> int:
        """Return what local time is ahead of UTC at ``ns``, in minutes."""
        offset = datetime.fromtimestamp(ns // NS, self._zone).utcoffset() or timedelta()
        return round(offset.total_seconds() / 60)

    def _day(self, ns: int) -> date:
        return datetime.fromtimestamp(ns // NS, self._zone).date()

    def _on(self, day: date) -> tuple[Occurrence, ...]:
        """Return the shifts that start on ``day``, oldest first; each computed once."""
        if day not in self._known:
            if len(self._known) > 100:
                self._known.clear()
            self._known[day] = tuple(
                sorted(self._occur(name, shift, day) for name, shift in self._shifts.items() if _DAYS[day.weekday()] in shift.days)
            )
        return self._known[day]

    def _occur(self, name: str, shift: ShiftConfig, day: date) -> Occurrence:
        start, end = time.fromisoformat(shift.start), time.fromisoformat(shift.end)
        last = day if end > start else day + timedelta(days=1)
        fold = int(shift.dst == "second")
        return Occurrence(self._utc(day, start, fold), self._utc(last, end, fold), name, day.isoformat())

    def _utc(self, day: date, at: time, fold: int) -> int:
        """Return a local wall time in UTC ns: of two the one that ``fold`` says, and the first valid instant where it does not exist."""
        local = datetime.combine(day, at, tzinfo=self._zone).replace(fold=fold)
        utc = local.astimezone(UTC)
        if utc.astimezone(self._zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            utc = self._after_hole(local)
        return round(utc.timestamp()) * NS

    def _after_hole(self, local: datetime) -> datetime:
        """Return the instant at which the clock jumps over ``local``: between its two readings, to the second."""
        before, after = sorted(int(local.replace(fold=fold).timestamp()) for fold in (0, 1))
        old = datetime.fromtimestamp(before, self._zone).utcoffset()
        while after - before > 1:
            middle = (before + after) // 2
            if datetime.fromtimestamp(middle, self._zone).utcoffset() == old:
                before = middle
            else:
                after = middle
        return datetime.fromtimestamp(after, UTC)

    def _refuse_overlaps(self) -> None:
        week = [one for day in range(8) for one in self._on(date(2026, 6, 1) + timedelta(days=day))]
        for one, following in pairwise(week):
            if following.starts < one.ends:
                raise ValueError(f"shifts {one.shift} and {following.shift} overlap; end one where the next begins")


class ShiftState(msgspec.Struct, frozen=True):
    """The shift we are in (None: none), and each counter's total when it began. ``known`` is False before the first sight."""

    known: bool = False
    shift: str | None = None
    boundary: int | None = None
    totals: Mapping[str, int | float] = msgspec.field(default_factory=dict)


class ShiftRule(msgspec.Struct, frozen=True):
    """Emits ``shift.changed`` at every boundary, with what was made in the shift that ended. Time comes as ticks."""

    calendar: Calendar
    name: str = "shift"
    phase: Phase = Phase.CONTEXT
    tags: tuple[str, ...] = ()
    ticks: bool = True
    version: int = 1
    state_type: type[ShiftState] = ShiftState

    @property
    def fingerprint(self) -> str:
        """A shift that was renamed or moved is still counted from its begin: only the zone gives old boundaries another meaning."""
        return self.calendar.time_zone

    def initial(self) -> ShiftState:
        """Nothing seen."""
        return ShiftState()

    def step(self, state: ShiftState, moment: Moment) -> tuple[ShiftState, Outcome]:
        """Cross every boundary up to the moment's time; the first sight is a baseline, no event."""
        if state.known and (state.boundary is None or moment.time < state.boundary):
            return state, NOTHING
        totals = production_totals(moment.picture)
        now = self.calendar.at(moment.time)
        if not state.known:
            context = msgspec.structs.replace(moment.picture.context, shift=now.shift if now else None)
            after = ShiftState(True, context.shift, self.calendar.next_boundary(moment.time), totals)
            return after, Outcome(picture={"context": context})
        return self._cross(state, moment, totals)

    def _cross(self, state: ShiftState, moment: Moment, totals: Mapping[str, float]) -> tuple[ShiftState, Outcome]:
        events: list[ProductionEvent] = []
        shift, base, boundary = state.shift, state.totals, state.boundary
        crossed = 0
        while boundary is not None and boundary <= moment.time:
            occurrence = self.calendar.at(boundary)
            if (occurrence.shift if occurrence else None) != shift or occurrence is not None:
                events.append(self._event(boundary, occurrence, shift, _made(totals, base), moment.picture))
            shift, base = occurrence.shift if occurrence else None, totals
            boundary = self.calendar.next_boundary(boundary)
            crossed += 1
        if crossed > _MANY:
            events = events[-1:]
        context = msgspec.structs.replace(moment.picture.context, shift=shift)
        return ShiftState(True, shift, boundary, totals), Outcome(tuple(events), picture={"context": context})

    def _event(
        self, at: int, now: Occurrence | None, before: str | None, totals: Mapping[str, float], picture: Picture
    ) -> ProductionEvent:
        shift = now.shift if now else None
        data: dict[str, Any] = {
            "shift_id": shift,
            "from": before,
            "starts_at": iso(at),
            "ends_at": iso(now.ends) if now else None,
            "local_date": now.local_date if now else None,
            "tz": self.calendar.time_zone,
            "utc_offset_min": self.calendar.offset_minutes(at),
            "totals": dict(totals),
            "state": None
            if picture.state is None
            else {"code": picture.state.code, "name": picture.state.name, "category": picture.state.category},
        }
        return ProductionEvent(type="shift.changed", time=at, data=data, ctx=msgspec.structs.replace(picture.context, shift=shift))


def production_totals(picture: Picture) -> dict[str, float]:
    """Return the agent's accumulators of the production counters in their units (pieces), by name; energy meters are not among them."""
    return {name: in_units(facts.total, facts.scale) for name, facts in picture.counters.items() if facts.role != "energy"}


def order_totals(picture: Picture) -> dict[str, float]:
    """Return what of `production_totals` can belong to orders: all but what was made outside production or lies across a change."""
    made = {name: facts.total - facts.aside for name, facts in picture.counters.items() if facts.role != "energy"}
    return {name: in_units(raw, picture.counters[name].scale) for name, raw in made.items()}


def in_units(raw: int, scale: float) -> float:
    """Return ``raw`` register units in the counter's unit: an exact integer where nothing is scaled."""
    return raw if scale == 1 else round(raw * scale, 9)


def _made(totals: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    return {name: round(total - base.get(name, 0), 9) for name, total in totals.items()}


def build(calendar: Calendar) -> tuple[ShiftRule, ...]:
    """Return the rule of a unit that works by ``calendar``."""
    return (ShiftRule(calendar),)
