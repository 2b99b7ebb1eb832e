"""Loss records: the `collection.gap` event that takes the place of records which will never be delivered (pure).

A loss record keeps the stream and the number of the last record it covers, so a consumer meets it exactly where the hole ends.
It carries the running totals before the first and after the last dropped count, so that sums still reconcile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from edge_agent.model.instant import iso, parse
from edge_agent.model.outside import from_json
from edge_agent.model.stream import Entry, Kind

LossReason = Literal["buffer_overflow", "corruption", "rejected"]
"""Why the buffer itself loses a record: a part of the reasons of `collection.gap`."""


class Loss(msgspec.Struct):
    """What one loss record covers: ``records`` of one stream between two instants (UTC ns), with the totals at both ends.

    ``first`` and ``last`` are the sequence numbers, None where none had been given yet.
    """

    stream: str
    kind: Kind
    reason: LossReason
    since: int
    until: int
    recorded: int
    records: int = 0
    samples: int = 0
    first: int | None = None
    last: int | None = None
    totals_from: dict[str, Any] = {}
    totals_to: dict[str, Any] = {}
    detail: str | None = None
    certain: bool = True
    """False: the receiver may have the records all the same."""

    def cover(self, entry: Entry, seq: int | None) -> None:
        """Take one more record in; records come in the order of their stream."""
        self.since, self.until = min(self.since, entry.time), max(self.until, entry.time)
        self.recorded = max(self.recorded, entry.recorded)
        self.first = seq if self.first is None else self.first
        self.last = seq
        earlier = _earlier_loss(entry)
        self.records += 1 if earlier is None else earlier.records
        self.samples += entry.samples if earlier is None else earlier.samples
        before, after = _totals(entry) if earlier is None else (earlier.totals_from, earlier.totals_to)
        self.totals_from = {**before, **self.totals_from}
        self.totals_to = {**self.totals_to, **after}
        if earlier is not None:
            self.since, self.first = min(self.since, earlier.since), earlier.first

    def entry(self, prefix: str) -> Entry:
        """Return the event that declares the loss, ready for a row."""
        data: dict[str, Any] = {
            "q": "good",
            "derivation": "observed",
            "late": False,
            "reason": self.reason,
            "interval": [iso(self.since), iso(self.until)],
            "tags": ["*"],
            "lost": {"min": self.records if self.certain else 0, "max": self.records},
            "recovered": {},
            "seq_from": self.first,
            "seq_to": self.last,
            "samples": self.samples,
        }
        if self.totals_from:
            data |= {"totals_at_from": self.totals_from, "totals_at_to": self.totals_to}
        if self.detail is not None:
            data["detail"] = self.detail
        return Entry(
            self.stream, self.kind, f"{prefix}.{GAP}", self.until, self.recorded, msgspec.json.encode(data), samples=self.samples
        )


GAP = "collection.gap.v1"
_COUNT = ".production.count.v1"


class _Covered(msgspec.Struct):
    """The members of a stored loss record that a merge needs again."""

    reason: str
    interval: tuple[str, str]
    lost: dict[str, int]
    seq_from: int | None
    samples: int = 1
    totals_at_from: dict[str, Any] = {}
    totals_at_to: dict[str, Any] = {}


class _Count(msgspec.Struct):
    counter: str
    delta: float | int
    total: float | int


class _Earlier(msgspec.Struct):
    records: int
    samples: int
    since: int
    first: int | None
    totals_from: dict[str, Any]
    totals_to: dict[str, Any]


def _earlier_loss(entry: Entry) -> _Earlier | None:
    """Return what an overflow record of before covered, None for any other record."""
    if not entry.type.endswith(f".{GAP}"):
        return None
    try:
        old = from_json(entry.body, _Covered)
        if old.reason != "buffer_overflow" or old.seq_from is None:
            return None
        return _Earlier(old.lost["max"], old.samples, parse(old.interval[0]), old.seq_from, old.totals_at_from, old.totals_at_to)
    except (ValueError, KeyError):  # a gap told by a rule (its lost may be "unknown"), or one that rotted: a record like any other
        return None


def _totals(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the running total before and after a dropped count, empty for other events."""
    if not entry.type.endswith(_COUNT):
        return {}, {}
    try:
        count = from_json(entry.body, _Count)
    except ValueError:  # a count without totals declares none
        return {}, {}
    return {count.counter: round(count.total - count.delta, 9)}, {count.counter: count.total}


def moved(entry: Entry, first: int, last: int) -> Entry:
    """Return a loss record that covers the numbers ``first`` to ``last`` of another epoch instead of those it names."""
    data: dict[str, Any] = msgspec.json.decode(entry.body)
    return msgspec.structs.replace(entry, body=msgspec.json.encode(data | {"seq_from": first, "seq_to": last}))


def loss_of(entries: Iterable[tuple[int | None, Entry]], reason: LossReason, detail: str | None = None) -> Loss:
    """Return the loss that covers ``entries`` (number, record) of one stream, at least one, in order."""
    loss: Loss | None = None
    for seq, entry in entries:
        loss = loss or Loss(entry.stream, entry.kind, reason, entry.time, entry.time, entry.recorded, detail=detail)
        loss.cover(entry, seq)
    if loss is None:
        raise ValueError("a loss covers at least one record")
    return loss
