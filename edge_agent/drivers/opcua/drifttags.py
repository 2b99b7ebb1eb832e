"""The tags of a device against the server: node gone, namespace moved, type changed, access lost."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Sequence
from typing import Final

from asyncua import ua

from edge_agent.drivers.opcua import item as items_of
from edge_agent.drivers.opcua.address import NodeAddress
from edge_agent.drivers.opcua.config import OpcUaConfig, value_tags_of
from edge_agent.drivers.opcua.convert import STRING, TYPE_IDS, plain_value, quality_of, type_name
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.nearest import Nearest
from edge_agent.drivers.opcua.pick import Complaint
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.typebook import TypeBook
from edge_agent.drivers.opcua.variant import LOCALIZED_TEXT
from edge_agent.model.inspection import Inspection
from edge_agent.model.reading import Quality

_GONE: Final = frozenset({ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid})
_DENIED: Final = frozenset({ua.StatusCodes.BadNotReadable, ua.StatusCodes.BadUserAccessDenied})
_READ, _WRITE = 1, 2
"""Bits of AccessLevel and UserAccessLevel (OPC 10000-3, 8.57)."""
_RIGHTS: Final = "give the agent's user the right to read it on the server"
_PARTS: Final = "compare index, range and field with edge-agent browse"


async def look_at_tags(session: Session, config: OpcUaConfig, one: Inspection) -> list[Item]:
    """Note what is wrong with the tags; returns all of them, those that are there with their node. Raises DisconnectedError."""
    items = [Item(place, tag, config.tags[tag.name]) for place, tag in enumerate(value_tags_of(config))]
    await items_of.resolve(session, items, config)
    rows = await items_of.read(session, items)
    missing = [item for item, status in zip(items, rows.status, strict=True) if item.node is None or status & 0xFFFF_0000 in _GONE]
    one.facts["tags"] = {"configured": len(items), "found": len(items) - len(missing)}
    nearest = Nearest(session, config)
    for item in missing:
        await _gone(item, nearest, one)
        item.node = None
    there = [(row, item) for row, item in enumerate(items) if item.node is not None]
    denied = await _access(session, [item for _, item in there], one)
    for row, item in there:
        if rows.status[row] & 0xFFFF_0000 in _DENIED and item.handle not in denied:
            denied.add(item.handle)
            one.say(
                "error", "access_lost", f"the server answers {status_text(rows.status[row])}", tag=item.tag.name, remedy=_RIGHTS
            )
    there = [(row, item) for row, item in there if item.handle not in denied]
    await _types(session, [(row, item) for row, item in there if not _no_variable(item, rows.status[row], one)], rows, one)
    _numbers(session, [item for item in items if item.node is not None], one)  # behind a number that has moved is another namespace
    return items


async def _gone(item: Item, nearest: Nearest, one: Inspection) -> None:
    """Say that a tag's node is not there, and where it may be now."""
    name, detail = item.tag.name, item.detail or "BadNodeIdUnknown"
    if item.pick is not None and item.detail and not item.detail.startswith(("Bad", "the server has no namespace")):
        one.say("error", "type_changed", item.detail, tag=name, remedy=_PARTS)
        return
    moved = await nearest.elsewhere(item.address) if isinstance(item.address, NodeAddress) else None
    if moved is not None:
        one.say("error", "namespace_moved", f"{detail}; {moved.text}", tag=name, remedy=moved.remedy)
        return
    if detail.startswith("the server has no namespace"):
        one.say("error", "namespace_gone", detail, tag=name, remedy=nearest.namespaces())
        return
    one.say("error", "node_gone", f"there is no such node: {detail}", tag=name, remedy=await nearest.suggestion(item))


def _no_variable(item: Item, status: int, one: Inspection) -> bool:
    """Say of an object, a folder or a method that it has no value; nothing else is asked about it then."""
    if status & 0xFFFF_0000 != ua.StatusCodes.BadAttributeIdInvalid:
        return False
    text, remedy = f"it is no variable and has no value: {status_text(status)}", "edge-agent browse shows the variables below it"
    one.say("error", "not_monitored", text, tag=item.tag.name, remedy=remedy)
    item.node = None
    return True


