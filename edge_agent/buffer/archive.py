"""What people ask of a store: pages of records, how far the streams are, dead letters. Reads beside the delivery and never disturbs it.

Used by the writer thread only, raises apsw.Error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import apsw
import msgspec

from edge_agent.buffer.confirm import Confirmed
from edge_agent.buffer.delivery import Delivery
from edge_agent.buffer.loss import loss_of
from edge_agent.buffer.numbering import check
from edge_agent.buffer.records import COLUMNS, Stored
from edge_agent.buffer.store import Store
from edge_agent.model.outside import from_json
from edge_agent.model.stream import Entry, Kind, Record, RecordKey, record_id
from edge_agent.ports import DeadLetter, Page, StreamLevel

_KEPT = f"SELECT {COLUMNS} FROM record WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?"  # noqa: S608 - a constant
_LETTER = "SELECT id, stream, epoch, seq, kind, type, time, recorded, body, correlation, causation, samples, reason, detail FROM dead_letter "
_OLDEST = "SELECT time FROM record WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1"

_ONE_PAGE = 200
"""Numbers tried one by one behind the last dead letter that can be read: more than stand on one damaged page. Then in growing steps."""
_LAST_NUMBER = 2**62


def waiting(store: Store, delivery: Delivery, kind: Kind, after: int, limit: int, prefix: str) -> Page:
    """Return undelivered records from behind row ``after``; those delivered and not yet noted on the disk are left out."""
    rows = store.waiting(kind, after, limit)
    records = [_sound(stored, prefix) for stored in rows if not delivery.gone(stored.record.key)]
    return Page(records, rows[-1].place.id if rows else after, end=len(rows) < limit)


def kept(store: Store, stream: str, epoch: str, first: int, last: int, limit: int, prefix: str) -> Page:
    """Return the records of a stream that cover any of ``first`` to ``last``."""
    identity = store.stream_id(stream, epoch)
    if identity is None:
        return Page([], last, end=True)
    rows = [store.stored(resent=False, columns=columns) for columns in store.rows(_KEPT, (identity, first, limit))]
    inside = [stored for stored in rows if stored.place.first <= last]
    end = len(rows) < limit or len(inside) < len(rows)
    return Page([_sound(stored, prefix) for stored in inside], inside[-1].place.seq if inside else last, end=end)


def _sound(stored: Stored, prefix: str) -> Record:
    """Return the record, or the loss record that its damage will put in its place."""
    if stored.sound:
        return stored.record
    key, entry = stored.record.key, stored.record.entry
    loss = loss_of([(key.seq, entry)], "corruption", "the checksum of the row is wrong")
    loss.first = stored.place.first
    return Record(key, loss.entry(prefix), stored.record.resent)


def levels(store: Store, delivery: Delivery, confirmed: Confirmed | None = None) -> list[StreamLevel]:
    """Return how far the streams of every epoch are: one look into an index for each, never a walk over the records."""
    found: list[StreamLevel] = []
    epochs = sorted({epoch for epoch, _ in store.streams.values()})
    for epoch in epochs:
        for identity, name, first, head, stored in store.levels(epoch):
            level = max(stored, delivery.level(identity, stored))
            oldest = cast("int | None", store.db.execute(_OLDEST, (identity, level)).get)
            found.append(StreamLevel(name, epoch, first, head, level, oldest, confirmed.level(identity) if confirmed else None))
    return found


# -- dead letters --------------------------------------------------------------------------------------------------


def letters(store: Store, after: int, limit: int) -> list[DeadLetter]:
    """Return dead letters behind number ``after``."""
    return [_letter(row) for row in store.db.execute(f"{_LETTER} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))]


def letters_named(store: Store, numbers: Sequence[int]) -> list[DeadLetter]:
    """Return the dead letters of these numbers that are there, oldest first."""
    return [_letter(row) for number in sorted(set(numbers)) for row in store.db.execute(f"{_LETTER} WHERE id = ?", (number,))]


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    number, stream, epoch, seq, *members, reason, detail = row
    return DeadLetter(number, Record(RecordKey(stream, epoch, seq), Entry(stream, *members)), reason, detail)


def readable(letter: DeadLetter) -> bool:
    """Whether a letter still says something: a row of letters has no checksum, and a disk may rot."""
    try:
        from_json(letter.record.entry.body, dict[str, Any])
    except ValueError:
        return False
    return letter.reason != "corruption"


def again(letter: DeadLetter) -> Entry:
    """Return what a dead letter says as an event to append: late, under its own time, and naming the record whose content it is.

    It gets a number of its own: whoever applied the loss record has passed the old one and would drop it as a repeat.
    """
    entry = letter.record.entry
    data = from_json(entry.body, dict[str, Any])
    data["retry_of"] = record_id(letter.record.key)
    if entry.kind == "E":
        data["late"] = True
    return msgspec.structs.replace(entry, body=msgspec.json.encode(data))


def sound_letters(old: Store) -> Iterator[DeadLetter]:
    """Yield the dead letters of a damaged store that can be read and contradict nothing: one that is wrong could be sent again."""
    number, failed = 0, 0
    while number < _LAST_NUMBER:
        try:
            found = letters(old, number, 1)
        except (apsw.Error, UnicodeDecodeError):
            # Of this row or its page: those behind may be whole. The log tells how many came over.
            failed += 1
            number += 1 if failed <= _ONE_PAGE else 2 ** (failed - _ONE_PAGE)
            continue
        if not found:
            return
        number, failed = found[0].number, 0
        if _consistent(old, found[0]):
            yield found[0]


def _consistent(old: Store, letter: DeadLetter) -> bool:
    """Whether the members of a letter can be what was written: its row has no checksum."""
    key, entry = letter.record.key, letter.record.entry
    if (key.epoch, key.stream) not in old.streams.values() or letter.reason not in {"rejected", "corruption"}:
        return False
    try:
        check(entry)
    except (TypeError, ValueError):
        return False
    texts = (entry.type, letter.detail, entry.correlation or "", entry.causation or "")
    whole = type(key.seq) is int and key.seq > 0 and all(type(text) is str for text in texts)
    return whole and (letter.reason == "corruption" or readable(letter))


def chunks(found: Sequence[DeadLetter], size: int) -> Iterator[list[DeadLetter]]:
    """Cut into transactions of about ``size`` bytes, one letter at least."""
    some: list[DeadLetter] = []
    total = 0
    for letter in found:
        if some and total + len(letter.record.entry.body) > size:
            yield some
            some, total = [], 0
        some.append(letter)
        total += len(letter.record.entry.body)
    if some:
        yield some
