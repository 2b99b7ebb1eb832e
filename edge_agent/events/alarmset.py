"""The set of alarms that are active, and how it becomes the next one: one moment's work on one `AlarmMemory`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.events.restart import BootMark
from edge_agent.events.rule import Moment, Picture
from edge_agent.model.event import Derivation, ProductionEvent
from edge_agent.model.instant import NS, iso
from edge_agent.model.reading import Quality, Timestamps

_MINUTE = 60 * NS
_LEAD = 10 * NS
"""An alarm that rose longer before a stop than this is not of that stop (ns)."""

Scalar = bool | int | float | str


class Sample(msgspec.Struct, frozen=True):
    """A tag's last usable value and when it became so (UTC ns)."""

    value: Scalar
    time: int


class Standing(msgspec.Struct, frozen=True):
    """An alarm as the machine shows it now; ``time`` is when it came there (UTC ns).

    ``severity`` and ``kind`` (its class) are the entry's where they are None; ``more`` are members of its events beside the usual ones.
    """

    alarm_id: str
    value: Scalar | None
    text: str | None
    time: int
    severity: int | None = None
    kind: str | None = None
    more: Mapping[str, Any] = {}

    @property
    def key(self) -> str:
        """What makes it the same alarm wherever it stands."""
        return self.alarm_id if self.value is None else f"{self.alarm_id}|{self.value}"


class Active(msgspec.Struct, frozen=True):
    """An alarm that is active. ``observed`` is False for one that was active when it was first seen; times UTC ns.

    While it chatters, ``level`` tells whether it is up just now, ``edge`` when it last moved, ``rises`` how often it rose.
    """

    instance: str
    alarm_id: str
    since: int
    text: str | None
    value: Scalar | None
    first_out: bool
    observed: bool = True
    chattering: bool = False
    level: bool = True
    edge: int = 0
    rises: int = 1
    severity: int | None = None
    kind: str | None = None
    more: Mapping[str, Any] = {}


class AlarmMemory(msgspec.Struct, frozen=True):
    """Samples, the active set, the tags to be read before sets may be compared, and since when nobody watched (UTC ns).

    ``recent`` holds the rises of the last minute by key.
    """

    unread: tuple[str, ...] = ()
    baseline: bool = False
    values: dict[str, Sample] = {}
    active: dict[str, Active] = {}
    recent: dict[str, tuple[int, ...]] = {}
    away: int | None = None
    boot: BootMark = BootMark()


def raised_at(instance: str) -> int:
    """Return when an alarm rose (UTC ns), which is part of the name of its instance."""
    return int(instance.rpartition("/")[2])


def is_first_out(picture: Picture, alarms: Mapping[str, object], time: int) -> bool:
    """Whether an alarm that rises at ``time`` is the first of its stop.

    It is when nothing else is active, or only what rose well before the stop began; while the machine runs, the stop begins now.
    """
    if not alarms:
        return True
    if picture.downtime is not None:
        begin = raised_at(picture.downtime)
    elif picture.state is not None and picture.state.category == "running":
        begin = time
    else:
        return False
    return all(raised_at(instance) < begin - _LEAD for instance in alarms)


