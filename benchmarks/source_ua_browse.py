"""What other clients ask the benchmark's OPC UA source before they subscribe: names of nodes, and the way from Objects up to Root (OPC 10000-4, 5.9.2)."""

# asyncua takes plain ints for its own types, and has untyped functions.
# mypy: disable-error-code="arg-type,no-untyped-call"

from __future__ import annotations

import struct

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from benchmarks.source_ua_wire import octets, u32

BROWSE_NAME = 3
"""The attribute (OPC 10000-6, A.1)."""
ROOT, OBJECTS, ORGANIZES = 84, 85, 35
_NAMES: dict[int | str, str] = {ROOT: "Root", OBJECTS: "Objects"}


def browse_name(node: tuple[int, int | str]) -> bytes:
    """Encode the DataValue of a node's BrowseName: its name in its namespace."""
    space, name = node
    text = _NAMES.get(name, str(name)) if space == 0 else str(name)
    return b"\x01\x14" + struct.pack("<H", space) + octets(text.encode())


def upwards(request: bytes) -> bytes | None:
    """Return the answer to a BrowseRequest for references to what is above Root or Objects; None: this source knows no others."""
    asked = struct_from_binary(ua.BrowseParameters, Buffer(request)).NodesToBrowse
    places = [one.NodeId.Identifier if one.NodeId.NamespaceIndex == 0 else None for one in asked]
    if not places or not all(place in _NAMES for place in places):
        return None
    if any(one.BrowseDirection != ua.BrowseDirection.Inverse for one in asked):
        return None
    results = [ua.BrowseResult(References=[_root()] if place == OBJECTS else []) for place in places]
    return u32(len(results)) + b"".join(struct_to_binary(result) for result in results) + u32(0)


def _root() -> ua.ReferenceDescription:
    return ua.ReferenceDescription(
        ReferenceTypeId=ua.NodeId(ORGANIZES), IsForward=False, NodeId=ua.ExpandedNodeId(ROOT), BrowseName=ua.QualifiedName("Root"),
        DisplayName=ua.LocalizedText("Root"), NodeClass=ua.NodeClass.Object, TypeDefinition=ua.ExpandedNodeId(61),
    )  # fmt: skip
