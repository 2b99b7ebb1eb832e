"""A plant's scenario as values over time: every tag as steps, every stroke with its instant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from simulators.line import Change
from simulators.plant.schema import Counter, Item, PlantScenario, Ring
from simulators.tracks import Run, Steps, Value
from simulators.vocabulary import SECOND

SLOT = "{slot}"


@dataclass(frozen=True)
class Unit:
    """One unit made: its number from 1, when, its serial and cavity, and whether it is ok."""

    number: int
    t: int
    serial: str
    cavity: str
    ok: bool


class Plant:
    """Everything that a plant scenario says, as steps; ``tags`` are in the order in which one scan writes them: context first, counters last."""

    def __init__(self, scenario: PlantScenario) -> None:
        self.scenario = scenario
        self.length = scenario.length
        self.strokes = tuple(_strokes(scenario))
        self.units = tuple(_units(scenario.ring, self.strokes))
        self.items = dict(_items(scenario))
        self.tags: dict[str, Steps] = {}
        for ref, steps in self._written():
            zero = self.items[ref].zero
            self.tags[ref] = Steps([(0, zero), *steps])
        for ref, item in self.items.items():
            self.tags.setdefault(ref, Steps([(0, item.zero)]))

    def context(self, member: str) -> Steps:
        """Give what is made (order, product, lot, ...) over time; empty before anything is said."""
        told = self.scenario.context.get(member)
        return Steps([(0, ""), *(told.steps if told is not None else ())])

    def counts(self, one: Counter) -> tuple[int, ...]:
        """Give the instants at which a counter counts."""
        events = self.strokes if one.of == "strokes" else tuple(unit.t for unit in self.units if not unit.ok)
        return events[one.every - 1 :: one.every]

    def changes(self, device: str, after: int, until: int) -> list[Change]:
        """Give all changes of one device's tags in (after, until] in order of time, then of `tags`."""
        found: list[tuple[int, int, Change]] = []
        for rank, (ref, steps) in enumerate(self.tags.items()):
            if ref.startswith(f"{device}."):
                found += [(t, rank, Change(t, ref, value)) for t, value in steps.changes(after, until)]
        return [change for _, _, change in sorted(found, key=lambda item: item[:2])]

    def _written(self) -> Iterator[tuple[str, Iterable[tuple[int, Value]]]]:
        plan = self.scenario
        yield from ((one.tag, one.steps) for one in plan.context.values() if one.tag is not None)
        if plan.stages is not None:
            yield plan.stages.tag, [(t, plan.stages.codes[name]) for t, name in plan.stages.steps]
        yield from ((one.lot, one.steps) for one in plan.materials.values())
        parameters = [*([] if plan.recipe is None else [plan.recipe]), *plan.setpoints.values()]
        yield from ((one.tag, one.steps) for one in parameters)
        for ref in {ref: None for shown in plan.states.shows.values() for ref in shown}:
            yield ref, [(t, plan.states.shows[name].get(ref, self.items[ref].zero)) for t, name in plan.states.steps]
        if plan.ring is not None:
            yield from _ring(plan.ring, self.units)
        yield from self._counted()
        seconds = range(0, plan.length + 1, SECOND)
        for name, device in plan.devices.items():
            if device.heartbeat is not None:
                yield f"{name}.{device.heartbeat}", [(t, t // SECOND % 2**16) for t in seconds]

    def _counted(self) -> Iterator[tuple[str, Iterable[tuple[int, Value]]]]:
        for one in self.scenario.counters.values():
            counts = self.counts(one)
            if one.reasons is not None:
                codes = one.reasons.codes
                yield one.reasons.tag, [(t, codes[j % len(codes)]) for j, t in enumerate(counts)]
            start = (0, one.start)
            yield one.tag, [start, *((t, (one.start + (j + 1) * one.per) % one.modulus) for j, t in enumerate(counts))]
        for material in self.scenario.materials.values():
            if material.counted_by is not None:
                yield material.counted_by, [(t, (j + 1) * material.qty) for j, t in enumerate(self.strokes)]


def _strokes(scenario: PlantScenario) -> Iterator[int]:
    for one in scenario.strokes:
        yield from Run(one.first, one.period, one.count).times(-1, scenario.length)


def _units(ring: Ring | None, strokes: Iterable[int]) -> Iterator[Unit]:
    if ring is None:
        return
    for index, t in enumerate(strokes):
        for cavity in range(ring.cavities):
            number = index * ring.cavities + cavity + 1
            yield Unit(number, t, ring.serial.format(n=number), f"C{cavity + 1}", number % ring.nok_every != 0)


def _ring(ring: Ring, units: tuple[Unit, ...]) -> Iterator[tuple[str, Iterable[tuple[int, Value]]]]:
    """Give the slots, then the index: unit n is record n - 1, in slot (n - 1) mod size."""
    for slot in range(ring.size):
        mine = units[slot :: ring.size]
        yield ring.serial_tag.replace(SLOT, str(slot)), [(unit.t, unit.serial) for unit in mine]
        yield ring.cavity_tag.replace(SLOT, str(slot)), [(unit.t, unit.cavity) for unit in mine]
        yield ring.result_tag.replace(SLOT, str(slot)), [(unit.t, 1 if unit.ok else 2) for unit in mine]
    yield ring.index, [(unit.t, unit.number % ring.modulus) for unit in units]


def _items(scenario: PlantScenario) -> Iterator[tuple[str, Item]]:
    for name, device in scenario.devices.items():
        for tag, item in device.tags.items():
            for slot in map(str, range(item.slots)) if item.slots else ("",):
                changed = {"node": (item.node or "").replace(SLOT, slot)} if item.slots else {}
                yield f"{name}.{tag.replace(SLOT, slot)}", item.model_copy(update=changed)
