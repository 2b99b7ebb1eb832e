"""Where a store comes from: which machine it belongs to, and the runs of the agent that gave numbers in it.

Every start of an agent writes a *run* into its store: a random token, with the epoch and the heads found. The tokens stand in the
retained checkpoints too. So a store that was restored from a copy, or cloned, is recognised: the checkpoints name a run that this store never
saw. What both have in common ends where the first run begins that the checkpoints do not name.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_agent.buffer.loss import moved
from edge_agent.buffer.numbering import checksum, row
from edge_agent.buffer.records import COLUMNS, Stored
from edge_agent.buffer.store import Store
from edge_agent.model.stream import Checkpoint, Entry

MACHINE = "EDGE_AGENT_MACHINE_ID"
"""Environment variable that says which machine this is, before the configuration and ``/etc/machine-id``."""

REMEMBERED = 32
"""Runs that a store and its checkpoints name."""

_SYSTEM = Path("/etc/machine-id")
_RUNS, _MACHINE = "runs", "machine"
_FROM = f"SELECT {COLUMNS} FROM record WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - a constant
_NAMES = "SELECT id FROM record WHERE stream = ? AND seq > ?"
_MOVE = "UPDATE record SET stream = ?, seq = ?, loss_from = ?, crc = ?, body = ? WHERE id = ?"
_CHUNK = 500


class Run(msgspec.Struct, frozen=True):
    """One start of an agent on a store: its token, and the epoch and the last number of each stream that it found."""

    token: str
    epoch: str
    heads: dict[str, int]


class Lineage(msgspec.Struct, frozen=True):
    """The runs of a store, oldest first, this one last; ``moved`` = the store belonged to another machine."""

    runs: tuple[Run, ...] = ()
    moved: bool = False

    @property
    def epoch(self) -> str | None:
        """The epoch in which this run gives numbers, None before it has begun."""
        return self.runs[-1].epoch if self.runs else None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names of the runs."""
        return tuple(run.token for run in self.runs)


class Succession(msgspec.Struct, frozen=True):
    """How a new epoch begins: with ``events``, numbered from 1, and the states of ``checkpoints``.

    ``fork`` are the last numbers of the old epoch that may stay: what this store numbered above them somebody else may have numbered
    differently, so it gets new numbers in the new epoch. None: all may stay. ``previous`` is the epoch before; ``foreign`` are runs of
    another store that are known from now on.
    """

    previous: str
    events: Sequence[Entry] = ()
    checkpoints: Sequence[Checkpoint] = ()
    fork: dict[str, int] | None = None
    foreign: tuple[Run, ...] = ()


def machine_of(configured: str | None) -> str | None:
    """Return a name of this machine that tells nothing about it; None where it has none (containers without ``/etc/machine-id``).

    The id itself is confidential and must not leave the machine (machine-id(5)).
    """
    found = os.environ.get(MACHINE) or configured
    if not found:
        try:
            found = _SYSTEM.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    return hashlib.sha256(f"edge-agent {found}".encode()).hexdigest()[:16] if found else None


def begin(store: Store, epoch: str, machine: str | None) -> Lineage:
    """Write this start into the store and return what is known. The machine is noted once, and anew when a new epoch begins."""
    known = store.get(_MACHINE)
    heads = {name: stream.head for name, stream in store.numbers(epoch).streams.items()}
    runs = (*_read(store)[1 - REMEMBERED :], Run(secrets.token_hex(6), epoch, heads))
    with store.transaction():
        _write(store, runs)
        if known is None and machine is not None:
            store.put(_MACHINE, machine)
    return Lineage(runs, moved=None not in (known, machine) and known != machine)


def succeed(store: Store, lineage: Lineage, plan: Succession, epoch: str, new: str, machine: str | None) -> Lineage:
    """Begin epoch ``new`` in the store of ``epoch``; inside a transaction. Return the lineage from now on.

    The events of ``plan`` are written here only where others follow them, else (no stream of ``new`` afterwards) by whoever asked.
    """
    if plan.fork is not None:
        _renumber(store, epoch, new, plan)
    runs = (*lineage.runs[:-1], *plan.foreign, Run(lineage.runs[-1].token, new, {}))[-REMEMBERED:]
    store.put("previous_epoch", plan.previous)
    store.put("epoch", new)
    if machine is not None:
        store.put(_MACHINE, machine)
    _write(store, runs)
    return Lineage(runs)


def last_epoch(store: Store) -> str | None:
    """Return the epoch of the last run, None where there was none or the list rotted."""
    runs = _read(store)
    return runs[-1].epoch if runs else None


