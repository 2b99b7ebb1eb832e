"""Data types as servers define them: the DataTypeDefinition attribute (pure; OPC 10000-3, 5.8.3 and 8.48 to 8.51)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from edge_agent.drivers.opcua.variant import I32, DecodeError, array, count_of, node_id, scalar, text

STRUCTURE_DEFINITION: Final = "i=122"
"""Id of the binary encoding of StructureDefinition (OPC 10000-6, A.3)."""
ENUM_DEFINITION: Final = "i=123"
ENUM_VALUE: Final = "i=8251"

_I64: Final = struct.Struct("<q")
_MOST_FIELDS: Final = 10_000


class StructureField(NamedTuple):
    """One field (OPC 10000-3, 8.51). ``rank`` is the ValueRank: -1 scalar, 1 or more dimensions."""

    name: str
    data_type: str
    rank: int
    optional: bool


class StructureDefinition(NamedTuple):
    """A structure or union (OPC 10000-3, 8.48). ``encoding`` is the id of its binary encoding; ``kind`` the StructureType."""

    encoding: str
    base: str
    kind: int
    fields: tuple[StructureField, ...]


def structure_definition(body: bytes) -> StructureDefinition:
    """Decode a StructureDefinition; raises DecodeError, struct.error or IndexError when it is none."""
    encoding, pos = node_id(body, 0)
    base, pos = node_id(body, pos)
    (kind,) = I32.unpack_from(body, pos)
    count, pos = count_of(body, pos + 4)
    if count > _MOST_FIELDS:
        raise DecodeError(f"a structure of {count} fields")
    fields = []
    for _ in range(count):
        field, pos = _field(body, pos)
        fields.append(field)
    return StructureDefinition(encoding, base, kind, tuple(fields))


def _field(body: bytes, pos: int) -> tuple[StructureField, int]:
    name, pos = text(body, pos)
    _, pos = scalar(21, body, pos, 0)
    data_type, pos = node_id(body, pos)
    (rank,) = I32.unpack_from(body, pos)
    _, pos = array(body, pos + 4, 7, 0)
    optional = body[pos + 4] != 0  # after MaxStringLength
    return StructureField(name or "", data_type, rank, optional), pos + 5


def enum_definition(body: bytes) -> dict[int, str]:
    """Return the names of an EnumDefinition by value (OPC 10000-3, 8.50); the programmatic name where there is one, else the text."""
    count, pos = count_of(body, 0)
    names = {}
    for _ in range(max(count, 0)):
        value, shown, pos = enum_value(body, pos)
        name, pos = text(body, pos)
        names[value] = name or shown
    return names


def enum_value(body: bytes, pos: int = 0) -> tuple[int, str, int]:
    """Return value, name and the position after an EnumValueType (OPC 10000-3, 8.40)."""
    (value,) = _I64.unpack_from(body, pos)
    shown, pos = scalar(21, body, pos + 8, 0)
    _, pos = scalar(21, body, pos, 0)
    return value, shown or "", pos
