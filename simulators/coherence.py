"""What a scenario's schema cannot say: the parts have to fit together, so that the arithmetic of `simulators.line` holds."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from simulators.line import Line
from simulators.schema import Alarm, Scenario
from simulators.vocabulary import SECOND

_LEAST_ROUND = 60 * SECOND
"""A counter takes at least this long to come round at its fastest: a reader may be away for a while."""

_DAY = 86_400


def _seconds(t: int) -> str:
    return f"{t / SECOND:g}"


def incoherences(scenario: Scenario) -> Iterator[str]:
    """Give every problem as ``place: what``; a scenario without one can be played."""
    yield from _reboots(scenario)
    for place, times in _scripts(scenario).items():
        yield from _script(scenario, place, times)
    for place in ("machine.states", "machine.modes"):
        yield from _covers_boots(scenario, place, _scripts(scenario)[place])
    yield from _registers(scenario)
    yield from _pairs(scenario)
    yield from _orders(scenario)
    yield from _counts_apart(scenario)
    yield from _wraps(scenario)
    yield from _shifts(scenario)
    yield from _faults(scenario)


def _reboots(scenario: Scenario) -> Iterator[str]:
    last = 0
    for index, reboot in enumerate(scenario.machine.reboots):
        if not last < reboot.off < reboot.on <= scenario.length:
            yield f"machine.reboots[{index}]: reboots must be in order, after t=0, within length, off before on"
        last = reboot.on


def _scripts(scenario: Scenario) -> dict[str, list[int]]:
    return {
        "machine.states": [t for t, _ in scenario.machine.states],
        "machine.modes": [t for t, _ in scenario.machine.modes],
        "context": [entry.at for entry in scenario.context],
        "counters.zeroed_at": list(scenario.counters.zeroed_at),
    }


def _script(scenario: Scenario, place: str, times: list[int]) -> Iterator[str]:
    for index, t in enumerate(times):
        if index and t <= times[index - 1]:
            yield f"{place}[{index}]: t={_seconds(t)} is not after the entry before it"
        if t > scenario.length:
            yield f"{place}[{index}]: t={_seconds(t)} is after the scenario's length"
        if not scenario.is_on(t):
            yield f"{place}[{index}]: t={_seconds(t)}: the PLC has no power then"


def _covers_boots(scenario: Scenario, place: str, times: list[int]) -> Iterator[str]:
    for boot in (0, *(reboot.on for reboot in scenario.machine.reboots)):
        if boot not in times:
            yield f"{place}: needs an entry at t={_seconds(boot)}: the PLC boots there"


def _registers(scenario: Scenario) -> Iterator[str]:
    for name, counter, limit in (
        ("total", scenario.counters.total, 2**31),
        ("scrap", scenario.counters.scrap, 2**16),
    ):
        if counter.modulus > limit:
            yield f"counters.{name}.modulus: {counter.modulus} does not fit its register (at most {limit})"
    if scenario.meter.start >= scenario.meter.modulus:
        yield "meter.start: must be below meter.modulus"
    weight = scenario.records.weight
    if weight.base + weight.modulo > 2**24:
        yield "records.weight: a Float carries whole grams only up to 16777216"
    try:
        scenario.records.serial.format(k=1)
    except (KeyError, IndexError, ValueError):
        yield 'records.serial: must be text with {k}, like "S{k:05d}"'


def _pairs(scenario: Scenario) -> Iterator[str]:
    for index, alarm in enumerate(scenario.alarms):
        if alarm.cleared is not None and alarm.cleared <= alarm.raised:
            yield f"alarms[{index}]: must be cleared after it is raised"
        for other in scenario.alarms[:index]:
            if other.slot == alarm.slot and (other.cleared is None or other.cleared > alarm.raised):
                yield f"alarms[{index}]: slot {alarm.slot} is still taken by alarm {other.id}"
            elif other.id == alarm.id and alarm.raised < _stands(scenario, other) and other.raised < _stands(scenario, alarm):
                yield f"alarms[{index}]: alarm {alarm.id} stands in slot {other.slot} at the same time; an id is one alarm"
    last = 0
    for index, reason in enumerate(scenario.stop_reasons):
        if not last <= reason.stop + reason.delay < reason.cleared:
            yield f"stop_reasons[{index}]: must latch after the one before is cleared, and before it is cleared itself"
        last = reason.cleared


def _orders(scenario: Scenario) -> Iterator[str]:
    runs = Tally(entry.order for entry in scenario.context if entry.order)
    for order, count in runs.items():
        if count > 1:
            yield f"context: order {order} is set {count} times; an order runs once"


def _counts_apart(scenario: Scenario) -> Iterator[str]:
    """A count in the same scan as a reset or in a dead PLC could not be seen by anybody."""
    line = Line(scenario)
    for t in scenario.counters.zeroed_at:
        if line.counted(t) != line.counted(t - 1):
            yield f"counters.zeroed_at: t={_seconds(t)}: a bottle is counted in the same scan"
    for reboot in scenario.machine.reboots:
        if line.counted(reboot.on) != line.counted(reboot.off - 1):
            yield f"bottles: counted between {_seconds(reboot.off)} and {_seconds(reboot.on)}, when the PLC has no power"
    last = scenario.length
    for index, run in enumerate(scenario.bottles.dry_cycles):
        if run.start + (run.count - 1) * run.period > last:
            yield f"bottles.dry_cycles[{index}]: runs past the scenario's length"


def _stands(scenario: Scenario, alarm: Alarm) -> int:
    """Give the instant at which an alarm is gone: cleared, without power, or after the end."""
    offs = (reboot.off for reboot in scenario.machine.reboots if reboot.off > alarm.raised)
    return min([*offs, scenario.length + 1 if alarm.cleared is None else alarm.cleared])


def _wraps(scenario: Scenario) -> Iterator[str]:
    """A counter that comes round between two looks has not moved, as far as anybody can tell."""
    counters, bottles = scenario.counters, scenario.bottles
    fastest = min([bottles.period, *(run.period for run in bottles.dry_cycles)])
    for name, counter, apart in (
        ("total", counters.total, fastest),
        ("scrap", counters.scrap, bottles.period * bottles.reject_every),
    ):
        if counter.modulus * apart < _LEAST_ROUND:
            yield (
                f"counters.{name}.modulus: comes round within {_seconds(counter.modulus * apart)} s, a count each {_seconds(apart)} s, "
                f"which no reader can tell from a standstill; make it {-(-_LEAST_ROUND // apart)} or more"
            )


def _shifts(scenario: Scenario) -> Iterator[str]:
    spans: list[tuple[str, int, int]] = []
    for name, shift in scenario.shifts.items():
        begin, end = (at.hour * 3600 + at.minute * 60 + at.second for at in (shift.start, shift.end))
        end += 0 if end > begin else _DAY
        for other, start, stop in spans:
            if any(begin + day < stop and start < end + day for day in (-_DAY, 0, _DAY)):
                yield f"shifts.{name}: overlaps shift {other}; end one where the next begins"
        spans.append((name, begin, end))


def _faults(scenario: Scenario) -> Iterator[str]:
    faults = scenario.faults
    for name in ("link_cuts", "agent_kills", "broker_stops"):
        for index, (_, end) in enumerate(getattr(faults, name)):
            if end > scenario.length:
                yield f"faults.{name}[{index}]: ends at t={_seconds(end)}, after the scenario's length"
    for index, bad in enumerate(faults.bad_status):
        if bad.window[1] > scenario.length:
            yield f"faults.bad_status[{index}].window: ends at t={_seconds(bad.window[1])}, after the scenario's length"
