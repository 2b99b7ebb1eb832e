"""What nobody could see: parts and samples that the PLC forgot before anybody read them, or that were made while nobody looked.

A counter that goes to zero (power off, zeroed) takes with it what it counted after it was read last: the sampling in flight, or the whole
time of a cut link or a killed agent around it. A consumer may miss these, and must find them declared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simulators.line import Line
from simulators.schema import Scenario
from simulators.shifts import shift_windows
from simulators.vocabulary import SECOND


@dataclass(frozen=True)
class Part:
    """One counted part: when (plant s), scrap or not, and what it belongs to (``order`` None: no order, or not production)."""

    t: float
    scrap: bool
    order: str | None
    mode: int
    shift: str | None
    production: bool


def parts(scenario: Scenario) -> list[Part]:
    """Give every part that the line counts, in order of time."""
    line, found = Line(scenario), list[Part]()
    shifts = list(shift_windows(scenario))
    instants = sorted(t for run in (*line.runs, *line.dry_runs) for t in run.times(-1, line.length))
    for t in instants:
        mode = int(line.modes.at(max(t - 1, 0)))
        producing = mode in scenario.machine.production_modes
        order = str(line.scripted["order"].at(max(t - 1, 0))) or None
        shift = next((name for name, begin, end in shifts if begin <= t < end), None)
        scrap = line.rejected(t) > line.rejected(t - 1)
        found.append(Part(t / SECOND, scrap, order if producing else None, mode, shift, producing))
    return found


def erasures(scenario: Scenario, blind: Iterable[tuple[float, float]], sampling: float) -> list[tuple[float, float]]:
    """Give (last read, zeroed) in plant seconds for every time the PLC's counters went to zero.

    Read last ``sampling`` before, or where the zero lies in a ``blind`` window (declared: nobody read them) at that window's beginning.
    """
    windows = list(blind)
    found = []
    for instant in (*(reboot.off for reboot in scenario.machine.reboots), *scenario.counters.zeroed_at):
        t = instant / SECOND
        found.append((next((begin for begin, end in windows if begin <= t <= end), t - sampling), t))
    return found
