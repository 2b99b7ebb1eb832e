"""Machine cycles (``cycle.started``, ``cycle.completed``; 40001-1 OperationCycleCounter).

Either a cycle counter and the last cycle's time are read in one request (``count``), or bits mark where a cycle begins and ends. A counter
that moved by more than one tells one event with ``count`` n and no duration: nobody saw how the time was shared. ``parts`` is cycles times
cavities; it breaks production down and is never added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_agent.events.counter import CounterRule, CounterState
from edge_agent.events.cyclebit import CycleBitRule
from edge_agent.events.cycleconfig import CycleConfig, Ending
from edge_agent.events.follow import Neighbours, counted, follow, retold
from edge_agent.events.reference import check_references, device_of, name_of
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import number_of, value_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Quality, Reading, Tag
from edge_agent.ports import Trigger

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0}


class CycleMemory(msgspec.Struct, frozen=True):
    """Where the cycle counter stands."""

    register: CounterState = CounterState()


class CycleRule:
    """Tells ``cycle.completed`` of a counter: cycle_id, cycle_no, count, duration_s, ideal_s, parts, cavities, result, params."""

    phase = Phase.RECORD
    ticks = True
    version = 1
    state_type = CycleMemory

    def __init__(self, config: CycleConfig, name: str, register: CounterRule, ending: Ending) -> None:
        """Follow ``register``; where something is read with it, its samples are those of the trigger group."""
        self.name = f"cycles.{name}"
        self.tags, self.mark = register.tags, register.watch.ref
        self.fingerprint = register.fingerprint
        self._config, self._register, self._ending = config, register, ending
        self._group = f"cycles.{name}" if config.extras else None

    def initial(self) -> CycleMemory:
        """No baseline."""
        return CycleMemory()

    def step(self, state: CycleMemory, moment: Moment) -> tuple[CycleMemory, Outcome]:
        """Fold one moment."""
        rows: Mapping[str, Reading] = moment.readings
        if self._group is not None:
            rows = moment.snapshots.get(self._group, {})
            own = {ref: reading for ref, reading in moment.readings.items() if ref != self._register.watch.ref}
            moment = msgspec.structs.replace(moment, readings={**own, **rows})
        register, counts, told = counted(self._register, state.register, moment)
        told += [self._completed(count, rows) for count in counts if count.data["delta"] > 0]
        after = state if register is state.register else CycleMemory(register)
        return after, Outcome(tuple(told)) if told else NOTHING

    def _completed(self, count: ProductionEvent, rows: Mapping[str, Reading]) -> ProductionEvent:
        number = round(count.data["delta"])
        cycle_id = self._ending.cycle_id(count.time)
        data = self._ending.data(rows, cycle_id, int(count.data["raw"]), number)
        lasted = number_of(rows, self._config.duration)
        if number == 1 and count.derivation == "observed" and lasted is not None:
            data["duration_s"] = round(lasted * _SECONDS[self._config.duration_unit], 9)
        torn = any(value_of(rows, ref) is None for ref in self._config.extras.values())
        return retold(
            count, "cycle.completed", data, causation=cycle_id, quality=Quality.UNCERTAIN if torn and number == 1 else count.quality
        )


def trigger(config: CycleConfig, *, name: str) -> tuple[str, Trigger] | None:
    """Return the device and the trigger group of the entry ``name``: its mark fires it, everything is read at once. None: nothing is read with it."""
    if not config.extras:
        return None
    fires = config.count.tag if config.count is not None else config.running or config.end or ""
    refs = dict.fromkeys((fires, *config.extras.values()))
    return device_of(fires), Trigger(f"cycles.{name}", name_of(fires), tuple(name_of(ref) for ref in refs))


def build(
    config: CycleConfig,
    *,
    unit: str,
    name: str,
    tags: Mapping[str, Tag],
    near: Neighbours,
) -> tuple[Rule[Any], ...]:
    """Return the rule of the entry ``name``. Raises ValueError for an unknown tag, or tags of several devices in one request."""
    where = f"unit {unit}, cycles.{name}"
    check_references([(f"{where}.{place}", ref) for place, ref in {**config.marks, **config.extras}.items()], tags)
    devices = sorted({device_of(ref) for ref in (*config.marks.values(), *config.extras.values())})
    if len(devices) > 1:
        raise ValueError(f"{where}: tags of {' and '.join(devices)}; a cycle is read in one request from one device")
    ending = Ending(config, unit, name)
    if config.count is None:
        return (CycleBitRule(config, name, ending),)
    register = follow(config.count, unit=unit, name=f"cycles.{name}", role="total", uom="C62", tags=tags, near=near)
    return (CycleRule(config, name, register, ending),)
