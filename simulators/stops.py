"""Downtimes of a scenario: opened on leaving Execute in a production mode, closed on the next Execute or on leaving the mode.

Completing and Complete open none. One that leaving the mode closed goes on as a new one where the mode comes back before Execute; and so is down
who is seen to come into a production mode faulted, held, stopped or suspended, or on the way there. Without power the state is unknown: that opens nothing and closes nothing. The category is
the first that says something (first out): faulted, held, stopped, or starved or blocked where a flag stands while suspended; else stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from simulators.line import Line
from simulators.script import EXECUTE
from simulators.vocabulary import SECOND, STATES

_FAULTED = {STATES["Aborting"], STATES["Aborted"]}
_HELD = {STATES["Holding"], STATES["Held"]}
_SUSPENDED = {STATES["Suspending"], STATES["Suspended"]}
_COMPLETE = {STATES["Completing"], STATES["Complete"]}
_STOPPED = {STATES["Stopping"], STATES["Stopped"]}
_STANDING = _FAULTED | _HELD | _SUSPENDED | _STOPPED


@dataclass(frozen=True)
class Downtime:
    """One downtime in plant seconds; ``end``, ``duration`` and ``micro`` are None while it is open at the end."""

    start: float
    end: float | None
    duration: float | None
    category: str
    reason: int | None
    micro: bool | None
    order: str | None


def downtimes(line: Line) -> Iterator[Downtime]:
    """Give the downtimes in order."""
    running, begin, categories = False, -1, list[str | None]()
    entered, was_producing, split = False, True, False
    for t in _edges(line):
        if not line.is_on(t):
            was_producing = True  # who is switched on in production was not seen to come into it
            continue
        producing = line.modes.at(t) in line.scenario.machine.production_modes
        state = int(line.states.at(t))
        if begin >= 0 and (not producing or state == EXECUTE):
            yield _downtime(line, begin, t, categories)
            begin, split = -1, not producing
        entered, was_producing = producing and not was_producing, producing
        leaves = running or split or (entered and state in _STANDING)
        split = split and not producing
        if producing and begin < 0 and leaves and state != EXECUTE and state not in _COMPLETE:
            begin, categories = t, []
        if begin >= 0:
            categories.append(_category(line, t, state))
        running = producing and state == EXECUTE
    if begin >= 0:
        yield _downtime(line, begin, None, categories)


def categories(line: Line, stop: Downtime) -> list[tuple[float, float, str]]:
    """Give when (plant s, from and to) each category stood that a downtime could be given, in order; the first is its own."""
    begin, end = round(stop.start * SECOND), line.length if stop.end is None else round(stop.end * SECOND)
    edges = [*(t for t in _edges(line) if begin <= t < end and line.is_on(t)), end]
    spans = ((a, b, _category(line, a, int(line.states.at(a)))) for a, b in pairwise(edges))
    return [(a / SECOND, b / SECOND, category) for a, b, category in spans if category is not None]


def _edges(line: Line) -> list[int]:
    flags = (*line.scripted["starved"].times, *line.scripted["blocked"].times)
    offs = (reboot.off for reboot in line.scenario.machine.reboots)
    return sorted({t for t in (*line.states.times, *line.modes.times, *flags, *offs, *line.boots) if t <= line.length})


def _category(line: Line, t: int, state: int) -> str | None:
    if state in _FAULTED:
        return "faulted"
    if state in _HELD:
        return "held"
    if state in _SUSPENDED:
        if line.scripted["starved"].at(t):
            return "starved"
        return "blocked" if line.scripted["blocked"].at(t) else None
    return "stopped" if state in _STOPPED else None


def _downtime(line: Line, begin: int, end: int | None, categories: list[str | None]) -> Downtime:
    category = next((one for one in categories if one), "stopped")
    latched = [
        reason.id
        for reason in line.scenario.stop_reasons
        if begin <= (t := reason.stop + reason.delay) <= line.length and (end is None or t < end)
    ]
    return Downtime(
        start=begin / SECOND,
        end=None if end is None else end / SECOND,
        duration=None if end is None else (end - begin) / SECOND,
        category=category,
        reason=latched[0] if latched else None,
        micro=None if end is None else end - begin < line.scenario.judge.micro_stop,
        order=str(line.value("order", begin)) or None,
    )
