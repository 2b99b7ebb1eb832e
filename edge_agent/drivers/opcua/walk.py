"""Walking a server's address space from the Objects folder down, level by level, and finding the variables that a pattern names."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from asyncua import ua

from edge_agent.drivers.opcua.glob import Pattern, States
from edge_agent.drivers.opcua.references import HIERARCHY, Reference, references
from edge_agent.drivers.opcua.session import Session
from edge_agent.drivers.opcua.typebook import node_of_text, text_of

_OBJECTS: Final = ua.NodeId(ua.ObjectIds.ObjectsFolder)
_SERVER: Final = "i=2253"
_PROPERTY: Final = "i=46"
_MOST_NODES: Final = 500_000
"""Nodes looked at before a walk gives up: a server whose tree has no end must not take the memory of the gateway."""


class Found(NamedTuple):
    """A variable: the browse names from below Objects, the namespace index of each, its node, and the node of its type definition.

    ``parent`` says whether it has variables below itself.
    """

    path: tuple[str, ...]
    spaces: tuple[int, ...]
    node: ua.NodeId
    definition: str
    parent: bool = False


class Tree(NamedTuple):
    """What a walk found. ``seen`` is the number of nodes looked at; ``cut`` says why it is not everything, "" = it is."""

    found: list[Found]
    seen: int
    cut: str


class _Place(NamedTuple):
    node: ua.NodeId
    path: tuple[str, ...]
    spaces: tuple[int, ...]
    states: States


Progress = Callable[[int, int, int], None]


class Limits(NamedTuple):
    """How far a walk goes: levels below Objects, variables, and which paths count at all."""

    depth: int
    most: int
    wants: Callable[[tuple[str, ...]], bool] = lambda _: True


async def walk(session: Session, pattern: Pattern, limits: Limits, progress: Progress | None = None) -> Tree:
    """Return the variables that match within the limits; ``progress`` gets the nodes looked into, seen, and found so far.

    A node that is reached on two ways is found once, on the shorter one. The Server object is entered only when the pattern names it.
    Raises DisconnectedError.
    """
    level = [_Place(_OBJECTS, (), (), pattern.start)]
    entered: set[tuple[str, States]] = set()
    found: dict[str, Found] = {}
    parents: set[str] = set()
    cut, seen, looked = "", 1, 0
    for deep in range(limits.depth + 1):
        if not level or cut:
            break
        following: list[_Place] = []
        size = max(session.browse_size, 1)
        for at in range(0, len(level), size):
            chunk = level[at : at + size]
            answers = await references(session, [place.node for place in chunk], HIERARCHY)
            for place, ways in zip(chunk, answers, strict=True):
                seen += _children(
                    place,
                    ways if isinstance(ways, list) else [],
                    session.namespaces,
                    pattern,
                    limits,
                    found,
                    parents,
                    entered,
                    following,
                )
            looked += len(chunk)
            if progress is not None:
                progress(looked, seen, len(found))
            if len(found) > limits.most or seen > _MOST_NODES:
                cut = f"more than {limits.most} variables" if len(found) > limits.most else f"more than {_MOST_NODES} nodes"
                break
        if deep == limits.depth and following and not cut:
            cut = f"there is more below {limits.depth} levels"
        level = following
    kept = [one._replace(parent=key in parents) for key, one in list(found.items())[: limits.most]]
    return Tree(kept, seen, cut)


def _children(
    place: _Place,
    ways: Sequence[Reference],
    namespaces: Sequence[str],
    pattern: Pattern,
    limits: Limits,
    found: dict[str, Found],
    parents: set[str],
    entered: set[tuple[str, States]],
    following: list[_Place],
) -> int:
    """Sort the children of one node into what matches and what is walked next; returns how many there are."""
    for way in ways:
        states = pattern.below(place.states, way.name)
        entry = way.node == _SERVER and not pattern.text.strip("/").removeprefix("Objects/").startswith("Server")
        if not states or way.kind == _PROPERTY or entry:
            continue
        try:
            node = node_of_text(way.node, namespaces)
        except LookupError:
            continue  # on another server, or in a namespace that is not there
        key = text_of(node)
        path, spaces = (*place.path, way.name), (*place.spaces, way.space)
        if way.node_class == ua.NodeClass.Variable:
            if pattern.done(states) and key not in found and limits.wants(path):
                found[key] = Found(path, spaces, node, way.definition)
            if place.path:
                parents.add(text_of(place.node))
        if (key, states) not in entered:
            entered.add((key, states))
            following.append(_Place(node, path, spaces, states))
    return len(ways)
