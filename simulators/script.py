"""A scenario's script as values over time: tags, runs of bottles, power."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from simulators.schema import Scenario
from simulators.tracks import Run, Steps, Value
from simulators.vocabulary import STATES

EXECUTE = STATES["Execute"]


def _cut(scenario: Scenario, steps: Iterable[tuple[int, Value]], zero: Value) -> Steps:
    """Start with ``zero`` at every boot and leave out what would happen without power; a step at the boot itself wins."""
    zeros: list[tuple[int, Value]] = [(boot, zero) for boot in scenario.boots]
    return Steps(zeros + [(t, value) for t, value in steps if scenario.is_on(t)])


def _windows(scenario: Scenario, windows: Iterable[tuple[int, int | None]], value: Value, zero: Value) -> Steps:
    steps: list[tuple[int, Value]] = []
    for begin, end in windows:
        steps.append((begin, value))
        if end is not None:
            steps.append((end, zero))
    return _cut(scenario, steps, zero)


def scripted(scenario: Scenario) -> dict[str, Steps]:
    """Give every scripted PLC tag, in the order in which one scan writes them: context first, so that counts find it in place."""
    machine = scenario.machine
    tags: dict[str, Steps] = {}
    for name in ("order", "product", "lot"):
        entries = [(entry.at, getattr(entry, name)) for entry in scenario.context]
        tags[name] = _cut(scenario, [(t, value) for t, value in entries if value is not None], "")
    tags["boot_count"] = Steps((boot, machine.boot_count + index) for index, boot in enumerate(scenario.boots))
    tags["mode"] = Steps(machine.modes)
    tags["starved"] = _windows(scenario, machine.starved, value=True, zero=False)
    tags["blocked"] = _windows(scenario, machine.blocked, value=True, zero=False)
    tags["state"] = Steps(machine.states)
    tags["set_speed"] = Steps([(0, machine.set_speed)])
    tags["design_speed"] = Steps([(0, machine.design_speed)])
    tags["speed"] = Steps((t, machine.set_speed if state == EXECUTE else 0.0) for t, state in machine.states)
    reasons = [(reason, reason.stop + reason.delay) for reason in scenario.stop_reasons]
    for name, field in (("stop_id", "id"), ("stop_value", "value")):
        steps = [step for reason, t in reasons for step in ((t, getattr(reason, field)), (reason.cleared, 0))]
        tags[name] = _cut(scenario, steps, 0)
    tags.update(_alarm_tags(scenario))
    return tags


def _alarm_tags(scenario: Scenario) -> dict[str, Steps]:
    tags: dict[str, Steps] = {}
    zeros: dict[str, Value] = {"id": 0, "value": 0, "message": "", "trigger": False}
    for slot in range(4):
        for field, zero in zeros.items():
            steps: list[tuple[int, Value]] = []
            for alarm in scenario.alarms:
                if alarm.slot == slot:
                    steps.append((alarm.raised, True if field == "trigger" else getattr(alarm, field)))
                    steps += [] if alarm.cleared is None else [(alarm.cleared, zero)]
            tags[f"alarm{slot}_{field}"] = _cut(scenario, steps, zero)
    return tags


def bottle_runs(scenario: Scenario) -> Iterator[Run]:
    """Give one run of bottles for every stay in Execute in a production mode."""
    bottles, machine = scenario.bottles, scenario.machine
    states, modes = Steps(machine.states), Steps(machine.modes)
    offs = [reboot.off for reboot in machine.reboots]
    edges = sorted({*states.times, *modes.times, *offs, *scenario.boots, scenario.length})
    begin: int | None = None
    for t in edges:
        making = t < scenario.length and scenario.is_on(t) and states.at(t) == EXECUTE and modes.at(t) in machine.production_modes
        if making and begin is None:
            begin = t
        elif not making and begin is not None:
            first = begin + bottles.first
            if first < t:
                yield Run(first, bottles.period, (t - 1 - first) // bottles.period + 1)
            begin = None


def power_steps(scenario: Scenario) -> Steps:
    """Give the active power in W over time."""
    power = scenario.power
    steps: list[tuple[int, Value]] = [(t, power.states.get(int(state), power.default)) for t, state in scenario.machine.states]
    return Steps(steps + [(reboot.off, power.off) for reboot in scenario.machine.reboots])


def integral(steps: Steps) -> list[int]:
    """Give the sum of value * ns at the begin of each step."""
    sums = [0]
    for index in range(1, len(steps.times)):
        sums.append(sums[-1] + int(steps.values[index - 1]) * (steps.times[index] - steps.times[index - 1]))
    return sums
