"""The end of a refresh where a source does not tell it itself.

OPC 10000-9, 5.11, has every event item of the subscription get RefreshStart and RefreshEnd. Some stacks (node-opcua) raise both on the Server object alone, so an item
for another object never hears of the end. For such sources the Server object is watched beside them. Items may be drained one after another: the end that it tells
counts once the sources have been quiet for a while.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from typing import Final

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.eventfilter import event_filter
from edge_agent.drivers.opcua.session import Session, status_text

HANDLE: Final = 1_000_000
"""Number of the item at the Server object; sources have their places."""

_QUEUE: Final = 100
_QUIET: Final = 1.0
"""Machine seconds without an event, at least, after which everything that came before the end has come."""


class Bracket:
    """Waits for the end of a refresh: the sources' own, or the Server object's."""

    def __init__(self, publishing: float) -> None:
        """``publishing`` is in ms."""
        self._quiet = max(_QUIET, 3 * publishing / 1000)
        self._told = asyncio.Event()
        self._every = asyncio.Event()
        self._last = 0.0
        self.watched = False

    async def watch(self, session: Session, subscription: int) -> None:
        """Monitor the events of the system at the Server object. A server that refuses that is left alone. Raises DisconnectedError."""
        server = ua.ReadValueId(ua.NodeId(ua.ObjectIds.Server), ua.AttributeIds.EventNotifier)
        # Without a where clause: stacks that misjudge one would keep the end back. The newest events stay when the queue is full, and the end is the newest.
        params = ua.MonitoringParameters(HANDLE, 0.0, QueueSize=_QUEUE, DiscardOldest=True, Filter=event_filter())
        wanted = ua.MonitoredItemCreateRequest(server, ua.MonitoringMode.Reporting, params)
        (result,) = await session.monitor(subscription, [wanted])
        self.watched = not result.status >> 31
        if not self.watched:
            structlog.get_logger().info("opcua.server_object_has_no_events", status=status_text(result.status))

    def begin(self) -> None:
        """A refresh is asked for."""
        self._told.clear()
        self._every.clear()

    def heard(self) -> None:
        """An event of a source came."""
        self._last = asyncio.get_running_loop().time()

    def ended(self) -> None:
        """The Server object told the end."""
        self._told.set()

    def complete(self) -> None:
        """Every source told its end."""
        self._every.set()
        self._told.set()

    async def wait(self) -> None:
        """Return when every source told its end, or when the Server object did and the sources have been quiet since."""
        await self._told.wait()
        self.heard()
        loop = asyncio.get_running_loop()
        while not self._every.is_set() and (left := self._last + self._quiet - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._every.wait()
            except TimeoutError:
                continue
