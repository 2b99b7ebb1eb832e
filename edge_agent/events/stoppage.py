"""What stops a machine, and what explains it: one moment's work on one `DowntimeMemory`."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from edge_agent.events.alarmset import raised_at
from edge_agent.events.codes import UNKNOWN
from edge_agent.events.downtimememory import DowntimeMemory, Open, Reason
from edge_agent.events.rule import Moment
from edge_agent.events.state import ReasonConfig, StateConfig, flag
from edge_agent.events.tables import Code, StateTable, code_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, iso
from edge_agent.model.reading import Quality

_EARLY = NS
"""A reason or an alarm may come this much before the state that it explains: scans and samples are not in step (ns)."""

_ALARM_BEFORE = 5 * NS
"""An alarm that rose at most this much before the stop counts as its first (ns)."""

_PATH = 200
"""More states than this are not listed: an event must stay small."""


class Stoppage:
    """Works on one memory in one moment; ``memory`` and ``events`` are the result. Thrown away after it."""

    def __init__(self, memory: DowntimeMemory, moment: Moment, config: StateConfig, table: StateTable, *, with_order: bool) -> None:
        """Start from ``memory``; ``with_order``: a downtime lasts no longer than its order."""
        self.memory = memory
        self.events: list[ProductionEvent] = []
        self._moment = moment
        self._config = config
        self._table = table
        self._with_order = with_order

    # -- inputs --------------------------------------------------------------------------------------------------------------

    def take_tags(self) -> None:
        """Take flags and the reason tag in."""
        memory, moment, config = self.memory, self._moment, self._config
        memory = replace(
            memory,
            starved=flag(moment, config.starved, known=memory.starved),
            blocked=flag(moment, config.blocked, known=memory.blocked),
        )
        self.memory = self._take_reason(memory, config.reason) if config.reason is not None else memory

    def _take_reason(self, memory: DowntimeMemory, config: ReasonConfig) -> DowntimeMemory:
        """A reason is new when its value changed; what merely still stands explains nothing (nor does a repeated stamp)."""
        reading = self._moment.readings.get(config.tag)
        if reading is None or reading.quality is Quality.BAD:
            return memory
        code = code_of(reading.value)
        code = "" if code is None else code
        if code == memory.reason:
            return memory
        return replace(memory, reason=code, latched=reading.at.best, told=memory.reason is None)

    # -- from outside --------------------------------------------------------------------------------------------------------

    def leave_production(self) -> None:
        """Close on leaving the production mode, and where it takes an order, when the order ends."""
        picture, memory = self._moment.picture, self.memory
        order = picture.context.order
        if not picture.production:
            self.memory = replace(memory, armed=False, split=memory.split or memory.open is not None)
            self._close_by("mode.changed")
        elif self._with_order and memory.order is not None and order != memory.order:
            self._close_by("order.completed", "order.aborted")
        if order != self.memory.order:
            self.memory = replace(self.memory, order=order)

    def enter_production(self) -> None:
        """Open one for the machine that comes into production and does not run.

        A downtime that leaving production ended goes on as a new one, whatever was done in between. Without one the machine must be seen to
        come in, in a state that is a cause (who is idle or starting waits for work): behind a loss, as at a start, nobody knows what it did.
        """
        picture, facts = self._moment.picture, self._moment.picture.state
        if not picture.production or facts is None or facts.code is None or facts.category == "unknown":
            return
        mode, change = (self._event(kind) for kind in ("mode.changed", "state.changed"))
        found = change is not None and change.data["from"]["category"] == "unknown"
        entered = mode is not None and mode.interval is None and not found and not self._moment.before.production
        down = self.memory.split or (entered and self._table.state(facts.code).cause is not None)
        if down and facts.category != "running" and self._opens(facts.code):
            cause = mode or change
            self.memory = replace(self.memory, code=facts.code)
            self._start(facts.code, *((self._moment.time, None) if cause is None else (cause.time, cause.interval)))
        if self.memory.split:
            self.memory = replace(self.memory, split=False)

    def _event(self, *types: str) -> ProductionEvent | None:
        return next((event for event in self._moment.events if event.type in types), None)

    def _close_by(self, *types: str) -> None:
        cause = self._event(*types)
        if cause is None:
            self._close(self._moment.time, None)
        else:
            self._close(cause.time, cause.interval)

    # -- states --------------------------------------------------------------------------------------------------------------

    def changed(self, event: ProductionEvent) -> None:
        """Follow one transition."""
        code, category = event.data["to"]["code"], event.data["to"]["category"]
        self._watch(event)
        if self.memory.open is not None and category != "running" and len(self.memory.open.path) < _PATH:
            self._update(path=(*self.memory.open.path, code))
        if category == "unknown":
            since = event.time if self.memory.unknown is None else self.memory.unknown
            self.memory = replace(self.memory, code=code, unknown=since)
            return
        unknown = self.memory.unknown
        interval = event.interval if event.interval is not None or unknown is None else (unknown, max(event.time, unknown))
        self.memory = replace(self.memory, code=code, unknown=None)
        if category == "running":
            self._close(event.time, interval)
        elif self.memory.armed:
            self.memory = replace(self.memory, armed=False)
            if self._opens(code):
                self._start(code, event.time, interval)
        self._explain()

    def _watch(self, event: ProductionEvent) -> None:
        """Take in how long the state before truly was, where stamps say something else."""
        since, downtime = self.memory.since, self.memory.open
        if since is not None and downtime is not None:
            skew = round(event.data["prev_duration_s"] * NS) - (event.time - since)
            if skew:
                self._update(skew=downtime.skew + skew)
        self.memory = replace(self.memory, since=event.time)

    def _opens(self, code: Code) -> bool:
        picture = self._moment.picture
        wanted = not self._with_order or picture.context.order is not None
        return self.memory.open is None and picture.production and wanted and self._table.state(code).opens

    def _start(self, code: Code, time: int, interval: tuple[int, int] | None) -> None:
        downtime = Open(f"{self._moment.unit}/downtime/{time}", time, path=(code,))
        self.memory = replace(self.memory, open=downtime, ended=None)
        self._explain()
        self._find_alarm()
        self._find_reason()
        self._tell("downtime.started", self._described(), time, interval)

    def _close(self, time: int, interval: tuple[int, int] | None) -> None:
        downtime = self.memory.open
        if downtime is None:
            return
        self._find_alarm()
        self._find_reason()
        downtime = self.memory.open or downtime
        duration = max(time - downtime.start + downtime.skew, 0)
        time = max(time, downtime.start)
        data = self._described() | {
            "duration_s": duration / NS,
            "micro": duration < self._config.micro_stop,
            "state_path": list(downtime.path),
            "ended_interval": None if interval is None else [iso(interval[0]), iso(interval[1])],
        }
        self._tell("downtime.ended", data, time, interval)
        waiting = self._config.reason is not None and downtime.reason is None
        self.memory = replace(self.memory, open=None, ended=downtime if waiting else None)

    # -- explanations --------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """After the transitions: what came in now may explain the downtime that runs or has just ended."""
        memory = self.memory
        if memory.open is not None:
            self._explain()
            self._find_alarm()
            told = any(event.type == "downtime.started" for event in self.events)
            if self._find_reason() and not told and self.memory.open is not None:
                self._tell_reason(self.memory.open)
        elif memory.ended is not None:
            self._late_reason(memory.ended)
        facts, production = self._moment.picture.state, self._moment.picture.production
        if facts is not None and facts.category != "unknown":
            armed = production and facts.category == "running"
            self.memory = replace(self.memory, armed=armed, code=facts.code)

    def _explain(self) -> None:
        """The first state that says something gives the cause; a flag that comes later still counts."""
        if self.memory.open is None or self.memory.open.cause is not None or self.memory.code is None:
            return
        cause = self._table.state(self.memory.code).cause
        if cause == "flags":
            cause = "starved" if self.memory.starved else "blocked" if self.memory.blocked else None
        if cause is not None:
            self._update(cause=cause)

    def _find_alarm(self) -> None:
        """The earliest alarm that rose in the downtime or just before it."""
        downtime = self.memory.open
        if downtime is None or downtime.alarm is not None:
            return
        since = downtime.start - _ALARM_BEFORE
        alarms = self._moment.picture.alarms.items()
        rose = sorted((raised_at(instance), not alarm["first_out"], str(alarm["alarm_id"])) for instance, alarm in alarms)
        first = next((name for time, _, name in rose if time >= since), None)
        if first is not None:
            self._update(alarm=first)

    def _find_reason(self) -> bool:
        """Return whether a reason was found now that latched with this downtime."""
        downtime, config = self.memory.open, self._config.reason
        if downtime is None or config is None or downtime.reason is not None:
            return False
        if self.memory.told or not self.memory.reason or self.memory.latched < downtime.start - _EARLY:
            return False
        self._update(reason=self._worded(self.memory.reason, config))
        self.memory = replace(self.memory, told=True)
        return True

    def _late_reason(self, ended: Open) -> None:
        """A stop that was over before its reason latched still gets it, for as long as the machine may take."""
        config = self._config.reason
        if config is None or self._moment.time > ended.start + config.wait + _EARLY:
            self.memory = replace(self.memory, ended=None)
        elif (
            not self.memory.told and self.memory.reason and ended.start - _EARLY <= self.memory.latched <= ended.start + config.wait
        ):
            self._tell_reason(replace(ended, reason=self._worded(self.memory.reason, config)))
            self.memory = replace(self.memory, ended=None, told=True)

    def _worded(self, code: Code, config: ReasonConfig) -> Reason:
        """The words of the table; else those of an active alarm with the same number, which is PackML's own rule for StopReason."""
        texts = [alarm["text"] for alarm in self._moment.picture.alarms.values() if alarm["alarm_id"] == str(code)]
        known = config.meanings.get(code, UNKNOWN)
        text = config.texts.get(code) or known.text or next(iter(texts), None)
        return Reason(code, text, config.tag, known.mes, known.category)

    # -- words ---------------------------------------------------------------------------------------------------------------

    def _update(self, **parts: Any) -> None:
        if self.memory.open is not None:
            self.memory = replace(self.memory, open=replace(self.memory.open, **parts))

    def _described(self) -> dict[str, Any]:
        downtime = self.memory.open
        assert downtime is not None  # noqa: S101 - only an open downtime is described
        return {
            "downtime_id": downtime.id,
            "category": downtime.cause or "stopped",
            "reason": None if downtime.reason is None else downtime.reason.told,
            "first_out_alarm": downtime.alarm,
            "started_at": iso(downtime.start),
        }

    def _tell_reason(self, downtime: Open) -> None:
        assert downtime.reason is not None  # noqa: S101 - told because it was found
        data = {"downtime_id": downtime.id, "reason": downtime.reason.told}
        self._tell("downtime.reason", data, max(self.memory.latched, downtime.start), None, downtime.id)

    def _tell(
        self, kind: str, data: dict[str, Any], time: int, interval: tuple[int, int] | None, downtime: str | None = None
    ) -> None:
        name = downtime or data["downtime_id"]
        self.events.append(
            ProductionEvent(type=kind, time=time, data=data, interval=interval, late=self._moment.late, causation=name)
        )
