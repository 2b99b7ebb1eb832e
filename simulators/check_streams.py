"""The ledger equation of one stream and epoch: every number once, and only once, in one of its places.

``produced = delivered_unique + declared_lost + still_buffered``: produced are the numbers that the store gave, up to its head; a number is declared
lost when a loss record that was delivered (or still waits) covers it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulators.check_records import Arrival, Held

_FOR_GOOD = {0x90, 0x95, 0x99}
"""Refusals after which the same message is not sent again: a loss record takes its place."""
_EXACT = {"rejected", "buffer_overflow"}
"""Reasons of loss records that know exactly what they cover: the store dropped it itself."""


@dataclass
class StreamVerdict:
    """The terms of the equation, and everything that breaks it."""

    stream: str
    epoch: str
    produced: int = 0
    delivered_unique: int = 0
    declared_lost: int = 0
    still_buffered: int = 0
    duplicates: int = 0
    asked_again: int = 0
    undeclared_missing: list[int] = field(default_factory=list)
    invented: list[int] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    out_of_order: list[int] = field(default_factory=list)
    declared_too_wide: list[int] = field(default_factory=list)

    @property
    def violations(self) -> dict[str, int]:
        """Return how many there are of each kind, those that are none left out."""
        kinds = ("undeclared_missing", "invented", "corrupted", "out_of_order", "declared_too_wide")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}


def judge_stream(
    stream: str, epoch: str, came: Sequence[Arrival], held: Sequence[Held], head: int | None, window: int = 20
) -> StreamVerdict:
    """Judge one stream by its arrivals in order, its records in the store, and the last number given (None: nobody knows).

    ``window`` = what may have been on its way when the store dropped it: so many numbers of a loss record may have been delivered as well.
    """
    verdict = StreamVerdict(stream, epoch)
    verdict.produced = max((each.seq for each in came), default=0) if head is None else head
    taken = [each for each in came if each.taken]
    delivered = {each.seq for each in taken if cover(each) is None}
    kept = {each.seq for each in held if each.waiting and _held_cover(each) is None}
    lost: set[int] = set()
    for first, last in (*filter(None, map(cover, taken)), *filter(None, map(_held_cover, held))):
        lost.update(range(first, last + 1))
    for number in range(1, verdict.produced + 1):
        if number in delivered:
            verdict.delivered_unique += 1
        elif number in lost:
            verdict.declared_lost += 1
        elif number in kept:
            verdict.still_buffered += 1
        else:
            verdict.undeclared_missing.append(number)
    verdict.invented = sorted(number for number in delivered if number > verdict.produced)
    verdict.declared_too_wide = _too_wide(taken, delivered, window)
    _repetitions(verdict, taken)
    verdict.corrupted += _damage(came, held)
    verdict.out_of_order = _disorder(came)
    return verdict


def _range(data: dict[str, Any], seq: int, type_: str) -> tuple[int, int] | None:
    first, last = data.get("seq_from"), data.get("seq_to")
    return (first, last) if type_.endswith("collection.gap.v1") and first is not None and first <= seq == last else None


def cover(event: Arrival) -> tuple[int, int] | None:
    """Return the numbers that a loss record covers, its own last; None for any other event."""
    return _range(event.data, event.seq, event.type)


def _held_cover(record: Held) -> tuple[int, int] | None:
    return _range(record.data, record.seq, record.type)


def _too_wide(taken: Iterable[Arrival], delivered: set[int], window: int) -> list[int]:
    """Return the loss records that declare what was delivered: who declares everything lost must not pass."""
    found = []
    for event in taken:
        covered = cover(event)
        if covered is not None and event.data["reason"] in _EXACT:
            first, last = covered
            if sum(number in delivered for number in range(first, last)) > window:
                found.append(event.seq)
    return sorted(set(found))


def _repetitions(verdict: StreamVerdict, taken: Iterable[Arrival]) -> None:
    first: dict[int, Arrival] = {}
    for event in taken:
        before = first.setdefault(event.seq, event)
        if before is event:
            continue
        if event.asked:
            verdict.asked_again += 1
        else:
            verdict.duplicates += 1
        if event.payload != before.payload and cover(event) is None:
            verdict.corrupted.append(f"{event.seq}: the same number with other bytes")


def _damage(came: Iterable[Arrival], held: Iterable[Held]) -> list[str]:
    found = [f"{each.seq}: {each.flaw}" for each in came if each.flaw]
    records = {each.seq: each for each in held}
    found += [f"{each.seq}: the checksum in the store is wrong" for each in records.values() if not each.sound]
    for event in came:
        record = records.get(event.seq)
        if record is None or not event.taken or (_held_cover(record) and not cover(event)):
            continue
        if {**record.data, "epoch": event.epoch, "seq": event.seq} != event.data or record.type != event.type:
            found.append(f"{event.seq}: not what the store holds")
    return found


def _disorder(came: Iterable[Arrival]) -> list[int]:
    """Return the numbers that a consumer never gets in their turn: it drops ``seq <= high``, takes ``high + 1`` and ignores what is ahead of it.

    A number that was refused for good, by the broker or by the agent that knows the broker's limits, does not come any more: the consumer goes
    on behind it, and its loss record comes later.
    """
    high = 0
    refused = {each.seq for each in came if cover(each) and each.data["reason"] == "rejected"}
    ahead: set[int] = set()
    for event in came:
        if not event.taken:
            if event.code in _FOR_GOOD:
                refused.add(event.seq)
            continue
        while high + 1 in refused:
            high += 1
        covered = cover(event)
        if event.seq > high and (event.seq == high + 1 or (covered and covered[0] <= high + 1)):
            high = event.seq
        elif event.seq > high:
            ahead.add(event.seq)
    return sorted(number for number in ahead if number > high)
