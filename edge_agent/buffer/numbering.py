"""Numbers for records: who asks, which rows become of it, and the checksum of each row (pure).

Numbers are given once per batch and kept: a batch whose commit failed is inserted again with the same ones, so it does not
matter whether the failed commit had reached the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec

from edge_agent.buffer.identity import Damage
from edge_agent.model.stream import Checkpoint, Entry, Kind

_INT64 = 1 << 63
MAX_BODY = 16 << 20
"""Bytes of the largest body that is taken; a receiver's limit is far below."""

Row = tuple[int, int, int, str, str, int, int, str | None, str | None, int, int | None, int, bytes]
"""The columns of table ``record`` in order: id, stream, seq, kind, type, time, recorded, correlation, causation, samples, loss_from, crc, body."""


class Unfit(msgspec.Struct, frozen=True):
    """What can be kept of an event that could not be stored: a dead letter, under the number of event ``index`` of its group."""

    index: int
    entry: Entry
    reason: str
    detail: str


class Group(msgspec.Struct):
    """What one `append` asked for; shares its transaction with others. ``token`` is given back with the answer.

    ``letters`` are the dead letters that its events take the place of, ``declares`` is the damage that they declare.
    """

    events: Sequence[Entry]
    checkpoints: Sequence[Checkpoint]
    token: object = None
    sums: Sequence[int] = ()
    letters: Sequence[int] = ()
    unfit: Sequence[Unfit] = ()
    declares: Damage | None = None

    def prepare(self, largest: int = MAX_BODY) -> None:
        """Check every member, so that this group alone fails for what is wrong in it; ``largest`` = bytes of a body. Raises TypeError, ValueError."""
        self.sums = [check(entry, largest) for entry in self.events]
        for checkpoint in self.checkpoints:
            _check_int(checkpoint.last_seen)
            for name in (checkpoint.owner, *checkpoint.states):
                name.encode()
            if not all(type(value) is bytes for value in checkpoint.states.values()):
                raise TypeError(f"the states of {checkpoint.owner} are not bytes")


class StreamHead(NamedTuple):
    """The row of a stream, and the last number given in it."""

    id: int
    head: int


class Numbers(msgspec.Struct):
    """What the next record and the next stream are called; moves on only after a commit."""

    epoch: str
    streams: dict[str, StreamHead]
    next_record: int
    next_stream: int


class Batch(msgspec.Struct):
    """Numbered rows of one transaction, which is in the store or is not (`Store.holds`)."""

    groups: list[Group]
    epoch: str
    rows: list[Row]
    after: Numbers
    changed: dict[str, StreamHead]
    size: int
    unfit: list[tuple[int, Unfit]]
    moved: bool = False
    """Its rows had reached a store that was given up since, and were saved or declared from there under their old numbers."""

    def renumber(self, numbers: Numbers) -> None:
        """Give new numbers: the store in which the old ones were meant to be is gone."""
        new = number(numbers, self.groups)
        self.epoch, self.rows, self.after, self.changed, self.unfit = new.epoch, new.rows, new.after, new.changed, new.unfit

    def checkpoints(self, owner: str) -> list[Checkpoint]:
        """Return the checkpoints of one owner."""
        return [checkpoint for checkpoint in checkpoints(self.groups) if checkpoint.owner == owner]


def number(numbers: Numbers, groups: list[Group]) -> Batch:
    """Give numbers to the events of ``groups``, in order; ``numbers`` itself stays as it is."""
    streams: dict[str, StreamHead] = {}
    rows: list[Row] = []
    unfit: list[tuple[int, Unfit]] = []
    record, stream_id, size = numbers.next_record, numbers.next_stream, 0
    for group in groups:
        begin = len(rows)
        for entry, prepared in zip(group.events, group.sums, strict=True):
            known = streams.get(entry.stream) or numbers.streams.get(entry.stream)
            if known is None:
                known, stream_id = StreamHead(stream_id, 0), stream_id + 1
            seq = known.head + 1
            streams[entry.stream] = StreamHead(known.id, seq)
            rows.append(row(record, known.id, seq, numbers.epoch, entry, None, prepared))
            record += 1
            size += len(entry.body) + 256
        unfit += [(rows[begin + each.index][2], each) for each in group.unfit]
    after = Numbers(numbers.epoch, {**numbers.streams, **streams}, record, stream_id)
    return Batch(groups, numbers.epoch, rows, after, streams, size, unfit)


def row(identity: int, stream: int, seq: int, epoch: str, entry: Entry, first: int | None, prepared: int | None = None) -> Row:
    """Return the row of ``entry``; ``first`` is where a loss record begins."""
    return (
        identity,
        stream,
        seq,
        entry.kind,
        entry.type,
        entry.time,
        entry.recorded,
        entry.correlation,
        entry.causation,
        entry.samples,
        first,
        checksum(epoch, seq, first, entry, prepared),
        entry.body,
    )


def checksum(epoch: str, seq: int, first: int | None, entry: Entry, prepared: int | None = None) -> int:
    """Return the CRC-32 (ISO 3309) of everything a row says, its place in the stream included: a row in the wrong place is damage."""
    start = check(entry) if prepared is None else prepared
    return crc32(entry.body, crc32(f"{epoch}/{seq}/{first}".encode(), start))


def readable(entry: Entry) -> Entry:
    """Return a damaged entry with members of the right types: what it said is lost, its loss record still has to be made."""
    kind: Kind = entry.kind if entry.kind in {"E", "T"} else "T" if entry.stream.endswith("/telemetry") else "E"
    time, recorded, samples = (each if type(each) is int else 0 for each in (entry.time, entry.recorded, entry.samples))
    body = entry.body if type(entry.body) is bytes else b"{}"
    return Entry(entry.stream, kind, entry.type if type(entry.type) is str else "", time, recorded, body, samples=samples)


def check(entry: Entry, largest: int = MAX_BODY) -> int:
    """Check the members of an entry and return the part of its checksum that needs no number. Raises TypeError, ValueError."""
    if entry.kind not in {"E", "T"}:
        raise ValueError(f"{entry.kind!r} is not a kind of record")
    if type(entry.body) is not bytes:
        raise TypeError(f"the body of a {entry.type} event is not bytes")
    if len(entry.body) > largest:
        raise ValueError(f"the body of a {entry.type} event has {len(entry.body)} bytes, more than {largest}")
    _check_int(entry.time, entry.recorded, entry.samples)
    texts = f"{entry.stream}\0{entry.kind}\0{entry.type}\0{entry.correlation}\0{entry.causation}"
    return crc32(f"{texts}\0{entry.time}/{entry.recorded}/{entry.samples}".encode())


def _check_int(*numbers: int) -> None:
    for value in numbers:
        if type(value) is not int or not -_INT64 <= value < _INT64:
            raise ValueError(f"{value!r} is not a 64-bit integer")


def checkpoints(groups: Iterable[Group]) -> list[Checkpoint]:
    """Return the checkpoints of ``groups`` in order."""
    return [checkpoint for group in groups for checkpoint in group.checkpoints]
