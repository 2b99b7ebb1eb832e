"""Tags that are a part of a value, made ready on each connect: does the server cut arrays, and what are its structures like now."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.layout import Layout
from edge_agent.drivers.opcua.pick import Misfit, Pick, Span, pick, span_text
from edge_agent.drivers.opcua.session import Session
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.typebook import TypeBook
from edge_agent.drivers.opcua.variant import Structure
from edge_agent.model.reading import Tag

_log = structlog.get_logger()


class Part(Protocol):
    """An item whose tag is a part of its variable's value."""

    handle: int
    tag: Tag
    pick: Pick | None
    index_range: str | None
    node: ua.NodeId | None
    detail: str
    types: TypeBook | None


async def prepare(session: Session, items: Sequence[Part]) -> None:
    """Make the parts among ``items`` ready; one whose type cannot be had loses its node and says why. Raises DisconnectedError."""
    parts = [item for item in items if item.node is not None and item.pick is not None]
    named = [item for item in items if item.node is not None and item.tag.names]
    if not parts and not named:
        return
    types = TypeBook(session)
    if parts:
        await _look(session, parts, types)
    if named:
        await _compare_names(session, named, types)


async def _look(session: Session, parts: Sequence[Part], types: TypeBook) -> None:
    """Read every value whole, and its part beside it: what the server answers decides, not what it is said to support."""
    for item in parts:
        item.index_range, item.types = None, types
    whole = await session.read_ids([ua.ReadValueId(item.node, ua.AttributeIds.Value) for item in parts])
    cut = [
        place
        for place, item in enumerate(parts)
        if session.profile.index_range and item.pick and item.pick.spans and isinstance(whole.values[place], tuple)
    ]
    wanted = [ua.ReadValueId(parts[place].node, ua.AttributeIds.Value, _range(parts[place])) for place in cut]
    rows = await session.read_ids(wanted) if wanted else Columns()
    for place, value, status in zip(cut, rows.values, rows.status, strict=True):
        item = parts[place]
        assert item.pick is not None  # noqa: S101 - a part has one
        if not status >> 31 and is_cut(item.pick.spans, whole.values[place], value):
            item.index_range = _range(item)
    opened = [(item, value) for item, value in zip(parts, whole.values, strict=True) if item.pick and item.pick.fields]
    await types.learn_encodings({one.encoding for _, value in opened for one in _structures(value)})
    silent = [ua.ReadValueId(item.node, ua.AttributeIds.DataType) for item, value in opened if not _structures(value)]
    if silent:  # no value yet: the declared type is the best guess
        declared = await session.read_ids(silent)
        await types.learn([value for value in declared.values if isinstance(value, str)])
    for place, item in enumerate(parts):
        _, value = taken(item, whole.types[place], whole.values[place], cut=False)
        if isinstance(value, Misfit):
            item.node, item.detail = None, str(value)


def _range(item: Part) -> str:
    return span_text(item.pick.spans) if item.pick is not None else ""


def is_cut(spans: tuple[Span, ...], whole: object, part: object) -> bool:
    """Whether ``part`` can only be what ``spans`` name of ``whole``: its shape is theirs, and not that of the whole array."""
    wanted = _shape_of_spans(spans, _shape(whole))
    return wanted is not None and _shape(part) == wanted and wanted != _shape(whole)


def _shape(value: object) -> tuple[int, ...]:
    if type(value) is not tuple:
        return ()
    return (len(value), *(_shape(value[0]) if value else ()))


def _shape_of_spans(spans: tuple[Span, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(spans) != len(shape) or any(span.first >= size for span, size in zip(spans, shape, strict=True)):
        return None
    return tuple(min(span.last, size - 1) - span.first + 1 for span, size in zip(spans, shape, strict=True))


def _structures(value: object) -> list[Structure]:
    if isinstance(value, Structure):
        return [value]
    return [one for inner in value for one in _structures(inner)] if type(value) is tuple else []


def taken(item: Part, kind: int, value: object, *, cut: bool) -> tuple[int, object]:
    """Return what the item's tag is of a value; ``cut``: the server was asked for the part only."""
    if item.pick is None:
        return kind, value
    return pick(item.pick, kind, value, item.types.layouts if item.types is not None else {}, cut=cut)


def take_parts(rows: Columns, parts: Mapping[int, Part]) -> None:
    """Replace, in place, the values of the items in ``parts`` (by handle) by what their tags are of them."""
    if not parts:
        return
    for row, handle in enumerate(rows.handles):
        if (item := parts.get(handle)) is not None:
            rows.types[row], rows.values[row] = taken(item, rows.types[row], rows.values[row], cut=item.index_range is not None)


def misfits(rows: Columns) -> list[tuple[int, str]]:
    """Return handle and reason of every structure that does not fit its type any more."""
    return [(handle, str(value)) for handle, value in zip(rows.handles, rows.values, strict=True) if isinstance(value, Misfit)]


async def _compare_names(session: Session, items: Sequence[Part], types: TypeBook) -> None:
    """Say in the log where the server calls a value of an enumeration something else than the configuration."""
    rows = await session.read_ids([ua.ReadValueId(item.node, ua.AttributeIds.DataType) for item in items])
    data_types = [value if isinstance(value, str) else "" for value in rows.values]
    await types.learn([name for name in data_types if name])
    for place, item in enumerate(items):
        if item.pick is not None and item.pick.fields and isinstance(layout := types.kind(data_types[place]), Layout):
            data_types[place] = layout.data_type([step.name for step in item.pick.fields])
    known = await types.enumerations([name for name in data_types if name])
    for item, data_type in zip(items, data_types, strict=True):
        said = known.get(data_type, {})
        other = {value: said[value] for value, name in item.tag.names if value in said and said[value] != name}
        if other:
            _log.warning("opcua.names_differ", tag=item.tag.name, server=other)
