"""Metrics: what is described in a birth, what is said later, and both as bytes. Pure. Specification 6.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from math import isfinite
from typing import Any, Literal

import msgspec

from edge_agent.publish.sparkplug.descriptor import Payload

Value = int | float | bool | str | None
_MS = 1_000_000


class DataType(IntEnum):
    """Sparkplug's basic data types (6.4.16), those that are used here."""

    INT32 = 3
    INT64 = 4
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


class Quality(IntEnum):
    """The codes of the property ``Quality`` (6.4.9.1)."""

    BAD = 0
    GOOD = 192
    STALE = 500


class Metric(msgspec.Struct, frozen=True):
    """A metric as a birth describes it; ``unit`` becomes the property ``engUnit``."""

    name: str
    type: DataType
    unit: str | None = None


class Sample(msgspec.Struct, frozen=True):
    """One value of a metric: its time (UTC ns), and what it is worth. ``None`` is null."""

    value: Value
    time: int
    quality: Quality = Quality.GOOD


class Change(msgspec.Struct, frozen=True):
    """A value to tell; ``historical``: it was buffered, and says nothing of the present."""

    metric: Metric
    sample: Sample
    historical: bool = False
    tell_quality: bool = False


Samples = Mapping[str, Sample]
_FIELDS = {
    DataType.INT32: "int_value",
    DataType.INT64: "long_value",
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
}


def fitting(type_: DataType, value: Value) -> Value:
    """Return ``value`` as ``type_`` holds it, None where it cannot: a number out of range would come out as another one."""
    match type_, value:
        case _, None:
            return None
        case DataType.STRING, str():
            return value
        case DataType.BOOLEAN, bool():
            return value
        case ((DataType.INT32 | DataType.INT64), int() | float()) if not isinstance(value, bool) and value == value // 1:
            bits = 31 if type_ is DataType.INT32 else 63
            return int(value) if -(1 << bits) <= value < 1 << bits else None
        case ((DataType.FLOAT | DataType.DOUBLE), int() | float()) if not isinstance(value, bool):
            return float(value) if isfinite(value) and (type_ is DataType.DOUBLE or abs(value) < 3.4e38) else None
        case _:
            return None


def birth(samples: Iterable[tuple[Metric, Sample]], aliases: Mapping[str, int] | None, own: str = "") -> list[Any]:
    """Return the metrics of a birth, oldest first (tck-id-operational-behavior-data-publish-dbirth-order), each with all there is to say of it.

    ``aliases`` by ``own`` + name; a metric without one gets none.
    """
    made = []
    for metric, sample in sorted(samples, key=lambda pair: pair[1].time // _MS):
        one = _valued(metric.type, sample)
        one.name, one.datatype = metric.name, metric.type
        if aliases is not None and (alias := aliases.get(own + metric.name)) is not None:
            one.alias = alias
        _property(one, "Quality", sample.quality)
        if metric.unit is not None:
            _property(one, "engUnit", metric.unit)
        made.append(one)
    return made


def data(changes: Sequence[Change], aliases: Mapping[str, int] | None, own: str = "") -> list[Any]:
    """Return the metrics of a DATA message: by alias alone where there are aliases, without datatype (tck-id-payloads-metric-datatype-not-req).

    What is historical stands first; what is not is in the order of time.
    """
    made = []
    for change in sorted(changes, key=lambda each: (not each.historical, each.sample.time // _MS)):
        one = _valued(change.metric.type, change.sample)
        if aliases is None:
            one.name = change.metric.name
        else:
            one.alias = aliases[own + change.metric.name]
        if change.historical:
            one.is_historical = True
        if change.tell_quality:
            _property(one, "Quality", change.sample.quality)
        made.append(one)
    return made


def bare(name: str, type_: DataType, value: Value, time: int) -> Any:
    """Return a metric with nothing but name, type, time and value: ``bdSeq``, ``Node Control/Rebirth``."""
    one = _valued(type_, Sample(value, time))
    one.name, one.datatype = name, type_
    return one


def payload(metrics: Sequence[Any], time: int, seq: int | None) -> bytes:
    """Return a payload sent at ``time`` (UTC ns); without ``seq`` it is an NDEATH."""
    made = Payload(timestamp=time // _MS)
    made.metrics.extend(metrics)
    if seq is not None:
        made.seq = seq
    return bytes(made.SerializeToString())


def _valued(type_: DataType, sample: Sample) -> Any:
    one = Payload().metrics.add()
    one.timestamp = max(0, sample.time // _MS)
    value: Any = fitting(type_, sample.value)
    if value is None:
        one.is_null = True
    else:
        bits: Literal[0, 32, 64] = {DataType.INT32: 32, DataType.INT64: 64}.get(type_, 0)  # type: ignore[assignment]
        setattr(one, _FIELDS[type_], value & (1 << bits) - 1 if bits else value)  # signed ones travel as two's complement (6.4.16)
    return one


def _property(metric: Any, key: str, value: str | Quality) -> None:
    metric.properties.keys.append(key)
    if isinstance(value, str):
        metric.properties.values.add(type=DataType.STRING, string_value=value)
    else:
        metric.properties.values.add(type=DataType.INT32, int_value=int(value))  # tck-id-payloads-propertyset-quality-value-type