async def _access(session: Session, items: Sequence[Item], one: Inspection) -> set[int]:
    """Say what this user may not read, and which acknowledgement it may not write; returns the handles that cannot be read."""
    attributes = (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel)
    rows = await session.read_ids([ua.ReadValueId(item.node, attribute) for item in items for attribute in attributes])
    denied: set[int] = set()
    for place, item in enumerate(items):
        general, user = (level if isinstance(level, int) else None for level in rows.values[2 * place : 2 * place + 2])
        if general is None or user is None:
            continue  # no variable, or a server that does not say: the value's status tells
        if not user & _READ:
            denied.add(item.handle)
            whom = "nobody may read it" if not general & _READ else "this user may not read it"
            one.say("error", "access_lost", whom, tag=item.tag.name, remedy=_RIGHTS)
        if item.tag.acknowledge and not user & _WRITE:
            text = "this user may not write it, and it is an acknowledgement"
            one.say("error", "access_lost", text, tag=item.tag.name, remedy="give the agent's user the right to write this one")
    return denied


async def _types(session: Session, there: Sequence[tuple[int, Item]], rows: Columns, one: Inspection) -> None:
    """Compare the types, and look whether there is a value at all."""
    silent: list[tuple[int, Item]] = []
    for row, item in there:
        status, kind = rows.status[row], rows.types[row]
        plain, complaint = plain_value(kind, rows.values[row])
        expected = TYPE_IDS.get(item.tag.type or "", 0)
        if quality_of(status) is Quality.BAD or (plain is None and complaint is None):
            silent.append((row, item))
            why = status_text(status) if quality_of(status) is Quality.BAD else "null"
            one.say("warning", "no_value", f"it has no value now: {why}", tag=item.tag.name)
        elif isinstance(rows.values[row], Complaint):
            one.say("error", "type_changed", str(complaint), tag=item.tag.name, remedy=_PARTS)
        elif expected and kind != expected and not (expected == STRING and kind == LOCALIZED_TEXT):
            _changed(item, kind, one)
        elif complaint is not None:
            one.say("warning", "no_value", f"it has no usable value now: {complaint}", tag=item.tag.name)
    declared = [item for _, item in silent if item.tag.type is not None and item.pick is None]
    if not declared:
        return
    book = TypeBook(session)
    kinds = await session.read_ids([ua.ReadValueId(item.node, ua.AttributeIds.DataType) for item in declared])
    names = [value if isinstance(value, str) else "" for value in kinds.values]
    await book.learn([name for name in names if name])
    for item, name in zip(declared, names, strict=True):
        own = book.kind(name) if name else None
        if isinstance(own, int) and own in TYPE_IDS.values() and own != TYPE_IDS[item.tag.type or ""]:
            _changed(item, own, one)


def _changed(item: Item, kind: int, one: Inspection) -> None:
    fits = {number: name for name, number in TYPE_IDS.items()}.get(kind)
    text = f"{item.tag.type} is configured, and the server has {type_name(kind)}"
    remedy = (
        f"write type: {fits}, after a look at scale and wraps" if fits else "leave type out, or name a part with index or field"
    )
    one.say("error", "type_changed", text, tag=item.tag.name, remedy=remedy)


def _numbers(session: Session, items: Sequence[Item], one: Inspection) -> None:
    """Say where a namespace is written as a number, which the next restart of the server may give to another."""
    numbered: dict[int, list[str]] = {}
    for item in items:
        spaces = [item.address.namespace] if isinstance(item.address, NodeAddress) else [step.namespace for step in item.address]
        for space in {space for space in spaces if isinstance(space, int) and space > 0}:
            numbered.setdefault(space, []).append(item.tag.name)
    for space, names in sorted(numbered.items()):
        uri = session.namespaces[space] if space < len(session.namespaces) else None
        text = f"{len(names)} tag{'s' * (len(names) > 1)} ({names[0]}{', ...' * (len(names) > 1)}) name{'s' * (len(names) == 1)} namespace {space} by its number"
        remedy = f"numbers move; write nsu={uri}" if uri else "the server has no namespace of that number; write nsu=URI"
        one.say("note", "namespace_number", text, remedy=remedy)
