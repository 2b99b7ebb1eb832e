"""What is next to send: four lanes of records, read ahead from the buffer, each in its own order.

New events, new telemetry, and of both what was asked for again. A consumer takes the repeated ones at any time (it has their numbers
already), so they share the window with what is new, at most half of it. New events go first; telemetry has a quarter of the window
beside them, so that the present stays visible while a backlog drains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from edge_agent.model.stream import Kind, Record, RecordKey

AHEAD = 256
"""Records read from the buffer at once: one look-up for many windows."""

_GLANCE = 0.05
"""Machine seconds between two looks at a lane that was empty while another one has work: a look costs a turn of the disk thread."""

_ANYWAY = 0.5
"""Machine seconds after which a lane that had come to its end is looked at although nothing was told: a disk in trouble hands nothing out."""

Peek = Callable[[RecordKey | None, int, Kind], Awaitable[Sequence[Record]]]


class Pace:
    """Lets ``rate`` records a second pass, in machine time; a twentieth of a second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(2.0, rate / 20)  # two: what is left over at one look counts at the next
        self._tokens = self._most
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Return how many seconds the next record has to wait, 0.0 when it may go."""
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate) if self._at else self._most
        self._at = now
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self._rate

    def passed(self) -> None:
        """Count one record that went."""
        self._tokens -= 1.0


class Lane:
    """One kind of records: the new ones, or those that were asked for again (``resent``)."""

    def __init__(self, kind: Kind, *, resent: bool) -> None:
        self.kind: Kind = kind
        self.resent = resent
        self.flying = 0
        self.ahead: deque[Record] = deque()
        self.awake = not resent
        """Whether there may be something: a resend wakes its lane."""
        self.looked = 0.0
        self.ended = False
        """Whether the last look reached the end, and nothing came since."""
        self._after: RecordKey | None = None

    def start_over(self) -> None:
        """Forget the place reached in the buffer."""
        self.ahead.clear()
        self.ended = False
        self._after = None
        self.looked = 0.0

    def wake(self) -> None:
        """Look from the oldest again, unless that is going on."""
        if not self.awake:
            self.awake = True
            self.start_over()

    async def look(self, peek: Peek, open_: Collection[RecordKey]) -> bool:
        """Read ahead if nothing is; return whether records of the other sort were met on the way."""
        met = False
        while self.awake and not self.ahead:
            batch = await peek(self._after, AHEAD, self.kind)
            if batch:
                self._after = batch[-1].key
            mine = [record for record in batch if record.resent == self.resent]
            met = met or len(mine) < len(batch)
            self.ahead.extend(record for record in mine if record.key not in open_)
            if self.resent and not mine:
                self.awake = False  # they are the oldest: nothing of this sort lies behind what was never sent
            if len(batch) < AHEAD:
                self.ended = True
                break
        return met


class Lanes:
    """All four, and whose turn it is. ``rate`` = records of a backlog per second and kind; None = no limit."""

    def __init__(self, peek: Peek, rate: float | None, epoch: str, heads: Mapping[str, int]) -> None:
        """Call a backlog what stood in the buffer at the beginning: ``heads`` = last seq of each stream of ``epoch``."""
        self.open: set[RecordKey] = set()
        self.pause: float | None = None
        """Seconds until the next paced record may go, when one was held back."""
        self.passed = False
        """Whether something came since the last look from the oldest."""
        self._peek = peek
        self._events, self._telemetry = Lane("E", resent=False), Lane("T", resent=False)
        self._again = (Lane("E", resent=True), Lane("T", resent=True))
        self._paces: dict[Kind, Pace] = {} if rate is None else {"E": Pace(rate), "T": Pace(rate)}
        self._epoch, self._heads = epoch, heads

    @property
    def emptied(self) -> bool:
        """Whether nothing is read ahead."""
        return not any(lane.ahead for lane in (self._events, self._telemetry, *self._again))

    def start_over(self) -> None:
        """Look from the oldest again in every lane; what is in flight is not met twice."""
        self._events.start_over()
        self._telemetry.start_over()
        for lane in self._again:
            lane.awake = False
            lane.wake()

    def restart(self) -> None:
        """Look from the oldest again at what is new; what was asked for again is met on the way."""
        self._events.start_over()
        self._telemetry.start_over()

    def more(self) -> None:
        """Look again in the lanes that had come to their end: something new is there."""
        self._events.ended = self._telemetry.ended = False
        self.passed = True

    async def next(self, window: int, now: float) -> Record | None:
        """Return the next record to send into a ``window`` that has a place, None when there is none or it has to wait."""
        self.pause = None
        lane = self._events
        if not self._only_events(now):
            await self._look(now)
            turn = self._turn(window, now)
            if turn is None:
                return None
            lane = turn
        record = lane.ahead.popleft()
        if self._paces and self._is_backlog(record):
            self._paces[record.entry.kind].passed()
        lane.flying += 1
        self.open.add(record.key)
        return record

    def landed(self, record: Record) -> None:
        """Note that a record is not in flight any more; it stays `open` until the buffer knows."""
        self._lane(record).flying -= 1

    def _lane(self, record: Record) -> Lane:
        if record.resent:
            return self._again[record.entry.kind == "T"]
        return self._events if record.entry.kind == "E" else self._telemetry

    def _only_events(self, now: float) -> bool:
        """Tell the ordinary case cheaply: events at hand, and nothing that could come between them."""
        telemetry, (again_e, again_t) = self._telemetry, self._again
        return bool(
            self._events.ahead
            and not self._paces
            and not (telemetry.ahead or again_e.awake or again_t.awake or again_e.ahead or again_t.ahead)
            and now - telemetry.looked < _GLANCE
        )

    async def _look(self, now: float) -> None:
        for lane, again in zip((self._events, self._telemetry), self._again, strict=True):
            if lane.ahead or (lane.ended and now - lane.looked < _ANYWAY):
                continue
            if lane is self._telemetry and self._events.ahead and now - lane.looked < _GLANCE:
                continue
            lane.looked = now
            if await lane.look(self._peek, self.open):
                again.wake()
        for lane in self._again:
            if lane.awake:
                await lane.look(self._peek, self.open)

    def _turn(self, window: int, now: float) -> Lane | None:
        events, telemetry = self._events, self._telemetry
        again = [lane for lane in self._again if lane.ahead]
        half = max(1, window // 2)
        live = window - (half if again and window > 1 else 0)
        if events.flying + telemetry.flying < live:
            share = window // 4 if telemetry.ahead else 0
            if events.ahead and events.flying < live - share and self._may_go(events, now):
                return events
            if telemetry.ahead and self._may_go(telemetry, now):
                return telemetry
        if sum(lane.flying for lane in self._again) < half:
            for lane in again:
                if self._may_go(lane, now):
                    return lane
        return None

    def _may_go(self, lane: Lane, now: float) -> bool:
        if not self._is_backlog(lane.ahead[0]):
            return True
        wait = self._paces[lane.kind].wait(now)
        if wait > 0:
            self.pause = wait if self.pause is None else min(self.pause, wait)
        return wait == 0

    def _is_backlog(self, record: Record) -> bool:
        if not self._paces:
            return False
        key = record.key
        return record.resent or key.epoch != self._epoch or key.seq <= self._heads.get(key.stream, 0)
