"""Decoders of structures, compiled from the definitions that servers give (pure; OPC 10000-6, 5.2.6 and 5.2.7).

A decoder is a list of steps: a run of fixed-size fields is one ``struct.Struct``, everything else one function each. Nothing that a
server says is ever executed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, Final, NamedTuple

from edge_agent.drivers.opcua.definition import StructureDefinition, StructureField
from edge_agent.drivers.opcua.pick import Decoded
from edge_agent.drivers.opcua.variant import (
    DATETIME,
    SCALARS,
    STRUCTURE,
    U32,
    DecodeError,
    array,
    count_of,
    nanoseconds,
    scalar,
    shaped,
    variant,
)

_DEPTH: Final = 100
_ARRAY, _MATRIX = 0x80, 0x40
_STATUS: Final = 19
_OPTIONAL, _UNION, _SUBTYPED, _SUBTYPED_UNION = 1, 2, 3, 4
_ANY: Final = 24

Decode = Callable[[bytes, int, int], tuple[Any, int]]
"""(body, position, depth) -> (value, position after)."""


class Layout:
    """The decoder of one structure; filled after it was made, so that types may contain themselves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: tuple[tuple[str, int, int | Layout], ...] = ()
        self.types: dict[str, str] = {}
        self._decode: Decode = self._unknown
        self._last: tuple[bytes, Decoded] = b"", {}

    def _unknown(self, body: bytes, pos: int, depth: int) -> tuple[Any, int]:
        del body, pos, depth
        raise DecodeError(f"the server does not define the type {self.name}")

    def fill(self, definition: StructureDefinition, kinds: Mapping[str, int | Layout]) -> None:
        """Compile; ``kinds`` gives for each data type of a field its built-in type id, or the layout of a structure."""
        self.types = {field.name: field.data_type for field in definition.fields}
        subtyped = definition.kind in {_SUBTYPED, _SUBTYPED_UNION}
        parts = [_part(field, kinds, subtyped=subtyped and field.optional) for field in definition.fields]
        inner = [STRUCTURE if subtyped and field.optional else kinds[field.data_type] for field in definition.fields]
        self.parts = tuple((part.name, part.kind, kind) for part, kind in zip(parts, inner, strict=True))
        if definition.kind in {_UNION, _SUBTYPED_UNION}:
            self._decode = partial(_union, parts)
        elif definition.kind == _OPTIONAL:
            self._decode = partial(_with_mask, list(zip(parts, (field.optional for field in definition.fields), strict=True)))
        else:
            self._decode = partial(_in_order, _joined(parts))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return tuple(self.types)

    def data_type(self, way: Sequence[str]) -> str:
        """Return the data type of a field of a field; "" when there is none."""
        step: int | Layout = self
        for name in way[:-1]:
            step = next((inner for part, _, inner in step.parts if part == name), 0) if isinstance(step, Layout) else 0
        return step.types.get(way[-1], "") if isinstance(step, Layout) else ""

    def decode(self, body: bytes, pos: int, depth: int) -> tuple[Decoded, int]:
        """Decode one structure inside another."""
        if depth > _DEPTH:
            raise DecodeError("structures nested too deeply")
        decoded, end = self._decode(body, pos, depth + 1)
        if end == pos and depth:
            # Types that contain types that contain nothing could make a short body endless work.
            raise DecodeError(f"{self.name} is empty inside another structure")
        return decoded, end

    def __call__(self, body: bytes) -> Decoded:
        """Return the fields of a whole body; raises DecodeError unless the definition fits it to the last byte.

        Several tags of one structure come with the same body, one after another: it is decoded once.
        """
        if body and body == self._last[0]:
            return self._last[1]
        try:
            decoded, end = self.decode(body, 0, 0)
        except (struct.error, IndexError) as error:
            raise DecodeError(f"{self.name} ends too early: {error}") from None
        if end != len(body):
            raise DecodeError(f"{self.name} has {len(body) - end} bytes more than its definition")
        self._last = body, decoded
        return decoded


class _Part(NamedTuple):
    """One field: its encoding byte, and its decoder."""

    name: str
    kind: int
    decode: Decode


def _part(field: StructureField, kinds: Mapping[str, int | Layout], *, subtyped: bool) -> _Part:
    kind = kinds[field.data_type]
    if subtyped:  # the field may hold a subtype: a structure as ExtensionObject, anything else as Variant (OPC 10000-6, 5.2.6)
        kind = STRUCTURE if isinstance(kind, Layout) or kind == STRUCTURE else _ANY
    number = STRUCTURE if isinstance(kind, Layout) else kind
    one: Decode = kind.decode if isinstance(kind, Layout) else _any if kind == _ANY else partial(scalar, kind)
    if field.rank == 1:
        return _Part(field.name, number | _ARRAY, partial(_list, kind))
    if field.rank > 1:
        return _Part(field.name, number | _ARRAY | _MATRIX, partial(_matrix, kind))
    return _Part(field.name, number, one)


