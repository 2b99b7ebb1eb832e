"""The order of things: from batches and ticks as they arrive to what is folded one after another.

Order inside one tag is the order of arrival, whatever its stamps say; notices stand between what came before and after
them on their device; across tags and devices the best time decides. A tick for T waits until T's readings can have arrived. The rows
of one trigger group stay together, and so do the first rows after a connect: they are one read of everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress

import msgspec

from edge_agent.events.clocks import LATENESS, STEP, DeviceClock
from edge_agent.events.mescontext import DEVICE as OUTSIDE
from edge_agent.events.window import Item, Patience, Read, Retained, Route, Tick, Window
from edge_agent.model.instant import MS
from edge_agent.model.reading import (
    AgentDown,
    Batch,
    ClockOffset,
    DeviceDown,
    DeviceUp,
    Gap,
    Notice,
    Quality,
    Reading,
    Timestamps,
)

_QUALITIES = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)
_EVERY_DEVICE = ""


def arrange(
    window: Window, inputs: Sequence[Batch | Tick], routes: Mapping[str, Route], unit: str, patience: Patience
) -> tuple[Window, list[Item]]:
    """Take ``inputs`` in; return the new window and what is now to be folded, in order."""
    intake = _Intake(window, routes, unit, patience)
    for thing in inputs:
        if isinstance(thing, Tick):
            intake.tick(thing)
        else:
            intake.batch(thing)
    return intake.release()


class _Intake:
    """One turn's work on a window: local and mutable, thrown away after it."""

    def __init__(self, window: Window, routes: Mapping[str, Route], unit: str, patience: Patience) -> None:
        self._now = window.now
        self._clocks = dict(window.clocks)
        self._items = list(window.waiting)
        self._taken = window.taken
        self._routes, self._prefix, self._patience = routes, f"{unit}/", patience
        self._late_after = max(patience.reorder, LATENESS)
        self._final = False
        self._retained = window.retained
        self._floor: dict[str, int] = {}  # the last notice per device: what came after it stays after it
        self._high: dict[str, int] = {}  # the newest place per device: a notice stands behind it
        self._tags: dict[str, int] = {}  # the newest place per tag: arrival order is never broken
        for item in self._items:
            self._note(item)

    def tick(self, tick: Tick) -> None:
        self._now = max(self._now, tick.time)
        self._final |= tick.final
        for device, clock in self._clocks.items():
            self._clocks[device] = clock.ticked(tick.time)
        self._items.append(Item(tick.time, tick.time, tick.time, self._taken, _EVERY_DEVICE, tick))

    def batch(self, batch: Batch) -> None:
        self._now = max(self._now, batch.received)
        if batch.device == OUTSIDE and self._retained is not None:
            batch = self._as_retained(batch, self._retained)
        for notice in batch.before:
            self._notice(notice, batch)
        route = self._routes.get(batch.device)
        if route is not None and batch.tags:
            self._rows(route, batch)
        for notice in batch.after:
            self._notice(notice, batch)
        self._taken += 1

    def _as_retained(self, batch: Batch, retained: Retained) -> Batch:
        """Return what the MES says as of the agent's return: it was retained, so it holds since some time of the absence."""
        left = retained.members.difference(batch.tags)
        self._retained = msgspec.structs.replace(retained, members=left) if left else None
        rows = len(batch.tags)
        found = Batch(
            OUTSIDE, retained.since, batch.tags, batch.values, batch.quality, [0] * rows, [0] * rows, asked=retained.since
        )
        own = self._items
        place = next((i + 1 for i in range(len(own) - 1, -1, -1) if isinstance(own[i].what, AgentDown)), 0)
        self._items, behind = own[:place], own[place:]
        self._rows(self._routes[OUTSIDE], found)
        self._items += behind
        return Batch(OUTSIDE, batch.received)

    def _held(self, data: Sequence[Item]) -> int | None:
        """Return how many of ``data`` do not wait for the MES, None when nobody waits for it."""
        if self._retained is None or self._final or self._now >= self._retained.until:
            self._retained = None
            return None
        return next((place + 1 for place in range(len(data) - 1, -1, -1) if isinstance(data[place].what, AgentDown)), 0)

    def release(self) -> tuple[Window, list[Item]]:
        ticks = [item for item in self._items if type(item.what) is Tick]
        data = sorted((item for item in self._items if type(item.what) is not Tick), key=_order)
        if (held := self._held(data)) is not None:
            return Window(self._now, self._clocks, (*data[held:], *ticks), self._taken, self._retained), data[:held]
        due = len(data) if self._final else self._due(data)
        hold = 0 if self._final else max(self._patience.settle, self._patience.reorder)
        ready = data[:due] + [item for item in ticks if item.time + hold <= self._now]
        waiting = data[due:] + [item for item in ticks if item.time + hold > self._now]
        return Window(self._now, self._clocks, tuple(waiting), self._taken), sorted(ready, key=_order)

    def _due(self, items: Sequence[Item]) -> int:
        """Return how many of ``items`` go now: up to the last that has waited long enough, with all that sorts ahead of it."""
        patience = self._patience
        end = len(items)
        boundary = patience.boundary
        if boundary is not None and self._now < boundary + patience.settle:
            end = next((place for place, item in enumerate(items) if item.key >= boundary), end)
        for place in range(end, 0, -1):
            if items[place - 1].received + patience.reorder <= self._now:
                return place
        return 0

    def _notice(self, notice: Notice, batch: Batch) -> None:
        if isinstance(notice, AgentDown):
            device, time = _EVERY_DEVICE, notice.until
            if self._patience.outside and (route := self._routes.get(OUTSIDE)) is not None and route.wanted:
                self._retained = Retained(route.wanted, notice.until, batch.received + self._patience.outside)
        else:
            device, time = notice.device, notice.until if isinstance(notice, Gap) else notice.time
        self._tell_clocks(notice, device)
        high = max(self._high.values(), default=0) if device == _EVERY_DEVICE else self._high.get(device, 0)
        key = max(time, high, self._floor.get(_EVERY_DEVICE, 0))
        item = Item(key, time, batch.received, self._taken, device, notice)
        self._items.append(item)
        self._note(item)

    def _tell_clocks(self, notice: Notice, device: str) -> None:
        if isinstance(notice, AgentDown):
            for known in self._routes.keys() - {OUTSIDE}:  # who may never speak again holds nobody up
                self._clocks[known] = self._clocks.get(known, DeviceClock()).asleep(notice.since)
        elif isinstance(notice, DeviceDown):
            self._clocks[device] = self._clocks.get(device, DeviceClock()).lost(notice.last_good)
        elif isinstance(notice, DeviceUp):
            self._clocks[device] = self._clocks.get(device, DeviceClock()).connected()
        elif isinstance(notice, ClockOffset):
            clock = self._clocks.get(device, DeviceClock())
            if clock.measured is not None and notice.offset < clock.measured - STEP:
                clock = self._clocks[device] = clock.set_back(clock.offset - (clock.measured - notice.offset))
            if clock.measured is None or abs(notice.offset - clock.measured) >= MS:
                self._clocks[device] = msgspec.structs.replace(clock, measured=notice.offset)

    def _rows(self, route: Route, batch: Batch) -> None:
        before = self._clocks.get(batch.device, DeviceClock())
        if batch.historical:
            self._historical(route, batch, before)
            return
        newest = max(batch.source) or max(batch.server)
        before = before.judged(newest, batch.received)
        clock = before.stamped(newest, batch.received)
        self._clocks[batch.device] = clock
        standing = clock.standing or 0
        if batch.snapshots:
            self._with_snapshots(route, batch, before, standing)
        elif route.wanted and not route.wanted.isdisjoint(batch.tags):
            rows = list(compress(range(len(batch.tags)), map(route.listened.__getitem__, batch.tags)))
            self._plain(rows, route, batch, before, standing)

    def _historical(self, route: Route, batch: Batch, before: DeviceClock) -> None:
        """Take what was sampled out of sight: each row at its own time, and the device is not back before its present values are in."""
        self._clocks[batch.device] = before.told(max(batch.source) or max(batch.server))
        for row, tag in enumerate(batch.tags):
            if route.listened[tag]:
                reading = _reading(batch, row, route.refs[tag], 0)
                self._add(reading.at.best, batch, reading, late=False)

    def _with_snapshots(self, route: Route, batch: Batch, before: DeviceClock, standing: int) -> None:
        taken: set[int] = set()
        for part in batch.snapshots:
            taken.update(range(part.start, part.stop))
        rows = [row for row, tag in enumerate(batch.tags) if row not in taken and route.listened[tag]]
        self._plain(rows, route, batch, before, standing)
        for part in batch.snapshots:
            if "/" in part.group and not part.group.startswith(self._prefix):
                continue  # another unit's group on the same device
            readings = [_reading(batch, row, route.refs[batch.tags[row]], standing) for row in range(part.start, part.stop)]
            time = max((reading.at.best for reading in readings), default=batch.received)
            read = Read(part.group.removeprefix(self._prefix), {reading.tag: reading for reading in readings})
            self._add(time, batch, read, late=before.late(time, self._late_after))

    def _plain(self, rows: Sequence[int], route: Route, batch: Batch, before: DeviceClock, standing: int) -> None:
        readings = [_reading(batch, row, route.refs[batch.tags[row]], standing) for row in rows]
        if before.returning and len({reading.tag for reading in readings}) == len(readings):
            now = max((reading.at.best for reading in readings), default=0)
            for reading in readings:  # one read of everything: what was found behind a loss is found together
                self._add(now, batch, reading, late=False)
            return
        for reading in readings:
            time = reading.at.best
            self._add(time, batch, reading, late=before.late(time, self._late_after))

    def _add(self, time: int, batch: Batch, what: Reading | Read, *, late: bool) -> None:
        device = batch.device
        key = max(time, self._floor.get(device, 0), self._floor.get(_EVERY_DEVICE, 0))
        if type(what) is Reading:
            key = max(key, self._tags.get(what.tag, 0))
        offset = clock.measured if (clock := self._clocks.get(device)) is not None else None
        item = Item(key, time, batch.received, self._taken, device, what, late, batch.historical, offset)
        self._items.append(item)
        self._note(item)

    def _note(self, item: Item) -> None:
        """Remember the places that later arrivals must respect."""
        what, device = item.what, item.device
        if type(what) is Tick:
            return  # it comes when it has waited, between whatever is there then
        self._high[device] = max(self._high.get(device, 0), item.key)
        if type(what) is Reading:
            self._tags[what.tag] = item.key
        elif type(what) is not Read and type(what) is not ClockOffset:
            self._floor[device] = item.key


def _order(item: Item) -> tuple[int, bool]:
    return item.order


def _reading(batch: Batch, row: int, ref: str, standing: int) -> Reading:
    """Return one row as a reading; a stamp that was known before the connection is no time of change, so it is left out."""
    source, server = batch.source[row], batch.server[row]
    own, theirs = source if source > standing else None, server if server > standing else None
    at = Timestamps(own, theirs, batch.received, batch.asked or None)
    return Reading(ref, batch.values[row], _QUALITIES[batch.quality[row]], at, batch.details.get(row))


def _sort(item: Item) -> tuple[bool, bool]:
    return item.late, item.historical


def together(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield runs of items that make one moment: readings and reads of one time, none twice; every notice and tick alone."""
    run: list[Item] = []
    names: set[str] = set()
    for item in items:
        what = item.what
        name = what.tag if isinstance(what, Reading) else f"/{what.group}" if isinstance(what, Read) else None
        if run and (name is None or not names or name in names or item.time != run[-1].time or _sort(item) != _sort(run[-1])):
            yield run
            run, names = [], set()
        run.append(item)
        if name is not None:
            names.add(name)
    if run:
        yield run
