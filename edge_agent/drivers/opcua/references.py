"""The Browse service in batches: all references of many nodes, with BrowseNext, within the server's limits."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from asyncua import ua

from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.variant import LOCALIZED_TEXT, U32, DecodeError, byte_string, count_of, node_id, scalar, text
from edge_agent.drivers.opcua.wire import response_header
from edge_agent.model.errors import DisconnectedError

_PER_NODE: Final = 1000
"""References asked for at once for one node: a reply of them has about 100 kB."""

_AT_ONCE: Final = 100
"""Nodes in one request, whatever the server allows: while a reply is decoded nothing else runs."""

_ALL: Final = 63
_BROWSE: Final = "i=530"
"""Id of the binary encoding of BrowseResponse (OPC 10000-6, A.3)."""
_BROWSE_NEXT: Final = "i=536"
_U16: Final = struct.Struct("<H")


class Reference(NamedTuple):
    """One reference: its type, the node at its other end with browse name, class and type definition; ids as the decoder writes them."""

    kind: str
    node: str
    space: int
    name: str
    node_class: int
    definition: str


class Browsed(NamedTuple):
    """The references of one node, or of a part of them: ``point`` asks for the rest."""

    status: int
    point: bytes | None
    found: list[Reference]


def browse_response(body: bytes, kind: str) -> tuple[int, list[Browsed]]:
    """Return the service result and one result for each node of a BrowseResponse or BrowseNextResponse (OPC 10000-4, 5.8.2.2).

    Raises DecodeError. asyncua would take four times as long, and nothing else of the agent runs meanwhile.
    """
    try:
        status, pos = response_header(body, kind)
        if status >> 31:
            return status, []
        count, pos = count_of(body, pos)
        out = []
        for _ in range(count):
            (code,) = U32.unpack_from(body, pos)
            point, pos = byte_string(body, pos + 4)
            found, pos = _references(body, pos)
            out.append(Browsed(code, point, found))
    except (struct.error, IndexError) as error:
        raise DecodeError(f"the message ends too early: {error}") from None
    return status, out


def _references(body: bytes, pos: int) -> tuple[list[Reference], int]:
    count, pos = count_of(body, pos)
    found = []
    for _ in range(count):
        kind, pos = node_id(body, pos)
        node, pos = node_id(body, pos + 1)  # after IsForward
        (space,) = _U16.unpack_from(body, pos)
        name, pos = text(body, pos + 2)
        _, pos = scalar(LOCALIZED_TEXT, body, pos, 0)
        (node_class,) = U32.unpack_from(body, pos)
        definition, pos = node_id(body, pos + 4)
        found.append(Reference(kind, node, space, name or "", node_class, definition))
    return found, pos


class Ways(NamedTuple):
    """Which references to follow: their type with all subtypes, forward or back, and to nodes of which classes (0 = any)."""

    kind: int
    forward: bool = True
    classes: int = 0


HIERARCHY: Final = Ways(ua.ObjectIds.HierarchicalReferences, classes=int(ua.NodeClass.Object | ua.NodeClass.Variable))
PROPERTIES: Final = Ways(ua.ObjectIds.HasProperty)
SUPERTYPE: Final = Ways(ua.ObjectIds.HasSubtype, forward=False)
TYPE_OF_ENCODING: Final = Ways(ua.ObjectIds.HasEncoding, forward=False)


async def references(session: Session, nodes: Sequence[ua.NodeId], ways: Ways) -> list[list[Reference] | str]:
    """Return the references of each node, or the name of the status that the server gives it. Raises DisconnectedError."""
    out: list[list[Reference] | str] = [[] for _ in nodes]
    waiting = list(range(len(nodes)))
    while waiting:
        refused: list[int] = []

        async def one(chunk: Sequence[int], refused: list[int] = refused) -> Sequence[Browsed]:
            request = ua.BrowseRequest(Parameters=_parameters([nodes[place] for place in chunk], ways))
            results = await _asked(session, request, _BROWSE)
            if len(results) == len(chunk):
                await _take(session, list(zip(chunk, results, strict=True)), out, refused)
            return results

        smaller = await session.in_batches(one, waiting, min(session.browse_size, _AT_ONCE))
        session.browse_size = min(session.browse_size, smaller)
        if len(refused) == len(waiting):
            raise DisconnectedError("browse: the server has no continuation point, not even for one node")
        waiting = refused
    return out


def _parameters(nodes: Sequence[ua.NodeId], ways: Ways) -> ua.BrowseParameters:
    direction = ua.BrowseDirection.Forward if ways.forward else ua.BrowseDirection.Inverse
    kind = ua.NodeId(ways.kind)
    wanted = [ua.BrowseDescription(node, direction, kind, True, ways.classes, _ALL) for node in nodes]
    return ua.BrowseParameters(RequestedMaxReferencesPerNode=_PER_NODE, NodesToBrowse=wanted)


async def _asked(session: Session, request: Any, kind: str) -> list[Browsed]:
    body = await session.request(request, "browse", batch=True)
    async with session.bounded("browse", batch=True):
        status, results = browse_response(body, kind)
        ua.StatusCode(status).check()
    return results


async def _take(
    session: Session, answered: list[tuple[int, Browsed]], out: list[list[Reference] | str], refused: list[int]
) -> None:
    """Keep the references of one reply and fetch what it left over. A node that got no continuation point is asked again, after the others."""
    while answered:
        more: list[tuple[int, bytes]] = []
        for place, result in answered:
            found = out[place]
            if result.status == ua.StatusCodes.BadNoContinuationPoints:
                out[place] = []
                refused.append(place)
            elif result.status >> 31:
                out[place] = status_text(result.status)
            elif isinstance(found, list):
                found.extend(result.found)
                if result.point:
                    more.append((place, result.point))
        answered = await _next(session, more)


async def _next(session: Session, more: list[tuple[int, bytes]]) -> list[tuple[int, Browsed]]:
    """Return the next part of each node's references; the requests belong to the browse that is under way, and take no turn of their own."""
    answered: list[tuple[int, Browsed]] = []
    size = min(session.browse_size, _AT_ONCE)
    for at in range(0, len(more), size):
        chunk = more[at : at + size]
        params = ua.BrowseNextParameters(False, [point for _, point in chunk])
        results = await _asked(session, ua.BrowseNextRequest(Parameters=params), _BROWSE_NEXT)
        if len(results) != len(chunk):
            raise DisconnectedError(f"browse: {len(chunk)} continuations asked for, {len(results)} answered")
        answered.extend((place, result) for (place, _), result in zip(chunk, results, strict=True))
    return answered
