"""What a rule remembers of a value that it only watches: what it was, since when, and since when it could have changed unseen.

The first sample is a baseline, never a change. A change that is found behind a loss carries the interval in which it can
have happened; a bad sample says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import msgspec

from edge_agent.events.reference import device_of, name_of
from edge_agent.events.rule import Moment
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import AgentDown, DeviceDown, Gap, Notice, Quality, Reading, Recovered, Value

Plain = bool | int | float | str | None
"""A value as rules keep and tell it: arrays and bytes are text."""


class Sight(msgspec.Struct, frozen=True):
    """The value told last, its edge (UTC ns), and since when it could have changed unseen (None: it was watched)."""

    known: bool = False
    value: Plain = None
    since: int = 0
    unseen: int | None = None


class Change(msgspec.Struct, frozen=True):
    """A value that is another one than before: when, the interval where the edge itself was not seen, and the sample that showed it."""

    old: Plain
    new: Plain
    time: int
    interval: tuple[int, int] | None
    reading: Reading


def plain(value: Value | None) -> Plain:
    """Return a value as it is told: text without the padding of PLC strings, arrays as text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip("\0 \t\r\n")
    return repr(list(value)) if isinstance(value, tuple) else value


def usable(reading: Reading | None) -> bool:
    """Tell whether a sample has a value that may be believed: not bad, and a number that is one."""
    if reading is None or reading.quality is Quality.BAD or reading.value is None:
        return False
    return not isinstance(reading.value, float) or isfinite(reading.value)


def value_of(readings: Mapping[str, Reading], ref: str | None) -> Plain:
    """Return the usable value of ``ref``, None where there is none."""
    reading = None if ref is None else readings.get(ref)
    return plain(reading.value) if reading is not None and usable(reading) else None


def number_of(readings: Mapping[str, Reading], ref: str | None) -> int | float | None:
    """Return the usable value of ``ref`` where it is a number."""
    value = value_of(readings, ref)
    return None if isinstance(value, bool | str) else value


def heed(sight: Sight, ref: str, notices: Iterable[Notice]) -> Sight:
    """Take in what the notices say of tag ``ref``: a loss opens the interval in which a change would not have been seen."""
    for notice in notices:
        since = _lost(notice, ref, sight.since)
        if isinstance(notice, Recovered) and notice.device == device_of(ref) and notice.covers(name_of(ref)):
            sight = msgspec.structs.replace(sight, unseen=None) if sight.unseen is not None else sight
        elif since is not None and sight.known and sight.unseen is None:
            sight = msgspec.structs.replace(sight, unseen=max(since, sight.since))
    return sight


def _lost(notice: Notice, ref: str, otherwise: int) -> int | None:
    if isinstance(notice, AgentDown):
        return notice.since
    if isinstance(notice, DeviceDown) and notice.device == device_of(ref):
        return otherwise if notice.last_good is None else notice.last_good
    if isinstance(notice, Gap) and notice.device == device_of(ref) and (not notice.tags or name_of(ref) in notice.tags):
        return notice.since
    return None


def look(sight: Sight, value: Plain, reading: Reading) -> tuple[Sight, Change | None]:
    """Take in a usable sample's ``value``; return what is remembered now, and the change that it is."""
    if not sight.known:
        return Sight(True, value, reading.at.best), None
    if value == sight.value:
        return (sight if sight.unseen is None else msgspec.structs.replace(sight, unseen=None)), None
    time = max(reading.at.best, sight.since if sight.unseen is None else sight.unseen)
    interval = None if sight.unseen is None else (sight.unseen, time)
    return Sight(True, value, time), Change(sight.value, value, time, interval, reading)


def event_of(kind: str, data: dict[str, Any], change: Change, moment: Moment, **more: Any) -> ProductionEvent:
    """Return the event that tells a change, with the times and the quality of the sample that showed it."""
    return ProductionEvent(
        type=kind,
        time=change.time,
        data=data,
        at=change.reading.at,
        interval=change.interval,
        quality=change.reading.quality,
        late=moment.late,
        **more,
    )
