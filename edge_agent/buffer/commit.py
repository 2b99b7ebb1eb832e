"""Brings a batch onto the disk, or says why not.

A commit that failed may or may not have reached the disk. So the handle is given up, the file is opened anew (`held`), and the same rows are
inserted with the same numbers, unless they are there: then some may have gone out since, or made room, and stay gone.
"""

from __future__ import annotations

import time
from functools import partial

import apsw

from edge_agent.buffer import failpoint
from edge_agent.buffer.delivery import Delivery
from edge_agent.buffer.evict import Evicted, make_room
from edge_agent.buffer.held import HeldStore
from edge_agent.buffer.identity import new_epoch, remember
from edge_agent.buffer.lineage import Succession, succeed
from edge_agent.buffer.noted import settle
from edge_agent.buffer.numbering import Batch, Group, checkpoints, number
from edge_agent.buffer.opening import DAMAGED
from edge_agent.buffer.store import Store
from edge_agent.model.errors import EdgeAgentError

_TRIALS = 3


class Committer(HeldStore):
    """Writes into the store that is held open."""

    def number(self, groups: list[Group]) -> Batch:
        """Give numbers to what was appended."""
        return number(self._numbers, groups)

    def write(self, batch: Batch, now: float, *, again: bool = False) -> Exception | None:
        """Commit a batch and what was delivered; return the problem when it was not possible. ``again``: it may be there already."""
        problem: Exception | None = None
        for trial in range(1 if again else _TRIALS):
            try:
                self._write(batch, now, again=again or trial > 0)
            except apsw.FullError as error:
                problem = error
                if not self._force_room(batch.size):
                    break
            except (apsw.Error, OSError, EdgeAgentError, UnicodeDecodeError) as error:
                problem = error
                tell = self._log.debug if again else self._log.warning
                tell("buffer.commit_failed", error=f"{type(error).__name__}: {error}", trial=trial + 1)
                self._set_right(error)
            else:
                return None
        return problem

    def _set_right(self, error: Exception) -> None:
        """Give up the handle on which a write failed; a store whose pages are wrong is put aside, for opened anew they would be wrong again."""
        if self._store is None or not isinstance(error, DAMAGED):
            self._give_up_handle()
            return
        try:
            self.distrust(error)
        except (apsw.Error, OSError, EdgeAgentError, UnicodeDecodeError) as failure:  # the next trial opens what is there
            self._log.warning("buffer.not_replaced", error=f"{type(failure).__name__}: {failure}")

    def _write(self, batch: Batch, now: float, *, again: bool) -> None:
        store = self._store or self._open().store
        if batch.epoch != self._numbers.epoch and not batch.moved:  # the store was lost in between: new numbers in the new one
            batch.moved = store.took_over(batch)
            if not batch.moved:
                batch.renumber(self._numbers)
        age = self._age_at(now)
        failpoint.reach("before_commit")
        with store.transaction():
            change = self.delivery.write(store, age, self._prefix)
            if self.confirmed is not None:
                self.confirmed.write(store)
            change["delivered"] -= self._purge(store, age)
            evicted = make_room(store, self._pages, batch.size, self.delivery.floors, self._prefix, confirmed=self.confirmed)
            if batch.moved:
                store.put_states(checkpoints(batch.groups))
            elif not (again and store.holds(batch)):
                store.insert(batch)
        self.commits += 1
        self.syncs.observe(store.synced_in)
        if self.confirmed is not None:
            self.confirmed.written()
        failpoint.reach("after_commit")
        self.last_commit = now
        if not batch.moved:
            self._numbers = batch.after
        replaced = self.delivery.written() or bool(evicted.losses)
        if replaced or again or batch.moved or evicted.forgotten:  # more has changed than new rows behind the others
            self.delivery.tails.forget()
        if not (again or batch.moved):
            self.delivery.tails.committed(batch)
        self.news = replaced or bool(batch.rows) or self.news
        self._tell(evicted)
        self._count(store, batch, change, evicted, again=again)

    def succeed(self, plan: Succession, now: float) -> None:
        """Begin a new epoch, in one transaction with its first events and states. Raises StorageError, apsw.Error, OSError."""
        store, old, new = self.store, self.epoch, new_epoch()
        try:
            with store.transaction():
                self.delivery.write(store, self._age_at(now), self._prefix)
                settle(store)
                lineage = succeed(store, self.lineage, plan, old, new, self._machine)
                numbers = store.numbers(new)
                group = Group(() if numbers.streams else plan.events, plan.checkpoints)
                group.prepare()
                batch = number(numbers, [group])
                store.insert(batch)
        except BaseException:
            self._give_up_handle()  # what it remembers of streams is not what is on the disk
            raise
        self.lineage, self._numbers, self.fresh, self.previous_epoch = lineage, batch.after, False, plan.previous
        self.delivery = Delivery()
        self.delivery.load(store)
        self.counts, self.news = store.counts(), True
        self.commits += 1
        try:
            remember(self._config.path, new)
        except OSError as error:  # the next start writes it from the store
            self._log.warning("buffer.identity_not_written", error=str(error))

    def _count(self, store: Store, batch: Batch, change: dict[str, int], evicted: Evicted, *, again: bool) -> None:
        if again or evicted.forgotten:  # some rows may have been there; what is not sent again is delivered, as it was
            self.counts = store.counts()
            return
        for row in batch.rows:
            self.counts[row[3]] += 1
        for kind in self.counts:
            self.counts[kind] += change[kind] - evicted.records[kind]

    def _purge(self, store: Store, age: int) -> int:
        """Delete delivered records that are past their window, or more than a quarter of the quota, a few per commit."""
        if not (kept := self.counts["delivered"]):
            return 0
        total = kept + self.counts["E"] + self.counts["T"]
        over = kept * store.pages()[1] // total > self.room.quota // 4
        purge = store.purge if self.confirmed is None else partial(self.confirmed.purge, store)
        if over:
            return purge(0, min(500 + 2 * len(self.delivery), max(1, kept // 8)), anyway=True)
        return purge(age - self._config.resend_window, 500 + 2 * len(self.delivery))

    def _force_room(self, need: int) -> bool:
        """The file is at its limit or the disk is full: let the reserve go, drop what may be dropped; return whether that helped."""
        if self._store is None:
            return False
        released = self.room.release_reserve()
        self.delivery.tails.forget()
        try:
            self._limit(self._store)
            with self._store.transaction():
                pages = min(self._pages, self._store.pages()[0])
                evicted = make_room(self._store, pages, need, self.delivery.floors, self._prefix, confirmed=self.confirmed)
        except DAMAGED as error:
            self._set_right(error)
            return self.readable
        except (apsw.Error, OSError) as error:
            self._log.warning("buffer.no_room", error=f"{type(error).__name__}: {error}")
            return False
        self._tell(evicted)
        self.counts = self._store.counts()
        self.news = self.news or bool(evicted.losses)
        return released or any(evicted.records.values())

    def _tell(self, evicted: Evicted) -> None:
        if evicted.undelivered:
            self.dropped += evicted.undelivered
            self.dropped_at = time.monotonic()
        if evicted.letters:
            self._log.warning("buffer.dead_letters_dropped", letters=evicted.letters)
        for loss in evicted.losses:
            self._log.warning("buffer.evicted", stream=loss.stream, seq_from=loss.first, seq_to=loss.last, records=loss.records)

    def resend(self, stream: str, epoch: str, first: int, last: int) -> int:
        """Mark delivered records as waiting again; return how many. Raises StorageError, apsw.Error."""
        identity = self.store.stream_id(stream, epoch)
        if identity is None or first > last:
            return 0
        self.delivery.tails.forget()
        with self.store.transaction():
            marked = self.store.resend(identity, first, last)
        self.counts = self.store.counts()
        self.news = self.news or marked > 0
        return marked
