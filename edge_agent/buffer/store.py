"""The rows of one open store: what changes them, in SQL. Used by the writer thread only, synchronous, raises apsw.Error.

What is read stands in `records`, the other tables in `streams`, `states` and `letters`, the file itself in `database`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.buffer.letters import Letters
from edge_agent.buffer.noted import declared
from edge_agent.buffer.numbering import Batch, Row, checkpoints, row
from edge_agent.buffer.records import COLUMNS, Place, Records
from edge_agent.buffer.states import States
from edge_agent.model.stream import Entry

_INSERT = f"INSERT INTO record ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - a constant
_DELIVERED = (
    "SELECT id, age, EXISTS (SELECT 1 FROM waiting w WHERE w.kind IN ('E', 'T') AND w.id = delivered.id) "
    "OR EXISTS (SELECT 1 FROM record r JOIN stream s ON s.id = r.stream WHERE r.id = delivered.id AND s.head = r.seq AND s.settled < s.head) "
    "FROM delivered ORDER BY id LIMIT ?"
)
"""Row, age, whether it stays: it waits to be sent again, or is the last of a stream in which an earlier one still waits, and proves its head."""


class Store(Records, States, Letters):
    """One open store."""

    # -- appending -------------------------------------------------------------------------------------------------

    def insert(self, batch: Batch) -> None:
        """Write the rows, heads and states of a batch that the store does not hold yet; inside a transaction."""
        self.advance(batch.epoch, batch.changed)
        if batch.rows:
            self.insert_rows(batch.rows)
        for seq, unfit in batch.unfit:
            self.set_unfit_aside(batch.epoch, seq, unfit)
        self.forget([number for group in batch.groups for number in group.letters])
        for group in batch.groups:
            if group.declares is not None:
                declared(self, group.declares)
        self.put_states(checkpoints(batch.groups))

    def holds(self, batch: Batch) -> bool:
        """Whether a batch has been committed: its transaction gave all of its numbers or none. Without numbers there is nothing to tell by."""
        return any(self.head(stream) >= last for stream, last in batch.changed.values())

    def took_over(self, batch: Batch) -> bool:
        """Whether rows of a batch of another epoch came here with what was saved of its store: one under its number, with its checksum, proves the commit."""
        names = {stream: name for name, (stream, _) in batch.changed.items()}
        query = "SELECT 1 FROM record WHERE stream = ? AND seq = ? AND crc = ?"
        return any(
            self.db.execute(query, (self.stream_id(names[each[1]], batch.epoch), each[2], each[11])).get is not None
            for each in batch.rows
        )

    def insert_rows(self, rows: Sequence[Row]) -> None:
        """Write rows as waiting; inside a transaction, which fails where one of them is there already: nothing is passed over in silence."""
        self.db.executemany(_INSERT, rows)
        self.db.executemany("INSERT INTO waiting VALUES (?, ?, 0)", [(each[3], each[0]) for each in rows])

    # -- delivering ------------------------------------------------------------------------------------------------

    def deliver(self, places: Sequence[Place], age: int) -> tuple[int, int]:
        """Mark waiting records as delivered at ``age`` (running ns of the store); return how many waited, and how many are kept for the first time."""
        keys = [(place.kind, place.id) for place in places]
        before = self.db.total_changes()
        self.db.executemany(
            "INSERT OR IGNORE INTO delivered SELECT id, ? FROM waiting WHERE kind = ? AND id = ?", [(age, *key) for key in keys]
        )
        between = self.db.total_changes()
        self.db.executemany("DELETE FROM waiting WHERE kind = ? AND id = ?", keys)
        return self.db.total_changes() - between, between - before

    def replace(self, place: Place, entry: Entry, first: int) -> None:
        """Put a loss record that begins at ``first`` in the place of a record."""
        epoch, _ = self.streams[place.stream]
        columns = row(place.id, place.stream, place.seq, epoch, entry, first)
        self.db.execute(
            "UPDATE record SET kind=?, type=?, time=?, recorded=?, correlation=?, causation=?, samples=?, loss_from=?, crc=?, body=? WHERE id=?",
            (*columns[3:], place.id),
        )

    def resend(self, stream: int, first: int, last: int) -> int:
        """Mark delivered records as waiting again; return how many."""
        self.db.execute(
            "INSERT OR IGNORE INTO waiting SELECT kind, id, 1 FROM record "
            "WHERE stream = ? AND seq BETWEEN ? AND ? AND id IN (SELECT id FROM delivered)",
            (stream, first, last),
        )
        return self.db.changes()

    def forget_resend(self, place: Place) -> None:
        """Take back the wish to send a delivered record again."""
        self.db.execute("DELETE FROM waiting WHERE kind = ? AND id = ? AND resent", (place.kind, place.id))

    # -- making room -----------------------------------------------------------------------------------------------

    def purge(self, before: int, limit: int, *, anyway: bool = False) -> int:
        """Delete up to ``limit`` delivered records, oldest first: those delivered at age ``before`` or earlier, or ``anyway``."""
        rows: list[tuple[int]] = []
        for identity, age, again in self.db.execute(_DELIVERED, (limit,)):
            if age > before and not anyway:
                break
            if not again:
                rows.append((identity,))
        self.delete(rows)
        return len(rows)

    def delete(self, rows: Sequence[tuple[int]]) -> None:
        """Delete delivered records."""
        self.db.executemany("DELETE FROM delivered WHERE id = ?", rows)
        self.db.executemany("DELETE FROM record WHERE id = ?", rows)

    def send_again(self, place: Place) -> None:
        """Let a delivered record wait again."""
        self.db.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?, 1)", (place.kind, place.id))

    def drop(self, places: Sequence[Place]) -> None:
        """Delete undelivered records; their loss record stands elsewhere."""
        self.db.executemany("DELETE FROM waiting WHERE kind = ? AND id = ?", [(place.kind, place.id) for place in places])
        self.db.executemany("DELETE FROM record WHERE id = ?", [(place.id,) for place in places])
