"""The end of the queue in memory: what was committed lately and waits, so that the reader at the end need not read back what was just written.

It holds everything of a kind that waits behind some row, or nothing: what it gives is what the disk would give, in the same order. It learns rows
only from a commit that has returned and from a read that reached the end. Whatever else changes what waits (a resend, an eviction, a loss record,
an opening) forgets it, and the next read is the disk's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from edge_agent.buffer.numbering import Batch
from edge_agent.buffer.records import Place
from edge_agent.model.stream import Kind, Record, RecordKey

MOST = 1_024
"""Records of a kind that are held."""
LARGEST = 1 << 20
"""Bytes of their bodies."""

Waiting = tuple[Place, Record]
"""A record that waits, and where."""


class Tail:
    """Of one kind. Used by the writer thread only."""

    def __init__(self) -> None:
        """Know nothing."""
        self._begin: int | None = None
        self._held: dict[int, Waiting] = {}
        self._bytes = 0

    def forget(self) -> None:
        """Know nothing from now on: what waits has changed in another way."""
        self._begin = None
        self._held.clear()
        self._bytes = 0

    def committed(self, rows: Iterable[Waiting], before: int) -> None:
        """Take in what a commit has added, all of it behind row ``before``, which is behind every row of before."""
        if self._begin is None:
            self._begin = before
        self._hold(rows)

    def read(self, rows: Sequence[Waiting], after: int) -> None:
        """Take in everything that waits behind row ``after``, as the disk has it; rows whose fate is decided are left out."""
        self.forget()
        self._begin = after
        self._hold(rows)

    def decided(self, row: int) -> None:
        """A record was delivered or refused: it does not wait any more."""
        if (gone := self._held.pop(row, None)) is not None:
            self._bytes -= len(gone[1].entry.body)

    def behind(self, after: int, limit: int) -> list[Waiting] | None:
        """Return up to ``limit`` records that wait behind row ``after``, oldest first; None when only the disk knows."""
        if self._begin is None or after < self._begin:
            return None
        return list(islice((held for row, held in self._held.items() if row > after), limit))

    def _hold(self, rows: Iterable[Waiting]) -> None:
        for waiting in rows:
            self._held[waiting[0].id] = waiting
            self._bytes += len(waiting[1].entry.body)
        while self._held and (len(self._held) > MOST or self._bytes > LARGEST):
            row = self._begin = next(iter(self._held))
            self.decided(row)


class Tails(dict[Kind, Tail]):
    """One for each kind."""

    def __init__(self) -> None:
        """Know nothing."""
        super().__init__({"E": Tail(), "T": Tail()})

    def forget(self) -> None:
        """Know nothing from now on."""
        for tail in self.values():
            tail.forget()

    def committed(self, batch: Batch) -> None:
        """Take in the rows of a commit that has returned, and that has changed nothing else of what waits but deliveries."""
        if not batch.rows:
            return
        waiting: dict[Kind, list[Waiting]] = {"E": [], "T": []}
        entries = (entry for group in batch.groups for entry in group.events)
        for (row, stream, seq, *_), entry in zip(batch.rows, entries, strict=True):
            place = Place(row, entry.kind, stream, seq, seq)
            waiting[entry.kind].append((place, Record(RecordKey(entry.stream, batch.epoch, seq), entry)))
        for kind, tail in self.items():
            tail.committed(waiting[kind], batch.rows[0][0] - 1)
