"""One task per work unit owns its state: takes everything that waits, folds once, appends once, then lets the batches be accepted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import structlog

from edge_agent.agent.discipline import Discipline
from edge_agent.events.derive import Fold, RuleError, Tick, Turn
from edge_agent.events.encode import ClockState, encode
from edge_agent.events.rule import Picture
from edge_agent.model.errors import StorageError
from edge_agent.model.event import Acknowledge, ProductionEvent
from edge_agent.model.instant import NS, iso
from edge_agent.model.reading import AgentDown, Batch, Mark
from edge_agent.model.stream import Checkpoint, Custody, Entry
from edge_agent.ports import Buffer, PlantClock

_HEARTBEAT = 10.0
"""Machine seconds after which the last-seen time is stored although nothing else changed."""

_LONG_AWAY = 86_400 * NS
"""Plant ns that are caught up boundary by boundary; a clock that was set further ahead than this (NTP after a start in 1970) goes on from now."""

_RETRY = 0.5

_WAITING = "_telemetry"
"""The stored state that says since when samples wait for their flush (UTC ns, empty: none do): a kill takes those along."""

_MARKS = "_marks"
"""The stored state that says how far each device's data are folded: the latest `Mark` of each, by device."""

_MARKING = 1.0
"""Machine seconds after which new marks are stored although nothing else changed: the device may forget what is behind them."""

_LOOK_AGAIN = 2.0
"""Machine seconds after which the clock is asked again, however far away the next tick is: it may have been set back."""


