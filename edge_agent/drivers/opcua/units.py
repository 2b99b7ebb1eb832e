"""Units of measure that a server gives of its analog variables (EngineeringUnits; OPC 10000-8, 5.6.4.3)."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import struct
from collections.abc import Sequence
from typing import Final

from asyncua import ua

from edge_agent.drivers.opcua.references import PROPERTIES, references
from edge_agent.drivers.opcua.session import Session
from edge_agent.drivers.opcua.typebook import node_of_text
from edge_agent.drivers.opcua.variant import I32, LOCALIZED_TEXT, DecodeError, Structure, scalar, text

ANALOG: Final = frozenset({"i=2368", "i=15318", "i=17497", "i=17570"})
"""AnalogItemType, BaseAnalogType, AnalogUnitType, AnalogUnitRangeType."""

_EU_INFORMATION: Final = "i=889"
_CEFACT: Final = "http://www.opcfoundation.org/UA/units/un/cefact"
_LONGEST: Final = 20


async def units_of(session: Session, nodes: Sequence[ua.NodeId]) -> list[str]:
    """Return the unit of each node: its UN/CEFACT code, else how it is shown, "" where there is none. Raises DisconnectedError."""
    out = [""] * len(nodes)
    if not nodes:
        return out
    found = await references(session, nodes, PROPERTIES)
    wanted = [
        (place, node_of_text(way.node, session.namespaces))
        for place, ways in enumerate(found)
        if isinstance(ways, list)
        for way in ways
        if way.name == "EngineeringUnits"
    ]
    rows = await session.read([node for _, node in wanted])
    for (place, _), value in zip(wanted, rows.values, strict=True):
        if isinstance(value, Structure) and value.encoding == _EU_INFORMATION and value.body is not None:
            out[place] = unit(value.body)
    return out


def unit(body: bytes) -> str:
    """Return the unit of an EUInformation body, "" when it cannot be understood.

    The UnitId of a UN/CEFACT code is its characters as one number: ``CEL`` is 0x43454C (OPC 10000-8, 5.6.4.3).
    """
    try:
        space, pos = text(body, 0)
        (number,) = I32.unpack_from(body, pos)
        display, _ = scalar(LOCALIZED_TEXT, body, pos + 4, 0)
    except (DecodeError, struct.error, IndexError):
        return ""
    if space == _CEFACT and 0 < number < 1 << 24:
        code = int(number).to_bytes(3, "big").lstrip(b"\0")
        if code.isalnum():
            return str(code, "ascii")
    shown = str(display or "").strip()
    return shown if shown.isprintable() and len(shown) <= _LONGEST else ""
