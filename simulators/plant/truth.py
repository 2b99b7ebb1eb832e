"""The truth of a plant scenario: what an agent has to tell of it, from the scenario alone.

What is made in the very scan of a change of order or lot was made before the change; at the instant of a shift's beginning, in that shift.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from simulators.plant.facts import Facts, step
from simulators.plant.schema import PlantScenario
from simulators.plant.tracks import Plant
from simulators.shifts import shift_windows
from simulators.tracks import Steps
from simulators.vocabulary import SECOND

SAMPLED, POLLED, HEARD = 0.1, 0.5, 0.5
"""Plant s by which the time of a change may differ where the PLC gives it, and where the agent reads it; machine s for what the MES says."""

WORDS = {
    ("waiting", "running"): "started",
    ("running", "paused"): "paused",
    ("paused", "running"): "resumed",
    ("running", "completed"): "completed",
    ("paused", "completed"): "completed",
    ("running", "aborted"): "aborted",
    ("paused", "aborted"): "aborted",
}
"""What the steps between two stages of an order are called; others are none."""


def facts_of(plant: Plant, speed: float) -> Facts:
    """Compute the truth; ``speed`` widens only the times of what the agent's own clock has to tell."""
    truth = Facts()
    _made(plant, truth)
    _units(plant, truth)
    _materials(plant, truth, speed)
    _states(plant, truth, speed)
    for t, word, order in _orders(plant):
        member = plant.scenario.context["order"]
        truth.happened(
            "orders", t / SECOND, f"{word} {order}", HEARD * speed if member.tag is None else _slack(plant, member.tag, speed)
        )
    for (one, _, _), (name, begin, _) in pairwise(shift_windows(plant.scenario)):
        local = (plant.scenario.epoch + timedelta(microseconds=begin // 1000)).astimezone(ZoneInfo(plant.scenario.time_zone))
        truth.happened("shifts", begin / SECOND, f"{one} to {name} at {local:%H:%M %z}", 0.001)
    _parameters(plant, truth, speed)
    return truth.in_order()


def _slack(plant: Plant, ref: str, speed: float) -> float:
    polled = plant.scenario.devices[ref.partition(".")[0]].driver == "modbus"
    return POLLED + 0.1 * speed if polled else SAMPLED


def _before(steps: Steps, t: int) -> str:
    return str(steps.at(max(t - 1, 0)))


def _made(plant: Plant, truth: Facts) -> None:
    plan = plant.scenario
    members = {name: plant.context(name) for name in plan.context}
    windows = shift_windows(plan)
    for name, counter in plan.counters.items():
        for j, t in enumerate(plant.counts(counter)):
            if name == plan.cycle:
                truth.add("cycles by order", (_before(members["order"], t),))
                truth.add(
                    "parts of cycles by order", (_before(members["order"], t),), plan.ring.cavities if plan.ring is not None else 1
                )
            if counter.disposition is None:
                continue
            for member, steps in members.items():
                truth.add(f"{name} by {member}", (_before(steps, t),), counter.per)
            shift = next((shift for shift, begin, end in windows if begin <= t < end), "")
            truth.add(f"{name} by shift", (shift,), counter.per)
            if counter.reasons is not None:
                codes = counter.reasons.codes
                truth.add("rejects by reason", (str(codes[j % len(codes)]),), counter.per)
            if _before(members["order"], t):
                truth.add("told at the order's end", (_before(members["order"], t), name), counter.per)
    ended = {order for _, word, order in _orders(plant) if word in {"completed", "aborted"}}
    told = truth.sums["told at the order's end"]
    for key in [key for key in told if key[0] not in ended]:
        del told[key]


def _units(plant: Plant, truth: Facts) -> None:
    order = plant.context("order")
    for unit in plant.units:
        verdict = "ok" if unit.ok else "nok"
        truth.add("units by serial", (unit.serial, unit.cavity, verdict))
        truth.add("units by cavity", (unit.cavity, verdict))
        truth.add("units by order", (_before(order, unit.t),))


def _materials(plant: Plant, truth: Facts, speed: float) -> None:
    order, made = plant.context("order"), plant.context("lot")
    for place, one in plant.scenario.materials.items():
        lots = Steps([(0, ""), *one.steps])
        for t in plant.strokes:
            truth.add("genealogy", (place, _before(lots, t), _before(order, t), _before(made, t)), one.qty)
        for t, lot in lots.changes(0, plant.length):
            truth.happened("lots", t / SECOND, f"{place} {step(lots.at(t - 1), lot)}", _slack(plant, one.lot, speed))


def _states(plant: Plant, truth: Facts, speed: float) -> None:
    slack = max(_slack(plant, ref, speed) for shown in plant.scenario.states.shows.values() for ref in shown)
    names = Steps([*plant.scenario.states.steps])
    standing: str | None = None
    for t, name in names.changes(0, plant.length):
        truth.happened("states", t / SECOND, str(name), slack)
        category = plant.scenario.states.downtime.get(str(name))
        if category is not None and standing is None:
            truth.happened("downtimes", t / SECOND, category, slack)
            standing = category
        elif category is None and standing is not None:
            truth.happened("downtimes", t / SECOND, f"end of {standing}", slack)
            standing = None


def _orders(plant: Plant) -> Iterator[tuple[int, str, str]]:
    """Give what happens to orders as (t, word, order): by their number alone, or by their stage."""
    orders, plan = plant.context("order"), plant.scenario
    if plan.stages is None:
        for t, order in orders.changes(0, plant.length):
            old = str(orders.at(t - 1))
            yield from [(t, "completed", old)] if old else []
            yield from [(t, "started", str(order))] if order else []
        return
    stages = Steps([(0, "waiting"), *plan.stages.steps])
    for t, stage in stages.changes(0, plant.length):
        word = WORDS.get((str(stages.at(t - 1)), str(stage)))
        if word is not None:
            yield t, word, str(orders.at(t))


def _parameters(plant: Plant, truth: Facts, speed: float) -> None:
    plan: PlantScenario = plant.scenario
    named = [("recipe", "recipe", plan.recipe)] if plan.recipe is not None else []
    for kind, name, one in [*named, *(("setpoints", name, one) for name, one in plan.setpoints.items())]:
        steps = plant.tags[one.tag]
        for t, value in steps.changes(0, plant.length):
            text = f"{name} {step(steps.at(t - 1), value)}"
            truth.happened(kind, t / SECOND, text, _slack(plant, one.tag, speed))
