"""Takes appends: groups them into commits, and keeps them in memory while the disk is out of order.

Appends wait in `Pending` until a commit is due; one transaction takes them all, together with what was delivered since the last one.
Deliveries alone may wait a second: a kill repeats them, which at-least-once allows. When a commit cannot be made, however often the file
is opened anew (`commit`, `held`), the intake is *degraded*: appends go to a ring in memory and are answered VOLATILE, until a
trial each second succeeds.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from edge_agent.buffer.commit import Committer
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.numbering import Batch, Group
from edge_agent.buffer.pending import Pending
from edge_agent.buffer.ring import MOST, Ring
from edge_agent.buffer.schema import PAGE
from edge_agent.buffer.unfit import mended
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Custody

_RETRY = 1.0
"""Seconds of machine time between two trials of a disk that failed, and between two looks at the disk."""
_LAZY = 1.0
"""Seconds of machine time that deliveries may wait for a commit of their own."""

Answer = tuple[object, Custody | BaseException]
"""The token of a group and what became of it."""


class Intake:
    """Call ``work`` whenever ``due`` says so. Times are seconds of machine time."""

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
        self._pending = Pending(config.max_batch)
        self._unconfirmed: Batch | None = None
        self._trouble = ""
        self._retry_at = self._look_at = now
        self.answers: list[Answer] = []
        self.committer = Committer(config, now, prefix=prefix, vfs=vfs, as_found=as_found, enter=enter)
        # What waits in memory is written in one transaction, together with the states it led to: it has to fit.
        self._ring = Ring(size=min(MOST, self.committer.room.quota * PAGE // 4))
        if (problem := self.committer.problem) is not None:
            if as_found:
                raise StorageError(f"cannot open the buffer in {config.path}: {told(problem)}") from problem
            self._fail(problem, now)

    def close(self, now: float) -> None:
        """Commit what waits, as far as the disk lets, and close the file."""
        while self._pending:
            self._commit(now)
        if self._trouble:
            self._recover(now)
        if not self._trouble and len(self.committer.delivery):
            self._commit(now)
        self.committer.close(now)
        if self._trouble:
            self._log.critical("buffer.closed_in_trouble", detail=self._trouble, events_in_memory=self._volatile())

    def add(self, group: Group) -> None:
        """Take an append; its answer comes with one of the next commits."""
        try:
            group = self._fit(group)
        except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError; the one who asked is told
            self.answers.append((group.token, StorageError(f"not a record: {error}")))
            return
        self._pending.add(group)

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
            times.append(now if self._pending else self._retry_at)
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
        if not self._pending:
            return float("inf")
        return now if self._pending.full else self.committer.last_commit + self._interval

    def _delivery_due(self) -> float:
        delivery = self.committer.delivery
        if not len(delivery):
            return float("inf")
        soon = delivery.urgent or len(delivery) >= self._config.max_batch
        return self.committer.last_commit + self._interval if soon else delivery.since + _LAZY

    # -- commits ---------------------------------------------------------------------------------------------------

    def _commit(self, now: float) -> None:
        groups = self._pending.take(self.committer.room.batch_bytes)
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

    def _look(self, now: float) -> None:
        """Look once a second whether the file is still ours and how much room the disk has."""
        self._look_at = now + _RETRY
        if self.committer.displaced():
            self._log.error("buffer.displaced", path=str(self._config.path))
            if not self._trouble:
                self._commit(now)

    # -- while the disk is out of order ----------------------------------------------------------------------------

    def _fail(self, problem: Exception, now: float) -> None:
        self._trouble = told(problem)
        self._retry_at = now + _RETRY
        self._log.critical("buffer.degraded", error=self._trouble)

    def _keep_in_memory(self) -> None:
        while self._pending:
            for group in self._pending.take(self.committer.room.batch_bytes):
                self._ring.add(group)
                self.answers.append((group.token, Custody.VOLATILE))

    def _recover(self, now: float) -> None:
        """Try the disk again: first the batch whose fate is unknown, then all of the ring, each in one transaction."""
        self._retry_at = now + _RETRY
        while self._unconfirmed is not None or not self._ring.empty or not self.committer.readable:
            if self._unconfirmed is None:
                self._unconfirmed = self.committer.number([self._ring.take(self._prefix)])
            if (problem := self.committer.write(self._unconfirmed, now, again=True)) is not None:
                self._trouble = told(problem)
                return
            self._unconfirmed = None
        self._log.warning("buffer.recovered", after=self._trouble)
        self._trouble = ""

    def _volatile(self) -> int:
        return len(self._ring) + (len(self._unconfirmed.rows) if self._unconfirmed else 0)


def told(problem: Exception) -> str:
    """Return a problem in one line, for people."""
    return f"{type(problem).__name__}: {problem}"
