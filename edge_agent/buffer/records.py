"""Records of an open store, as they are read: where each stands, and whether its checksum says that it is what was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import apsw
from msgspec import structs

from edge_agent.buffer.numbering import Row, checksum, readable
from edge_agent.buffer.streams import Streams
from edge_agent.model.stream import Entry, Kind, Record, RecordKey

COLUMNS = "id, stream, seq, kind, type, time, recorded, correlation, causation, samples, loss_from, crc, body"
_WAITING = (
    f"SELECT w.resent, r.{COLUMNS.replace(', ', ', r.')} FROM waiting w LEFT JOIN record r ON r.id = w.id "  # noqa: S608 - constants
    "WHERE w.kind = ? AND w.id > ? ORDER BY w.id LIMIT ?"
)
_UNDELIVERED = (
    "SELECT coalesce(loss_from, seq) FROM record r WHERE stream = ? AND seq > ? "
    "AND NOT EXISTS (SELECT 1 FROM delivered d WHERE d.id = r.id) ORDER BY seq LIMIT 1"
)
_TEXTS = ("kind", "type", "correlation", "causation")


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


class Records(Streams):
    """Tables ``record`` and ``waiting``, reading."""

    def rows(self, query: str, arguments: Sequence[object]) -> list[tuple[object, ...]]:
        """Return the rows of a query over records; texts that are no UTF-8 come as bytes, which no checksum takes for sound."""
        try:
            return cast("list[tuple[object, ...]]", self.db.execute(query, arguments).fetchall())
        except UnicodeDecodeError:
            for name in _TEXTS:
                query = query.replace(f" r.{name},", f" CAST(r.{name} AS BLOB),").replace(f" {name},", f" CAST({name} AS BLOB),")
            return [(*map(_text, found[:-1]), found[-1]) for found in self.db.execute(query, arguments)]

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

    def waiting(self, kind: Kind, after: int, limit: int) -> list[Stored]:
        """Return undelivered records in the order they were appended, from behind row ``after``.

        Raises apsw.CorruptError where one cannot be found any more, or names a stream that is none: a byte of the file's own structure is
        wrong, and a join would pass over the record without a word.
        """
        found = [self._there(bool(resent), columns) for resent, *columns in self.rows(_WAITING, (kind, after, limit))]
        return [stored if stored.sound else _of_kind(stored, kind) for stored in found]

    def _there(self, resent: bool, columns: Sequence[object]) -> Stored:
        if columns[0] is None:
            raise apsw.CorruptError("a record that waits is not in its table")
        if columns[1] not in self.streams:
            raise apsw.CorruptError(f"record {columns[0]} is of stream {columns[1]}, and there is none")
        stored = self.stored(resent, columns)
        if not stored.sound and not self._indexed(stored.place):
            raise apsw.CorruptError(f"the number of record {columns[0]} is not the one it was given")
        return stored

    def _indexed(self, place: Place) -> bool:
        """Whether the index knows a row by the number it shows: a damaged row may show another one, and its loss would be declared there."""
        found = self.db.execute("SELECT id FROM record WHERE stream = ? AND seq = ?", (place.stream, place.seq)).get
        return bool(found == place.id)

    def read(self, place: Place) -> Stored | None:
        """Return one waiting record."""
        found = self.waiting(place.kind, place.id - 1, 1)
        return found[0] if found and found[0].place.id == place.id else None

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

    def reached(self, stream: int, level: int) -> int:
        """Return up to where a stream is delivered without a hole, if it is up to ``level``: a record that did not go out is never without its row."""
        first = self.db.execute(_UNDELIVERED, (stream, level)).get
        if first is not None:
            return cast("int", first) - 1
        last = self.db.execute("SELECT max(seq) FROM record WHERE stream = ?", (stream,)).get
        return max(level, cast("int", last or 0))

    def delivered_above(self, stream: int, seq: int) -> list[tuple[int, int]]:
        """Return (first, last number) of the delivered records close above ``seq``."""
        rows = self.db.execute(
            "SELECT coalesce(loss_from, seq), seq FROM (SELECT * FROM record WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1000) r "
            "WHERE r.id IN (SELECT id FROM delivered) ORDER BY seq",
            (stream, seq),
        )
        return [cast("tuple[int, int]", found) for found in rows]


def _text(value: object) -> object:
    """Return a text that was read as bytes, for the sake of another one in the batch that is none, as the text it is."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _of_kind(stored: Stored, kind: Kind) -> Stored:
    """Return a damaged row as one of the kind under which it waits."""
    place, record = stored.place._replace(kind=kind), stored.record
    return stored._replace(place=place, record=Record(record.key, structs.replace(record.entry, kind=kind), record.resent))
