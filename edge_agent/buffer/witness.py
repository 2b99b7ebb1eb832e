"""What a store says more than once, compared: its facts and its streams have no checksum of their own, so nothing of them is believed that is contradicted.

The epoch stands in the facts, in the last run and beside the store; a stream stands in its table, in the index of it, and in the
checksum of each of its records; how far its numbers go, in its row and in its records. A byte that rots changes one of these.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import cast

import apsw

from edge_agent.buffer.lineage import last_epoch
from edge_agent.buffer.records import COLUMNS
from edge_agent.buffer.store import Store

Level = tuple[int, str, str, int, int]
"""A stream of a store: row, epoch, name, last number given, delivered without a hole."""
_NAMES = ", ".join(f"CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) END" for column in ("epoch", "name"))
"""As bytes, for a text may be none any more; nothing where a flipped bit says that they are no text."""
_BY_TABLE = f"SELECT id, {_NAMES}, head, settled FROM stream NOT INDEXED ORDER BY id"  # noqa: S608 - constants
_BY_INDEX = f"SELECT id, {_NAMES} FROM stream INDEXED BY sqlite_autoindex_stream_1 WHERE epoch > ''"  # noqa: S608 - constants
_LAST = f"SELECT {COLUMNS} FROM record WHERE stream = ? ORDER BY seq DESC LIMIT 20"  # noqa: S608 - a constant
_NEAREST = "SELECT kind, id FROM record WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
_FIRST_WAITING = (
    "SELECT coalesce(r.loss_from, r.seq) FROM record r JOIN waiting w ON w.kind = r.kind AND w.id = r.id "
    "WHERE r.stream = ? AND w.resent = 0 ORDER BY r.seq LIMIT 1"
)
_WAITS = "SELECT 1 FROM waiting WHERE kind = ? AND id = ? AND resent = 0"
_SECONDS = 5.0


# -- the epoch -----------------------------------------------------------------------------------------------------


def true_epoch(store: Store, beside: str | None) -> str | None:
    """Return the epoch that two witnesses agree on, else the one that has streams; None for a new store, or where nothing is provable.

    ``beside`` is what stands in the identity file: it may be one epoch behind, missing, or of another store (a restored copy).
    """
    fact, last = store.words("epoch"), last_epoch(store)
    votes = Counter(each for each in (fact, last, beside) if each is not None)
    for epoch, count in votes.most_common(1):
        if count > 1:
            return epoch
    of_streams = {text for _, text, _, _, _ in _by_table(store) if text is not None}
    with_streams = [each for each in (fact, last) if each in of_streams]
    if len(with_streams) == 1:
        return with_streams[0]
    return fact if last is None and not of_streams else None


# -- the streams ---------------------------------------------------------------------------------------------------


def contradiction(store: Store, epoch: str) -> str | None:
    """Return what a store says of its streams that cannot be true, in words; a few looks into indexes for each stream. Raises apsw.Error."""
    rows = _by_table(store)
    if {row[:3] for row in rows} != set(_by_index(store)):
        return "the streams and their index differ"
    for identity, of, name, head, settled in rows:
        if of != epoch:
            continue  # nothing is numbered there any more
        last = store.db.execute("SELECT max(seq) FROM record WHERE stream = ?", (identity,)).get or 0
        if not 0 <= settled <= head or last > head or (settled < head and last != head):
            return f"stream {name} has given numbers up to {head}, {settled} are delivered, and its records end at {last}"
        nearest = store.db.execute(_NEAREST, (identity, settled)).fetchone()
        if nearest is not None and store.db.execute(_WAITS, nearest).get is not None:
            return f"stream {name} is delivered up to {settled}, and that one waits"
    return None


def proved(store: Store) -> tuple[list[Level], bool]:
    """Return the streams of a damaged store as far as they can be proved, and whether anything of them stays in doubt."""
    table = {identity: (of, name, head, level) for identity, of, name, head, level in _by_table(store)}
    index: dict[int, tuple[str | None, str | None]] = {}
    with contextlib.suppress(apsw.Error):  # a damaged page of the index: the table alone
        index = {identity: (of, name) for identity, of, name in _by_index(store)}
    whole = _whole(store)
    found: dict[tuple[str, str], Level] = {}
    doubt = False
    for identity in sorted(
        {*index, *table}, key=lambda each: (each not in index, each)
    ):  # a row that only the table has may be another's
        names, sure = _names(store, identity, [index.get(identity), table[identity][:2] if identity in table else None])
        doubt = doubt or not sure
        if names is not None and names not in found:
            store.streams[identity] = names
            _, _, head, level = table.get(identity, ("", "", -1, -1))
            head, level, sure = _reach(store, identity, head, level, whole=whole)
            found[names] = (identity, *names, head, level)
            doubt = doubt or not sure
    return sorted(found.values()), doubt


def _names(store: Store, identity: int, said: list[tuple[str | None, str | None] | None]) -> tuple[tuple[str, str] | None, bool]:
    """Return epoch and name of a stream, by the checksums of its records where table and index differ; and whether that is sure."""
    readable = [cast("tuple[str, str]", each) for each in said if each is not None and None not in each]
    candidates = list(dict.fromkeys(readable))
    if len(candidates) == 1 and len(readable) == 2:
        return candidates[0], True
    for names in candidates:
        store.streams[identity] = names
        if _sound(store, identity):
            return names, True
    store.streams.pop(identity, None)
    return (candidates[0] if candidates else None), False


def _sound(store: Store, identity: int) -> list[int]:
    """Return the numbers of the last records of a stream whose checksums are right under its names, the last one first."""
    try:
        rows = [store.stored(resent=False, columns=columns) for columns in store.rows(_LAST, (identity,))]
    except apsw.Error:  # no proof to be had there
        return []
    return [stored.place.seq for stored in rows if stored.sound]


def _reach(store: Store, identity: int, head: int, level: int, *, whole: bool) -> tuple[int, int, bool]:
    """Return the last number and the delivered level of a stream, put right by its records; and whether they were consistent.

    A record that did not go out is never without its row. So in a file whose pages are whole the numbers end with the records,
    unless all were delivered; and what waits was not delivered, whatever the level says.
    """
    sound = _sound(store, identity)
    last = max(sound, default=0)
    sure = 0 <= level <= head and last <= head
    if last > head or (whole and sound and last < head != level):
        head = last
    with contextlib.suppress(apsw.Error):
        first = store.db.execute(_FIRST_WAITING, (identity,)).get
        level = level if first is None else min(level, first - 1)
    head = max(head, 0)
    return head, min(max(level, 0), head), sure


def _whole(store: Store) -> bool:
    try:
        store.check(_SECONDS)
        return store.accounted()
    except apsw.Error:
        return False


def _by_table(store: Store) -> list[tuple[int, str | None, str | None, int, int]]:
    rows = store.db.execute(_BY_TABLE)
    return [(identity, _text(of), _text(name), _int(head), _int(level)) for identity, of, name, head, level in rows]


def _by_index(store: Store) -> list[tuple[int, str | None, str | None]]:
    return [(identity, _text(of), _text(name)) for identity, of, name in store.db.execute(_BY_INDEX)]


def _text(value: bytes | None) -> str | None:
    """Return a text, None where it is none any more."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _int(value: object) -> int:
    """Return a number; one that no stream has where a flipped bit made something else of it."""
    return value if type(value) is int else -1
