"""The buffer without threads: takes appends (`intake`), hands records out, notes what became of them, answers questions (`asked`)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import apsw

from edge_agent.buffer import archive
from edge_agent.buffer.asked import Asked
from edge_agent.buffer.intake import Intake, told
from edge_agent.buffer.lineage import Succession
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.opening import DAMAGED
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.stream import Kind, Record, RecordKey
from edge_agent.ports import BufferStats, Confirmation

_FULL = 60.0
"""Machine seconds for which a store that had to drop something is called full."""
_UNWRITTEN = 10_000
"""Deliveries that memory holds while the disk does not take them; then nothing more is handed out."""


class Outbox(Intake, Asked):
    """What the writer thread does: call ``work`` whenever ``due`` says so. Times are seconds of machine time."""

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
            self.distrust(error)
            return []

    def distrust(self, error: Exception) -> None:
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

    def succeed(self, plan: Succession, now: float) -> None:
        """Begin a new epoch. Raises StorageError: then the old one goes on."""
        while self._pending and not self._trouble:  # what was appended before belongs to the old epoch
            self._commit(now)
        if self._trouble:
            raise StorageError(f"no new epoch can begin: {self._trouble}")
        try:
            self.committer.succeed(plan, now)
        except (apsw.Error, OSError) as error:
            raise StorageError(f"no new epoch can begin: {told(error)}") from error

    def retry(self, numbers: Sequence[int], now: float) -> list[tuple[int, RecordKey]]:
        """Append what dead letters say as new records and drop the letters. Raises StorageError while the disk is out of order."""
        while self._pending and not self._trouble:  # what was appended before comes first
            self._commit(now)
        if self._trouble:
            raise StorageError(f"nothing can be sent again: {self._trouble}")
        letters = [letter for letter in archive.letters_named(self.committer.store, numbers) if archive.readable(letter)]
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

    def stats(self) -> BufferStats:
        """Return the figures."""
        committer = self.committer
        store = committer.store if committer.readable else None
        oldest = committer.delivery.oldest(store) if store else None
        waiting = {kind: committer.counts[kind] - committer.delivery.pending[kind] for kind in ("E", "T")}
        detail = f"{self._trouble}; {self._volatile()} events in memory only, {self._ring.lost} lost" if self._trouble else ""
        full = committer.dropped > 0 and time.monotonic() - committer.dropped_at < _FULL
        size = store.size() if store else 0
        return BufferStats(
            waiting["E"],
            waiting["T"],
            oldest,
            size,
            committer.commits,
            not self._trouble,
            detail,
            committer.dropped,
            full,
            committer.syncs,
        )