def _list(kind: int | Layout, body: bytes, pos: int, depth: int) -> tuple[tuple[object, ...] | None, int]:
    if not isinstance(kind, Layout):
        return array(body, pos, kind, depth)
    count, pos = count_of(body, pos)
    return (None, pos) if count == -1 else _layouts(kind, count, body, pos, depth)


def _layouts(kind: Layout, count: int, body: bytes, pos: int, depth: int) -> tuple[tuple[object, ...], int]:
    values = []
    for _ in range(count):
        value, pos = kind.decode(body, pos, depth)
        values.append(value)
    return tuple(values), pos


def _matrix(kind: int | Layout, body: bytes, pos: int, depth: int) -> tuple[tuple[object, ...] | None, int]:
    """Dimensions, then the values without a count of their own (OPC 10000-6, 5.2.5)."""
    dimensions, pos = array(body, pos, 6, depth)
    if not dimensions:
        return None, pos
    sizes: tuple[int, ...] = tuple(dimensions)  # type: ignore[arg-type]  # kind 6 is Int32
    count = prod(sizes)
    if min(sizes) < 0 or count > len(body) - pos:
        raise DecodeError(f"a matrix of {sizes} announced with {len(body) - pos} bytes left")
    if isinstance(kind, Layout):
        flat, pos = _layouts(kind, count, body, pos, depth)
    else:
        values = []
        for _ in range(count):
            value, pos = scalar(kind, body, pos, depth)
            values.append(value)
        flat = tuple(values)
    return shaped(flat, sizes), pos


def _any(body: bytes, pos: int, depth: int) -> tuple[tuple[int, object], int]:
    """Decode a Variant with its encoding byte."""
    kind, value, pos = variant(body, pos, depth)
    return (kind, value), pos


def _cell(part: _Part, value: Any) -> tuple[int, object]:
    """Return encoding byte and value of a field; those of a Variant are its content's."""
    return value if part.kind == _ANY else (part.kind, value)


def _union(parts: Sequence[_Part], body: bytes, pos: int, depth: int) -> tuple[Decoded, int]:
    (switch,) = U32.unpack_from(body, pos)
    out: dict[str, tuple[int, object]] = {part.name: (0, None) for part in parts}
    pos += 4
    if switch > len(parts):
        raise DecodeError(f"branch {switch} of a union of {len(parts)}")
    if switch:
        part = parts[switch - 1]
        value, pos = part.decode(body, pos, depth)
        out[part.name] = _cell(part, value)
    return out, pos


def _with_mask(parts: Sequence[tuple[_Part, bool]], body: bytes, pos: int, depth: int) -> tuple[Decoded, int]:
    (mask,) = U32.unpack_from(body, pos)
    out: dict[str, tuple[int, object]] = {}
    pos, bit = pos + 4, 0
    for part, optional in parts:
        if optional:
            there, bit = mask >> bit & 1, bit + 1
            if not there:
                out[part.name] = 0, None
                continue
        value, pos = part.decode(body, pos, depth)
        out[part.name] = _cell(part, value)
    return out, pos


class _Run(NamedTuple):
    """Fixed-size fields that follow one another; ``times`` are the places of dates."""

    layout: struct.Struct
    names: tuple[str, ...]
    kinds: tuple[int, ...]
    times: tuple[int, ...]


_FIXED: Final = SCALARS | {DATETIME: "q", _STATUS: "I"}


def _joined(parts: Sequence[_Part]) -> list[_Run | _Part]:
    steps: list[_Run | _Part] = []
    fixed: list[_Part] = []
    for part in (*parts, None):
        if part is not None and part.kind in _FIXED:
            fixed.append(part)
            continue
        if fixed:
            kinds = tuple(one.kind for one in fixed)
            layout = struct.Struct("<" + "".join(_FIXED[kind] for kind in kinds))
            times = tuple(place for place, kind in enumerate(kinds) if kind == DATETIME)
            steps.append(_Run(layout, tuple(one.name for one in fixed), kinds, times))
            fixed = []
        if part is not None:
            steps.append(part)
    return steps


def _in_order(steps: Sequence[_Run | _Part], body: bytes, pos: int, depth: int) -> tuple[Decoded, int]:
    out: dict[str, tuple[int, object]] = {}
    for step in steps:
        if isinstance(step, _Run):
            values = list(step.layout.unpack_from(body, pos))
            for place in step.times:
                values[place] = nanoseconds(values[place])
            out.update(zip(step.names, zip(step.kinds, values, strict=True), strict=True))
            pos += step.layout.size
        else:
            value, pos = step.decode(body, pos, depth)
            out[step.name] = _cell(step, value)
    return out, pos
