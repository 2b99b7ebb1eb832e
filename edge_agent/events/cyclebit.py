"""Cycles that bits mark: one bit that is on during a cycle, or one edge where it begins and one where it ends.

What is read with a cycle's end (result, parameters) comes in a read that the end fires; where that fails to come, the cycle is told
without it. A cycle whose end was not seen is closed by the next one's begin, without a duration; one that an outage hides, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_agent.events.cycleconfig import CycleConfig, Ending
from edge_agent.events.reference import device_of
from edge_agent.events.restart import BootMark, restarted
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase
from edge_agent.events.sight import Change, Plain, Sight, heed, look, usable, value_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Boot, Quality, Reading, Timestamps

_PATIENCE = 2 * NS  # how long a cycle's end waits for the read that it fired


class OpenCycle(msgspec.Struct, frozen=True):
    """A cycle that began at ``start``; ``ended`` once its end is seen and only the read of it is waited for (UTC ns).

    ``hidden`` is since when its end, or another cycle, could have passed unseen; ``aborted`` that its device restarted in it.
    """

    start: int
    number: Plain = None
    hidden: int | None = None
    ended: int | None = None
    at: Timestamps | None = None
    interval: tuple[int, int] | None = None
    quality: Quality = Quality.GOOD


class CycleBitMemory(msgspec.Struct, frozen=True):
    """The bits as seen last, and the cycle that is not over."""

    begin: Sight = Sight()
    end: Sight = Sight()
    cycle: OpenCycle | None = None
    boot: BootMark = BootMark()


class CycleBitRule:
    """Tells ``cycle.started`` (cycle_id, cycle_no) and ``cycle.completed`` (as `CycleRule`, with the measured duration)."""

    phase = Phase.RECORD
    ticks = True
    version = 1
    state_type = CycleBitMemory

    def __init__(self, config: CycleConfig, name: str, ending: Ending) -> None:
        """Watch the bits of ``config``."""
        self.name = f"cycles.{name}"
        self._begin = config.running or config.start or ""
        self.mark = self._end = config.running or config.end or ""
        number = (config.number,) if config.number is not None else ()
        self.tags = tuple(dict.fromkeys((self._begin, self._end, *number)))
        self.fingerprint = f"{self._begin} {self._end}"
        self._config, self._ending = config, ending
        self._group = f"cycles.{name}" if config.extras else None
        self._device = device_of(self._begin)

    def initial(self) -> CycleBitMemory:
        """Nothing seen."""
        return CycleBitMemory()

    def step(self, state: CycleBitMemory, moment: Moment) -> tuple[CycleBitMemory, Outcome]:
        """Fold one moment: an end, then a begin, then the read that an end has waited for."""
        events: list[ProductionEvent] = []
        memory = self._noticed(state, moment, events)
        begin, rose = self._seen(memory.begin, self._begin, moment)
        end, fell = (begin, rose) if self._end == self._begin else self._seen(memory.end, self._end, moment)
        memory = msgspec.structs.replace(memory, begin=begin, end=end)
        on_at_end = self._end != self._begin
        if fell is not None and bool(fell.new) is on_at_end and memory.cycle is not None and memory.cycle.ended is None:
            memory = msgspec.structs.replace(memory, cycle=self._ended(memory.cycle, fell))
        memory = self._read(memory, moment, events)
        if rose is not None and rose.new:
            memory = self._started(memory, rose, moment, events)
        return (state if memory == state else memory), Outcome(tuple(events)) if events else NOTHING

    def _seen(self, sight: Sight, ref: str, moment: Moment) -> tuple[Sight, Change | None]:
        reading = moment.readings.get(ref)
        return look(sight, bool(reading.value), reading) if reading is not None and usable(reading) else (sight, None)

    def _noticed(self, memory: CycleBitMemory, moment: Moment, events: list[ProductionEvent]) -> CycleBitMemory:
        begin, end = heed(memory.begin, self._begin, moment.notices), heed(memory.end, self._end, moment.notices)
        cycle, boot = memory.cycle, memory.boot
        unseen = end.unseen if self._end != self._begin else begin.unseen
        if cycle is not None and cycle.ended is None and cycle.hidden is None and unseen is not None:
            cycle = msgspec.structs.replace(cycle, hidden=max(unseen, cycle.start))
        for notice in moment.notices:
            if isinstance(notice, Boot) and notice.device == self._device:
                boot, again = restarted(boot, notice)
                if again and cycle is not None and cycle.ended is None:  # the device forgot it
                    since = cycle.hidden or notice.time
                    gone = msgspec.structs.replace(
                        cycle,
                        ended=notice.time,
                        hidden=since,
                        interval=(min(since, notice.time), notice.time),
                        quality=Quality.UNCERTAIN,
                    )
                    events.append(self._completed(gone, {}, moment, result="aborted"))
                    cycle, begin, end = None, Sight(), Sight()
        return CycleBitMemory(begin, end, cycle, boot)

    @staticmethod
    def _ended(cycle: OpenCycle, change: Change) -> OpenCycle:
        unsure = cycle.hidden is not None
        return msgspec.structs.replace(
            cycle,
            ended=max(change.time, cycle.start),
            at=change.reading.at,
            interval=(min(cycle.hidden or 0, change.time), change.time) if unsure else None,
            quality=Quality.UNCERTAIN if unsure else change.reading.quality,
        )

    def _read(self, memory: CycleBitMemory, moment: Moment, events: list[ProductionEvent]) -> CycleBitMemory:
        """Tell a cycle that ended, when what is read with its end is there or no longer waited for."""
        cycle = memory.cycle
        if cycle is None or cycle.ended is None:
            return memory
        rows = moment.snapshots.get(self._group) if self._group is not None else {}
        if rows is None and not moment.final and not (moment.tick and moment.time >= cycle.ended + _PATIENCE):
            return memory
        events.append(self._completed(cycle, rows or {}, moment))
        return msgspec.structs.replace(memory, cycle=None)

    def _started(self, memory: CycleBitMemory, change: Change, moment: Moment, events: list[ProductionEvent]) -> CycleBitMemory:
        open_ = memory.cycle
        if open_ is not None:  # its end was never seen, or its read never came
            if open_.ended is None:
                since = min(open_.hidden or open_.start, change.time)
                open_ = msgspec.structs.replace(
                    open_, ended=change.time, hidden=since, interval=(since, change.time), quality=Quality.UNCERTAIN
                )
            events.append(self._completed(open_, {}, moment))
        number = value_of(moment.readings, self._config.number)
        cycle = OpenCycle(change.time, number)
        cycle_id = self._ending.cycle_id(cycle.start)
        events.append(
            ProductionEvent(
                type="cycle.started",
                time=change.time,
                data={"cycle_id": cycle_id, "cycle_no": number},
                at=change.reading.at,
                interval=change.interval,
                quality=change.reading.quality,
                late=moment.late,
                causation=cycle_id,
            )
        )
        return msgspec.structs.replace(memory, cycle=cycle)

    def _completed(
        self, cycle: OpenCycle, rows: Mapping[str, Reading], moment: Moment, *, result: str | None = None
    ) -> ProductionEvent:
        ended = cycle.start if cycle.ended is None else cycle.ended
        cycle_id = self._ending.cycle_id(cycle.start)
        number = value_of(rows, self._config.number)
        data: dict[str, Any] = self._ending.data(rows, cycle_id, cycle.number if number is None else number, 1)
        if cycle.hidden is None:
            data["duration_s"] = round((ended - cycle.start) / NS, 9)
        if result is not None:
            data["result"] = result
        lacks = any(value_of(rows, ref) is None for ref in self._config.extras.values())
        return ProductionEvent(
            type="cycle.completed",
            time=ended,
            data=data,
            at=cycle.at,
            interval=cycle.interval,
            quality=Quality.UNCERTAIN if lacks else cycle.quality,
            late=moment.late,
            causation=cycle_id,
        )
