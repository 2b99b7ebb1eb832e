"""From addresses to nodes as the server numbers its namespaces now; asked anew on every connect, because indexes move."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Sequence
from typing import Final

from asyncua import ua

from edge_agent.drivers.opcua.address import NodeAddress, Step
from edge_agent.drivers.opcua.session import Session, status_text

_HIERARCHICAL: Final = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
_OBJECTS: Final = ua.NodeId(ua.ObjectIds.ObjectsFolder)


def namespace_index(session: Session, namespace: str | int | None, default: str | None) -> int:
    """Return the index of a namespace now. Raises LookupError when the server does not have it."""
    if isinstance(namespace, int):
        return namespace
    uri = default if namespace is None else namespace
    if uri is None:
        return 0
    try:
        return session.namespaces.index(uri)
    except ValueError:
        raise LookupError(f"the server has no namespace {uri}") from None


def node_of(session: Session, address: NodeAddress, default: str | None) -> ua.NodeId:
    """Return the node id of an address now. Raises LookupError when its namespace is unknown."""
    return ua.NodeId(address.identifier, namespace_index(session, address.namespace, default))


async def translate(session: Session, paths: Sequence[tuple[Step, ...]], default: str | None) -> list[ua.NodeId | str]:
    """Return the node of each browse path below Objects, or why there is none."""
    out: list[ua.NodeId | str] = []

    async def one(chunk: Sequence[ua.BrowsePath]) -> Sequence[ua.BrowsePathResult]:
        async with session.bounded("translate", batch=True):
            results = await session.client.uaclient.session.translate_browsepaths_to_nodeids(list(chunk))
        out.extend(_target(result) for result in results)
        return results

    known: list[ua.BrowsePath] = []
    unknown: dict[int, str] = {}
    for number, path in enumerate(paths):
        try:
            known.append(_browse_path(session, path, default))
        except LookupError as error:
            unknown[number] = str(error)
    session.translate_size = min(session.translate_size, await session.in_batches(one, known, session.translate_size))
    for number, why in unknown.items():
        out.insert(number, why)
    return out


def _browse_path(session: Session, path: tuple[Step, ...], default: str | None) -> ua.BrowsePath:
    names = [ua.QualifiedName(step.name, namespace_index(session, step.namespace, default)) for step in path]
    elements = [ua.RelativePathElement(_HIERARCHICAL, False, True, name) for name in names]
    return ua.BrowsePath(_OBJECTS, ua.RelativePath(elements))


def _target(result: ua.BrowsePathResult) -> ua.NodeId | str:
    if not result.StatusCode.is_good():
        return status_text(result.StatusCode.value)
    whole = [target for target in result.Targets if target.RemainingPathIndex == 0xFFFF_FFFF]
    if not whole:
        return "the path leads to another server"
    found = whole[0].TargetId
    return ua.NodeId(found.Identifier, found.NamespaceIndex)
