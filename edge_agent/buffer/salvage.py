"""Saves what can be read of a damaged store: undelivered records and dead letters move into the new one under the names they had.

What cannot be read is declared where it stood: a loss record of reason ``corruption`` in the old epoch's stream, with the last number
of the hole, so a receiver meets it exactly there.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import apsw
import msgspec

from edge_agent.buffer.archive import sound_letters
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.loss import Loss
from edge_agent.buffer.noted import noted
from edge_agent.buffer.numbering import Row, row
from edge_agent.buffer.records import COLUMNS, Stored
from edge_agent.buffer.schema import PAGE
from edge_agent.buffer.store import Store
from edge_agent.buffer.witness import Level, proved, true_epoch
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Checkpoint, Entry

_RANGE = f"SELECT {COLUMNS} FROM record WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608 - a constant
_CHUNK = 200
UNSAVED = "unsaved"
"""The fact that names the file from which nothing has been saved yet."""
_ENVELOPE = "_envelope"
"""The owner of what a store says of itself (docs/buffer-format.md): nothing is counted by it."""
_GROWTH = 1 << 30
"""Bytes a cut file may grow at most beyond twice its size: the header may be garbage too."""


class Saved(msgspec.Struct):
    """What was saved: the old epoch, the number of records and of dead letters, the ranges (stream, first, last) that were not.

    ``cut``: there may have been more; then ``states`` of the rules were left out. ``earlier`` is damage that the old store had not declared yet.
    """

    epoch: str
    records: int = 0
    letters: int = 0
    lost: list[tuple[str, int, int]] = []
    cut: bool = False
    states: list[Checkpoint] = []
    earlier: Damage | None = None


class _Stream(msgspec.Struct):
    """How far the saving of one stream is: the next number expected, the last one given, the time of the last record read (UTC ns)."""

    epoch: str
    name: str
    expected: int
    head: int
    target: int
    seen: int = 0
    kind: str = ""


def salvage(path: Path, new: Store, wal_pages: int, prefix: str, beside: str | None, done: Callable[[Saved], None]) -> Saved:
    """Copy what can be read of the store at ``path`` into ``new``, which is still empty, and note there that it is done. Raises apsw.Error, StorageError.

    ``beside`` is the epoch in the identity file at the time; ``done`` is called with what was saved before that is committed.
    """
    _fill_up(path)
    old = Store(path, wal_pages, None)
    try:
        levels, doubt = proved(old)
        if (epoch := _epoch(old, beside, levels)) is None:
            raise StorageError("the damaged store does not tell its epoch")
        with new.transaction():
            new.put(UNSAVED, None)
            new.put("previous_epoch", epoch)
            streams = {
                identity: _Stream(of, name, level + 1, head, new.add_stream(of, name, head, level))
                for identity, of, name, head, level in levels
            }
            saved = _Copy(new, epoch, streams, prefix).run(old)
            for letter in sound_letters(old):
                new.take_over(letter)
                saved.letters += 1
            saved.cut = old.log_doubtful or doubt or not old.streams_complete()
            _envelope(old, new)
            states = _states(old)
            if saved.cut:
                saved.states = states  # one older than what was delivered would count things twice, and nobody be told
            else:
                with contextlib.suppress(apsw.Error, ValueError):  # what no row can hold begins anew, too
                    new.put_states(states)
            with contextlib.suppress(apsw.Error):  # a page of the facts, which seldom hold a note
                saved.earlier = noted(old)
            done(saved)
            return saved
    finally:
        old.close(failed=True)


def _epoch(old: Store, beside: str | None, levels: list[Level]) -> str | None:
    """Return the epoch of the store as far as its facts can be read, else that of the newest stream: a ULID rises with the time."""
    with contextlib.suppress(apsw.Error):  # a damaged page of the facts
        if (epoch := true_epoch(old, beside)) is not None:
            return epoch
    if beside is not None:
        return beside
    with contextlib.suppress(apsw.Error):
        if (epoch := old.words("epoch")) is not None:
            return epoch
    return max((of for _, of, _, _, _ in levels), default=None)


def _fill_up(path: Path) -> None:
    """Give a cut file the length its header tells (https://sqlite.org/fileformat2.html, offset 28): SQLite reads nothing of a shorter one."""
    with path.open("r+b") as file:
        pages = int.from_bytes(file.read(32)[28:32], "big")
        size = file.seek(0, os.SEEK_END)
        if size < pages * PAGE <= 2 * size + _GROWTH:
            file.truncate(pages * PAGE)


def _envelope(old: Store, new: Store) -> None:
    """Copy how the streams are published."""
    with contextlib.suppress(apsw.Error, ValueError):
        states, last_seen, _ = old.states(_ENVELOPE)
        new.put_states([Checkpoint(_ENVELOPE, states, last_seen or 0)] if states else ())


def _states(old: Store) -> list[Checkpoint]:
    """Return the states of the rules that can be read and are sound: counters go on where they were."""
    found: list[Checkpoint] = []
    with contextlib.suppress(apsw.Error, ValueError):  # what cannot be read begins anew: a baseline, never a wrong count
        owners = cast("list[tuple[str, int]]", old.db.execute("SELECT name, last_seen FROM owner").fetchall())
        for owner, last_seen in owners:
            states, _, _ = old.states(owner)
            if owner != _ENVELOPE and isinstance(last_seen, int) and last_seen >= 0:  # a byte may have rotted
                found.append(Checkpoint(owner, states, last_seen))
    return found


class _Copy:
    """One pass over the records of the damaged store in the order they were appended."""

    def __init__(self, new: Store, epoch: str, streams: dict[int, _Stream], prefix: str) -> None:
        self._new, self._streams, self._prefix = new, streams, prefix
        self._saved = Saved(epoch)
        self._next = 1
        self._rows: list[Row] = []

    def run(self, old: Store) -> Saved:
        for stored, delivered in _readable(old):
            stream = self._streams.get(stored.place.stream)
            if stream is None or not stored.sound or stored.place.seq < stream.expected:
                continue  # a row of no stream, one that is damaged itself (part of the next hole), or one delivered long ago
            stream.kind = stored.record.entry.kind
            self._declare(stream, stored.place.first - 1, stored.record.entry.time)
            if not delivered:
                self._keep(stream, stored.place.seq, stored.record.entry, stored.place.first if stored.loss else None)
                self._saved.records += 1
            stream.expected, stream.seen = stored.place.seq + 1, stored.record.entry.time
        for stream in self._streams.values():
            self._declare(stream, stream.head, stream.seen or time.time_ns())
        self._flush()
        return self._saved

    def _declare(self, stream: _Stream, last: int, until: int) -> None:
        """Put a loss record for everything expected up to ``last``."""
        if last < stream.expected:
            return
        kind = stream.kind or ("T" if stream.name.endswith("/telemetry") else "E")
        count = last - stream.expected + 1
        loss = Loss(
            stream.name,
            "T" if kind == "T" else "E",
            "corruption",
            stream.seen or until,
            until,
            until,
            count,
            count,
            stream.expected,
            last,
        )
        self._keep(stream, last, loss.entry(self._prefix), stream.expected)
        self._saved.lost.append((stream.name, stream.expected, last))

    def _keep(self, stream: _Stream, seq: int, entry: Entry, first: int | None) -> None:
        self._rows.append(row(self._next, stream.target, seq, stream.epoch, entry, first))
        self._next += 1
        if len(self._rows) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._new.insert_rows(self._rows)
            self._rows = []


def _readable(old: Store) -> Iterator[tuple[Stored, bool]]:
    """Yield every record that can be read, and whether it was delivered (False where that cannot be read: a repeat is no loss).

    No checksum covers the name of a row. One that does not rise may be another row's, and proves no delivery.
    """
    highest = 0
    for start in range(_end(old, "min", ("record",)) or 1, _end(old, "max", ("record", "waiting", "delivered")) + 1, _CHUNK):
        stop = start + _CHUNK - 1
        found = _rows(old, start, stop)
        if found is None:  # a page in here is damaged: take what stands on the others
            singly = (_rows(old, identity, identity) for identity in range(start, stop + 1))
            found = [stored for one in singly if one for stored in one]
        delivered = _delivered(old, start, stop)
        for stored in found:
            yield stored, highest < stored.place.id and stored.place.id in delivered
            highest = max(highest, stored.place.id)


def _end(old: Store, function: str, tables: tuple[str, ...]) -> int:
    """Return the first or last row as far as the ends of the tables can be read, 0 when none can."""
    ends = [0]
    for table in tables:
        with contextlib.suppress(apsw.Error):  # behind a damaged page; another table may tell
            found = old.db.execute(f"SELECT {function}(id) FROM {table}").get  # noqa: S608 - constants
            ends += [found] if type(found) is int else []  # a flipped bit makes a text of it
    return max(ends)


def _rows(old: Store, first: int, last: int) -> list[Stored] | None:
    """Return the records between two rows, None when a page cannot be read."""
    try:
        return [old.stored(resent=False, columns=columns) for columns in old.rows(_RANGE, (first, last))]
    except apsw.Error:  # the caller goes round it, and what is missing is declared
        return None


def _delivered(old: Store, first: int, last: int) -> set[int]:
    """Return what was surely delivered between two rows: garbage may name any row, so one that waits besides was not."""
    found: set[int] = set()
    with contextlib.suppress(apsw.Error):  # what is not known to be delivered is sent again
        found.update(identity for (identity,) in old.db.execute("SELECT id FROM delivered WHERE id BETWEEN ? AND ?", (first, last)))
    try:
        for kind in ("E", "T"):
            waits = old.db.execute(
                "SELECT id FROM waiting WHERE kind = ? AND id BETWEEN ? AND ? AND resent = 0", (kind, first, last)
            )
            found.difference_update(identity for (identity,) in waits)
    except apsw.Error:
        return set()
    return found