class Unit:
    """Runs the fold of one work unit."""

    def __init__(self, name: str, fold: Fold, buffer: Buffer, clock: PlantClock, *, prefix: str, cfg: str) -> None:
        """Fold the inputs of unit ``name``; events go to the stream of the same name. ``cfg`` is the hash of the tag mapping."""
        self.name = name
        self._fold = fold
        self._buffer = buffer
        self._clock = clock
        self._prefix = prefix
        self._cfg = cfg
        self._inbox: list[tuple[Batch, asyncio.Future[None] | None]] = []
        self._held: deque[tuple[asyncio.Future[None] | None, Batch]] = deque()
        self._marks: dict[str, Mark] = {}
        self._kept: dict[str, Mark] = {}
        self._released = 0
        self._wake = asyncio.Event()
        self._stored = 0.0
        self._waiting = b""
        self._stopping = self._closed = False
        self._successor: Unit | None = None
        self.quarantined: str | None = None
        self.trust: Discipline | None = None
        self.effect: Callable[[Acknowledge], Awaitable[None]] | None = None
        self.changed = asyncio.Event()
        self.made: Counter[str] = Counter()
        self._log = structlog.get_logger().bind(unit=name)

    @property
    def picture(self) -> Picture:
        """The unit as the last commit left it."""
        return self._state.picture

    def mark(self) -> Callable[[], dict[str, bytes]]:
        """Return a way to get the stored form of every rule's state as the last commit left it, also later."""
        return partial(self._fold.stored, self._state)

    def refused(self, states: Mapping[str, bytes]) -> tuple[str, ...]:
        """Return the names of the stored ``states`` that this configuration could not go on from."""
        return self._fold.start(states)[1]

    async def open(self, since: int | None = None, image: Sequence[Batch] = ()) -> None:
        """Load the stored state; after an absence of the agent, up to plant time ``since`` (None: now), its first input is that absence.

        ``image`` is what devices have shown that are connected already; what was delivered meanwhile comes behind it.
        """
        since = self._clock.now() if since is None else since
        states, last_seen = await self._buffer.states(self.name)
        self._waiting, stored = states.pop(_WAITING, b""), states.pop(_MARKS, b"")
        if last_seen is not None and self._waiting and int(self._waiting) < last_seen + self._fold.settle:
            await self._samples_lost(int(self._waiting), last_seen + self._fold.settle)  # until the last commit
        self._state, dropped = self._fold.start(states)
        for rule in dropped:
            self._log.warning(
                "rule.state_dropped", rule=rule, reason="its meaning changed in the configuration; a new baseline is taken"
            )
        self._marks = self._kept = _unpacked(stored)
        self._next_tick = since // NS * NS + NS
        ahead = list(image)
        if last_seen is not None:
            ahead.insert(0, Batch("", since, before=(AgentDown(min(last_seen, since), since),)))
        joined = [each for each in self._inbox if each[1] is not None]  # others are what a try before this one may have left
        self._inbox = [*((batch, None) for batch in ahead), *joined]
        if self._inbox:
            self._wake.set()

    async def deliver(self, batch: Batch) -> None:
        """Put one batch into the inbox and return when what it caused is in custody; a unit that was closed hands it to its successor."""
        if self._closed:
            if self._successor is not None:
                await self._successor.deliver(batch)
            return
        done = asyncio.get_running_loop().create_future()
        self._inbox.append((_news(batch, self._marks.get(batch.device)), done))
        self._wake.set()
        await done

    def reached(self, device: str) -> Mark | None:
        """Return how far the data of ``device`` are folded and committed, None where that is not known."""
        return self._marks.get(device)

    def stored(self, device: str) -> Mark | None:
        """Return how far the data of ``device`` are on disk, None where that is not known: not more than `reached`."""
        return self._kept.get(device)

    async def run(self) -> None:
        """Turn until `stop`."""
        while not self._stopping:
            if not self._wake.is_set():
                await self._wait()
            self._wake.clear()
            await self._turn(self._due(self._clock.now()))

    def stop(self) -> None:
        """Let `run` return after the turn it is in."""
        self._stopping = True
        self._wake.set()

    @property
    def watermark(self) -> int:
        """The time up to which nothing more will follow unless it is flagged late (UTC ns)."""
        return self._fold.watermark(self._state)

    def next_boundary(self, after: int) -> int | None:
        """Return the next instant after ``after`` that a rule declared (shift, energy grid), None without any."""
        return self._fold.next_boundary(after)

    async def _wait(self) -> None:
        """Return when something was delivered or the next tick is due."""
        waking = asyncio.create_task(self._wake.wait())
        ticking = asyncio.create_task(_until(self._clock, self._next_tick))
        try:
            await asyncio.wait((waking, ticking), timeout=_LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            ticking.cancel()

    def _due(self, now: int) -> list[Tick]:
        """Return the ticks that have come due: each declared boundary, and the newest whole second (one is enough after a pause)."""
        ticks: list[Tick] = []
        newest = now // NS * NS
        if abs(now - self._next_tick) > _LONG_AWAY or self._next_tick - now > 2 * NS:
            self._next_tick = newest  # the clock was set: seconds that never were are not caught up, and old ones not waited for
        while self._next_tick <= now:
            boundary = self._fold.next_boundary(self._next_tick - 1)
            second = max(self._next_tick, newest)  # a boundary may lie behind the newest second
            ticks.append(Tick(min(boundary, second) if boundary is not None else second))
            self._next_tick = ticks[-1].time // NS * NS + NS
            following = self._fold.next_boundary(ticks[-1].time)
            if following is not None:
                self._next_tick = min(self._next_tick, following)
        return ticks

    async def _turn(self, ticks: Sequence[Tick]) -> None:
        taken, self._inbox = self._inbox, []
        self._held.extend((future, batch) for batch, future in taken)
        inputs: list[Batch | Tick] = [batch for batch, _ in taken]
        inputs += ticks
        if inputs and self.quarantined is None:
            try:
                turn = self._fold.fold(self._state, inputs)
            except RuleError as error:
                await self._quarantine(error)
            else:
                self._marks = self._marked(turn.settled)
                await self._commit(turn, final=any(tick.final for tick in ticks))
                self._release(turn.settled)
        if self.quarantined is not None:
            self._release(self._released + len(self._held))

    def _release(self, settled: int) -> None:
        """Let the first ``settled`` batches of all be accepted; later ones still wait inside the fold."""
        while self._held and self._released < settled:
            self._released += 1
            future, _ = self._held.popleft()
            if future is not None and not future.done():
                future.set_result(None)

    def _marked(self, settled: int) -> dict[str, Mark]:
        """Return the marks after the first ``settled`` batches of all; what still waits inside the fold is not in the stored state."""
        done = islice(self._held, max(0, settled - self._released))
        marks = dict(self._marks)
        for _, batch in done:
            if batch.mark is not None:
                marks[batch.device] = _further(marks.get(batch.device), batch.mark, historical=batch.historical)
        return marks

    async def _commit(self, turn: Turn, *, final: bool) -> None:
        """Append what the turn made. Unless it is the last one, readings of the newest moment may still be under way: it is not seen yet."""
        now = self._clock.now()
        seen = now if final else now - self._fold.settle
        if (retained := turn.state.window.retained) is not None:
            seen = min(seen, retained.since)
        entries = [self.encode(event, now) for event in turn.events] + list(turn.telemetry)
        beat = time.monotonic() - self._stored > (_HEARTBEAT if self._marks == self._kept else _MARKING)
        custody = Custody.DURABLE
        if entries or turn.changed or beat or final:
            columns, states = turn.state.telemetry, dict(turn.changed)
            waiting = str(columns.since).encode() if columns.rows else b""
            if waiting != self._waiting:
                states[_WAITING] = waiting
            marks = self._marks
            if marks != self._kept:
                states[_MARKS] = msgspec.msgpack.encode(marks)
            custody = await self._append(entries, Checkpoint(self.name, states, seen))
            self.made.update(entry.type for entry in entries)
            self._stored, self._waiting = time.monotonic(), waiting
            if custody is Custody.DURABLE:
                self._kept = marks
        self._state = turn.state
        if turn.events:
            self.changed.set()
        if custody is Custody.DURABLE and self.effect is not None:
            for effect in turn.effects:
                await self.effect(effect)

    async def _append(self, entries: list[Entry], checkpoint: Checkpoint) -> Custody:
        """Append until the store takes it: the same entries again, for nothing of a failed append was accepted."""
        while True:
            try:
                return await self._buffer.append(entries, checkpoint)
            except StorageError as error:
                self._log.error("unit.not_stored", reason=str(error), waiting=len(entries))
                await asyncio.sleep(_RETRY)

    def encode(self, event: ProductionEvent, recorded: int) -> Entry:
        """Return an event of this unit as an entry of its stream."""
        clock: ClockState = "synced" if self.trust is None else self.trust.state
        return encode(event, stream=self.name, prefix=self._prefix, recorded=recorded, cfg=self._cfg, clock=clock)

    async def _samples_lost(self, since: int, until: int) -> None:
        """Declare the telemetry that waited for its flush when the agent was killed; what was later is declared with the agent's absence."""
        data: dict[str, Any] = {
            "reason": "agent_down",
            "interval": [iso(since), iso(until)],
            "tags": list(self._fold.sampled),
            "lost": "unknown",
        }
        data |= {"recovered": {}, "seq_from": None, "seq_to": None}
        gap = ProductionEvent(type="collection.gap", time=until, data=data, interval=(since, until))
        await self._append([self.encode(gap, self._clock.now())], Checkpoint(self.name, {_WAITING: b""}, until))
        self._waiting = b""

    async def _quarantine(self, error: RuleError) -> None:
        """Stop folding this unit because a rule of it is broken: say so in its stream and its log; the other units go on."""
        self.quarantined = str(error)
        self._log.critical("unit.quarantined", rule=error.rule, exc_info=error.__cause__)
        now = self._clock.now()
        gap = ProductionEvent(
            type="collection.gap",
            time=now,
            data={
                "reason": "rule_error",
                "interval": [iso(now), None],
                "tags": ["*"],
                "lost": "unknown",
                "recovered": {},
                "error": str(error),
            },
        )
        await self._append([self.encode(gap, now)], Checkpoint(self.name, {}, now))

    async def close(self) -> None:
        """Fold what waits and one last tick that closes intervals; then nothing more is taken."""
        now = self._clock.now()
        await self._turn([*self._due(now), Tick(now, final=True)])

    async def give_way(self, successor: Unit | None) -> None:
        """Close for good, while the agent goes on: what is delivered from now on goes to ``successor``, whose inbox waits for it (None: to nobody)."""
        self._closed, self._successor = True, successor
        await self.close()

    def renew(self, fold: Fold, cfg: str) -> None:
        """Go on under configuration ``cfg``, which means the same for this unit as the one before: ``fold`` has the same rules and devices."""
        self._fold, self._cfg = fold, cfg

    async def tell(self, event: ProductionEvent) -> None:
        """Append an event that no rule has made to the stream of a unit that is not running."""
        now = self._clock.now()
        await self._append([self.encode(event, now)], Checkpoint(self.name, {}, now))


def _unpacked(stored: bytes) -> dict[str, Mark]:
    """Return stored marks; none where another version wrote them."""
    try:
        return msgspec.msgpack.decode(stored, type=dict[str, Mark]) if stored else {}
    except msgspec.MsgspecError:
        return {}


def _news(batch: Batch, mine: Mark | None) -> Batch:
    """Return ``batch`` without the historical rows that are folded already: a reader that is behind has made the device tell them again."""
    if not batch.historical or mine is None or batch.mark is None:
        return batch
    times = [own or theirs for own, theirs in zip(batch.source, batch.server, strict=True)]
    if batch.mark.line == mine.line:  # what was read beside the line has overtaken older samples in it
        ahead = range(len(batch)) if batch.mark.place > mine.place else ()
        news = [row for row in ahead if not times[row] or times[row] >= mine.seen.get(batch.tags[row], 0)]
    else:
        news = [row for row, tag in enumerate(batch.tags) if times[row] > mine.seen.get(tag, 0)]
    return batch if len(news) == len(batch) else _of_rows(batch, news)


def _further(mine: Mark | None, new: Mark, *, historical: bool) -> Mark:
    """Return the mark after a batch: a device that tells again what this reader has already does not set it back."""
    if mine is None or not historical:
        return new
    seen = {tag: max(mine.seen.get(tag, 0), new.seen.get(tag, 0)) for tag in mine.seen | new.seen}
    place = mine if mine.line == new.line and mine.place > new.place else new
    return msgspec.structs.replace(place, seen=seen)


def _of_rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """Return ``batch`` with some of its rows only, and all of its notices."""
    columns = {name: [getattr(batch, name)[row] for row in rows] for name in ("tags", "values", "quality", "source", "server")}
    details = {place: batch.details[row] for place, row in enumerate(rows) if row in batch.details}
    return msgspec.structs.replace(batch, **columns, details=details)


async def _until(clock: PlantClock, instant: int) -> None:
    await clock.sleep_until(instant)
