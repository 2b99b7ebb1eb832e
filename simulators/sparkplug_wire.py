"""Sparkplug B payloads as bytes, by the text of the specification and of Protocol Buffers' encoding, and by no library."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from dataclasses import field as made_by
from typing import Any


class MalformedError(ValueError):
    """The bytes are no Sparkplug B payload."""


@dataclass
class Property:
    """A PropertyValue: its type, and its value by the name of the field that carried it."""

    type: int | None = None
    is_null: bool = False
    field: str = ""
    value: Any = None


@dataclass
class Metric:
    """A metric as it came; ``field`` is the name of the field that carried the value, empty where there was none."""

    name: str | None = None
    alias: int | None = None
    timestamp: int | None = None
    datatype: int | None = None
    is_historical: bool = False
    is_null: bool = False
    field: str = ""
    value: Any = None
    keys: list[str] = made_by(default_factory=list)
    properties: list[Property] = made_by(default_factory=list)

    def property(self, key: str) -> Property | None:
        """Return a property, None where there is none."""
        return self.properties[self.keys.index(key)] if key in self.keys and len(self.properties) > self.keys.index(key) else None


@dataclass
class Payload:
    """A payload."""

    timestamp: int | None = None
    seq: int | None = None
    metrics: list[Metric] = made_by(default_factory=list)


_VALUES = {
    10: "int",
    11: "long",
    12: "float",
    13: "double",
    14: "boolean",
    15: "string",
    16: "bytes",
    17: "dataset",
    18: "template",
}
_PROPERTIES = {3: "int", 4: "long", 5: "float", 6: "double", 7: "boolean", 8: "string", 9: "set", 10: "sets"}


def read(body: bytes) -> Payload:
    """Decode a payload. Raises MalformedError."""
    made = Payload()
    for number, value in _fields(body):
        if number == 1:
            made.timestamp = _integer(value)
        elif number == 2:
            made.metrics.append(_metric(_bytes(value)))
        elif number == 3:
            made.seq = _integer(value)
    return made


def _metric(body: bytes) -> Metric:
    made = Metric()
    for number, value in _fields(body):
        match number:
            case 1:
                made.name = _text(value)
            case 2:
                made.alias = _integer(value)
            case 3:
                made.timestamp = _integer(value)
            case 4:
                made.datatype = _integer(value)
            case 5:
                made.is_historical = bool(value)
            case 7:
                made.is_null = bool(value)
            case 9:
                made.keys, made.properties = _property_set(_bytes(value))
            case _ if number in _VALUES:
                made.field, made.value = _VALUES[number], _value(_VALUES[number], value)
    return made


def _property_set(body: bytes) -> tuple[list[str], list[Property]]:
    keys, values = [], []
    for number, value in _fields(body):
        if number == 1:
            keys.append(_text(value))
        elif number == 2:
            values.append(_property(_bytes(value)))
    return keys, values


def _property(body: bytes) -> Property:
    made = Property()
    for number, value in _fields(body):
        if number == 1:
            made.type = _integer(value)
        elif number == 2:
            made.is_null = bool(value)
        elif number in _PROPERTIES:
            made.field, made.value = _PROPERTIES[number], _value(_PROPERTIES[number], value)
    return made


def _value(name: str, value: int | bytes) -> Any:
    match name:
        case "float" | "double":
            raw = _bytes(value)
            if len(raw) != (4 if name == "float" else 8):
                raise MalformedError(f"a {name} of {len(raw)} bytes")
            return struct.unpack("<f" if name == "float" else "<d", raw)[0]
        case "boolean":
            return bool(value)
        case "string":
            return _text(value)
        case _:
            return value


def _fields(body: bytes) -> list[tuple[int, int | bytes]]:
    """Return (number, value) pairs: integers for varints, bytes for the other kinds."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(body, at)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
            value, at = _take(body, at, size)
        elif kind == 2:
            size, at = _varint(body, at)
            value, at = _take(body, at, size)
        else:
            raise MalformedError(f"wire type {kind}")
        found.append((number, value))
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    total = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            raise MalformedError("a number without its end")
        total |= (body[at] & 127) << shift
        at += 1
        if body[at - 1] < 128:
            return total, at
    raise MalformedError("a number of more than ten bytes")


def _take(body: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(body):
        raise MalformedError("shorter than it says")
    return body[at : at + size], at + size


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise MalformedError("bytes instead of a number")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MalformedError("a number instead of bytes")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedError("no UTF-8") from error
