"""What the consumer has confirmed, and what that means for deleting: an event stays until its consumer has applied it, or until there is no more room.

An acknowledgement of the broker is no proof that anybody has the event: a broker that crashes loses what it acknowledged and did not write. Where
the quota binds all the same, the oldest range goes; a loss record with its last number takes its place and is sent, so that a consumer
without it closes the hole, and one that has the range drops a number it has passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec

from edge_agent.buffer.delivery import Delivery
from edge_agent.buffer.loss import Loss
from edge_agent.buffer.records import COLUMNS, Place, Stored
from edge_agent.buffer.store import Store
from edge_agent.ports import Confirmation

_KEY = "confirmed "
_ROW = 256
_PASSED = (
    "SELECT r.id, d.age, EXISTS (SELECT 1 FROM waiting w WHERE w.kind = r.kind AND w.id = r.id) FROM record r JOIN delivered d ON d.id = r.id "
    "WHERE r.stream = ? AND r.seq <= ? ORDER BY r.seq LIMIT ?"
)
_OLDEST = (
    f"SELECT {', '.join(f'r.{name}' for name in COLUMNS.split(', '))} FROM delivered d CROSS JOIN record r ON r.id = d.id "  # noqa: S608 - constants
    "WHERE d.id > ? AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.kind = r.kind AND w.id = r.id) ORDER BY d.id LIMIT 256"
)


class Dropped(msgspec.Struct):
    """What was dropped although nobody had confirmed it: rows deleted, and the losses that declare them, by kind."""

    rows: int = 0
    waiting: dict[str, int] = msgspec.field(default_factory=lambda: {"E": 0, "T": 0})
    losses: list[Loss] = []


class _Run(msgspec.Struct):
    loss: Loss
    last: Place
    victims: list[Place] = []


class Confirmed:
    """The watermark of each stream, by its row. Kept in memory, and written with the next commit: the consumer says it again, for it is retained."""

    def __init__(self) -> None:
        """Know nothing."""
        self._levels: dict[int, int] = {}
        self._unwritten: set[int] = set()

    def load(self, store: Store) -> None:
        """Read what the store knows; what was heard since stands."""
        for stream, level in store.marks(_KEY).items():
            self._levels[stream] = max(level, self._levels.get(stream, 0))

    def forget(self) -> None:
        """The store is another one: its streams have other rows."""
        self._levels.clear()
        self._unwritten.clear()

    def level(self, stream: int) -> int | None:
        """Return the watermark of a stream, None when its consumer has never said one."""
        return self._levels.get(stream)

    def note(self, store: Store, delivery: Delivery, stream: str, epoch: str, seq: int) -> Confirmation:
        """Judge what a consumer says, and keep it if it can be true."""
        identity = store.stream_id(stream, epoch)
        if identity is None:
            return "unknown"
        if seq <= self._levels.get(identity, -1):
            return "known" if seq == self._levels[identity] else "backwards"
        if seq > delivery.level(identity, store.settled_level(identity)):
            return "ahead"
        self._levels[identity] = seq
        self._unwritten.add(identity)
        return "taken"

    def write(self, store: Store) -> None:
        """Write what is new; inside a transaction."""
        for stream in self._unwritten:
            store.put(f"{_KEY}{stream}", str(self._levels[stream]))

    def written(self) -> None:
        """What was new is on the disk."""
        self._unwritten.clear()

    # -- making room -----------------------------------------------------------------------------------------------

    def purge(self, store: Store, before: int, limit: int, *, anyway: bool = False) -> int:
        """Delete up to ``limit`` delivered records that are confirmed, or held for nobody, and delivered at age ``before`` or earlier, or ``anyway``."""
        gone: list[tuple[int]] = []
        for stream, bound in self._bounds(store):
            for identity, age, again in store.db.execute(_PASSED, (stream, bound, limit - len(gone))):
                if age > before and not anyway:
                    break
                if not again:
                    gone.append((identity,))
        store.delete(gone)
        return len(gone)

    def _bounds(self, store: Store) -> Iterator[tuple[int, int]]:
        """Yield the streams, and up to which number each may be deleted. Telemetry is held for a consumer that has confirmed some."""
        for stream, (_, name) in store.streams.items():
            level = self._levels.get(stream)
            if level is not None:
                yield stream, level
            elif name.endswith("/telemetry"):
                yield stream, store.settled_level(stream)

    def drop(self, store: Store, target: int, prefix: str) -> Dropped:
        """Drop the oldest delivered records, confirmed or not, until about ``target`` bytes are free; inside a transaction."""
        runs: dict[int, _Run] = {}
        freed, position = 0, 0
        while freed < target and (rows := list(store.db.execute(_OLDEST, (position,)))):
            for columns in rows:
                stored = store.stored(resent=True, columns=columns)
                position = stored.place.id
                freed += _take(stored, runs)
                if freed >= target:
                    break
        dropped = Dropped()
        for run in runs.values():
            if run.victims:
                store.delete([(place.id,) for place in run.victims])
                store.replace(run.last, run.loss.entry(prefix), cast("int", run.loss.first))
                store.send_again(run.last)
                dropped.rows += len(run.victims)
                dropped.waiting[run.last.kind] += 1
                dropped.losses.append(run.loss)
        return dropped


def _take(stored: Stored, runs: dict[int, _Run]) -> int:
    """Cover one record by the run of its stream, if it goes on there; return the bytes that this frees."""
    place, entry = stored.place, stored.record.entry
    run = runs.get(place.stream)
    if run is None:
        loss = Loss(entry.stream, entry.kind, "buffer_overflow", entry.time, entry.time, entry.recorded, certain=False)
        loss.detail = "acknowledged by the broker, not confirmed by the consumer"
        run = runs[place.stream] = _Run(loss, place)
        run.loss.cover(entry, place.seq)
        run.loss.first = place.first
        return 0
    if run.last.seq + 1 != place.first:
        return 0  # a number in between waits again, or for the first time: the next look takes it from there
    run.victims.append(run.last)
    run.last = place
    run.loss.cover(entry, place.seq)
    return len(entry.body) + _ROW
