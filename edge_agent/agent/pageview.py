"""What the status page shows of one agent, and its server where it is configured."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.routing import Route
from starlette.types import ASGIApp

from edge_agent.agent.build import Parts
from edge_agent.agent.departures import Departures
from edge_agent.agent.latest import Latest
from edge_agent.model.errors import StorageError
from edge_agent.model.instant import iso
from edge_agent.ports import PlantClock
from edge_agent.status.config import WebConfig
from edge_agent.status.guard import own_names
from edge_agent.status.listen import listening
from edge_agent.status.pagereport import HistoryReport, Moment, TagReport, TagsHead, TagsWish
from edge_agent.status.report import Status
from edge_agent.status.token import Token
from edge_agent.status.web import web_application

_EVERY = 5.0
"""Machine seconds between two moments of the history."""

_HOUR = 720
_FRESH = 0.5
"""Machine seconds for which one look serves everybody who asks."""


class PageView:
    """A `status.pagereport.View` of a wired agent."""

    def __init__(
        self, parts: Parts, latest: Latest, look: Callable[[], Awaitable[Status]], departures: Departures, clock: PlantClock
    ) -> None:
        """Show ``parts``; ``look`` makes the status."""
        self._parts, self._latest, self._look = parts, latest, look
        self._departures, self._clock = departures, clock
        self._moments: deque[Moment] = deque(maxlen=_HOUR)
        self._status: tuple[float, Status] | None = None

    async def status(self) -> Status:
        """Return the agent as it is, or was half a second ago. Raises StorageError."""
        if self._status is None or time.monotonic() - self._status[0] > _FRESH:
            self._status = time.monotonic(), await self._look()
        return self._status[1]

    def tags(self, wish: TagsWish) -> tuple[TagsHead, Sequence[TagReport]]:
        """Return what stands before them, and the tags."""
        states = {name: state for collector in self._parts.collectors for name, state in collector.devices.items()}
        self._latest.look(states, self._parts.journal.raised())
        return self._latest.tags(wish, self._clock.now())

    def history(self) -> HistoryReport:
        """Return the last hour."""
        return HistoryReport(_EVERY, list(self._moments))

    def departures(self) -> AsyncIterator[bytes]:
        """Yield lines of JSON about what leaves."""
        return self._departures.lines()

    async def remember(self) -> None:
        """Take note of delivery, again and again; runs until cancelled."""
        while True:
            try:
                stats = await self._parts.buffer.stats()
            except StorageError:
                pass  # the status says what the store is in; a moment without figures is none
            else:
                waiting = stats.waiting_events + stats.waiting_telemetry
                self._moments.append(Moment(iso(self._clock.now()), self._parts.delivered.sent, waiting, stats.bytes))
            await asyncio.sleep(_EVERY)


@asynccontextmanager
async def page_served(config: WebConfig | None, view: PageView | None, more: Sequence[Route] = ()) -> AsyncIterator[None]:
    """Serve the page inside the block, where it is configured, and ``more`` behind its guard."""
    if config is None or view is None:
        yield
        return

    def app() -> ASGIApp:
        token = None if config.token_file is None else Token(config.token_file)
        return web_application(view, names=own_names(config.names), token=token, more=more)

    remembering = asyncio.create_task(view.remember(), name="page-history")
    try:
        async with listening(app, config):
            yield
    finally:
        remembering.cancel()
        await asyncio.wait([remembering])
