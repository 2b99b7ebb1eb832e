"""The truth of a scenario in closed form: what a consumer must hold when everything arrived exactly once.

``truth(scenario)`` gives frozen dataclasses; `as_json` makes plain dicts of them. All times are plant seconds since the epoch.
``python -m simulators.truth FILE`` prints it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from simulators.line import HOUR_S, JOULE, Line
from simulators.outcome import (
    VERDICTS,
    AlarmTruth,
    CounterTruth,
    Counts,
    Energy,
    Kpi,
    NoOrder,
    Order,
    SampleTruth,
    ShiftTotal,
    Transition,
    Truth,
)
from simulators.scenario import ScenarioError, load_scenario
from simulators.schema import Scenario
from simulators.script import EXECUTE
from simulators.shifts import shift_windows
from simulators.stops import downtimes
from simulators.vocabulary import SECOND


def truth(scenario: Scenario) -> Truth:
    """Compute the truth of a scenario."""
    line = Line(scenario)
    orders = tuple(_orders(line))
    cuts = [*scenario.faults.link_cuts]
    return Truth(
        name=scenario.name,
        epoch=scenario.epoch.isoformat().replace("+00:00", "Z"),
        length=scenario.length / SECOND,
        orders=orders,
        no_order=tuple(_no_order(line)),
        shifts=tuple(_shift_totals(line)),
        downtimes=tuple(downtimes(line)),
        states=tuple(_transitions(line, "state")),
        state_changed=_expected_state_changes(line, [], []),
        state_changed_with_faults=_expected_state_changes(line, cuts, [*scenario.faults.agent_kills]),
        modes=tuple(_transitions(line, "mode")),
        alarms=tuple(_alarms(line)),
        samples=tuple(
            SampleTruth(one.k, one.t / SECOND, one.serial, one.weight, VERDICTS[one.verdict], one.seq, one.boot)
            for one in line.samples()
        ),
        counters=tuple(_counter(line, name) for name in ("total", "scrap")),
        energy=_energy(line),
        kpis=tuple(_kpi(line, order) for order in orders if order.ended is not None),
    )


def as_json(value: Truth) -> dict[str, Any]:
    """Make plain dicts, lists, numbers and strings of a truth."""
    return asdict(value)


# -- windows -----------------------------------------------------------------------------------------------------------------


def _between(line: Line, begin: int, end: int) -> Counts:
    """Counts at instants in [begin, end), all modes."""
    return Counts(
        line.counted(end - 1) - line.counted(begin - 1),
        line.rejected(end - 1) - line.rejected(begin - 1),
    )


def _end(line: Line) -> int:
    """One past the last instant, so that what happens at ``length`` itself belongs to the last window."""
    return line.length + 1


def _owned(line: Line, begin: int, end: int) -> tuple[int, int]:
    """Which instants' counts an order that stands in [begin, end) has: what is counted in the scan that ends it was made in it."""
    return (begin + 1 if begin else 0), min(end + 1, _end(line))


def _by_mode(line: Line, begin: int, end: int) -> Iterator[tuple[int, Counts]]:
    """Counts at instants in [begin, end) by the mode they were made in: at the instant of a change still the one before."""
    edges = [begin, *(t + 1 for t in line.modes.times if begin < t + 1 < end), end]
    for a, b in pairwise(edges):
        yield int(line.modes.at(max(a - 1, 0))), _between(line, a, b)


def _production(line: Line, begin: int, end: int) -> Counts:
    parts = [counts for mode, counts in _by_mode(line, begin, end) if mode in line.scenario.machine.production_modes]
    return Counts(sum(part.total for part in parts), sum(part.scrap for part in parts))


def _order_windows(line: Line) -> Iterator[tuple[str, int, int]]:
    steps = line.scripted["order"]
    for index, t in enumerate(steps.times):
        end = steps.times[index + 1] if index + 1 < len(steps.times) else _end(line)
        yield str(steps.values[index]), t, end


def _orders(line: Line) -> Iterator[Order]:
    for order, begin, end in _order_windows(line):
        if not order:
            continue
        counts = _production(line, *_owned(line, begin, end))
        energy = line.energy(min(end, line.length)) - line.energy(begin)
        yield Order(
            order=order,
            product=str(line.value("product", begin)) or None,
            lot=str(line.value("lot", begin)) or None,
            started=begin / SECOND,
            ended=None if end == _end(line) else end / SECOND,
            total=counts.total,
            scrap=counts.scrap,
            good=counts.good,
            energy_units=line.energy_units(end) - line.energy_units(begin),
            energy_wh=energy / (HOUR_S * JOULE),
        )