def _read(store: Store) -> tuple[Run, ...]:
    try:
        return msgspec.json.decode(store.words(_RUNS) or "[]", type=tuple[Run, ...])
    except msgspec.MsgspecError:  # a row that is no list of runs: as from a program that did not write it
        return ()


def _write(store: Store, runs: tuple[Run, ...]) -> None:
    store.put(_RUNS, msgspec.json.encode(runs).decode())


# -- new numbers ---------------------------------------------------------------------------------------------------


def _renumber(store: Store, old: str, new: str, plan: Succession) -> None:
    """Give everything above the fork a number in the new epoch, in the same order, behind the events of the plan; all of it waits for delivery."""
    fork = plan.fork or {}
    streams = store.numbers(old).streams
    shifts = {
        name: _close(store, identity, old, fork.get(name, 0))
        for name, (identity, head) in streams.items()
        if head > fork.get(name, 0)
    }
    moving = {name: shift for name, shift in shifts.items() if streams[name].head > shift}
    for name in shifts:
        last = fork.get(name, 0)
        store.db.execute("UPDATE stream SET head = ?, settled = min(settled, ?) WHERE id = ?", (last, last, streams[name].id))
    if not moving:
        return
    ahead = Counter(entry.stream for entry in plan.events)
    targets = {name: store.add_stream(new, name, ahead[name], 0) for name in {**ahead, **moving}}
    first = _make_way(store, [(streams[name].id, shift) for name, shift in moving.items()], len(plan.events))
    seqs: Counter[str] = Counter()
    rows = []
    for place, entry in enumerate(plan.events):
        seqs[entry.stream] += 1
        rows.append(row(first + place, targets[entry.stream], seqs[entry.stream], new, entry, None))
    store.insert_rows(rows)
    for name, above in moving.items():
        shift = above - ahead[name]
        while found := _above(store, streams[name].id, above):
            _move(store, found, targets[name], new, shift)
        store.db.execute("UPDATE stream SET head = ? WHERE id = ?", (streams[name].head - shift, targets[name]))


def _make_way(store: Store, moving: list[tuple[int, int]], count: int) -> int:
    """Call the rows that move ``count`` higher, so that others go out before them; return the first name that is free then.

    All that was appended since the fork moves, and nothing else, so no other row has a name among theirs.
    """
    names: list[int] = sorted(
        (identity for stream, seq in moving for (identity,) in store.db.execute(_NAMES, (stream, seq))), reverse=True
    )
    shifted = [(identity + count, identity) for identity in names]
    for table in ("record", "waiting", "delivered"):
        for pair in shifted:  # from the highest: each name is free when it is given
            store.db.execute(f"UPDATE {table} SET id = ? WHERE id = ?", pair)  # noqa: S608 - constants
    return names[-1]


def _above(store: Store, stream: int, seq: int, limit: int = _CHUNK) -> list[Stored]:
    return [store.stored(False, columns) for columns in store.db.execute(_FROM, (stream, seq, limit))]


def _close(store: Store, stream: int, epoch: str, last: int) -> int:
    """Return the number that becomes 0. A loss record that reaches over the fork stays, as the last one of the old epoch."""
    found = _above(store, stream, last, 1)
    if not found or found[0].place.first > last:
        return last
    stored = found[0]
    _put(store, stored, stream, epoch, last, stored.place.first)
    _await(store, [stored])
    return stored.place.seq


def _move(store: Store, rows: list[Stored], target: int, epoch: str, shift: int) -> None:
    for stored in rows:
        first = stored.place.first - shift if stored.loss else None
        _put(store, stored, target, epoch, stored.place.seq - shift, first)
    _await(store, rows)


def _put(store: Store, stored: Stored, stream: int, epoch: str, seq: int, first: int | None) -> None:
    entry = stored.record.entry if first is None else moved(stored.record.entry, first, seq)
    crc = checksum(epoch, seq, first, entry)
    if not stored.sound:
        crc ^= 1  # damage stays damage
    store.db.execute(_MOVE, (stream, seq, first, crc, entry.body, stored.place.id))


def _await(store: Store, rows: list[Stored]) -> None:
    """Under its new number nobody has it yet."""
    store.db.executemany("DELETE FROM delivered WHERE id = ?", [(stored.place.id,) for stored in rows])
    store.db.executemany(
        "INSERT OR REPLACE INTO waiting VALUES (?, ?, 0)", [(stored.place.kind, stored.place.id) for stored in rows]
    )
