"""How truth and books are compared: rows, tolerances, and the windows in which less can be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulators.books import Books
from simulators.inbox import Inbox
from simulators.ledger import read_ledger
from simulators.outcome import Truth
from simulators.schema import Scenario
from simulators.unseen import Part, erasures, parts
from simulators.vocabulary import MODES, SECOND

SAMPLING = 0.1
"""Plant seconds: one sampling interval, the tolerance of times that carry the PLC's own clock."""

POLL = 0.5
"""Plant seconds: one poll, the tolerance of times that the agent took itself."""

TRANSIT = 0.3
"""Machine seconds that a sample may need from the PLC's scan to the agent's disk; times the demo's speed. A kill may take it along."""

UNDER_WAY = 0.2
"""Machine seconds before its last sign of life for which an agent that was killed declares that it may not know everything."""

MACHINE = 0.05
"""Machine seconds that a polled value may be under way on a busy machine; times the demo's speed."""


STATE_DEVICE = "plc1"
"""The device whose loss makes the machine's state unknown."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison."""

    what: str
    truth: str
    received: str
    ok: bool


class Comparison:
    """The material of a comparison, and what may be expected of it near faults."""

    def __init__(
        self,
        scenario: Scenario,
        truth: Truth,
        books: Books,
        inbox: Inbox,
        *,
        faults: bool,
        speed: float,
        ledgers: Iterable[Path] = (),
    ) -> None:
        """``faults`` tells whether the scenario's faults were injected; ``ledgers`` are the simulators' own records of what reached them."""
        self.ledgers = [entry for path in ledgers for entry in read_ledger(path)]
        self.scenario, self.truth, self.books, self.inbox = scenario, truth, books, inbox
        self.faults, self.speed = faults, speed
        self.production = {mode_name(mode) for mode in scenario.machine.production_modes}
        self.parts = parts(scenario)
        self.erased = erasures(scenario, self.blind() + self.unusable(), 2 * SAMPLING + MACHINE * speed)

    def counted(
        self, disposition: str, *, order: str | None = "*", mode: Iterable[str] | None = None, shift: str | None = "*"
    ) -> int:
        """Return the sum of deltas of a disposition; ``*`` is any order or shift, None none."""
        modes = None if mode is None else set(mode)
        return sum(
            delta
            for (o, m, s, d), delta in self.books.counts.items()
            if d == disposition and order in {"*", o} and shift in {"*", s} and (modes is None or m in modes)
        )

    def unseen(self, part: Part) -> bool:
        """Return whether the PLC may have forgotten ``part`` before anybody read it."""
        return any(read < part.t <= zeroed for read, zeroed in self.erased)

    def short(self, disposition: str, member: str, mine: Callable[[Part], bool]) -> int:
        """Return how many parts may be missing from a sum over ``mine``: forgotten by the PLC, or booked across its ``member``."""
        found = [part for part in self.parts if mine(part) and (part.scrap or disposition == "total")]
        short = sum(self.unseen(part) for part in found)
        for one in self.books.spanned:
            if one.disposition == disposition and {member, "mode"} & {*one.spans}:
                short += min(one.delta, sum(one.begin - SAMPLING < part.t <= one.end + SAMPLING for part in found))
        return short

    def counts_row(self, what: str, truth: tuple[int, int], got: tuple[int, int], member: str, mine: Callable[[Part], bool]) -> Row:
        """Compare (total, scrap) of the parts that are ``mine``; only what could not be known may be missing, and nothing is too many."""
        ok = all(
            true - self.short(disposition, member, mine) <= told <= true
            for disposition, true, told in zip(("total", "scrap"), truth, got, strict=True)
        )
        wanted, told = (f"{total}/{scrap}/{total - scrap}" for total, scrap in (truth, got))
        return Row(what, wanted, told, ok=ok)

    def blind(self) -> list[tuple[float, float]]:
        """Return when nobody read the PLC: injected cuts and kills of the agent, up to its return, in plant seconds."""
        injected = self.scenario.faults
        return self._until_back([*injected.link_cuts, *injected.agent_kills] if self.faults else [])

    def windows(self) -> list[tuple[float, float]]:
        """Return when data may truly be missing: power off, and the faults that were injected, up to the agent's return."""
        reboots = [(reboot.off, reboot.on) for reboot in self.scenario.machine.reboots]
        return self._until_back(reboots) + self.blind() + self.unusable()

    def unusable(self) -> list[tuple[float, float]]:
        """Return when a counter answered with a bad status."""
        bad = [bad.window for bad in self.scenario.faults.bad_status] if self.faults else []
        return [(begin / SECOND - 2 * POLL, end / SECOND + 2 * POLL) for begin, end in bad]

    def _until_back(self, faults: Iterable[tuple[int, int]]) -> list[tuple[float, float]]:
        """Return the windows in plant seconds: from what may have been on its way until the PLC is read again."""
        windows = []
        read_again = [t for t, name, data in self.books.agent if name == "device.connected" and data["device"] == STATE_DEVICE]
        for begin, end in faults:
            back = min((t for t in read_again if t >= end / SECOND), default=end / SECOND)
            back = back if back - end / SECOND < 10 * self.speed else end / SECOND
            windows.append((begin / SECOND - 2 * POLL - TRANSIT * self.speed, back + 2 * POLL))
        return windows

    def near_fault(self, begin: float, end: float | None) -> bool:
        """Return whether [begin, end] touches a window in which less can be known."""
        return any(first <= (end if end is not None else begin) and begin <= last for first, last in self.windows())

    def hidden(self, begin: float, end: float | None) -> bool:
        """Return whether all of [begin, end] lies in a window in which less can be known: it may have passed unseen."""
        return end is not None and any(first <= begin and end <= last for first, last in self.windows())

    def slack(self, time: float) -> float:
        """A time inside a fault window is known only to lie in the window."""
        return max((last - first for first, last in self.windows() if first <= time <= last), default=2 * SAMPLING)

    def interval(self, data: dict[str, Any]) -> tuple[float, float]:
        """Return the interval of a declared gap in plant seconds."""
        begin, end = data["interval"]
        first = self.books.t(begin or end)
        return first, self.books.t(end) if end else first

    def overlaps(self, window: tuple[float, float], data: dict[str, Any]) -> bool:
        """Return whether a declared gap touches ``window``."""
        begin, end = self.interval(data)
        return begin <= window[1] and end >= window[0]

    def close(self, true: float | None, told: float | None, tolerance: float) -> bool:
        """Return whether two times agree, within the tolerance or the fault window around the true one."""
        if true is None or told is None:
            return true is None and told is None
        return abs(true - told) <= max(tolerance, self.slack(true) if self.near_fault(true, true) else 0)

    def time_row(self, what: str, true: float | None, told: float | None, tolerance: float) -> Row:
        """Return the comparison of two times."""
        return Row(what, time_text(true), time_text(told), ok=self.close(true, told, tolerance))


def same(what: str, truth: str, received: str) -> Row:
    """Return a row that is right when both texts are equal."""
    return Row(what, truth, received, ok=truth == received)


def mode_name(mode: int) -> str:
    """Return the PackML name of a mode number."""
    return next((name for name, number in MODES.items() if number == mode), str(mode))


def time_text(t: float | None) -> str:
    """Return a time for people; None is ``open``."""
    return "open" if t is None else f"{t:.2f} s"


def times_text(times: Iterable[float]) -> str:
    """Return several times for people."""
    return ", ".join(f"{t:.2f}" for t in times) or "-"


def span_text(begin: float | None, end: float | None) -> str:
    """Return a pair of times for people."""
    return f"{time_text(begin)} to {time_text(end)}"


def stop_text(duration: float | None, category: str, reason: int | None, micro: bool | None) -> str:
    """Return a downtime for people."""
    if duration is None:
        return f"open {category}"
    return f"{duration:.1f} s {category}{f' {reason}' if reason else ''}{' micro' if micro else ''}"
