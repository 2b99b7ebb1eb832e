"""What can be said about a run, by the plant or by the events: sums by key, and things that happened in order. Two of them are compared."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

Key = tuple[str, ...]


def step(old: object, new: object) -> str:
    """Return a change of a value for people; an empty text and None are nothing."""
    return " to ".join("-" if value is None or value == "" else str(value) for value in (old, new))


@dataclass(frozen=True)
class Fact:
    """Something that happened at ``t`` (plant seconds); ``slack`` is by how much an agent's time for it may differ."""

    t: float
    text: str
    slack: float = 0.0


@dataclass
class Facts:
    """``sums``: of each kind, an amount by key. ``lists``: of each kind, what happened, in order of time."""

    sums: dict[str, dict[Key, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))
    lists: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, key: Key, amount: float = 1) -> None:
        """Add to a sum; nothing is no row."""
        if amount:
            self.sums[kind][key] += amount

    def in_order(self) -> Facts:
        """Put what happened in order of time; what happened at one instant stays as it was noted."""
        for one in self.lists.values():
            one.sort(key=lambda fact: fact.t)
        return self

    def happened(self, kind: str, t: float, text: str, slack: float = 0.0) -> None:
        """Note that something happened."""
        self.lists[kind].append(Fact(t, text, slack))
