"""The one place that reconnects: opens a connection, uses it, and opens a new one when it is lost.

Every connection is a new object; nothing is resumed on an old one. Going down and coming up are logged once each, not per try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import structlog

from edge_agent.model.errors import DisconnectedError

T = TypeVar("T")

_STEADY = 10.0
"""A connection that held this many machine seconds starts the back-off anew; a shorter one goes on with it."""

_SLOW = 30.0
"""Machine seconds between tries where only a person can change the answer."""

_PAUSE = 0.1
"""Machine seconds at least between the end of a try and the next one, where the back-off says no less."""


class Link:
    """Whether one endpoint is up, told to the log on each turn only."""

    def __init__(self, name: str, kind: str) -> None:
        """Name the endpoint as the user does (``plc1``, ``mqtt://...``); it starts as unknown."""
        self.name = name
        self.kind = kind
        self.up: bool | None = None
        self.error = ""
        self.tries = 0
        self.connects = 0
        self._log = structlog.get_logger().bind(link=name, kind=kind)

    def came_up(self) -> None:
        """Say that the endpoint answers; logged when it did not before."""
        if self.up is not True:
            self._log.info("link.up", tries=self.tries + 1)
        self.up, self.error, self.tries = True, "", 0
        self.connects += 1

    def went_down(self, reason: str) -> None:
        """Say that the endpoint is lost or still away; logged on the turn, later tries only at debug level."""
        self.tries += 1
        if self.up is not False:
            self._log.warning("link.down", reason=reason)
        else:
            self._log.debug("link.still_down", reason=reason, tries=self.tries)
        self.up, self.error = False, reason

    def renewed(self, reason: str) -> None:
        """Say that the connection was given up on purpose; it counts as up until the next one fails."""
        self._log.info("link.renewed", reason=reason)


async def keep_open(
    link: Link,
    open_: Callable[[], AbstractAsyncContextManager[T]],
    use: Callable[[T], Awaitable[None]],
    lost: Callable[[DisconnectedError], Awaitable[None]],
    delays: Callable[[], Iterator[float]],
) -> None:
    """Open, use, and on loss call ``lost`` and open again, until cancelled or until ``use`` returns by itself.

    ``lost`` is awaited at every failed try; ``delays`` gives machine seconds from one try to the next, and starts anew after a
    connection that held. An error that knows better says how long to wait; one that was planned is no loss.
    """
    waits = delays()
    clock = asyncio.get_running_loop().time
    while True:
        opened, began = None, clock()
        try:
            async with open_() as connection:
                opened = clock()
                link.came_up()
                await use(connection)
                return
        except DisconnectedError as error:
            if error.planned:
                link.renewed(str(error))
            else:
                if opened is not None and clock() - opened > _STEADY:
                    waits = delays()
                link.went_down(str(error))
                await lost(error)
            pause = error.retry_after if error.retry_after is not None else _SLOW if error.slow else None
        if pause is None:
            pause = rest(next(waits), clock() - began)
        await asyncio.sleep(pause)


def rest(wait: float, spent: float) -> float:
    """Return what is left of ``wait`` s after a try that took ``spent`` s: what spares the other side is the pace of the tries."""
    return max(wait - spent, min(wait, _PAUSE))
