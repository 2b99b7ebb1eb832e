"""The data types of one server as it defines them now: decoders of structures, names of enumerations, built-in types of everything else.

Learnt anew on each connect, and when a structure stops fitting its type: a PLC download changes both.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import re
import struct
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from asyncua import ua

from edge_agent.drivers.opcua.definition import (
    ENUM_DEFINITION,
    ENUM_VALUE,
    STRUCTURE_DEFINITION,
    StructureDefinition,
    enum_definition,
    enum_value,
    structure_definition,
)
from edge_agent.drivers.opcua.layout import Layout
from edge_agent.drivers.opcua.references import PROPERTIES, SUPERTYPE, TYPE_OF_ENCODING, references
from edge_agent.drivers.opcua.session import Session
from edge_agent.drivers.opcua.variant import STRUCTURE, DecodeError, Structure

_BUILT_IN: Final = {f"i={number}": number for number in range(1, 26)}
_ABSTRACT: Final = {"i=26": 24, "i=27": 24, "i=28": 24, "i=29": 6, "i=50": STRUCTURE}
"""Number, Integer, UInteger are sent as Variants; an enumeration as Int32; Decimal as an ExtensionObject (OPC 10000-6, 5.2.3, 5.2.4)."""
_NODE: Final = re.compile(
    r"^(?:svr=(?P<server>\d+);)?(?:nsu=(?P<uri>[^;]*);|ns=(?P<space>\d+);)?(?P<kind>[isgb])=(?P<id>.*)$", re.DOTALL
)
_ENUMERATION: Final = "i=29"
_MOST_TYPES: Final = 5_000
_MOST_NAMES: Final = 10_000


def text_of(node: ua.NodeId) -> str:
    """Return a node id the way the decoder writes it, so that the two can be compared."""
    where = f"ns={node.NamespaceIndex};" if node.NamespaceIndex else ""
    identifier = node.Identifier
    if isinstance(identifier, bytes):
        return f"{where}b={identifier.hex()}"
    kind = {int: "i", str: "s"}.get(type(identifier), "g")
    return f"{where}{kind}={identifier}"


def node_of_text(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    """Return the node id of a text made by the decoder; raises LookupError for a namespace or server that is not there."""
    match = _NODE.match(text)
    if match is None:
        raise LookupError(f"{text} is no node id")
    if match["server"]:
        raise LookupError(f"{text} is on another server")
    if match["uri"] is not None and match["uri"] not in namespaces:
        raise LookupError(f"the server has no namespace {match['uri']}")
    space = namespaces.index(match["uri"]) if match["uri"] is not None else int(match["space"] or 0)
    if not match["id"].isascii() and any("\ud800" <= char <= "\udfff" for char in match["id"]):
        raise LookupError(f"{match['id']!a} is not UTF-8: no request can name it")
    made: dict[str, Any] = {"i": int, "s": str, "g": uuid.UUID, "b": bytes.fromhex}
    return ua.NodeId(made[match["kind"]](match["id"]), space)


class TypeBook:
    """What is known of the server's types. ``layouts`` has the structures by the id of their encoding, ``enums`` the names by data type."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.layouts: dict[str, Layout] = {}
        self.enums: dict[str, dict[int, str]] = {}
        self._kinds: dict[str, int | Layout] = {**_BUILT_IN, **_ABSTRACT}
        self._parents: dict[str, str] = {}
        self._structures: dict[str, StructureDefinition] = {}

    def kind(self, data_type: str) -> int | Layout | None:
        """Return the built-in type id of a data type, or the decoder of a structure; None before it was learnt."""
        return self._kinds.get(data_type)

    async def learn(self, data_types: Iterable[str]) -> None:
        """Read the definitions of data types, of the types of their fields, and of their supertypes. Raises DisconnectedError."""
        wanted = {name for name in data_types if name not in self._kinds}
        asked: set[str] = set()
        while wanted and len(asked) < _MOST_TYPES:
            asked |= wanted
            found = await self._read(sorted(wanted))
            wanted = {name for name in found if name not in self._kinds and name not in asked}
        self._settle(asked)

    async def learn_encodings(self, encodings: Iterable[str]) -> None:
        """Learn the structures of values that came with these encodings: a variable may hold a subtype of its data type."""
        unknown = []
        for encoding in sorted(set(encodings) - set(self.layouts)):
            try:
                unknown.append((encoding, node_of_text(encoding, self._session.namespaces)))
            except LookupError:
                continue  # it stays unknown, and the value says so
        types: dict[str, str] = {}
        found = await references(self._session, [node for _, node in unknown], TYPE_OF_ENCODING) if unknown else []
        for (encoding, _), ways in zip(unknown, found, strict=True):
            if isinstance(ways, list) and ways:
                types[encoding] = ways[0].node
        await self.learn(types.values())
        for encoding, data_type in types.items():
            if isinstance(layout := self._kinds.get(data_type), Layout):
                self.layouts[encoding] = layout

    async def _read(self, names: Sequence[str]) -> set[str]:
        """Read definitions and supertypes; return the types that they mention."""
        nodes = {}
        for name in names:
            try:
                nodes[name] = node_of_text(name, self._session.namespaces)
            except LookupError:
                self._kinds[name] = Layout(name)  # decodes nothing, and says why
        attribute = ua.AttributeIds.DataTypeDefinition
        rows = await self._session.read_ids([ua.ReadValueId(node, attribute) for node in nodes.values()]) if nodes else None
        supers = await references(self._session, list(nodes.values()), SUPERTYPE)
        mentioned: set[str] = set()
        for name, value, ways in zip(nodes, rows.values if rows is not None else (), supers, strict=True):
            if isinstance(ways, list) and ways:
                self._parents[name] = ways[0].node
                mentioned.add(self._parents[name])
            mentioned |= self._define(name, value)
        return mentioned

    def _define(self, name: str, value: object) -> set[str]:
        """Take in a DataTypeDefinition; return the data types of its fields. One that cannot be understood is none."""
        if not isinstance(value, Structure) or value.body is None:
            return set()
        try:
            if value.encoding == ENUM_DEFINITION:
                self.enums[name] = enum_definition(value.body)
            elif value.encoding == STRUCTURE_DEFINITION:
                definition = structure_definition(value.body)
                self._structures[name] = definition
                self._kinds[name] = Layout(name)
                return {field.data_type for field in definition.fields}
        except (DecodeError, struct.error, IndexError):
            self._structures.pop(name, None)
        return set()

    def _settle(self, names: Iterable[str]) -> None:
        """Give every type its built-in type by its supertypes, then compile the structures."""
        new = list(names)
        for name in new:
            if name not in self._kinds:
                self._kinds[name] = self._inherited(name)
            if self._kinds[name] != 6 or not self._is_enumeration(name):
                self.enums.pop(name, None)  # names of bits, not of values
        for name in new:
            if (definition := self._structures.get(name)) is not None:
                layout = self._kinds[name]
                if isinstance(layout, Layout) and all(field.data_type in self._kinds for field in definition.fields):
                    layout.fill(definition, self._kinds)
                    self.layouts[definition.encoding] = layout

    def _inherited(self, name: str) -> int | Layout:
        seen = {name}
        while (parent := self._parents.get(name)) is not None and parent not in seen:
            known = self._kinds.get(parent)
            if known == STRUCTURE or isinstance(known, Layout):
                break  # a structure without a definition of its own
            if known is not None:
                return known
            seen.add(parent)
            name = parent
        return Layout(name)

    def _is_enumeration(self, name: str) -> bool:
        seen: set[str] = set()
        while name != _ENUMERATION and name in self._parents and name not in seen:
            seen.add(name)
            name = self._parents[name]
        return name == _ENUMERATION

    async def learn_names(self, nodes: Sequence[ua.NodeId]) -> list[dict[int, str]]:
        """Return the names of values that nodes carry as properties (EnumStrings, EnumValues, TrueState; OPC 10000-8, 5.3.3), {} = none."""
        found = await references(self._session, nodes, PROPERTIES) if nodes else []
        wanted = [
            (place, way.name, node_of_text(way.node, self._session.namespaces))
            for place, ways in enumerate(found)
            if isinstance(ways, list)
            for way in ways
            if way.name in {"EnumStrings", "EnumValues", "TrueState", "FalseState"}
        ]
        out: list[dict[int, str]] = [{} for _ in nodes]
        rows = await self._session.read([node for _, _, node in wanted]) if wanted else None
        for (place, name, _), value in zip(wanted, rows.values if rows is not None else (), strict=True):
            out[place].update(_named(name, value))
        return out

    async def enumerations(self, data_types: Sequence[str]) -> dict[str, dict[int, str]]:
        """Return the names of each data type that is an enumeration; servers before 1.04 keep them as properties of the type."""
        await self.learn(data_types)
        old = [
            name for name in set(data_types) if name not in self.enums and self._kinds.get(name) == 6 and self._is_enumeration(name)
        ]
        old = [name for name in old if name != _ENUMERATION]
        nodes = [node_of_text(name, self._session.namespaces) for name in old]
        self.enums.update({name: names for name, names in zip(old, await self.learn_names(nodes), strict=True) if names})
        return {name: self.enums[name] for name in data_types if self.enums.get(name)}


def _named(name: str, value: object) -> dict[int, str]:
    if name in {"TrueState", "FalseState"}:
        return {int(name == "TrueState"): value} if isinstance(value, str) else {}
    if not isinstance(value, tuple):
        return {}
    if name == "EnumStrings":
        return {number: text for number, text in enumerate(value[:_MOST_NAMES]) if isinstance(text, str)}
    out = {}
    for one in value[:_MOST_NAMES]:
        if isinstance(one, Structure) and one.encoding == ENUM_VALUE and one.body is not None:
            try:
                number, text, _ = enum_value(one.body)
            except (DecodeError, struct.error, IndexError):
                continue
            out[number] = text
    return out
