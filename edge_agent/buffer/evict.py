"""What goes when there is no room: delivered records first, then dead letters, telemetry, events, always the oldest, always declared.

`Room` says how far the file may grow: the quota less the log, and never into the space that is left to others. A reserve file
gives the log room to work when somebody else has filled the disk, because even deleting needs to write.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.confirm import Confirmed
from edge_agent.buffer.loss import Loss
from edge_agent.buffer.numbering import MAX_BODY
from edge_agent.buffer.records import Place, Stored
from edge_agent.buffer.schema import PAGE
from edge_agent.buffer.store import Store
from edge_agent.model.stream import Kind

_ALWAYS = 2 << 20
"""Bytes the store may use whatever `min_free` says."""
_ROW = 256
"""Bytes of a row beside its body, indexes included (measured, rounded up)."""


class Room:
    """The limits of one store on its file system."""

    def __init__(self, directory: Path, config: BufferConfig) -> None:
        """Derive the limits from ``config``; nothing is touched."""
        self._directory = directory
        self._min_free = config.min_free
        self._reserve = directory / "reserve"
        self._reserve_size = min(8 << 20, config.max_bytes // 8)
        self.wal_pages = max(16, min(1000, config.max_bytes // PAGE // 16))
        # The log may outgrow its limit by one transaction; a transaction is bounded in bytes by the same figure.
        self.batch_bytes = self.wal_pages * PAGE
        self.quota = (config.max_bytes - self._reserve_size - 3 * self.wal_pages * PAGE) // PAGE

    @property
    def largest(self) -> int:
        """Bytes of the largest body that is taken: a quarter of the file at most."""
        return min(MAX_BODY, self.quota * PAGE // 4)

    def limit(self, pages: int) -> int:
        """Return to how many pages a file of ``pages`` may grow now."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return self.quota  # the commit that follows tells what is wrong with the disk
        free = disk.f_bavail * disk.f_frsize - self._min_free
        return max(min(self.quota, pages + max(0, free) // PAGE), min(self.quota, _ALWAYS // PAGE))

    def keep_reserve(self) -> None:
        """Write the reserve file where it is missing and the disk has room for it."""
        try:
            if self._reserve.exists():
                return
            disk = os.statvfs(self._directory)
            if disk.f_bavail * disk.f_frsize < self._min_free + 2 * self._reserve_size:
                return
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._reserve_size)
        except OSError:
            self.release_reserve()  # half a reserve is none

    def release_reserve(self) -> bool:
        """Give the reserve to the log; return whether there was one."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True


class Evicted(msgspec.Struct):
    """What one eviction dropped: rows per kind, the losses that declare them, dead letters (declared long ago), and records that nobody had got.

    ``forgotten``: delivered records that were to be sent again, and are not.
    """

    records: dict[str, int]
    losses: list[Loss]
    letters: int = 0
    undelivered: int = 0
    forgotten: int = 0


class _Run(msgspec.Struct):
    """Neighbours in one stream that become one loss record: the last place stays, the others go."""

    loss: Loss
    last: Place
    victims: list[Place] = []
    dropped: int = 0


def evict(store: Store, kind: Kind, above: int, target: int, prefix: str) -> Evicted:
    """Drop the oldest waiting records of ``kind`` behind row ``above`` until about ``target`` bytes are free; inside a transaction.

    A stream's loss record that is already there grows; where the numbers are not contiguous a new one begins, so that nothing is
    declared lost which was delivered.
    """
    open_runs: dict[int, _Run] = {}
    closed: list[_Run] = []
    freed, position, forgotten = 0, above, 0
    while freed < target and (found := store.waiting(kind, position, 256)):
        for stored in found:
            position = stored.place.id
            if stored.record.resent:
                store.forget_resend(stored.place)
                forgotten += 1
                continue
            freed += _take(stored, open_runs, closed)
            if freed >= target:
                break
    evicted = Evicted({kind: 0}, [], forgotten=forgotten)
    for run in (*closed, *open_runs.values()):
        if run.dropped:
            store.drop(run.victims)
            store.replace(run.last, run.loss.entry(prefix), run.loss.first or run.last.first)
            evicted.losses.append(run.loss)
            evicted.records[kind] += len(run.victims)
            evicted.undelivered += run.dropped
    return evicted


def _take(stored: Stored, open_runs: dict[int, _Run], closed: list[_Run]) -> int:
    """Cover one record by the run of its stream; return the bytes that this frees."""
    place, entry = stored.place, stored.record.entry
    run = open_runs.get(place.stream)
    if run is not None and (run.last.seq + 1 != place.first or _other_loss(stored)):
        closed.append(open_runs.pop(place.stream))
        run = None
    if _other_loss(stored):
        return 0
    if run is None:
        loss = Loss(entry.stream, entry.kind, "buffer_overflow", entry.time, entry.time, entry.recorded)
        run = open_runs[place.stream] = _Run(loss, place)
    else:
        run.victims.append(run.last)
        run.last = place
    run.loss.cover(entry, place.seq)
    run.dropped += not stored.loss
    return 0 if stored.loss else len(entry.body) + _ROW


def _other_loss(stored: Stored) -> bool:
    """Whether this is a loss record of another cause (rejected, corruption), which keeps its place."""
    return stored.loss and b'"reason":"buffer_overflow"' not in stored.record.entry.body


def make_room(
    store: Store,
    limit: int,
    need: int,
    floors: Mapping[Kind, int],
    prefix: str,
    *,
    step: int | None = None,
    confirmed: Confirmed | None = None,
) -> Evicted:
    """Free pages until ``need`` more bytes fit under ``limit`` pages; inside a transaction.

    ``confirmed``: what a consumer has not confirmed goes after what is held for nobody, and is declared. ``floors`` are the last rows handed to a receiver per kind: what may be on the wire is not dropped. Returns what was dropped;
    the pages may still be too few when nothing more can go.
    """
    total = Evicted({"E": 0, "T": 0, "delivered": 0}, [])
    margin = max(16, limit // 32)
    target = limit - margin - need // PAGE
    several = step or max(64, min(1024, limit // 64)) * PAGE  # of what was delivered: few loss records rather than a small log
    step = step or max(16, min(1024, limit // 64)) * PAGE
    if store.pages()[1] <= target:
        return total
    purge = store.purge if confirmed is None else partial(confirmed.purge, store)
    while store.pages()[1] > target - step // PAGE // 2 and (gone := purge(0, 1000, anyway=True)):
        total.records["delivered"] += gone
    while store.pages()[1] > target and (gone := store.forget_letters(100)):
        total.letters += gone
    if confirmed is not None:
        _drop_unconfirmed(store, target, several, prefix, confirmed, total)
    kinds: tuple[Kind, ...] = ("T", "E")
    for kind in kinds:
        _drop_waiting(store, target, kind, floors[kind], step, prefix, total)
    return total


def _drop_unconfirmed(store: Store, target: int, step: int, prefix: str, confirmed: Confirmed, total: Evicted) -> None:
    while store.pages()[1] > target and (dropped := confirmed.drop(store, step, prefix)).rows:
        total.records["delivered"] += dropped.rows
        total.losses += dropped.losses
        for kind, count in dropped.waiting.items():
            total.records[kind] -= count


def _drop_waiting(store: Store, target: int, kind: Kind, floor: int, step: int, prefix: str, total: Evicted) -> None:
    while store.pages()[1] > target:
        evicted = evict(store, kind, floor, step, prefix)
        total.forgotten += evicted.forgotten
        if not evicted.records[kind] and not evicted.losses:
            break
        total.records[kind] += evicted.records[kind]
        total.losses += evicted.losses
        total.undelivered += evicted.undelivered
