"""The streams of an open store, in SQL: their names, how far their numbers and deliveries reach; and the facts about the store itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast
from zlib import crc32

import apsw
import structlog

from edge_agent.buffer.database import Database
from edge_agent.buffer.numbering import Numbers, StreamHead

_DIGITS = 18
"""Of the largest number that fits into 64 bits for sure."""


class Streams(Database):
    """Tables ``store`` and ``stream``."""

    def __init__(self, path: Path, wal_pages: int, vfs: str | None) -> None:
        """Open the file, creating its tables. Raises ConfigError, apsw.Error."""
        super().__init__(path, wal_pages, vfs)
        self.streams: dict[int, tuple[str, str]] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def get(self, key: str) -> str | None:
        """Return a fact about the store."""
        return cast("str | None", self.db.execute("SELECT value FROM store WHERE key = ?", (key,)).get)

    def words(self, key: str) -> str | None:
        """Return a fact about the store, None also where it is no text any more."""
        value = self.db.execute("SELECT CAST(value AS BLOB) FROM store WHERE key = ?", (key,)).get
        try:
            return None if value is None else cast("bytes", value).decode()
        except UnicodeDecodeError:
            return None

    def put(self, key: str, value: str | None) -> None:
        """Note a fact about the store."""
        self.db.execute("INSERT INTO store VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def put_number(self, key: str, value: int) -> None:
        """Note a fact that is a number, with its checksum: what it says decides what is deleted."""
        self.put_summed(key, str(value))

    def number(self, key: str) -> int | None:
        """Return a fact that is a number, None where there is none; one that rotted is told to the log, and is none."""
        text = self.words(key)
        return None if text is None else _number(key, text)

    def has(self, key: str) -> bool:
        """Whether there is a fact of that name, whatever became of it."""
        return self.db.execute("SELECT 1 FROM store WHERE key = ?", (key,)).get is not None

    def put_summed(self, key: str, text: str) -> None:
        """Note a fact with its checksum."""
        self.put(key, f"{text} {_sum(key, text)}")

    def summed(self, key: str) -> str | None:
        """Return a fact that was noted with a checksum, None where there is none or it is wrong."""
        return _told(key, self.words(key) or "")

    def forget_fact(self, key: str) -> None:
        """Delete a fact."""
        self.db.execute("DELETE FROM store WHERE key = ?", (key,))

    def marks(self, prefix: str) -> list[tuple[int, int | None]]:
        """Return the numbers among the facts, each behind the number that follows ``prefix`` in its name; None is one that rotted, as told to the log."""
        rows = self.db.execute(
            "SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM store WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
        )
        facts = [(key.decode(errors="replace"), (value or b"").decode(errors="replace")) for key, value in rows]
        read = [(key.removeprefix(prefix), _number(key, value)) for key, value in facts]
        return [(int(key), value) for key, value in read if _is_number(key)]

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

    def advance(self, epoch: str, heads: Mapping[str, StreamHead]) -> None:
        """Note the last numbers given; inside a transaction. A head that is further already stays."""
        for name, (identity, head) in heads.items():
            self.db.execute(
                "INSERT INTO stream VALUES (?, ?, ?, ?, 0) ON CONFLICT (id) DO UPDATE SET head = max(head, excluded.head)",
                (identity, epoch, name, head),
            )
            self._name(identity, epoch, name)

    def stream_id(self, stream: str, epoch: str) -> int | None:
        """Return the row of a stream."""
        return self._ids.get((epoch, stream))

    def add_stream(self, epoch: str, name: str, head: int, settled: int) -> int:
        """Make the stream of another epoch, for records that were saved from a damaged store; return its row."""
        identity = max(self.streams, default=0) + 1
        self.db.execute("INSERT INTO stream VALUES (?, ?, ?, ?, ?)", (identity, epoch, name, head, settled))
        self._name(identity, epoch, name)
        return identity

    def settled(self, levels: Iterable[tuple[int, int]]) -> None:
        """Note up to which number streams are delivered without a hole."""
        self.db.executemany(
            "UPDATE stream SET settled = max(settled, ?) WHERE id = ?", [(level, stream) for stream, level in levels]
        )

    def head(self, stream: int) -> int:
        """Return the last number given in a stream, as the disk knows it."""
        return cast("int", self.db.execute("SELECT head FROM stream WHERE id = ?", (stream,)).get or 0)

    def settled_level(self, stream: int) -> int:
        """Return up to where a stream is delivered without a hole, as the disk knows it."""
        return cast("int", self.db.execute("SELECT settled FROM stream WHERE id = ?", (stream,)).get or 0)

    def settled_levels(self) -> list[tuple[int, int]]:
        """Return per stream of any epoch that still has records (row, delivered without a hole): one look into an index for each."""
        rows = self.db.execute("SELECT id, settled FROM stream s WHERE EXISTS (SELECT 1 FROM record WHERE stream = s.id)")
        return [cast("tuple[int, int]", found) for found in rows]

    def levels(self, epoch: str) -> list[tuple[int, str, int, int, int]]:
        """Return per stream of ``epoch`` (row, name, first number kept, head, delivered without a hole)."""
        rows = self.db.execute(
            "SELECT s.id, s.name, coalesce((SELECT coalesce(loss_from, seq) FROM record WHERE stream = s.id ORDER BY seq LIMIT 1), s.head + 1), "
            "s.head, s.settled FROM stream s WHERE s.epoch = ?",
            (epoch,),
        )
        return [cast("tuple[int, str, int, int, int]", found) for found in rows]

    # -- of a damaged store ----------------------------------------------------------------------------------------

    def all_levels(self) -> list[tuple[int, str, str, int, int]]:
        """Return per stream of every epoch (row, epoch, name, head, delivered without a hole), touching no other table."""
        rows = self.db.execute("SELECT id, epoch, name, head, settled FROM stream ORDER BY id")
        return [cast("tuple[int, str, str, int, int]", found) for found in rows]

    def unused(self) -> bool:
        """Whether no run has begun here yet, and no stream."""
        ran = self.db.execute("SELECT 1 FROM store WHERE key <> 'format' LIMIT 1").get
        return ran is None and self.db.execute("SELECT 1 FROM stream LIMIT 1").get is None

    def streams_complete(self) -> bool:
        """Whether the list of streams and its index tell of equally many: a damaged page of one may have taken streams away."""
        try:
            by_index = self.db.execute("SELECT count(*) FROM stream INDEXED BY sqlite_autoindex_stream_1 WHERE epoch > ''").get
        except apsw.Error:
            return False
        by_table = self.db.execute("SELECT count(*) FROM stream NOT INDEXED").get
        return bool(by_index == by_table == len(self.streams))


def _sum(fact: str, text: str) -> str:
    return f"{crc32(f'{fact} {text}'.encode()):08x}"


def _told(fact: str, value: str) -> str | None:
    """Return the text of a fact that was noted with its checksum, None where that is wrong."""
    text, _, said = value.rpartition(" ")
    return text if said == _sum(fact, text) else None


def _number(fact: str, value: str) -> int | None:
    text = _told(fact, value)
    if text is not None and _is_number(text):
        return int(text)
    structlog.get_logger().error("buffer.fact_damaged", fact=fact)
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
