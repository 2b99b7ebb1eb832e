"""What the writer thread does: groups appends into commits, gives numbers, remembers what was delivered, survives the disk.

Theory of operation. Appends wait in ``_groups`` until a commit is due; one transaction takes them all, together with what was
delivered since the last one. Deliveries alone may wait a second: a kill repeats them, which at-least-once allows. When a commit fails
the handle is given up (an fsync is never repeated on it), the file is opened anew, and the same rows are inserted with the same
numbers. After three failures the outbox is *degraded*: appends go to a ring in memory and are answered VOLATILE, until a trial
each second succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw
import structlog

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.delivery import Delivery
from edge_agent.buffer.evict import FULL, Evicted, Room, make_room
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.numbering import Batch, Group, Numbers, number
from edge_agent.buffer.opening import Opened, open_store
from edge_agent.buffer.ring import Ring
from edge_agent.buffer.store import Store
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.stream import Custody, Kind, Record, RecordKey
from edge_agent.ports import BufferStats

_TRIALS = 3
_RETRY = 1.0
"""Seconds of machine time between two trials of a disk that failed, and between two looks at the disk."""
_LAZY = 1.0
"""Seconds of machine time that deliveries may wait for a commit of their own."""

Answer = tuple[object, Custody | BaseException]
"""The token of a group and what became of it."""


class Outbox:
    """The buffer without threads: call ``work`` whenever ``due`` says so. Times are seconds of machine time."""

    def __init__(self, config: BufferConfig, directory: Path, now: float, *, prefix: str, vfs: str | None = None) -> None:
        """Open the store in ``directory``, which the caller has locked. Raises ConfigError, StorageError."""
        self._config, self._directory, self._prefix, self._vfs = config, directory, prefix, vfs
        self._room = Room(directory, config)
        self._interval = config.commit_interval / 1e9
        self._log = structlog.get_logger()
        self._groups: list[Group] = []
        self._waiting_events = 0
        self._since: float | None = None
        self._last_commit = float("-inf")
        self._ring = Ring()
        self._unconfirmed: Batch | None = None
        self.trouble = ""
        self._retry_at = self._look_at = now
        self.answers: list[Answer] = []
        self.news = False
        self.commits = self.evicted = 0
        self._store: Store | None = None
        self.damage: Damage | None = None
        self._numbers = Numbers("", {}, 1, 1)
        self._delivery = Delivery()
        self._started = now
        self._age = 0
        try:
            opened = self._open()
        except (apsw.Error, OSError) as error:
            raise StorageError(f"cannot open the buffer in {directory}: {error}") from error
        self.fresh, self.previous_epoch = opened.fresh, opened.previous
        self.news = self._counts["E"] + self._counts["T"] > 0

    @property
    def epoch(self) -> str:
        """The epoch in which new records are numbered."""
        return self._numbers.epoch

    # -- opening and closing ---------------------------------------------------------------------------------------

    def _open(self) -> Opened:
        opened = open_store(self._directory, self._room.wal_pages, self._vfs)
        store = self._store = opened.store
        numbers = store.numbers(opened.epoch)
        if numbers.epoch == self._numbers.epoch:  # rows are called by rising names as long as the process lives
            numbers.next_record = max(numbers.next_record, self._numbers.next_record)
        elif self._numbers.epoch:  # the store of before is gone: what was known of its rows does not hold here
            self.fresh, self.previous_epoch = opened.fresh, opened.previous
            self._delivery = Delivery()
        self._numbers = numbers
        self._age = max(self._age, opened.age)
        self._delivery.load(store, opened.epoch)
        self._counts = store.counts()
        self.damage = opened.damage or self.damage
        self._limit()
        return opened

    def close(self, now: float) -> None:
        """Commit what waits, as far as the disk lets, and close the file."""
        while self._groups:
            self._commit(now)
        if self.trouble:
            self._recover(now)
        if not self.trouble and len(self._delivery):
            self._commit(now)
        if self._store is not None:
            try:
                with self._store.transaction():
                    self._store.put("age", str(self._age_at(now)))
                    self._store.put("clean", "1")
                self._store.close()
            except apsw.Error as error:
                self._log.error("buffer.close_failed", error=str(error))
                self._store.close(failed=True)
            self._store = None
        if self.trouble:
            self._log.error("buffer.closed_in_trouble", detail=self.trouble, events_lost=len(self._ring))

    # -- appending -------------------------------------------------------------------------------------------------

    def add(self, group: Group, now: float) -> None:
        """Take an append; its answer comes with one of the next commits."""
        try:
            group.prepare()
        except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError; the one who asked is told
            self.answers.append((group.token, StorageError(f"not a record: {error}")))
            return
        self._groups.append(group)
        self._waiting_events += len(group.events)
        if self._since is None:
            self._since = now

    def due(self, now: float) -> float:
        """Return in how many seconds `work` has something to do (0: now)."""
        times = [self._look_at]
        if self._since is not None:
            full = self._waiting_events >= self._config.max_batch or self.trouble
            times.append(now if full else self._last_commit + self._interval)
        elif len(self._delivery) and not self.trouble:
            many = len(self._delivery) >= self._config.max_batch
            times.append(self._last_commit + self._interval if many else self._delivery.since + _LAZY)
        if self.trouble:
            times.append(self._retry_at)
        return max(0.0, min(times) - now)

    def work(self, now: float) -> None:
        """Do what is due."""
        if self._delivery.touched:
            self._delivery.started(now)
        if self.trouble and now >= self._retry_at:
            self._recover(now)
        if now >= self._look_at:
            self._look(now)
        if self._append_due(now) or (not self.trouble and self._delivery_due(now)):
            self._commit(now)

    def _append_due(self, now: float) -> bool:
        if self._since is None:
            return False
        return bool(self.trouble) or self._waiting_events >= self._config.max_batch or now >= self._last_commit + self._interval

    def _delivery_due(self, now: float) -> bool:
        count = len(self._delivery)
        if not count:
            return False
        return now >= self._delivery.since + _LAZY or (
            count >= self._config.max_batch and now >= self._last_commit + self._interval
        )

    def _next_groups(self) -> list[Group]:
        """Take what waits, at most one batch of events and bytes (but one group at least)."""
        events = size = count = 0
        for count, group in enumerate(self._groups, 1):  # noqa: B007 - used below
            events += len(group.events)
            size += sum(len(entry.body) for entry in group.events)
            if events >= self._config.max_batch or size >= self._room.batch_bytes:
                break
        groups, self._groups = self._groups[:count], self._groups[count:]
        self._waiting_events -= events
        if not self._groups:
            self._since = None
        return groups

    def _commit(self, now: float) -> None:
        groups = self._next_groups()
        if self.trouble:
            self._keep_in_memory(groups)
            return
        batch = number(self._numbers, groups)
        problem = self._write_safely(batch, now)
        if problem is None:
            self.answers += [(group.token, Custody.DURABLE) for group in groups]
            return
        self._unconfirmed = batch
        self._degrade(problem, now)
        self.answers += [(group.token, Custody.VOLATILE) for group in groups]

    def _keep_in_memory(self, groups: Sequence[Group]) -> None:
        for group in groups:
            self._ring.add(group)
            self.answers.append((group.token, Custody.VOLATILE))

    def _write_safely(self, batch: Batch, now: float) -> Exception | None:
        """Commit a batch, whatever it takes; return the problem when it was not possible. Never raises for a disk's sake."""
        problem: Exception | None = None
        for trial in range(_TRIALS):
            try:
                if self._store is None:
                    self._open()
                if batch.epoch != self._numbers.epoch:  # the store was lost in between: new numbers in the new one
                    renewed = number(self._numbers, batch.groups)
                    batch.epoch, batch.rows, batch.after, batch.changed = (
                        renewed.epoch,
                        renewed.rows,
                        renewed.after,
                        renewed.changed,
                    )
                self._write(batch, now, again=trial > 0 or batch is self._unconfirmed)
            except FULL as error:
                problem = error
                if not self._force_room(batch.bytes):
                    break
            except (apsw.Error, OSError, EdgeAgentError) as error:
                problem = error
                self._log.warning("buffer.commit_failed", error=f"{type(error).__name__}: {error}", trial=trial + 1)
                self._give_up_handle()
            else:
                return None
        return problem

    def _write(self, batch: Batch, now: float, *, again: bool) -> None:
        store = self._opened()
        age = self._age_at(now)
        with store.transaction():
            if len(self._delivery):
                store.put("age", str(age))
            change = self._delivery.write(store, age, self._prefix)
            change["delivered"] -= self._purge(store, age)
            evicted = make_room(store, self._pages, batch.bytes, self._delivery.floors, self._prefix)
            store.insert(batch)
        self.commits += 1
        self._last_commit = now
        self._numbers = batch.after
        replaced = self._delivery.written()
        self._dropped(evicted)
        for row in () if again else batch.rows:
            self._counts[row[3]] += 1
        for kind in self._counts:
            self._counts[kind] += change.get(kind, 0) - evicted.records.get(kind, 0)
        if again:
            self._counts = store.counts()
        self.news = self.news or bool(batch.rows) or replaced

    def _purge(self, store: Store, age: int) -> int:
        """Delete delivered records that are past their window, or more than a quarter of the quota, a few per commit."""
        if not (kept := self._counts["delivered"]):
            return 0
        limit = 500 + 2 * len(self._delivery)
        total = max(1, kept + self._counts["E"] + self._counts["T"])
        over = kept * store.pages()[1] // total > self._room.quota // 4
        return store.purge(age - self._config.resend_window, min(limit, kept), anyway=over)

    def _dropped(self, evicted: Evicted) -> None:
        self.evicted += sum(evicted.records[kind] for kind in ("E", "T") if kind in evicted.records)
        for loss in evicted.losses:
            self._log.warning("buffer.evicted", stream=loss.stream, seq_from=loss.first, seq_to=loss.last, records=loss.records)

    # -- when the disk fails ---------------------------------------------------------------------------------------

    def _opened(self) -> Store:
        if self._store is None:
            raise StorageError(f"the buffer is closed: {self.trouble}")
        return self._store

    def _give_up_handle(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            try:
                store.close(failed=True)
            except apsw.Error as error:  # the handle is gone either way; the commit that failed is reported by the caller
                self._log.warning("buffer.close_failed", error=str(error))

    def _force_room(self, need: int) -> bool:
        """The file is at its limit or the disk is full: let the reserve go, drop what may be dropped; return whether that helped."""
        if self._store is None:
            return False
        released = self._room.release_reserve()
        try:
            self._limit()
            with self._store.transaction():
                evicted = make_room(
                    self._store, min(self._pages, self._store.pages()[0]), need, self._delivery.floors, self._prefix
                )
        except (apsw.Error, OSError) as error:
            self._log.warning("buffer.no_room", error=f"{type(error).__name__}: {error}")
            return False
        self._dropped(evicted)
        self._counts = self._store.counts()
        self.news = self.news or bool(evicted.losses)
        return released or any(evicted.records.values())

    def _degrade(self, problem: Exception, now: float) -> None:
        self.trouble = f"{type(problem).__name__}: {problem}"
        self._retry_at = now + _RETRY
        self._log.critical("buffer.degraded", error=self.trouble)

    def _recover(self, now: float) -> None:
        """Try the disk again: first the batch whose fate is unknown, then all of the ring, in one transaction each."""
        self._retry_at = now + _RETRY
        if self._unconfirmed is None:
            self._unconfirmed = number(self._numbers, [self._ring.take(self._prefix)])
        if (problem := self._write_safely(self._unconfirmed, now)) is not None:
            self.trouble = f"{type(problem).__name__}: {problem}"
            return
        self._unconfirmed = None
        if not self._ring.empty:
            self._recover(now)
            return
        self._log.warning("buffer.recovered", after=self.trouble)
        self.trouble = ""

    def _look(self, now: float) -> None:
        """Once a second: is the file still ours, is there room on the disk, is there a reserve?"""
        self._look_at = now + _RETRY
        if self._store is None:
            return
        if self._store.displaced():
            self._log.error("buffer.displaced", path=str(self._directory))
            self._give_up_handle()
            self._commit(now)
            return
        if not self.trouble:
            self._room.keep_reserve()
        self._limit()

    def _limit(self) -> None:
        store = self._opened()
        self._pages = self._room.limit(store.pages()[0])
        store.limit(self._pages)

    def _age_at(self, now: float) -> int:
        """The running time of the store in ns: a clock that nobody can set, so no jump of the wall clock can purge anything."""
        passed, self._started = max(0.0, now - self._started), now
        self._age += int(passed * 1e9)
        return self._age

    # -- reading and delivering ------------------------------------------------------------------------------------

    def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return the states of an owner, those that only memory holds included. Raises StorageError."""
        newest = self._ring.state(owner)
        states, last_seen, bad = self._opened().states(owner)
        for rule in bad:
            self._log.error("buffer.state_damaged", owner=owner, rule=rule)
        if newest is not None:
            states, last_seen = {**states, **newest.states}, newest.last_seen
        return states, last_seen

    def peek(self, after: RecordKey | None, limit: int, kind: Kind) -> list[Record]:
        """Return undelivered records; nothing while the file cannot be read."""
        if self._store is None or limit <= 0 or (self.trouble and len(self._delivery) > 10_000):
            return []
        return self._delivery.peek(self._store, after, limit, kind)

    def settle(self, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:
        """Note what became of records; unknown and settled keys are ignored."""
        self._delivery.settle(self._store, delivered, rejected)

    def resend(self, stream: str, epoch: str, first: int, last: int, now: float) -> int:
        """Mark delivered records as waiting again. Raises StorageError while the disk is out of order."""
        if self.trouble:
            raise StorageError(f"nothing can be marked: {self.trouble}")
        if len(self._delivery):
            self._commit(now)
        store = self._opened()
        identity = store.stream_id(stream, epoch)
        if identity is None or first > last:
            return 0
        with store.transaction():
            marked = store.resend(identity, first, last)
        self._counts = store.counts()
        self.news = self.news or marked > 0
        return marked

    def heads(self) -> dict[str, tuple[int, int, int]]:
        """Return per stream of this epoch (first kept, head, delivered without a hole). Raises StorageError."""
        levels = self._opened().levels(self.epoch)
        return {name: (first, head, self._delivery.level(identity, stored)) for identity, name, first, head, stored in levels}

    def stats(self) -> BufferStats:
        """Return the figures."""
        pending = self._delivery.pending
        oldest = self._delivery.oldest(self._store) if self._store is not None else None
        held = len(self._ring) + (len(self._unconfirmed.rows) if self._unconfirmed else 0)
        detail = f"{self.trouble}; {held} events in memory only, {self._ring.lost} lost" if self.trouble else ""
        size = self._store.bytes() if self._store is not None else 0
        return BufferStats(
            self._counts["E"] - pending["E"], self._counts["T"] - pending["T"], oldest, size, self.commits, not self.trouble, detail
        )
