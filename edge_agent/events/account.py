"""What a device told of its conditions so far, and what one moment adds to it: one moment's work on one `ConditionMemory`.

An alarm is a condition and its branch, so it stays the same over reconnects. Behind an absence the device tells everything again: what is known goes on, what is
new was raised meanwhile, and what is not told any more ended meanwhile, nobody knows when. The first such account ever is the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from edge_agent.events.alarmset import Active, AlarmMemory, AlarmSet, Standing
from edge_agent.events.outage import gap_event
from edge_agent.events.reference import device_of
from edge_agent.events.restart import restarted
from edge_agent.events.rule import Moment
from edge_agent.model.condition import Condition, Refresh
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Boot, Quality, Reading

MOST: Final = 2_000
"""Alarms of one source that are kept in mind; what goes beyond is declared as a gap."""

_STANDING: Final = ("acked", "confirmed", "suppressed", "shelved")
"""What is true of an alarm until the device says something else."""


class ConditionSettings(NamedTuple):
    """What a unit says of an alarm source: ``limit`` rises of one alarm in a minute are not yet chatter."""

    ref: str
    sources: tuple[str, ...]
    severity: int
    kind: str
    limit: int


class Known(msgspec.Struct, frozen=True):
    """What was told last of one condition. ``round`` is the refresh in or after which that was; ``heard`` when (agent's UTC ns).

    ``alarm`` is the last alarm that it was, which may be over and not acknowledged yet; ``since`` is the device's time of its last change to active.
    """

    alarm: Active
    round: int
    heard: int
    since: int | None = None
    acked: bool | None = None
    confirmed: bool | None = None
    suppressed: bool | None = None
    shelved: str | None = None
    branch: bool = False


class ConditionMemory(msgspec.Struct, frozen=True):
    """The active alarms, what is known of each condition, the number of the refresh, and whether more were told than are kept."""

    alarms: AlarmMemory = AlarmMemory()
    known: dict[str, Known] = {}
    round: int = 0
    full: bool = False


class Account:
    """One moment's work on one memory; thrown away after it."""

    def __init__(self, memory: ConditionMemory, alarms: AlarmSet, moment: Moment, settings: ConditionSettings) -> None:
        self.memory = memory
        self.told: list[ProductionEvent] = []
        self._alarms, self._moment, self._settings = alarms, moment, settings

    # -- losses --------------------------------------------------------------------------------------------------

    def away(self, since: int | None) -> None:
        """Nobody watched since then; the first loss stands until everything was told again."""
        if since is not None and self._alarms.memory.away is None:
            self._alarms.memory = replace(self._alarms.memory, away=since)

    def boot(self, notice: Boot) -> None:
        """A restart of the device ends what was active."""
        mark, again = restarted(self._alarms.memory.boot, notice)
        if mark != self._alarms.memory.boot:
            self._alarms.memory = replace(self._alarms.memory, boot=mark)
        if again:
            self._alarms.end_all(notice.time)
            self.memory = replace(self.memory, known={})

    # -- what the device tells -----------------------------------------------------------------------------------

    def take(self, reading: Reading) -> None:
        """Take in one sample of the source."""
        value = reading.value
        if reading.quality is Quality.BAD:
            self.away(reading.at.agent)
        elif isinstance(value, Refresh):
            self._refresh(value, reading)
        elif isinstance(value, Condition) and self._is_meant(value):
            self._alarms.at = reading.at
            self._condition(value, reading)

    def _is_meant(self, condition: Condition) -> bool:
        patterns = self._settings.sources
        return not patterns or any(fnmatchcase(condition.source or "", pattern) for pattern in patterns)

    def _refresh(self, mark: Refresh, reading: Reading) -> None:
        if mark.phase == "begun":
            self.memory = replace(self.memory, round=self.memory.round + 1)
            return
        away = self._alarms.memory.away
        if mark.phase == "done" or away is not None:
            quality = Quality.GOOD if mark.phase == "done" else Quality.UNCERTAIN
            self._end_untold(reading.at.agent, quality)
        self._alarms.memory = replace(self._alarms.memory, baseline=True, away=None)
        if self.memory.full:
            self.memory = replace(self.memory, full=False)

    def _end_untold(self, now: int, quality: Quality) -> None:
        """End what this refresh did not tell: it ended since it was last heard of, nobody knows when."""
        self._alarms.derivation = "recovered"
        away = self._alarms.memory.away
        gone = [key for key, known in self.memory.known.items() if known.round < self.memory.round]
        for key in gone:
            known = self.memory.known[key]
            since = min(max(known.heard if away is None else away, known.alarm.since), now)
            self._alarms.fall(key, now, (since, now), quality)
        if gone:
            self.memory = replace(self.memory, known={k: v for k, v in self.memory.known.items() if k not in set(gone)})
        self._alarms.derivation = "observed"

    def _condition(self, condition: Condition, reading: Reading) -> None:
        if condition.momentary:
            self._momentary(condition, reading)
            return
        if condition.of is not None:
            self._branch(condition, condition.of, reading)
            return
        known = self.memory.known.get(condition.key)
        if known is None and (condition.minor or not condition.active):
            return  # never an alarm of ours
        if known is None and len(self.memory.known) >= MOST and not self._room():
            self._declare_full(reading)
            return
        self._move(condition, known, reading)
        self._remember(condition, known, reading)

    def _branch(self, condition: Condition, main: str, reading: Reading) -> None:
        """Take in an earlier state of a condition: no alarm of its own, but that alarm is acknowledged by it (OPC 10000-9, 5.5.2 and B.1.3)."""
        known = self.memory.known.get(condition.key)
        if known is not None:
            said = {name: getattr(known, name) for name in _STANDING if getattr(condition, name) is None}
            condition = condition._replace(**said)
            self._edges(condition, known, known.alarm, reading)
        origin = known or self.memory.known.get(main)
        if origin is None or not condition.active or (known is None and len(self.memory.known) >= MOST):
            self._forget(condition.key)
            return
        self._keep(condition, origin.alarm, reading)

    def _waits(self, alarm: Active) -> bool:
        """Whether a branch of this alarm waits to be acknowledged: the condition itself does no more, and nobody has done it."""
        return any(
            known.branch and known.acked is False and known.alarm.instance == alarm.instance for known in self.memory.known.values()
        )

    def _move(self, condition: Condition, known: Known | None, reading: Reading) -> None:
        """Let the alarm rise or fall as the condition says."""
        away, baseline = self._alarms.memory.away, self._alarms.memory.baseline
        behind = away is not None or not baseline
        time = (condition.since if behind else None) or condition.time or reading.at.best
        interval = None
        if away is not None and baseline and not away <= time <= reading.at.agent:
            interval = (away, max(away, reading.at.agent))
            time = min(max(time, interval[0]), interval[1])
        if not condition.active:
            self._alarms.fall(condition.key, time, interval)
            return
        if condition.minor and condition.key not in self._alarms.memory.active:
            return
        if known is not None and away is not None and _is_another(known, condition):
            # It fell and rose again while nobody watched; the device knows when it rose.
            self._alarms.derivation = "recovered"
            self._alarms.fall(condition.key, time, (max(away, known.alarm.since), max(time, away, known.alarm.since)))
            self._alarms.derivation = "observed"
        self._alarms.rise(condition.key, _standing(condition, time), interval)

    def _remember(self, condition: Condition, known: Known | None, reading: Reading) -> None:
        active = self._alarms.memory.active.get(condition.key)
        alarm = active or (known.alarm if known is not None else None)
        if alarm is None:
            return
        if known is not None and known.alarm.instance == alarm.instance:
            # What is left out stays as it was said last of this alarm.
            said = {name: getattr(known, name) for name in _STANDING if getattr(condition, name) is None}
            condition = condition._replace(**said)
            self._edges(condition, known, alarm, reading)
        if active is None and condition.acked is not False:
            self._forget(condition.key)
            return
        self._keep(condition, alarm, reading)

    def _keep(self, condition: Condition, alarm: Active, reading: Reading) -> None:
        new = Known(
            alarm, self.memory.round, reading.at.agent, condition.since if condition.active else None,
            condition.acked, condition.confirmed, condition.suppressed, condition.shelved, condition.of is not None,
        )  # fmt: skip
        self.memory = replace(self.memory, known=self.memory.known | {condition.key: new})

    def _edges(self, condition: Condition, known: Known, alarm: Active, reading: Reading) -> None:
        """Tell what somebody did with an alarm, whether it is up or over."""
        time = condition.time or reading.at.best
        acked = condition.acked is True and known.acked is False
        if not known.branch and acked and self._waits(alarm):
            acked = False
        if acked or (condition.confirmed is True and known.confirmed is False):
            more = {
                "acknowledged": condition.acked,
                "confirmed": condition.confirmed,
                "by": condition.by,
                "comment": condition.comment,
            }
            self._alarms.tell("alarm.acknowledged", alarm, time, more)
        shelved, suppressed = condition.shelved or "none", bool(condition.suppressed)
        if shelved != (known.shelved or "none") or suppressed != bool(known.suppressed):
            self._alarms.tell("alarm.shelved", alarm, time, {"shelved": shelved, "suppressed": suppressed})

    def _momentary(self, condition: Condition, reading: Reading) -> None:
        """Tell an event that is no condition: an alarm of no duration. Those of before the baseline are no news, and nothing repeats them."""
        if condition.minor:
            return
        time = condition.time or reading.at.best
        instance = f"{self._moment.unit}/{condition.key}/{time}"
        settings = self._settings
        alarm = _standing(condition, time)
        active = Active(
            instance, condition.key, time, alarm.text, None, first_out=False, severity=alarm.severity, kind=alarm.kind or settings.kind,
            more={**alarm.more, "momentary": True},
        )  # fmt: skip
        self._alarms.tell("alarm.raised", active, time, {})
        self._alarms.tell("alarm.cleared", active, time, {"active_s": 0.0})

    # -- bounds --------------------------------------------------------------------------------------------------

    def _forget(self, key: str) -> None:
        if key in self.memory.known:
            self.memory = replace(self.memory, known={k: v for k, v in self.memory.known.items() if k != key})

    def _room(self) -> bool:
        """Forget the oldest that is over and only waits to be acknowledged; whether there was one."""
        active = self._alarms.memory.active
        over = next((key for key in self.memory.known if key not in active), None)
        if over is not None:
            self._forget(over)
        return over is not None

    def _declare_full(self, reading: Reading) -> None:
        if not self.memory.full:
            self.memory = replace(self.memory, full=True)
            interval = (reading.at.agent, reading.at.agent)
            ref = self._settings.ref
            self.told.append(gap_event("queue_overflow", interval, [ref], "unknown", moment=self._moment, device=device_of(ref)))


def _is_another(known: Known, condition: Condition) -> bool:
    return known.since is not None and condition.since is not None and condition.since > known.since


def _standing(condition: Condition, time: int) -> Standing:
    words = condition.message or condition.name
    return Standing(condition.key, None, words, time, condition.severity, condition.kind, _members(condition))


def _members(condition: Condition) -> Mapping[str, Any]:
    """Return what alarms of conditions say beside the usual members, as far as the device said it."""
    more: dict[str, Any] = {
        "condition": condition.name,
        "source": condition.source,
        "source_node": condition.source_node,
        "event_type": condition.event_type,
        "shelved": None if condition.shelved == "none" else condition.shelved,
        "suppressed": condition.suppressed or None,
        "good": None if condition.good else False,
    }
    return {name: value for name, value in more.items() if value is not None}
