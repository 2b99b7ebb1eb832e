"""The Browse service in batches: all references of many nodes, with BrowseNext, within the server's limits."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncua import ua

from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.model.errors import DisconnectedError

_PER_NODE: Final = 1000
"""References asked for at once for one node: a reply of them has about 100 kB."""

_ALL: Final = 63


class Ways(NamedTuple):
    """Which references to follow: their type with all subtypes, forward or back, and to nodes of which classes (0 = any)."""

    kind: int
    forward: bool = True
    classes: int = 0


HIERARCHY: Final = Ways(ua.ObjectIds.HierarchicalReferences, classes=int(ua.NodeClass.Object | ua.NodeClass.Variable))
PROPERTIES: Final = Ways(ua.ObjectIds.HasProperty)
SUPERTYPE: Final = Ways(ua.ObjectIds.HasSubtype, forward=False)
TYPE_OF_ENCODING: Final = Ways(ua.ObjectIds.HasEncoding, forward=False)


async def references(session: Session, nodes: Sequence[ua.NodeId], ways: Ways) -> list[list[ua.ReferenceDescription] | str]:
    """Return the references of each node, or the name of the status that the server gives it."""
    out: list[list[ua.ReferenceDescription] | str] = [[] for _ in nodes]
    waiting: deque[int] = deque(range(len(nodes)))
    while waiting:
        batch = [waiting.popleft() for _ in range(len(waiting))]
        refused: list[int] = []

        async def one(chunk: Sequence[int], refused: list[int] = refused) -> Sequence[ua.BrowseResult]:
            async with session.bounded("browse", batch=True):
                results = await session.client.uaclient.session.browse(_parameters([nodes[place] for place in chunk], ways))
            if len(results) == len(chunk):
                await _take(session, list(zip(chunk, results, strict=True)), out, refused)
            return list(results)

        smaller = await session.in_batches(one, batch, session.browse_size)
        session.browse_size = min(session.browse_size, smaller)
        if refused and len(refused) == len(batch):
            raise DisconnectedError("browse: the server has no continuation point, not even for one node")
        waiting.extend(refused)
    return out


def _parameters(nodes: Sequence[ua.NodeId], ways: Ways) -> ua.BrowseParameters:
    direction = ua.BrowseDirection.Forward if ways.forward else ua.BrowseDirection.Inverse
    kind = ua.NodeId(ways.kind)
    wanted = [ua.BrowseDescription(node, direction, kind, True, ways.classes, _ALL) for node in nodes]
    return ua.BrowseParameters(RequestedMaxReferencesPerNode=_PER_NODE, NodesToBrowse=wanted)


async def _take(
    session: Session,
    answered: list[tuple[int, ua.BrowseResult]],
    out: list[list[ua.ReferenceDescription] | str],
    refused: list[int],
) -> None:
    """Keep the references of one reply and fetch what it left over. A node that got no continuation point is asked again, after the others."""
    while answered:
        more: list[tuple[int, bytes]] = []
        for place, result in answered:
            code = result.StatusCode.value
            found = out[place]
            if code == ua.StatusCodes.BadNoContinuationPoints:
                out[place] = []
                refused.append(place)
            elif code >> 31:
                out[place] = status_text(code)
            elif isinstance(found, list):
                found.extend(result.References or [])
                if result.ContinuationPoint:
                    more.append((place, result.ContinuationPoint))
        answered = await _next(session, more)


async def _next(session: Session, more: list[tuple[int, bytes]]) -> list[tuple[int, ua.BrowseResult]]:
    """Return the next part of each node's references; the requests belong to the browse that is under way, and take no turn of their own."""
    answered: list[tuple[int, ua.BrowseResult]] = []
    for at in range(0, len(more), session.browse_size):
        chunk = more[at : at + session.browse_size]
        async with session.bounded("browse"):
            params = ua.BrowseNextParameters(False, [point for _, point in chunk])
            results = await session.client.uaclient.session.browse_next(params)
        if len(results) != len(chunk):
            raise DisconnectedError(f"browse: {len(chunk)} continuations asked for, {len(results)} answered")
        answered.extend((place, result) for (place, _), result in zip(chunk, results, strict=True))
    return answered
