"""Load a scenario file and check what a schema cannot say, so that the arithmetic of `simulators.line` holds."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from simulators.line import Line
from simulators.schema import Scenario
from simulators.vocabulary import MODES, SECOND, STATES

__all__ = ["MODES", "SECOND", "STATES", "Scenario", "ScenarioError", "load_scenario", "parse_scenario"]


class ScenarioError(ValueError):
    """A scenario cannot be played; the message lists every problem as ``file: place: what``, one a line."""


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file; `ScenarioError` lists all problems at once."""
    try:
        with path.open(encoding="utf-8") as file:
            raw: Any = YAML(typ="safe", pure=True).load(file)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except (YAMLError, ValueError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    return parse_scenario(raw, str(path))


def parse_scenario(raw: Any, name: str) -> Scenario:
    """Check a scenario that is in memory already; ``name`` stands before each problem."""
    try:
        scenario = Scenario.model_validate(raw)
    except ValidationError as error:
        lines = [f"{name}: {_place(one['loc'])}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
        raise ScenarioError("\n".join(lines)) from None
    found = [f"{name}: {problem}" for problem in _incoherences(scenario)]
    if found:
        raise ScenarioError("\n".join(found))
    return scenario


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "file"


def _seconds(t: int) -> str:
    return f"{t / SECOND:g}"


def _incoherences(scenario: Scenario) -> Iterator[str]:
    yield from _reboots(scenario)
    for place, times in _scripts(scenario).items():
        yield from _script(scenario, place, times)
    for place in ("machine.states", "machine.modes"):
        yield from _covers_boots(scenario, place, _scripts(scenario)[place])
    yield from _registers(scenario)
    yield from _pairs(scenario)
    yield from _orders(scenario)
    yield from _counts_apart(scenario)


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
