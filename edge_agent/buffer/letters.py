"""Dead letters of an open store, in SQL: what nobody will take, kept for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from edge_agent.buffer.database import Database
from edge_agent.buffer.numbering import Unfit
from edge_agent.buffer.records import Stored
from edge_agent.model.stream import Entry, RecordKey
from edge_agent.ports import DeadLetter


class Letters(Database):
    """Table ``dead_letter``."""

    def set_aside(self, stored: Stored, reason: str, detail: str) -> None:
        """Keep a record that cannot be delivered as a dead letter."""
        self._letter(stored.record.key, stored.record.entry, reason, detail)

    def set_unfit_aside(self, epoch: str, seq: int, unfit: Unfit) -> None:
        """Keep what is left of an event that could not be stored; once, however often its batch is written."""
        stream = unfit.entry.stream
        if not self.db.execute("SELECT 1 FROM dead_letter WHERE (epoch, stream, seq) = (?, ?, ?)", (epoch, stream, seq)).get:
            self._letter(RecordKey(stream, epoch, seq), unfit.entry, unfit.reason, unfit.detail)

    def take_over(self, letter: DeadLetter) -> None:
        """Keep a dead letter of another store under the number it had there, by which people may know it."""
        self._letter(letter.record.key, letter.record.entry, letter.reason, letter.detail, letter.number)

    def _letter(self, key: RecordKey, entry: Entry, reason: str, detail: str, number: int | None = None) -> None:
        self.db.execute(
            "INSERT INTO dead_letter (id, epoch, stream, seq, kind, type, time, recorded, correlation, causation, samples, reason, detail, body) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (number, key.epoch, key.stream, key.seq, entry.kind, entry.type, entry.time, entry.recorded,
             entry.correlation, entry.causation, entry.samples, reason, detail, entry.body),
        )  # fmt: skip

    def letters(self) -> int:
        """Return the number of dead letters."""
        return cast("int", self.db.execute("SELECT count(*) FROM dead_letter").get)

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete dead letters that became new records."""
        self.db.executemany("DELETE FROM dead_letter WHERE id = ?", [(number,) for number in numbers])

    def forget_letters(self, limit: int) -> int:
        """Delete up to ``limit`` dead letters, oldest first; their loss is declared already."""
        self.db.execute("DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter ORDER BY id LIMIT ?)", (limit,))
        return self.db.changes()