class AlarmSet:
    """Works on one memory in one moment; ``memory`` and ``events`` are the result. Thrown away after it."""

    def __init__(self, memory: AlarmMemory, moment: Moment, *, severity: int, kind: str, limit: int) -> None:
        """Start from ``memory``; ``kind`` is the alarms' class, more than ``limit`` rises a minute are chatter."""
        self.memory = memory
        self.events: list[ProductionEvent] = []
        self._moment = moment
        self._severity, self._class, self._limit = severity, kind, limit
        self._alarms = dict(moment.picture.alarms)
        self.derivation: Derivation = "observed"
        self.at: Timestamps | None = None

    def pictured(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the unit's alarms with this entry's as they are now."""
        return self._alarms

    def end_all(self, time: int) -> None:
        """The device restarted: what was active has ended, somewhere since it was last seen."""
        for key, active in list(self.memory.active.items()):
            since = max(active.since if self.memory.away is None else self.memory.away, active.since)
            self._clear(key, max(time, since), (since, max(time, since)), Quality.UNCERTAIN)
        away = time if self.memory.away is None else self.memory.away
        self.memory = replace(self.memory, active={}, recent={}, away=away)

    def compare(self, standing: Iterable[Standing]) -> None:
        """Go from the set that was active to the one that stands there now; the first one ever is the baseline."""
        now = {alarm.key: alarm for alarm in sorted(standing, key=lambda alarm: alarm.time)}
        away = self.memory.away
        if not self.memory.baseline:
            for key, alarm in now.items():
                self._enter(key, alarm, alarm.time, observed=False)
            self.memory = replace(self.memory, baseline=True, away=None)
            return
        interval = None if away is None else (away, max(self._moment.time, away))
        for key, active in list(self.memory.active.items()):
            if key not in now and active.level:
                self._fall(key, active, interval)
        for key, alarm in now.items():
            known = self.memory.active.get(key)
            if known is None:
                self._rise(key, alarm, interval)
            elif not known.level:
                self._put(key, replace(known, level=True, edge=self._moment.time, rises=known.rises + 1))
        if away is not None:
            self.memory = replace(self.memory, away=None)

    def calm(self) -> None:
        """Let what has not moved for a minute stop chattering, and forget old rises."""
        now = self._moment.time
        for key, active in list(self.memory.active.items()):
            if active.chattering and now - active.edge >= _MINUTE:
                if active.level:
                    self._put(key, replace(active, chattering=False))
                else:
                    self._clear(key, active.edge, None, Quality.GOOD)
        recent = {key: times for key, times in self.memory.recent.items() if now - times[-1] < _MINUTE}
        if len(recent) != len(self.memory.recent):
            self.memory = replace(self.memory, recent=recent)

    # -- one alarm, for machines that tell each by itself -----------------------------------------------------------------------

    def rise(self, key: str, alarm: Standing, interval: tuple[int, int] | None = None) -> None:
        """Take note that one alarm is up: news, the other half of a chatter, or part of the baseline."""
        known = self.memory.active.get(key)
        if known is None and self.memory.baseline:
            self._rise(key, alarm, interval)
        elif known is None:
            self._enter(key, alarm, alarm.time, observed=False)
        elif not known.level:
            self._put(key, replace(known, level=True, edge=self._moment.time, rises=known.rises + 1))
        else:
            now = replace(known, severity=alarm.severity, kind=alarm.kind, text=alarm.text, more=alarm.more)
            if now != known:
                self._put(key, now)

    def fall(self, key: str, time: int, interval: tuple[int, int] | None = None, quality: Quality = Quality.GOOD) -> None:
        """Take note that one alarm is over since ``time``; one that is not up is left alone."""
        active = self.memory.active.get(key)
        if active is None or not active.level:
            return
        if active.chattering and interval is None:
            self._put(key, replace(active, level=False, edge=max(time, active.since)))
        else:
            self._clear(key, max(time, active.since), interval, quality)

    def tell(self, kind: str, active: Active, time: int, more: Mapping[str, Any]) -> None:
        """Tell something else of an alarm: ``alarm.acknowledged``, ``alarm.shelved``."""
        self._tell(kind, self._described(active) | dict(more), time, None, Quality.GOOD)

    # -- one alarm -----------------------------------------------------------------------------------------------------------

    def _rise(self, key: str, alarm: Standing, interval: tuple[int, int] | None) -> None:
        time = alarm.time if interval is None else min(max(alarm.time, interval[0]), interval[1])
        times = (*(t for t in self.memory.recent.get(key, ()) if time - t < _MINUTE), time)
        self.memory = replace(self.memory, recent=self.memory.recent | {key: times})
        active = self._enter(key, alarm, time, observed=True)
        if len(times) > self._limit:
            active = replace(active, chattering=True, edge=time)
            self._put(key, active)
        data = self._described(active)
        if active.chattering:
            data["chattering"] = True
        self._tell("alarm.raised", data, time, interval, Quality.GOOD)

    def _enter(self, key: str, alarm: Standing, time: int, *, observed: bool) -> Active:
        instance = f"{self._moment.unit}/{alarm.alarm_id}/{time}"
        if instance in self._alarms:
            instance = f"{self._moment.unit}/{alarm.alarm_id}/{alarm.value}/{time}"
        first = is_first_out(self._moment.picture, self._alarms, time)
        active = Active(
            instance, alarm.alarm_id, time, alarm.text, alarm.value, first, observed,
            severity=alarm.severity, kind=alarm.kind, more=alarm.more,
        )  # fmt: skip
        self._put(key, active)
        return active

    def _fall(self, key: str, active: Active, interval: tuple[int, int] | None) -> None:
        time = max(self._moment.time, active.since)
        if active.chattering:
            self._put(key, replace(active, level=False, edge=time))
        else:
            self._clear(key, time, interval, Quality.GOOD)

    def _clear(self, key: str, time: int, interval: tuple[int, int] | None, quality: Quality) -> None:
        active = self.memory.active[key]
        self.memory = replace(self.memory, active={k: a for k, a in self.memory.active.items() if k != key})
        self._alarms.pop(active.instance, None)
        data = self._described(active)
        data["active_s"] = (time - active.since) / NS if active.observed else None
        if active.chattering:
            data |= {"chattering": True, "rises": active.rises}
        self._tell("alarm.cleared", data, time, interval, quality)

    def _put(self, key: str, active: Active) -> None:
        self.memory = replace(self.memory, active=self.memory.active | {key: active})
        described = self._described(active) | {"since": iso(active.since)}
        self._alarms[active.instance] = {name: value for name, value in described.items() if name != "instance_id"}

    def _described(self, active: Active) -> dict[str, Any]:
        return {
            "alarm_id": active.alarm_id,
            "instance_id": active.instance,
            "severity": self._severity if active.severity is None else active.severity,
            "class": active.kind or self._class,
            "text": active.text,
            "value": active.value,
            "first_out": active.first_out,
            **active.more,
        }

    def _tell(self, kind: str, data: dict[str, Any], time: int, interval: tuple[int, int] | None, quality: Quality) -> None:
        name, late = data["instance_id"], self._moment.late
        self.events.append(
            ProductionEvent(
                type=kind,
                time=time,
                data=data,
                interval=interval,
                quality=quality,
                late=late,
                causation=name,
                derivation=self.derivation,
                at=self.at,
            )
        )
