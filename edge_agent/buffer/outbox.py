"""What the writer thread does: groups appends into commits, answers questions, survives the disk.

Theory of operation. Appends wait in ``_groups`` until a commit is due; one transaction takes them all, together with what was
delivered since the last one. Deliveries alone may wait a second: a kill repeats them, which at-least-once allows. When a commit cannot
be made, however often the file is opened anew (`commit.py`), the outbox is *degraded*: appends go to a ring in memory and are
answered VOLATILE, until a trial each second succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw
import structlog

from edge_agent.buffer import archive
from edge_agent.buffer.commit import Committer
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.lineage import Succession
from edge_agent.buffer.numbering import Batch, Group
from edge_agent.buffer.opening import DAMAGED
from edge_agent.buffer.ring import MOST, Ring
from edge_agent.buffer.schema import PAGE
from edge_agent.buffer.unfit import mended
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.stream import Custody, Kind, Record, RecordKey
from edge_agent.ports import BufferStats, Confirmation, DeadLetter, Page, StreamLevel

_RETRY = 1.0
"""Seconds of machine time between two trials of a disk that failed, and between two looks at the disk."""
_LAZY = 1.0
"""Seconds of machine time that deliveries may wait for a commit of their own."""
_UNWRITTEN = 10_000
"""Deliveries that memory holds while the disk does not take them; then nothing more is handed out."""

Answer = tuple[object, Custody | BaseException]
"""The token of a group and what became of it."""


class Outbox:
    """The buffer without threads: call ``work`` whenever ``due`` says so. Times are seconds of machine time."""

    def __init__(
        self,
        config: BufferConfig,
        now: float,
        *,
        prefix: str,
        vfs: str | None = None,
        as_found: bool = False,
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the store in the directory, which ``enter`` locks. Raises ConfigError, StorageError.

        A disk that does not let it be opened is a trouble like any later one; only with ``as_found`` it is an error.
        """
        self._config, self._prefix = config, prefix
        self._interval = config.commit_interval / 1e9
        self._log = structlog.get_logger()
        self._groups: list[Group] = []
        self._events = 0
        self._since: float | None = None
        self._unconfirmed: Batch | None = None
        self._trouble = ""
        self._retry_at = self._look_at = now
        self.answers: list[Answer] = []
        self.committer = Committer(config, now, prefix=prefix, vfs=vfs, as_found=as_found, enter=enter)
        # What waits in memory is written in one transaction, together with the states it led to: it has to fit.
        self._ring = Ring(size=min(MOST, self.committer.room.quota * PAGE // 4))
        if (problem := self.committer.problem) is not None:
            if as_found:
                raise StorageError(f"cannot open the buffer in {config.path}: {_told(problem)}") from problem
            self._fail(problem, now)

    def close(self, now: float) -> None:
        """Commit what waits, as far as the disk lets, and close the file."""
        while self._groups:
            self._commit(now)
        if self._trouble:
            self._recover(now)
        if not self._trouble and len(self.committer.delivery):
            self._commit(now)
        self.committer.close(now)
        if self._trouble:
            self._log.critical("buffer.closed_in_trouble", detail=self._trouble, events_in_memory=self._volatile())

    # -- appending -------------------------------------------------------------------------------------------------

    def add(self, group: Group, now: float) -> None:
        """Take an append; its answer comes with one of the next commits."""
        try:
            group = self._fit(group)
        except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError; the one who asked is told
            self.answers.append((group.token, StorageError(f"not a record: {error}")))
            return
        self._groups.append(group)
        self._events += len(group.events)
        if self._since is None:
            self._since = now

    def _fit(self, group: Group) -> Group:
        """Return the group with its checksums, and with a declared loss for each event that no row can hold. Raises TypeError, ValueError."""
        largest = self.committer.room.largest
        try:
            group.prepare(largest)
        except (TypeError, ValueError):
            group = mended(group, largest, self._prefix)
            group.prepare(largest)
            for each in group.unfit:
                self._log.error("buffer.unfit", stream=each.entry.stream, event_type=each.entry.type, reason=each.detail)
        return group

    def due(self, now: float) -> float:
        """Return in how many seconds `work` has something to do (0: now)."""
        times = [self._look_at]
        if self._trouble:
            times.append(now if self._groups else self._retry_at)
        else:
            times += [self._append_due(now), self._delivery_due()]
        return max(0.0, min(times) - now)

    def work(self, now: float) -> None:
        """Do what is due."""
        self.committer.delivery.began_to_wait(now)
        if self._trouble and now >= self._retry_at:
            self._recover(now)
        if now >= self._look_at:
            self._look(now)
        if self._trouble:
            self._keep_in_memory()
        elif now >= min(self._append_due(now), self._delivery_due()):
            self._commit(now)

    def _append_due(self, now: float) -> float:
        """At once when the last commit is long ago, else when it is; at once when a batch is full."""
        if self._since is None:
            return float("inf")
        return now if self._events >= self._config.max_batch else self.committer.last_commit + self._interval

    def _delivery_due(self) -> float:
        delivery = self.committer.delivery
        if not len(delivery):
            return float("inf")
        soon = delivery.urgent or len(delivery) >= self._config.max_batch
        return self.committer.last_commit + self._interval if soon else delivery.since + _LAZY

    def _next_groups(self) -> list[Group]:
        """Take what waits, at most one batch of events and bytes (but one group at least)."""
        events = size = count = 0
        for group in self._groups:
            count += 1
            events += len(group.events)
            size += sum(len(entry.body) for entry in group.events)
            if events >= self._config.max_batch or size >= self.committer.room.batch_bytes:
                break
        groups, self._groups = self._groups[:count], self._groups[count:]
        self._events -= events
        if not self._groups:
            self._since = None
        return groups

    def _commit(self, now: float) -> None:
        groups = self._next_groups()
        custody = Custody.DURABLE if self._write(groups, now) is not None else Custody.VOLATILE
        self.answers += [(group.token, custody) for group in groups]

    def _write(self, groups: list[Group], now: float) -> Batch | None:
        """Commit groups; None when that was not possible: then they are kept, and written as soon as the disk lets."""
        batch = self.committer.number(groups)
        if (problem := self.committer.write(batch, now)) is None:
            return batch
        self._unconfirmed = batch
        self._fail(problem, now)
        return None

    def _fail(self, problem: Exception, now: float) -> None:
        self._trouble = _told(problem)
        self._retry_at = now + _RETRY
        self._log.critical("buffer.degraded", error=self._trouble)

    def succeed(self, plan: Succession, now: float) -> None:
        """Begin a new epoch. Raises StorageError: then the old one goes on."""
        while self._groups and not self._trouble:  # what was appended before belongs to the old epoch
            self._commit(now)
        if self._trouble:
            raise StorageError(f"no new epoch can begin: {self._trouble}")
        try:
            self.committer.succeed(plan, now)
        except (apsw.Error, OSError) as error:
            raise StorageError(f"no new epoch can begin: {_told(error)}") from error

    # -- while the disk is out of order ----------------------------------------------------------------------------

    def _keep_in_memory(self) -> None:
        while self._groups:
            for group in self._next_groups():
                self._ring.add(group)
                self.answers.append((group.token, Custody.VOLATILE))

    def _recover(self, now: float) -> None:
        """Try the disk again: first the batch whose fate is unknown, then all of the ring, each in one transaction."""
        self._retry_at = now + _RETRY
        while self._unconfirmed is not None or not self._ring.empty or not self.committer.readable:
            if self._unconfirmed is None:
                self._unconfirmed = self.committer.number([self._ring.take(self._prefix)])
            if (problem := self.committer.write(self._unconfirmed, now, again=True)) is not None:
                self._trouble = _told(problem)
                return
            self._unconfirmed = None
        self._log.warning("buffer.recovered", after=self._trouble)
        self._trouble = ""

    def _look(self, now: float) -> None:
        """Look once a second whether the file is still ours and how much room the disk has."""
        self._look_at = now + _RETRY
        if self.committer.displaced():
            self._log.error("buffer.displaced", path=str(self._config.path))
            if not self._trouble:
                self._commit(now)

    def _volatile(self) -> int:
        return len(self._ring) + (len(self._unconfirmed.rows) if self._unconfirmed else 0)

    # -- reading and delivering ------------------------------------------------------------------------------------

    def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return the states of an owner, those that only memory holds included. Raises StorageError."""
        states, last_seen, bad = self.committer.store.states(owner)
        for rule in bad:
            self._log.error("buffer.state_damaged", owner=owner, rule=rule)
        in_memory = [*(self._unconfirmed.checkpoints(owner) if self._unconfirmed else ()), *self._ring.checkpoints(owner)]
        for checkpoint in in_memory:
            states, last_seen = {**states, **checkpoint.states}, checkpoint.last_seen
        return states, last_seen

    def peek(self, after: RecordKey | None, limit: int, kind: Kind) -> list[Record]:
        """Return undelivered records; nothing while the file cannot be read."""
        delivery = self.committer.delivery
        if self._trouble and (not self.committer.readable or len(delivery) > _UNWRITTEN):
            return []
        try:
            return delivery.peek(self.committer.store, after, limit, kind)
        except DAMAGED as error:
            self._distrust(error)
            return []

    def _distrust(self, error: Exception) -> None:
        """A page of the open store cannot be read: waiting would not mend it."""
        self._log.error("buffer.page_damaged", error=str(error))
        try:
            self.committer.distrust(error)
        except (apsw.Error, OSError, EdgeAgentError) as failure:  # the trials of `_recover` go on from here
            self._fail(failure, self._look_at)

    def settle(self, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:
        """Note what became of records; unknown and settled keys are ignored."""
        self.committer.delivery.settle(self.committer.store if self.committer.readable else None, delivered, rejected)

    def resend(self, stream: str, epoch: str, first: int, last: int, now: float) -> int:
        """Mark delivered records as waiting again. Raises StorageError while the disk is out of order."""
        if not self._trouble and len(self.committer.delivery):
            self._commit(now)
        if self._trouble:
            raise StorageError(f"nothing can be marked: {self._trouble}")
        return self.committer.resend(stream, epoch, first, last)

    def retry(self, numbers: Sequence[int], now: float) -> list[tuple[int, RecordKey]]:
        """Append what dead letters say as new records and drop the letters. Raises StorageError while the disk is out of order."""
        while self._groups and not self._trouble:  # what was appended before comes first
            self._commit(now)
        if self._trouble:
            raise StorageError(f"nothing can be sent again: {self._trouble}")
        letters = [letter for letter in archive.letters_named(self.committer.store, numbers) if letter.reason != "corruption"]
        done: list[tuple[int, RecordKey]] = []
        for some in archive.chunks(letters, self.committer.room.batch_bytes):
            group = Group(tuple(archive.again(letter) for letter in some), (), letters=[letter.number for letter in some])
            group.prepare()
            if (batch := self._write([group], now)) is None:
                raise StorageError(f"{len(done)} are kept, the others follow when the disk is in order: {self._trouble}")
            done += [
                (letter.number, RecordKey(letter.record.key.stream, batch.epoch, row[2]))
                for letter, row in zip(some, batch.rows, strict=True)
            ]
        return done

    def confirm(self, stream: str, epoch: str, seq: int) -> Confirmation:
        """Take in what a consumer has confirmed; written with one of the next commits. Raises StorageError."""
        if self.committer.confirmed is None:
            return "unknown"
        return self.committer.confirmed.note(self.committer.store, self.committer.delivery, stream, epoch, seq)

    def waiting(self, kind: Kind, after: int, limit: int) -> Page:
        """Return undelivered records without handing them out. Raises StorageError."""
        return archive.waiting(self.committer.store, self.committer.delivery, kind, after, limit, self._prefix)

    def levels(self) -> list[StreamLevel]:
        """Return how far the streams of every epoch are. Raises StorageError."""
        return archive.levels(self.committer.store, self.committer.delivery, self.committer.confirmed)

    def kept(self, stream: str, epoch: str, first: int, last: int, limit: int) -> Page:
        """Return records of a stream that are still there. Raises StorageError."""
        return archive.kept(self.committer.store, stream, epoch, first, last, limit, self._prefix)

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """Return dead letters. Raises StorageError."""
        return archive.letters(self.committer.store, after, limit)

    def heads(self) -> dict[str, tuple[int, int, int]]:
        """Return per stream of this epoch (first kept, head, delivered without a hole). Raises StorageError."""
        levels = self.committer.store.levels(self.committer.epoch)
        return {
            name: (first, head, self.committer.delivery.level(identity, stored)) for identity, name, first, head, stored in levels
        }

    def stats(self) -> BufferStats:
        """Return the figures."""
        committer = self.committer
        store = committer.store if committer.readable else None
        oldest = committer.delivery.oldest(store) if store else None
        waiting = {kind: committer.counts[kind] - committer.delivery.pending[kind] for kind in ("E", "T")}
        detail = f"{self._trouble}; {self._volatile()} events in memory only, {self._ring.lost} lost" if self._trouble else ""
        return BufferStats(
            waiting["E"], waiting["T"], oldest, store.size() if store else 0, committer.commits, not self._trouble, detail
        )


def _told(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"
