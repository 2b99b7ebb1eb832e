"""The two shapes of a value over time: steps at given instants, and counts at a steady period."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Value = bool | int | float | str


class Steps:
    """A value that changes at given instants and holds in between."""

    def __init__(self, steps: Iterable[tuple[int, Value]]) -> None:
        """Keep the last of several values at one instant; the first instant must be 0."""
        merged = dict(sorted(steps, key=lambda step: step[0]))
        self.times = list(merged)
        self.values = list(merged.values())

    def at(self, t: int) -> Value:
        """Give the value at t >= 0."""
        return self.values[bisect_right(self.times, t) - 1]

    def changes(self, after: int, until: int) -> Iterator[tuple[int, Value]]:
        """Give the changes of value in (after, until]."""
        for index in range(max(bisect_right(self.times, after), 1), bisect_right(self.times, until)):
            if self.values[index] != self.values[index - 1]:
                yield self.times[index], self.values[index]


@dataclass(frozen=True)
class Run:
    """Counts at first, first + period, ...: ``count`` of them."""

    first: int
    period: int
    count: int

    def counted(self, t: int) -> int:
        """How many of them happened up to and including t."""
        return 0 if t < self.first else min(self.count, (t - self.first) // self.period + 1)

    def times(self, after: int, until: int) -> Iterator[int]:
        """Give their instants in (after, until]."""
        for index in range(self.counted(after), self.counted(until)):
            yield self.first + index * self.period
