"""What arrived of every tag: which running numbers, how often, how late. Whatever is missing is lost, whatever came twice is doubled."""

from __future__ import annotations

from typing import Any

from benchmarks.counting import count_of
from benchmarks.peers.job import Sample

_MOST = 1 << 20
"""Running numbers of a tag; more than any run has. A larger one is invented."""
_KINDS = {"i": 0, "f": 1, "r": 2}


class Seen:
    """Counts samples by tag and running number."""

    def __init__(self) -> None:
        self.received = self.doubled = self.invented = 0
        self.top = -1
        """The highest running number that any tag has told."""
        self.examples: list[str] = []
        self.latencies: list[int] = []
        self._seen: dict[str, bytearray] = {}

    def take(self, samples: list[Sample], now: int) -> None:
        """Count what arrived at ``now`` (UTC microseconds)."""
        for name, value, time in samples:
            kind = _KINDS.get(name[:1], 0)
            number = count_of(value, int(name[1:]), kind) if name[1:].isdecimal() and isinstance(value, int | float) else -1
            if not 0 <= number < _MOST:
                self.invented += 1
                self._example(f"{name} = {value!r} is none of its values")
                continue
            self._one(name, number)
            self.latencies.append(now - time)

    def _one(self, name: str, number: int) -> None:
        counts = self._seen.setdefault(name, bytearray())
        if number >= len(counts):
            counts.extend(bytes(number + 256 - len(counts)))
        if counts[number]:
            self.doubled += 1
            self._example(f"number {number} of {name} told again")
        counts[number] = min(255, counts[number] + 1)
        self.received += 1
        self.top = max(self.top, number)

    def _example(self, text: str) -> None:
        if len(self.examples) < 5:
            self.examples.append(text)

    def missing(self, tags: list[str], first: int, last: int) -> list[tuple[int, int]]:
        """Return for each running number from ``first`` to ``last`` that not all tags have told: the number, and how many have not."""
        absent: dict[int, int] = {}
        for name in tags:
            counts = bytes(self._seen.get(name, b"")[: last + 1]).ljust(last + 1, b"\0")
            at = counts.find(0, first)
            while at != -1:
                absent[at] = absent.get(at, 0) + 1
                at = counts.find(0, at + 1)
        return sorted(absent.items())

    def figures(self) -> dict[str, Any]:
        """Return the counts so far, and latencies (ms) since the last call, which are forgotten."""
        latencies, self.latencies = sorted(self.latencies), []
        return {
            "received": self.received, "doubled": self.doubled, "invented": self.invented, "top": self.top, "tags": len(self._seen),
            "examples": self.examples, "p50": _quantile(latencies, 0.5), "p99": _quantile(latencies, 0.99),
        }  # fmt: skip


def _quantile(ordered: list[int], part: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1000, 1) if ordered else None
