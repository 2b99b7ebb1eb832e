"""The poll grid: fixed points of plant time, never stretched; what was missed is counted (pure)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from edge_agent.model.instant import MS

HICCUP = 100 * MS
"""Machine ns that a scaled plant clock forgives: at 30 plant seconds a second it would make every breath of the machine an overrun."""


class Grid:
    """The instants ``phase + k * period`` (UTC ns) at which one group of blocks is polled."""

    def __init__(self, period: int, phase: int, now: int) -> None:
        """Start at the first point after ``now``."""
        self.period = period
        self._phase = phase
        self.due = self._after(now)

    def _after(self, now: int) -> int:
        return now + self.period - (now - self._phase) % self.period

    def take(self, now: int) -> int:
        """Move on to the first point after ``now``; returns how many points before the newest reached one were not polled."""
        missed = max(0, (now - self.due) // self.period)
        self.due = self._after(now)
        return missed

    def clock_stepped_back(self, now: int) -> bool:
        """Whether the next point is further away than it can be; then the grid is laid anew from ``now``."""
        stepped = self.due - now > self.period
        if stepped:
            self.due = self._after(now)
        return stepped


def phases(periods: Sequence[int]) -> list[int]:
    """Return a phase for each of ``periods`` so that no two are due at once and those of one period lie evenly in it (ns).

    Grids meet where their phases are equal modulo the greatest common divisor of their periods, so each gets its own place there, and equal
    periods are spread by whole divisors. The same periods give the same phases, whatever the machine or the day.
    """
    step = math.gcd(*periods) if periods else 0
    seen: Counter[int] = Counter()
    total = Counter(periods)
    found = []
    for number, period in enumerate(periods):
        turn = seen[period] * (period // step) // total[period]
        seen[period] += 1
        found.append(turn * step + step * number // len(periods))
    return found


def overrun(missed: int, period: int, speed: float) -> bool:
    """Whether ``missed`` grid points are a gap to be declared: any in a plant (speed 1), more than a machine's hiccup in a scaled one."""
    return missed * period > (speed - 1.0) * HICCUP
