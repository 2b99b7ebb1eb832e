"""Which metrics a work unit has, and which of them an event moves. Pure. Names are PackML's where PackML has one (OPC 30050)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from edge_agent.publish.sparkplug.metric import DataType, Metric, Value

Values = dict[str, Value]


class Register(msgspec.Struct, frozen=True):
    """A counter or a meter: its unit of measure, the scale from raw units to it, and the device that holds it."""

    uom: str
    scale: float = 1.0
    device: str = ""


class Shape(msgspec.Struct, frozen=True):
    """What a work unit has: counters by name, meters by the name their events give."""

    counters: Mapping[str, Register] = msgspec.field(default_factory=dict)
    meters: Mapping[str, Register] = msgspec.field(default_factory=dict)


_FIXED = {
    "Status/StateCurrent": DataType.INT32,
    "Status/StateName": DataType.STRING,
    "Status/StateCategory": DataType.STRING,
    "Status/UnitModeCurrent": DataType.INT32,
    "Status/CurMachSpeed": DataType.FLOAT,
    "Status/EquipmentStarved": DataType.BOOLEAN,
    "Status/EquipmentBlocked": DataType.BOOLEAN,
    "Admin/StopReason/ID": DataType.INT32,
    "Context/Order": DataType.STRING,
    "Context/Product": DataType.STRING,
    "Context/Lot": DataType.STRING,
    "Context/Shift": DataType.STRING,
    "Stream/Epoch": DataType.STRING,
    "Stream/Seq": DataType.INT64,
    "Stream/PublishedSeq": DataType.INT64,
}


def metrics_of(shape: Shape, alarms: Collection[str]) -> dict[str, Metric]:
    """Return every metric of a unit by name; ``alarms`` are the ids that are known by now."""
    found = [Metric(name, type_) for name, type_ in _FIXED.items()]
    for name, register in shape.counters.items():
        whole = DataType.INT64 if float(register.scale).is_integer() else DataType.DOUBLE
        found += [Metric(total(name), whole, register.uom), Metric(raw(name), DataType.INT64)]
    found += [Metric(energy(name, meter.uom), DataType.DOUBLE, meter.uom) for name, meter in shape.meters.items()]
    found += [Metric(alarm(each), DataType.BOOLEAN) for each in sorted(alarms)]
    return {metric.name: metric for metric in found}


def total(counter: str) -> str:
    """Return the metric of the agent's accumulator, which never wraps."""
    return f"Admin/Count/{_word(counter)}/Total"


def raw(counter: str) -> str:
    """Return the metric of the register as the PLC shows it."""
    return f"Admin/Count/{_word(counter)}/Raw"


def energy(meter: str, uom: str) -> str:
    """Return the metric of a meter's total."""
    return f"Energy/{_word(meter)}/Total_kWh" if uom == "KWH" else f"Energy/{_word(meter)}/Total"


def alarm(alarm_id: str) -> str:
    """Return the metric that is true while an alarm stands."""
    return f"Alarm/{_word(alarm_id)}/Active"


def state(code: object, name: str | None, category: str | None) -> Values:
    """Return what a state is in metrics; a code that is no number has its name only."""
    return {
        "Status/StateCurrent": code if isinstance(code, int) and not isinstance(code, bool) else None,
        "Status/StateName": name,
        "Status/StateCategory": category,
        "Status/EquipmentStarved": category == "starved",
        "Status/EquipmentBlocked": category == "blocked",
    }


def context(ctx: Mapping[str, Any]) -> Values:
    """Return order, product, lot and shift; null where there is none."""
    return {f"Context/{name.capitalize()}": ctx.get(name) for name in ("order", "product", "lot", "shift")}


def moved(type_: str, data: Mapping[str, Any], shape: Shape) -> Values:
    """Return the metrics that an event sets; ``type_`` without prefix and version. Members that are missing move nothing."""
    found = context(data["ctx"]) if isinstance(data.get("ctx"), dict) else {}
    if (how := _MOVES.get(type_)) is not None:
        found |= how(data, shape)
    return found


def _state(data: Mapping[str, Any], _: Shape) -> Values:
    to = data.get("to")
    found = state(to.get("code"), to.get("name"), to.get("category")) if isinstance(to, dict) else {}
    return found | _reason(data, _)


def _reason(data: Mapping[str, Any], _: Shape) -> Values:
    reason = data.get("reason")
    code = reason.get("code") if isinstance(reason, dict) else None
    return {"Admin/StopReason/ID": code} if isinstance(code, int) else {}


def _mode(data: Mapping[str, Any], _: Shape) -> Values:
    to = data.get("to")
    return {"Status/UnitModeCurrent": to.get("code")} if isinstance(to, dict) else {}


def _count(data: Mapping[str, Any], shape: Shape) -> Values:
    name = str(data.get("counter"))
    if name not in shape.counters:
        return {}
    found: Values = {total(name): _number(data["total"])} if "total" in data else {}
    return found | ({raw(name): _number(data["raw"])} if data.get("raw") is not None else {})


def _discontinuity(data: Mapping[str, Any], shape: Shape) -> Values:
    name, after = str(data.get("counter")), data.get("raw_after")
    return {raw(name): _number(after)} if name in shape.counters and after is not None else {}


def _energy(data: Mapping[str, Any], shape: Shape) -> Values:
    name = str(data.get("meter"))
    return {energy(name, shape.meters[name].uom): _number(data.get("total"))} if name in shape.meters else {}


def _alarm(data: Mapping[str, Any], _: Shape, *, active: bool) -> Values:
    return {alarm(str(data["alarm_id"])): active} if data.get("alarm_id") is not None else {}


def _speed(data: Mapping[str, Any], _: Shape) -> Values:
    return {"Status/CurMachSpeed": _number(data["actual"])} if "actual" in data else {}


def _number(value: Any) -> Value:
    """Return a number that may travel as text because it is large."""
    if isinstance(value, str):
        return int(value) if value.removeprefix("-").isdecimal() else None
    return value if isinstance(value, int | float) else None


_MOVES: dict[str, Callable[[Mapping[str, Any], Shape], Values]] = {
    "state.changed": _state,
    "mode.changed": _mode,
    "production.count": _count,
    "counter.discontinuity": _discontinuity,
    "energy.consumed": _energy,
    "speed.changed": _speed,
    "downtime.started": _reason,
    "downtime.reason": _reason,
    "downtime.ended": _reason,
    "alarm.raised": lambda data, shape: _alarm(data, shape, active=True),
    "alarm.cleared": lambda data, shape: _alarm(data, shape, active=False),
}


def _word(name: str) -> str:
    """Return a name as one part of a metric's name: a slash would open a folder of its own."""
    return name.replace("/", "_")
