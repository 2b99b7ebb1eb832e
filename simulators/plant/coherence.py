"""What a plant scenario may not say although its schema allows it: tags that are nowhere, steps out of order, faults that change something unseen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from simulators.plant.schema import PlantScenario
from simulators.vocabulary import SECOND

_APART = SECOND
"""A change of context, lot or state this near to a fault could be seen before it, in it or behind it: nobody could say which."""


def oddities(scenario: PlantScenario) -> Iterator[str]:
    """Yield what cannot be played, each as ``place: what``."""
    yield from _unknown(scenario)
    yield from _unordered(scenario)
    yield from _unshown(scenario)
    yield from _unseen(scenario)


def _unknown(plan: PlantScenario) -> Iterator[str]:
    """Yield tags that no device has."""
    there = {f"{name}.{tag}" for name, device in plan.devices.items() for tag in device.tags}
    wanted = {f"context.{name}": one.tag for name, one in plan.context.items() if one.tag is not None}
    wanted |= {f"counters.{name}": one.tag for name, one in plan.counters.items()}
    wanted |= {f"counters.{name}.reasons": one.reasons.tag for name, one in plan.counters.items() if one.reasons is not None}
    wanted |= {f"materials.{name}": one.lot for name, one in plan.materials.items()}
    wanted |= {f"materials.{name}.counted_by": one.counted_by for name, one in plan.materials.items() if one.counted_by is not None}
    wanted |= {f"setpoints.{name}": one.tag for name, one in plan.setpoints.items()}
    wanted |= {} if plan.recipe is None else {"recipe": plan.recipe.tag}
    wanted |= {} if plan.stages is None else {"stages": plan.stages.tag}
    wanted |= {f"states.shows.{name}": ref for name, shown in plan.states.shows.items() for ref in shown}
    wanted |= {f"devices.{name}": f"{name}.{one.heartbeat}" for name, one in plan.devices.items() if one.heartbeat is not None}
    if plan.ring is not None:
        ring = plan.ring
        wanted |= {f"ring.{i}": ref for i, ref in enumerate((ring.index, ring.serial_tag, ring.cavity_tag, ring.result_tag))}
    yield from (f"{place}: no device has the tag {ref}" for place, ref in wanted.items() if ref not in there)


def _scripts(plan: PlantScenario) -> Iterator[tuple[str, list[int]]]:
    yield from ((f"context.{name}.steps", [t for t, _ in one.steps]) for name, one in plan.context.items())
    yield from ((f"materials.{name}.steps", [t for t, _ in one.steps]) for name, one in plan.materials.items())
    yield from ((f"setpoints.{name}.steps", [t for t, _ in one.steps]) for name, one in plan.setpoints.items())
    yield "states.steps", [t for t, _ in plan.states.steps]
    yield from [] if plan.stages is None else [("stages.steps", [t for t, _ in plan.stages.steps])]
    yield from [] if plan.recipe is None else [("recipe.steps", [t for t, _ in plan.recipe.steps])]


def _unordered(plan: PlantScenario) -> Iterator[str]:
    for place, times in _scripts(plan):
        if times != sorted(set(times)):
            yield f"{place}: must go forward in time"
    if not plan.states.steps or plan.states.steps[0][0] != 0:
        yield "states.steps: must begin at 0"
    ends = [(one.first, one.first + one.period * (one.count - 1)) for one in plan.strokes]
    if any(after[0] <= before[1] for before, after in pairwise(ends)):
        yield "strokes: must go forward in time"
    if "order" not in plan.context:
        yield "context: needs an order"


def _unshown(plan: PlantScenario) -> Iterator[str]:
    for index, (_, name) in enumerate(plan.states.steps):
        if name not in plan.states.shows:
            yield f"states.steps[{index}]: '{name}' is not among states.shows"
    for index, (_, name) in enumerate(plan.stages.steps if plan.stages is not None else ()):
        if plan.stages is not None and name not in plan.stages.codes:
            yield f"stages.steps[{index}]: '{name}' is not among stages.codes"
    if plan.cycle is not None and plan.cycle not in plan.counters:
        yield f"cycle: '{plan.cycle}' is no counter"
    if plan.mes is None and any(one.mes is not None for one in plan.context.values()):
        yield "mes: needs a topic"


def _unseen(plan: PlantScenario) -> Iterator[str]:
    windows = (*plan.faults.link_cuts, *plan.faults.agent_kills)
    for place, times in _scripts(plan):
        for index, t in enumerate(times):
            if any(begin - _APART <= t <= end + _APART for begin, end in windows):
                yield f"{place}[{index}]: lies in a fault; nobody could know what was made before it and what after"
