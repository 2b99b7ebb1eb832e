"""The independent judge: every reading that was handed on against the ledger of what the device truly sent, every hole against the gaps.

Nothing here is computed by the driver's code: what a word means stands in the table of the bench's tags.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mb_tally import TALLY

from edge_agent.model.reading import Batch, DeviceDown, DeviceUp, Gap, Notice, Quality
from simulators.modbus_ledger import Entry, Ledger

ALWAYS = 1 << 63
ASKED_AGAIN = {*(f"exception {code}" for code in (1, 2, 3, 5, 6)), "closes before it", "closes amid it", "resets"}


class Spot(NamedTuple):
    """Where a tag lies: function code that reads it, address from 0, words (or one bit)."""

    function: int
    address: int
    words: int = 1

    def value(self, entry: Entry) -> int | bool:
        """Return what the answer says of it."""
        start = entry.address
        words = entry.values[self.address - start : self.address - start + self.words]
        if self.function in {1, 2}:
            return bool(words[0])
        return sum(word << 16 * (self.words - 1 - number) for number, word in enumerate(words))


class Good(NamedTuple):
    """One good value that was handed on, the request that it answers, and when it had arrived."""

    entry: Entry
    received: int


@dataclass
class Judge:
    """Takes everything that a driver handed on about one device, in order."""

    device: str
    unit: int
    spots: dict[str, Spot]
    ledger: Ledger
    names: tuple[str, ...] = ()
    good: dict[str, list[Good]] = field(default_factory=dict)
    bad: dict[str, list[int]] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    values: int = 0
    careful: bool = False
    again: int = 0
    listener: Callable[[Batch], None] | None = None

    def __post_init__(self) -> None:
        """Tags are numbered in the order of their configuration."""
        self.names = tuple(self.spots)
        self._times: list[int] = []

    def take(self, batches: Sequence[Batch]) -> None:
        """Compare every row with the ledger."""
        for batch in batches:
            if batch.device == self.device:
                self.notices += (*batch.before, *batch.after)
                self._rows(batch)
                if self.listener is not None:
                    self.listener(batch)

    def _rows(self, batch: Batch) -> None:
        good = [row for row in range(len(batch)) if batch.quality[row] == Quality.GOOD]
        for row in set(range(len(batch))) - set(good):
            assert batch.values[row] is None or batch.quality[row] == Quality.UNCERTAIN
            self.bad.setdefault(self.names[batch.tags[row]], []).append(batch.received)
        if not good:
            return
        assert batch.asked, f"nobody knows when the values of {self.device} were asked for"
        rows = [(self.names[batch.tags[row]], batch.values[row]) for row in good]
        entry = self._answering(batch, rows)
        self.used.add(id(entry))
        for name, _ in rows:
            self.good.setdefault(name, []).append(Good(entry, batch.received))
        self.values += len(rows)

    def _answering(self, batch: Batch, rows: list[tuple[str, object]]) -> Entry:
        """Return the one request that all these rows answer: asked in time, answered rightly, with just these values."""
        asked = self._between(batch.asked, batch.received)
        for entry in asked:
            if all(self._explains(entry, name, value) for name, value in rows):
                return entry
        TALLY.invented += 1
        told = ", ".join(f"{name}={value if isinstance(value, bool) else hex(value)}" for name, value in rows)  # type: ignore[call-overload]
        raise AssertionError(
            f"invented: {self.device} never sent {told} for a request between {batch.asked} and {batch.received}: {asked}"
        )

    def _between(self, first: int, last: int) -> list[Entry]:
        """Return the requests that arrived in a stretch of time; the ledger only grows."""
        self._times += [entry.at for entry in self.ledger.entries[len(self._times) :]]
        return self.ledger.entries[bisect.bisect_left(self._times, first) : bisect.bisect_right(self._times, last)]

    def _explains(self, entry: Entry, name: str, value: object) -> bool:
        spot = self.spots[name]
        inside = entry.asks(self.unit, spot.function, spot.address) and entry.asks(
            self.unit, spot.function, spot.address + spot.words - 1
        )
        return inside and entry.right and spot.value(entry) == value

    def fresh(self, since: int) -> bool:
        """Whether each register has a value that was asked for after ``since``; bits that did not change are not reported."""
        words = [name for name, spot in self.spots.items() if spot.function in {3, 4}]
        return all(self.good.get(name) and self.good[name][-1].entry.at > since for name in words)

    # -- losses ----------------------------------------------------------------------------------------------------------

    def losses(self, longest: int) -> int:
        """Return how many requests brought nothing; each must be declared, and so must a silence of more than ``longest`` ns."""
        declared, lost = self._declared(), 0
        for name, spot in self.spots.items():
            if spot.function in {1, 2}:
                continue  # a bit that did not change is not reported
            good = self.good.get(name, [])
            # A hole is told at the latest with the answer after its end, so the last one may still be untold.
            for before, after in itertools.pairwise(good[:-1]):
                lost += self._hole(name, spot, before, after, declared, longest)
        return lost

    def _hole(
        self, name: str, spot: Spot, before: Good, after: Good, declared: list[tuple[int, int, tuple[str, ...]]], longest: int
    ) -> int:
        asked = [
            entry
            for entry in self._between(before.entry.at + 1, after.entry.at - 1)
            if entry.asks(self.unit, spot.function, spot.address)
        ]
        missed = [entry.at for entry in asked if not self._asked_again(entry, after)]
        points = missed or ([(before.received + after.entry.at) // 2] if after.entry.at - before.received > longest else [])
        for point in points:
            said = any(since <= point <= until and (not tags or name in tags) for since, until, tags in declared)
            if not said and not any(before.received <= at <= after.received for at in self.bad.get(name, [])):
                TALLY.undeclared += 1
                told = f"{self.device}.{name} has nothing at {point}, between {before} and {after}; asked: {asked}; told: {self.notices}"
                raise AssertionError(f"undeclared: {told}")
        return len(missed)

    def _asked_again(self, entry: Entry, after: Good) -> bool:
        """Whether nothing was lost: a busy device is asked once more, one that closed, too, and a refused block in parts; all at once.

        Where answers carry no number (``careful``) a unit is also asked once for nothing, on each connection and after each failure.
        It was so only if a used answer followed within ``again`` ns; otherwise the poll was lost, and must have been declared.
        """
        free = entry.fault in ASKED_AGAIN or (self.careful and entry.right)
        return free and after.entry.at - entry.at <= self.again

    def _declared(self) -> list[tuple[int, int, tuple[str, ...]]]:
        """Return the stretches (ns) without data that were told, each with the tags it is about (none: all)."""
        stretches: list[tuple[int, int, tuple[str, ...]]] = []
        down: int | None = None
        for notice in self.notices:
            match notice:
                case Gap():
                    stretches.append((notice.since, notice.until, notice.tags))
                case DeviceDown() if down is None:
                    down = 0 if notice.last_good is None else notice.last_good
                case DeviceUp() if down is not None:
                    stretches.append((down, notice.time, ()))
                    down = None
                case _:
                    pass
        if down is not None:
            stretches.append((down, ALWAYS, ()))
        return stretches
