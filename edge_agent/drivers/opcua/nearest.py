"""Where a node that is gone may be now: in another namespace, or under a name like its own."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import difflib
from typing import Final, NamedTuple

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.address import NodeAddress
from edge_agent.drivers.opcua.browse import address_of
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.deadline import deadline
from edge_agent.drivers.opcua.glob import Pattern
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.session import Session
from edge_agent.drivers.opcua.walk import Found, Limits, walk
from edge_agent.model.errors import DisconnectedError

_MOST_ASKED: Final = 20
"""Tags for which the server is searched: when more are gone, the program is another one and guesses help nobody."""
_MOST_FOUND: Final = 5_000
_DEPTH: Final = 10
_WALK: Final = 10.0
"""Machine seconds that a walk through the server's tree may take."""
_MOST_SPACES: Final = 50
_ALIKE: Final = 0.6
_BROWSE: Final = "edge-agent browse shows what the server has"


class Moved(NamedTuple):
    """Where the same identifier is now."""

    text: str
    remedy: str


class Nearest:
    """Searches one server; its tree is walked once, and only when something is gone."""

    def __init__(self, session: Session, config: OpcUaConfig) -> None:
        """Search for the tags of ``config``."""
        self._session, self._config = session, config
        self._tree: list[Found] | None = None
        self._asked = self._moved = 0

    def namespaces(self) -> str:
        """Return which namespaces the server has, in words."""
        return f"the server has {', '.join(uri for uri in self._session.namespaces[1:]) or 'none of its own'}"

    async def elsewhere(self, address: NodeAddress) -> Moved | None:
        """Look for the identifier in the other namespaces. Raises DisconnectedError."""
        self._moved += 1
        if self._moved > _MOST_ASKED:
            return None
        spaces = range(1, min(len(self._session.namespaces), _MOST_SPACES))
        nodes = [ua.NodeId(address.identifier, space) for space in spaces]
        rows = await self._session.read_ids([ua.ReadValueId(node, ua.AttributeIds.NodeClass) for node in nodes])
        there = [
            node
            for node, status, value in zip(nodes, rows.status, rows.values, strict=True)
            if not status and value == ua.NodeClass.Variable
        ]
        if len(there) != 1:
            return None
        space = there[0].NamespaceIndex
        text = f"the same identifier is in namespace {space} ({self._session.namespaces[space]}) now"
        return Moved(text, f"write node: '{address_of(there[0], self._session.namespaces)}'")

    async def suggestion(self, item: Item) -> str:
        """Return a remedy: what is like the tag's address, or how to look. Raises DisconnectedError."""
        self._asked += 1
        if self._asked > _MOST_ASKED:
            return _BROWSE
        if self._tree is None:
            self._tree = await self._walked()
        found = self._best(item, self._tree)
        return f"did you mean node: '{address_of(found.node, self._session.namespaces)}'?" if found is not None else _BROWSE

    async def _walked(self) -> list[Found]:
        try:
            async with deadline(_WALK):
                return (await walk(self._session, Pattern("**"), Limits(_DEPTH, _MOST_FOUND))).found
        except TimeoutError:
            return []  # it was only for a better word
        except DisconnectedError as error:
            structlog.get_logger().debug("opcua.no_suggestions", reason=str(error))
            return []

    @staticmethod
    def _best(item: Item, tree: list[Found]) -> Found | None:
        """Return the variable whose identifier, or path, or name is most like the tag's."""
        address = item.address
        if not isinstance(address, NodeAddress):
            wanted = "/".join(step.name for step in address if step.name != "Objects")
            by_name = {"/".join(found.path): found for found in tree}
        elif isinstance(address.identifier, str):
            wanted = address.identifier
            by_name = {found.node.Identifier: found for found in tree if isinstance(found.node.Identifier, str)}
        else:  # a number is like no other number, but people name tags as the program does
            wanted = item.tag.name
            by_name = {found.path[-1]: found for found in tree}
        near = difflib.get_close_matches(wanted, by_name, n=1, cutoff=_ALIKE)
        return by_name[near[0]] if near else None
