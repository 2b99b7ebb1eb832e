"""What the fault bench has counted: one tally per stage, their sum, and the lines that say it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from simulators.check import Verdict


@dataclass
class Tally:
    """One stage. ``injected`` = faults put in, each a trial; ``recovery`` = machine seconds from the end of a fault to data made after it, the longest."""

    stage: str
    seed: int = 0
    injected: int = 0
    missing: int = 0
    invented: int = 0
    corrupted: int = 0
    duplicates: int = 0
    recovery: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def violations(self) -> int:
        """Everything that a run must not have."""
        return self.missing + self.invented + self.corrupted + len(self.failures)

    def judged(self, verdict: Verdict) -> None:
        """Add what the checker found in one run; each kind of problem is a failure too."""
        self.missing += sum(len(each.undeclared_missing) for each in verdict.streams)
        self.missing += sum(each.undeclared_missing for each in verdict.sources)
        self.invented += sum(len(each.invented) for each in (*verdict.streams, *verdict.sources))
        self.invented += sum(each.counted_twice for each in verdict.sources)
        self.corrupted += sum(len(each.corrupted) for each in verdict.streams) + len(verdict.unreadable)
        self.duplicates += verdict.duplicates
        self.failures += verdict.problems
        for name in ("produced", "delivered_unique", "declared_lost", "still_buffered"):
            self.figures[name] = self.figures.get(name, 0) + sum(getattr(each, name) for each in verdict.sources)

    def closed(self) -> Self:
        """End the stage; one that has tried nothing has proven nothing, and has failed."""
        if not self.injected and not self.failures:
            self.failures.append("nothing was tried")
        return self

    def as_json(self) -> dict[str, Any]:
        """Return what can be written to a file."""
        return asdict(self)

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Self:
        """Read it back; what is not known is left out."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in names})


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of all stages; the recovery is the longest of them."""
    whole = Tally("all")
    for each in tallies:
        for name in ("injected", "missing", "invented", "corrupted", "duplicates"):
            setattr(whole, name, getattr(whole, name) + getattr(each, name))
        whole.recovery = max(whole.recovery, each.recovery)
        whole.failures += [f"{each.stage}: {failure}" for failure in each.failures]
    return whole


def bound(trials: int) -> str:
    """Return the 95 % bound of the rate of failures after so many trials without one (rule of three: 3/N); a few trials bound nothing."""
    if trials <= 3:
        return f"none (of {trials} trials)" if trials else "none (nothing was tried)"
    return f"3/{trials} ({300 / trials:.2g} %)"


def stage_line(each: Tally) -> str:
    """Say what a stage has found."""
    word = "FAILED" if each.violations else "ok"
    about = "".join(f", {name} {value}" for name, value in each.figures.items() if isinstance(value, int | float | str))
    limit = f", bound {bound(each.injected)}" if not each.violations else ""
    return (
        f"{each.stage}: {word}, {each.injected} injected, {each.missing} missing, {each.invented} invented, {each.corrupted} corrupted, "
        f"{each.duplicates} duplicates, max recovery {each.recovery:.1f} s, {each.seconds:.0f} s, seed {each.seed}{limit}{about}"
    )


def last_line(whole: Tally) -> str:
    """Say what the whole bench has found, in the form that programs read."""
    limit = bound(whole.injected) if not whole.violations else f"none: {len(whole.failures)} failed"
    return (
        f"faults: {whole.injected} injected, {whole.missing} undeclared missing, {whole.invented} invented, {whole.corrupted} corrupted, "
        f"{whole.duplicates} duplicates removed, max recovery {whole.recovery:.1f} s, bound {limit}"
    )


def exit_code(whole: Tally) -> int:
    """Return 0 only when faults were injected and nothing was violated."""
    return 0 if whole.injected and not whole.violations else 1
