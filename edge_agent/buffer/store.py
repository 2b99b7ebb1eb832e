"""The rows of one open store, in SQL: used by the writer thread only, synchronous, raises apsw.Error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast
from zlib import crc32

import apsw
from msgspec import structs

from edge_agent.buffer.database import Database
from edge_agent.buffer.numbering import Batch, Numbers, Row, StreamHead, Unfit, checkpoints, checksum, readable, row
from edge_agent.model.stream import Checkpoint, Entry, Kind, Record, RecordKey

COLUMNS = "id, stream, seq, kind, type, time, recorded, correlation, causation, samples, loss_from, crc, body"
_INSERT = f"INSERT OR IGNORE INTO record ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - a constant
_WAITING = (
    f"SELECT w.resent, r.{COLUMNS.replace(', ', ', r.')} FROM waiting w CROSS JOIN record r ON r.id = w.id "  # noqa: S608 - constants
    "WHERE w.kind = ? AND w.id > ? ORDER BY w.id LIMIT ?"
)
_TEXTS = ("kind", "type", "correlation", "causation")
_DELIVERED = "SELECT id, age, EXISTS (SELECT 1 FROM waiting w WHERE w.kind IN ('E', 'T') AND w.id = delivered.id) FROM delivered ORDER BY id LIMIT ?"


class Place(NamedTuple):
    """Where a waiting record stands; ``first`` is the first number it covers (its own, but for a loss record)."""

    id: int
    kind: Kind
    stream: int
    seq: int
    first: int


class Stored(NamedTuple):
    """A record as read, whether its checksum is right, and whether it declares a loss."""

    place: Place
    record: Record
    sound: bool
    loss: bool


class Store(Database):
    """The rows of one open store."""

    def __init__(self, path: Path, wal_pages: int, vfs: str | None) -> None:
        """Open the file, creating its tables. Raises ConfigError, apsw.Error."""
        super().__init__(path, wal_pages, vfs)
        self.streams: dict[int, tuple[str, str]] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def get(self, key: str) -> str | None:
        """Return a fact about the store."""
        return cast("str | None", self.db.execute("SELECT value FROM store WHERE key = ?", (key,)).get)

    def put(self, key: str, value: str | None) -> None:
        """Note a fact about the store."""
        self.db.execute("INSERT INTO store VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def facts(self, prefix: str) -> list[tuple[str, str]]:
        """Return the facts whose names begin with ``prefix``."""
        rows = self.db.execute("SELECT key, value FROM store WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))
        return [cast("tuple[str, str]", found) for found in rows]

    def numbers(self, epoch: str) -> Numbers:
        """Read the heads of all streams of ``epoch``."""
        heads: dict[str, StreamHead] = {}
        for identity, of, name, head in self.db.execute("SELECT id, epoch, name, head FROM stream"):
            self._name(identity, of, name)
            if of == epoch:
                heads[name] = StreamHead(identity, head)
        last = self.db.execute("SELECT coalesce(max(id), 0) FROM record").get
        return Numbers(epoch, heads, last + 1, max(self.streams, default=0) + 1)

    def _name(self, identity: int, epoch: str, name: str) -> None:
        self.streams[identity] = (epoch, name)
        self._ids[epoch, name] = identity

    # -- appending -------------------------------------------------------------------------------------------------

    def insert(self, batch: Batch) -> None:
        """Write the rows, heads and states of a batch; inside a transaction. Rows that are there already stay."""
        for name, (identity, head) in batch.changed.items():
            self.db.execute(
                "INSERT INTO stream VALUES (?, ?, ?, ?, 0) ON CONFLICT (id) DO UPDATE SET head = max(head, excluded.head)",
                (identity, batch.epoch, name, head),
            )
            self._name(identity, batch.epoch, name)
        if batch.rows:
            self.insert_rows(batch.rows)
        for seq, unfit in batch.unfit:
            self._set_unfit_aside(batch.epoch, seq, unfit)
        letters = [(number,) for group in batch.groups for number in group.letters]
        self.db.executemany("DELETE FROM dead_letter WHERE id = ?", letters)
        self.put_states(checkpoints(batch.groups))

    def put_states(self, found: Iterable[Checkpoint]) -> None:
        """Write rule states and last-seen times; inside a transaction."""
        for checkpoint in found:
            self.db.execute(
                "INSERT INTO owner VALUES (?, ?) ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen",
                (checkpoint.owner, checkpoint.last_seen),
            )
            if checkpoint.states:
                self.db.executemany(
                    "INSERT INTO state VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET crc = excluded.crc, value = excluded.value",
                    [
                        (checkpoint.owner, rule, _state_crc(checkpoint.owner, rule, value), value)
                        for rule, value in checkpoint.states.items()
                    ],
                )

    def insert_rows(self, rows: Sequence[Row]) -> None:
        """Write rows as waiting; inside a transaction."""
        self.db.executemany(_INSERT, rows)
        self.db.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?, 0)", [(each[3], each[0]) for each in rows])

    def add_stream(self, epoch: str, name: str, head: int, settled: int) -> int:
        """Make the stream of another epoch, for records that were saved from a damaged store; return its row."""
        identity = max(self.streams, default=0) + 1
        self.db.execute("INSERT INTO stream VALUES (?, ?, ?, ?, ?)", (identity, epoch, name, head, settled))
        self._name(identity, epoch, name)
        return identity

    def states(self, owner: str) -> tuple[dict[str, bytes], int | None, list[str]]:
        """Return the states of an owner, its last-seen time, and the names of states whose checksum is wrong."""
        states, bad = {}, []
        for rule, crc, value in self.db.execute("SELECT rule, crc, value FROM state WHERE owner = ?", (owner,)):
            if _state_crc(owner, rule, value) == crc:
                states[rule] = value
            else:
                bad.append(rule)
        return states, self.db.execute("SELECT last_seen FROM owner WHERE name = ?", (owner,)).get, bad

    # -- delivering ------------------------------------------------------------------------------------------------

    def waiting(self, kind: Kind, after: int, limit: int) -> list[Stored]:
        """Return undelivered records in the order they were appended, from behind row ``after``."""
        found = [self.stored(bool(resent), columns) for resent, *columns in self.rows(_WAITING, (kind, after, limit))]
        return [stored if stored.sound else _of_kind(stored, kind) for stored in found]

    def rows(self, query: str, arguments: Sequence[object]) -> list[tuple[object, ...]]:
        """Return the rows of a query over records; texts that are no UTF-8 come as bytes, which no checksum takes for sound."""
        try:
            return cast("list[tuple[object, ...]]", self.db.execute(query, arguments).fetchall())
        except UnicodeDecodeError:
            for name in _TEXTS:
                query = query.replace(f" r.{name},", f" CAST(r.{name} AS BLOB),").replace(f" {name},", f" CAST({name} AS BLOB),")
            return cast("list[tuple[object, ...]]", self.db.execute(query, arguments).fetchall())

    def stored(self, resent: bool, columns: Sequence[object]) -> Stored:
        """Return the record that the columns of a row make, with its checksum judged."""
        identity, stream, seq, kind, type_, time, recorded, correlation, causation, samples, first, crc, body = cast("Row", columns)
        epoch, name = self.streams.get(stream, ("", ""))
        entry = Entry(name, cast("Kind", kind), type_, time, recorded, body, correlation, causation, samples)
        try:
            sound = checksum(epoch, seq, first, entry) == crc
        except (TypeError, ValueError):  # what a flipped bit makes of a column
            sound = False
        if not sound:
            entry = readable(entry)
        place = Place(identity, entry.kind, stream, seq, seq if first is None else first)
        return Stored(place, Record(RecordKey(name, epoch, seq), entry, resent), sound, first is not None)

    def find(self, key: RecordKey) -> tuple[int, Kind, bool, int] | None:
        """Return (row, kind, still waiting, first number covered) of a record, None when it is not kept."""
        if (stream := self._ids.get((key.epoch, key.stream))) is None:
            return None
        found = self.db.execute(
            "SELECT id, kind, coalesce(loss_from, seq) FROM record WHERE stream = ? AND seq = ?", (stream, key.seq)
        ).fetchone()
        if found is None:
            return None
        identity, kind, first = found
        waits = self.db.execute("SELECT 1 FROM waiting WHERE kind = ? AND id = ?", (kind, identity)).get
        return identity, kind, waits is not None, first

    def stream_id(self, stream: str, epoch: str) -> int | None:
        """Return the row of a stream."""
        return self._ids.get((epoch, stream))

    def read(self, place: Place) -> Stored | None:
        """Return one waiting record."""
        found = self.waiting(place.kind, place.id - 1, 1)
        return found[0] if found and found[0].place.id == place.id else None

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

    def settled(self, levels: Iterable[tuple[int, int]]) -> None:
        """Note up to which number streams are delivered without a hole."""
        self.db.executemany(
            "UPDATE stream SET settled = max(settled, ?) WHERE id = ?", [(level, stream) for stream, level in levels]
        )

    def replace(self, place: Place, entry: Entry, first: int) -> None:
        """Put a loss record that begins at ``first`` in the place of a record."""
        epoch, _ = self.streams[place.stream]
        columns = row(place.id, place.stream, place.seq, epoch, entry, first)
        self.db.execute(
            "UPDATE record SET type=?, time=?, recorded=?, correlation=?, causation=?, samples=?, loss_from=?, crc=?, body=? WHERE id=?",
            (*columns[4:], place.id),
        )

    def _set_unfit_aside(self, epoch: str, seq: int, unfit: Unfit) -> None:
        """Keep what is left of an event that could not be stored; once, however often its batch is written."""
        stream = unfit.entry.stream
        if not self.db.execute("SELECT 1 FROM dead_letter WHERE (epoch, stream, seq) = (?, ?, ?)", (epoch, stream, seq)).get:
            self._letter(RecordKey(stream, epoch, seq), unfit.entry, unfit.reason, unfit.detail)

    def set_aside(self, stored: Stored, reason: str, detail: str) -> None:
        """Keep a record that cannot be delivered as a dead letter."""
        self._letter(stored.record.key, stored.record.entry, reason, detail)

    def _letter(self, key: RecordKey, entry: Entry, reason: str, detail: str) -> None:
        self.db.execute(
            "INSERT INTO dead_letter (epoch, stream, seq, kind, type, time, recorded, correlation, causation, samples, reason, detail, body) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (key.epoch, key.stream, key.seq, entry.kind, entry.type, entry.time, entry.recorded,
             entry.correlation, entry.causation, entry.samples, reason, detail, entry.body),
        )  # fmt: skip

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

    def settled_level(self, stream: int) -> int:
        """Return up to where a stream is delivered without a hole, as the disk knows it."""
        return cast("int", self.db.execute("SELECT settled FROM stream WHERE id = ?", (stream,)).get or 0)

    def letters(self) -> int:
        """Return the number of dead letters."""
        return cast("int", self.db.execute("SELECT count(*) FROM dead_letter").get)

    def forget_letters(self, limit: int) -> int:
        """Delete up to ``limit`` dead letters, oldest first; their loss is declared already."""
        self.db.execute("DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter ORDER BY id LIMIT ?)", (limit,))
        return self.db.changes()

    def drop(self, places: Sequence[Place]) -> None:
        """Delete undelivered records; their loss record stands elsewhere."""
        self.db.executemany("DELETE FROM waiting WHERE kind = ? AND id = ?", [(place.kind, place.id) for place in places])
        self.db.executemany("DELETE FROM record WHERE id = ?", [(place.id,) for place in places])

    def levels(self, epoch: str) -> list[tuple[int, str, int, int, int]]:
        """Return per stream of ``epoch`` (row, name, first number kept, head, delivered without a hole)."""
        rows = self.db.execute(
            "SELECT s.id, s.name, coalesce((SELECT coalesce(loss_from, seq) FROM record WHERE stream = s.id ORDER BY seq LIMIT 1), s.head + 1), "
            "s.head, s.settled FROM stream s WHERE s.epoch = ?",
            (epoch,),
        )
        return [cast("tuple[int, str, int, int, int]", found) for found in rows]

    # -- saving a damaged store ------------------------------------------------------------------------------------

    def all_levels(self) -> list[tuple[int, str, str, int, int]]:
        """Return per stream of every epoch (row, epoch, name, head, delivered without a hole), touching no other table."""
        rows = self.db.execute("SELECT id, epoch, name, head, settled FROM stream ORDER BY id")
        levels = [cast("tuple[int, str, str, int, int]", found) for found in rows]
        for identity, epoch, name, _, _ in levels:
            self._name(identity, epoch, name)
        return levels

    def streams_complete(self) -> bool:
        """Whether the list of streams and its index tell of equally many: a damaged page of one may have taken streams away."""
        try:
            by_index = self.db.execute("SELECT count(*) FROM stream INDEXED BY sqlite_autoindex_stream_1 WHERE epoch > ''").get
        except apsw.Error:
            return False
        by_table = self.db.execute("SELECT count(*) FROM stream NOT INDEXED").get
        return bool(by_index == by_table == len(self.streams))

    def delivered_above(self, stream: int, seq: int) -> list[tuple[int, int]]:
        """Return (first, last number) of the delivered records close above ``seq``."""
        rows = self.db.execute(
            "SELECT coalesce(loss_from, seq), seq FROM (SELECT * FROM record WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1000) r "
            "WHERE r.id IN (SELECT id FROM delivered) ORDER BY seq",
            (stream, seq),
        )
        return [cast("tuple[int, int]", found) for found in rows]


def _of_kind(stored: Stored, kind: Kind) -> Stored:
    """Return a damaged row as one of the kind under which it waits."""
    place, record = stored.place._replace(kind=kind), stored.record
    return stored._replace(place=place, record=Record(record.key, structs.replace(record.entry, kind=kind), record.resent))


def _state_crc(owner: str, rule: str, value: bytes) -> int:
    return crc32(value, crc32(f"{owner}/{rule}".encode()))
