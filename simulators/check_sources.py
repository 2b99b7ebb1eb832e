"""The ledger equation of one counter at its source: every part that the device showed is in exactly one count. Pure.

The values of a generator are the identities of its changes. A `production.count` with register value r and delta d carries the changes
r-d+1 to r; the counts of a counter have to tile what the device showed, from the first value that was read to the last. Behind a gap ``store_rolled_back`` the first
count of each counter is booked by its total, as the contract asks of a consumer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulators.check_records import Arrival, Held

Count = tuple[int, int]
"""The register value before and after."""


@dataclass
class SourceVerdict:
    """The terms of the equation in changes, and everything that breaks it."""

    counter: str
    produced: int = 0
    delivered_unique: int = 0
    declared_lost: int = 0
    still_buffered: int = 0
    undeclared_missing: int = 0
    counted_twice: int = 0
    invented: list[int] = field(default_factory=list)

    @property
    def violations(self) -> dict[str, int]:
        """Return how many there are of each kind, those that are none left out."""
        found = {"undeclared_missing": self.undeclared_missing, "counted_twice": self.counted_twice, "invented": len(self.invented)}
        return {kind: count for kind, count in found.items() if count}


def shown(ledger: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """Return the values that each counter showed, in order, from a generator's ledger."""
    values: dict[str, list[int]] = {}
    for entry in ledger:
        if entry["what"] == "read":
            for name, value in entry["value"].items():
                values.setdefault(name, []).append(value)
    return values


def judge_counter(counter: str, values: Sequence[int], came: Iterable[Arrival], held: Iterable[Held]) -> SourceVerdict:
    """Judge one counter: what it showed, the events that arrived, the records in the store."""
    verdict = SourceVerdict(counter, produced=values[-1] - values[0])
    taken = {(each.stream, each.epoch, each.seq): each for each in came if each.taken}
    delivered = _booked(taken.values(), counter)
    arrived = set(taken)
    rest = [each for each in held if each.waiting and (each.stream, each.epoch, each.seq) not in arrived]
    kept = [count for each in rest if (count := _count(each.type, each.data, counter))]
    declared: list[Arrival | Held] = [*taken.values(), *rest]
    losses = [each.data for each in declared if each.type.endswith("collection.gap.v1")]
    lost = [gone for data in losses if (gone := _lost(data, counter, _offset(delivered, taken.values(), counter)))]
    known = set(values)
    verdict.invented = sorted({value for count in (*delivered, *kept) for value in count} - known)
    counted: set[int] = set()
    for name, counts in (("delivered_unique", delivered), ("declared_lost", lost), ("still_buffered", kept)):
        for before, after in counts:
            changes = set(range(before + 1, after + 1))
            verdict.counted_twice += len(changes & counted) if name != "declared_lost" else 0
            setattr(verdict, name, getattr(verdict, name) + len(changes - counted))
            counted |= changes
    verdict.undeclared_missing = len(set(range(values[0] + 1, values[-1] + 1)) - counted)
    return verdict


def _count(type_: str, data: dict[str, Any], counter: str) -> Count | None:
    if not type_.endswith("production.count.v1") or data["counter"] != counter:
        return None
    after = int(data["raw"])
    return after - int(data["delta"]), after


def _booked(taken: Iterable[Arrival], counter: str) -> list[Count]:
    """Return what a consumer books of the counts that arrived, in their order."""
    booked: list[Count] = []
    known, by_total = None, False
    for each in taken:
        by_total = by_total or (each.type.endswith("collection.gap.v1") and each.data["reason"] == "store_rolled_back")
        if (count := _count(each.type, each.data, counter)) is None:
            continue
        total = int(each.data["total"])
        if by_total and known is not None:
            count = (count[1] - (total - known), count[1])
        if count[1] > count[0]:
            booked.append(count)
        known, by_total = total, False
    return booked


def _offset(delivered: Sequence[Count], taken: Iterable[Arrival], counter: str) -> int:
    """Return the register value at which the agent's running total is 0; it is the same in every count."""
    for each in taken:
        if delivered and _count(each.type, each.data, counter):
            return int(each.data["raw"]) - int(each.data["total"])
    return 0


def _lost(data: dict[str, Any], counter: str, offset: int) -> Count | None:
    before, after = data.get("totals_at_from", {}).get(counter), data.get("totals_at_to", {}).get(counter)
    return None if before is None or after is None else (int(before) + offset, int(after) + offset)