def _no_order(line: Line) -> Iterator[NoOrder]:
    sums: dict[int, Counts] = {}
    for order, begin, end in _order_windows(line):
        for mode, counts in _by_mode(line, *_owned(line, begin, end)):
            if order and mode in line.scenario.machine.production_modes:
                continue
            known = sums.get(mode, Counts(0, 0))
            sums[mode] = Counts(known.total + counts.total, known.scrap + counts.scrap)
    return (NoOrder(mode, counts.total, counts.scrap) for mode, counts in sorted(sums.items()) if counts.total)


def _shift_totals(line: Line) -> Iterator[ShiftTotal]:
    for name, begin, end in shift_windows(line.scenario):
        counts = _production(line, begin, end)
        yield ShiftTotal(name, begin / SECOND, min(end, line.length) / SECOND, counts.total, counts.scrap, counts.good)


# -- lists -------------------------------------------------------------------------------------------------------------------


def _transitions(line: Line, tag: str) -> Iterator[Transition]:
    steps = line.states if tag == "state" else line.modes
    for t, value in steps.changes(0, line.length):
        yield Transition(t / SECOND, int(steps.at(t - 1)), int(value))


def _expected_state_changes(line: Line, cuts: list[tuple[int, int]], kills: list[tuple[int, int]]) -> int:
    """How many state changes a correct agent reports: a lost device is a pair through Unknown, an agent's absence at most one."""
    blind = cuts + [(reboot.off, reboot.on) for reboot in line.scenario.machine.reboots]
    changes = [t for t, _ in line.states.changes(0, line.length)]
    seen = [t for t in changes if not any(begin <= t <= end for begin, end in blind + kills)]
    jumps = sum(line.states.at(begin - 1) != line.states.at(end) for begin, end in kills)
    return len(seen) + 2 * len(blind) + jumps


def _alarms(line: Line) -> Iterator[AlarmTruth]:
    def cut(source: str, name: str, raised: int, cleared: int | None) -> AlarmTruth:
        return AlarmTruth(source, name, raised / SECOND, None if cleared is None or cleared > line.length else cleared / SECOND)

    for alarm in line.scenario.alarms:
        offs = [reboot.off for reboot in line.scenario.machine.reboots if alarm.raised < reboot.off]
        ends = [*offs, *([] if alarm.cleared is None else [alarm.cleared])]
        yield cut("plc", str(alarm.id), alarm.raised, min(ends, default=None))
    for name in ("high", "low"):
        for begin, end in getattr(line.scenario.heater, name):
            yield cut("heater", name, begin, end)


def _counter(line: Line, name: str) -> CounterTruth:
    steps = [change for change in line.changes(0, line.length) if change.tag == name]
    values = [int(line.value(name, 0)), *(int(change.value) for change in steps)]
    zeroed = {*line.zeroed}
    modulus = line.scenario.counters.total.modulus if name == "total" else line.scenario.counters.scrap.modulus
    rollovers = tuple(
        change.t / SECOND
        for change, before in zip(steps, values, strict=False)
        if change.t not in zeroed and before == modulus - 1 and change.value == 0
    )
    count = line.counted if name == "total" else line.rejected
    resets = tuple(t / SECOND for t in line.scenario.counters.zeroed_at)
    restarts = tuple(t / SECOND for t in line.boots[1:])
    return CounterTruth(name, values[0], values[-1], count(line.length), rollovers, resets, restarts)


def _energy(line: Line) -> Energy:
    meter, wraps = line.scenario.meter, list[float]()
    units = meter.modulus - meter.start
    while (t := line.time_of_energy(units * line.energy_unit)) is not None:
        wraps.append(t / SECOND)
        units += meter.modulus
    total = line.energy(line.length)
    return Energy(total // line.energy_unit, total / (HOUR_S * JOULE), meter.wh_per_unit, tuple(wraps))


def _kpi(line: Line, order: Order) -> Kpi:
    begin, end = round(order.started * SECOND), round((order.ended or 0) * SECOND)
    power = (t for reboot in line.scenario.machine.reboots for t in (reboot.off, reboot.on))
    edges = sorted({begin, end, *(t for t in (*line.states.times, *line.modes.times, *power) if begin < t < end)})
    running = sum(
        b - a
        for a, b in pairwise(edges)
        if line.is_on(a) and line.states.at(a) == EXECUTE and line.modes.at(a) in line.scenario.machine.production_modes
    )
    apt, pbt, pri = running / SECOND, (end - begin) / SECOND, 60 / line.scenario.machine.design_speed
    availability = apt / pbt
    effectiveness = pri * order.total / apt if apt else 0.0
    quality = order.good / order.total if order.total else 0.0
    oee = availability * effectiveness * quality
    return Kpi(order.order, apt, pbt, pri, order.total, order.good, availability, effectiveness, quality, oee)


def main() -> int:
    """Tell the truth of a scenario from the command line."""
    parser = argparse.ArgumentParser(prog="python -m simulators.truth", description="What a scenario makes, as JSON.")
    parser.add_argument("file", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        scenario = load_scenario(options.file)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(as_json(truth(scenario)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
