"""What the server says of variables, as a tag is written: type, names of values, fields of structures, and the value now."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from asyncua import ua

from edge_agent.drivers.opcua.convert import TYPE_IDS, plain_value, quality_of
from edge_agent.drivers.opcua.layout import Layout
from edge_agent.drivers.opcua.pick import Complaint, Field, Pick, pick
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.typebook import TypeBook
from edge_agent.drivers.opcua.units import ANALOG, units_of
from edge_agent.drivers.opcua.variant import LOCALIZED_TEXT
from edge_agent.model.reading import Quality, Value

_TYPES: Final = {number: name for name, number in TYPE_IDS.items()} | {LOCALIZED_TEXT: "string"}
_MULTI_STATE: Final = frozenset({"i=2373", "i=2376", "i=11238", "i=19077"})
"""TwoStateDiscreteType, MultiStateDiscreteType, MultiStateValueDiscreteType, MultiStateDictionaryEntryDiscreteType (OPC 10000-8, 5.3.3)."""
_DEEPEST: Final = 8
_MOST_FIELDS: Final = 1_000


class Described(NamedTuple):
    """One value that can be a tag. ``field`` is the way into a structure; ``type`` and ``names`` as a tag has them.

    ``problem`` says why there is no good value now. ``usable`` is False where a tag could never have one.
    """

    place: int
    field: str
    type: str | None
    names: Mapping[int, str]
    value: Value | None
    problem: str
    usable: bool
    uom: str = ""


async def describe(session: Session, nodes: Sequence[ua.NodeId], definitions: Sequence[str]) -> list[Described]:
    """Return what can be tags of the variables ``nodes``, in order; ``definitions`` are their type definitions. Raises DisconnectedError."""
    rows = await session.read(nodes)
    kinds = await session.read_ids([ua.ReadValueId(node, ua.AttributeIds.DataType) for node in nodes])
    data_types = [kind if isinstance(kind, str) else "" for kind in kinds.values]
    book = TypeBook(session)
    names = await book.enumerations(sorted({name for name in data_types if name}))
    special = [place for place, definition in enumerate(definitions) if definition in _MULTI_STATE]
    own = dict(zip(special, await book.learn_names([nodes[place] for place in special]), strict=True))
    await book.learn_encodings({encoding for value in rows.values if isinstance(encoding := getattr(value, "encoding", None), str)})
    analog = [place for place, definition in enumerate(definitions) if definition in ANALOG]
    units = dict(zip(analog, await units_of(session, [nodes[place] for place in analog]), strict=True))
    out: list[Described] = []
    for place, data_type in enumerate(data_types):
        made = _variable(place, rows, book, data_type, own.get(place) or names.get(data_type) or {})
        out += [one._replace(uom=units[place]) for one in made] if units.get(place) else made
    return out


def _variable(place: int, rows: Columns, book: TypeBook, data_type: str, names: Mapping[int, str]) -> list[Described]:
    kind, value, status = rows.types[place], rows.values[place], rows.status[place]
    layout = book.layouts.get(getattr(value, "encoding", "")) or book.kind(data_type)
    if isinstance(layout, Layout) and not kind & 0x80:
        return [_field(place, rows, book, layout, path) for path in _paths(layout)]
    plain, complaint = plain_value(kind, value)
    declared = book.kind(data_type)
    known = kind or (declared if isinstance(declared, int) else 0)
    usable = status & 0xFFFF_0000 not in {ua.StatusCodes.BadNotReadable, ua.StatusCodes.BadUserAccessDenied}
    if isinstance(layout, Layout):
        complaint = f"an array of structures with {', '.join(layout.fields)}: name one with index and field"
        usable = False
    return [Described(place, "", _TYPES.get(known), names, plain, _problem(status) or complaint or "", usable)]


def _problem(status: int) -> str:
    return "" if quality_of(status) is Quality.GOOD else status_text(status)


def _paths(layout: Layout) -> list[tuple[tuple[Field, ...], int]]:
    """Return the ways to everything in a structure that is none itself, with their encoding bytes; bounded in depth and number."""
    out: list[tuple[tuple[Field, ...], int]] = []
    waiting: list[tuple[Layout, tuple[Field, ...]]] = [(layout, ())]
    while waiting and len(out) < _MOST_FIELDS:
        inside, before = waiting.pop(0)
        for name, kind, inner in inside.parts:
            way = (*before, Field(name, ()))
            if not isinstance(inner, Layout):
                out.append((way, kind))
            elif not kind & 0x80 and len(way) < _DEEPEST and len(waiting) < _MOST_FIELDS:
                waiting.append((inner, way))
    return out[:_MOST_FIELDS]


def _field(place: int, rows: Columns, book: TypeBook, layout: Layout, path: tuple[tuple[Field, ...], int]) -> Described:
    way, declared = path
    kind, value = pick(Pick(fields=way), rows.types[place], rows.values[place], book.layouts, cut=False)
    plain, complaint = plain_value(kind, value)
    data_type = layout.data_type(tuple(step.name for step in way))
    text = ".".join("".join(f"&{char}" if char in ".&[]" else char for char in step.name) for step in way)
    problem = _problem(rows.status[place]) or (str(value) if isinstance(value, Complaint) else complaint or "")
    return Described(place, text, _TYPES.get(declared), book.enums.get(data_type, {}), plain, problem, usable=True)


def shown(described: Described) -> str:
    """Return the value for a person, with the name that it has, in one line."""
    value = described.value
    if isinstance(value, tuple):
        plain = "" if any(isinstance(one, tuple) for one in value[:4]) else f": {', '.join(map(str, value[:4]))}"
        text = f"{len(value)} elements{plain}{' ...' if plain and len(value) > 4 else ''}"
    else:
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    name = described.names.get(value) if isinstance(value, int) else None
    parts = [text[:80], f"({name})" if name else "", described.problem]
    return "".join(char if char.isprintable() else "?" for char in " ".join(part for part in parts if part))
