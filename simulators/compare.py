"""How truth and books are compared: rows, and how far a number or a time may be off where nobody looked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from simulators.blindness import INSTANT, MACHINE, SAMPLING, STATE_DEVICE, Blindness
from simulators.books import Books, Spanned
from simulators.inbox import Inbox
from simulators.ledger import read_ledger
from simulators.outcome import Truth
from simulators.schema import Scenario
from simulators.unseen import Part, erasures, parts
from simulators.vocabulary import MODES


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
        self.blindness = Blindness(scenario, books, faults=faults, speed=speed)
        self.production = {mode_name(mode) for mode in scenario.machine.production_modes}
        self.parts = parts(scenario)

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

    def unseen(self) -> list[Part]:
        """Return the parts that the PLC may have forgotten before anybody read them: at most two samplings and their way before a zero.

        Where the zero lies in a declared gap, all that was counted since the gap's beginning.
        """
        erased = erasures(self.scenario, self.blindness.of(tags=True), 2 * SAMPLING + MACHINE * self.speed)
        return [part for part in self.parts if any(read < part.t <= zeroed for read, zeroed in erased)]

    def short(self, disposition: str, member: str, mine: Callable[[Part], bool]) -> int:
        """Return how many parts may be missing from a sum over ``mine``: forgotten by the PLC, or booked across its ``member``.

        A sum cannot tell which part is missing. So a count across contexts excuses no more parts than it holds, none that was made outside its
        interval, and `strays` refuses one whose interval reaches beyond a declared gap; the counter's own row holds the sum of all.
        """
        short = sum(mine(part) and (part.scrap or disposition == "total") for part in self.unseen())
        for one in self.books.spanned:
            if one.disposition == disposition and {member, "mode"} & {*one.spans}:
                short += min(one.delta, sum(mine(part) for part in self.across(one)))
        return short

    def across(self, one: Spanned) -> list[Part]:
        """Return the parts that a count across contexts may hold: all made after the value that was read last, up to the one read next."""
        return [
            part
            for part in self.parts
            if (part.scrap or one.disposition == "total") and one.begin + INSTANT < part.t <= one.end + INSTANT
        ]

    def strays(self) -> list[Spanned]:
        """Return the counts across contexts that have no right to it.

        They hold parts that were made where somebody looked, or more than were made, or the context was the same on both sides: who reads one order
        before and after a gap has no other to tell it from.
        """
        return [
            one
            for one in self.books.spanned
            if one.delta > len(self.across(one))
            or any(self.blindness.around(part.t, tags=True) is None for part in self.across(one))
            or ("order" in one.spans and not self._changed(one))
        ]

    def _changed(self, one: Spanned) -> bool:
        """Return whether the order read behind a count is another than before: a counter that stands is older than the order read with it."""
        gap = self.blindness.around(one.end, tags=True)
        return any(self.order_at(t) != self.order_at(one.begin) for t in (one.end, one.end if gap is None else gap[1]))

    def order_at(self, time: float) -> str | None:
        """Return the order that truly stood at a time."""
        return next((o.order for o in self.truth.orders if o.started <= time and (o.ended is None or time < o.ended)), None)

    def counts_row(self, what: str, truth: tuple[int, int], got: tuple[int, int], member: str, mine: Callable[[Part], bool]) -> Row:
        """Compare (total, scrap) of the parts that are ``mine``; only what could not be known may be missing, and nothing is too many."""
        ok = all(
            true - self.short(disposition, member, mine) <= told <= true
            for disposition, true, told in zip(("total", "scrap"), truth, got, strict=True)
        )
        wanted, told = (f"{total}/{scrap}/{total - scrap}" for total, scrap in (truth, got))
        return Row(what, wanted, told, ok=ok)

    def close(
        self, true: float | None, told: float | None, tolerance: float, device: str = STATE_DEVICE, *, tags: bool = False
    ) -> bool:
        """Return whether two times agree within the tolerance; for what happened in a declared gap any time in it, up to the first look after it."""
        if true is None or told is None:
            return true is None and told is None
        gap = self.blindness.around(true, device, tags=tags)
        unseen = gap is not None and gap[0] - SAMPLING <= told <= gap[1] + self.blindness.late
        return abs(true - told) <= tolerance or unseen

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
