"""Alarms and conditions of one device: an event subscription of its own, refreshed after each connect and whenever something may be missing.

::

    begun --> ConditionRefresh --> RefreshStart ... every condition of interest ... RefreshEnd --> done
      ^                                   |
      '--- RefreshRequired, queue overflow, a hole, an overrun: declared, and asked again

Each source is a tag of the device, its samples are conditions. One that cannot be had is a bad row and is tried again.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog
from asyncua import ua

from edge_agent.drivers.opcua import eventfields
from edge_agent.drivers.opcua.alarmsource import Source, open_sources
from edge_agent.drivers.opcua.bracket import HANDLE, Bracket
from edge_agent.drivers.opcua.eventfields import Event, condition_of, event_of
from edge_agent.drivers.opcua.inbox import Inbox, Receipt
from edge_agent.drivers.opcua.pace import Pace, counts
from edge_agent.drivers.opcua.refresh import BUSY, condition_refresh
from edge_agent.drivers.opcua.session import CURRENT, Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.subscribe import PublishLoop
from edge_agent.model.condition import Refresh
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Gap, GapReason, Notice, Quality, Settled, TagStatus
from edge_agent.ports import PlantClock

_SLACK: Final = 5_000_000_000
_MOST_SPOILT: Final = 3
"""Refreshes in a row that lost something before the source is taken for one that cannot tell all it has."""


class AlarmFeed:
    """The alarm sources of one device. `run` until cancelled; `Subscriber` of the publish loop."""

    def __init__(self, sources: Sequence[Source], device: str, publishing: float) -> None:
        self._sources, self._device, self._publishing = sources, device, publishing
        self._subscription: int | None = None
        self._wake = asyncio.Event()
        self._bracket = Bracket(publishing)
        self._again = True
        self._spoilt = 0
        self._heard = 0
        self._log = structlog.get_logger().bind(device=device)

    def attach(self, session: Session, loop: PublishLoop, inbox: Inbox, clock: PlantClock, pace: Pace) -> None:
        """Take what the connection gives; before `run`."""
        self._session, self._loop, self._inbox, self._clock, self._pace = session, loop, inbox, clock, pace
        self._slack = round(_SLACK * max(1.0, clock.speed))

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Subscribe, refresh, and do both again where needed; then every tag was looked at. Raises DisconnectedError."""
        if not self._sources:
            self._settle()
            return
        current = self._session.facts.get(CURRENT)
        self._offset = current - self._session.asked_at if isinstance(current, int) and current > 0 else 0
        delay, first = 0.0, True
        while True:
            self._wake.clear()
            await self._open([source for source in self._sources if source.monitored is None])
            if first:
                self._settle()
            first = False
            retry = any(source.monitored is None for source in self._sources)
            if self._again and any(source.monitored is not None for source in self._sources):
                retry = not await self._refresh() or retry
            delay = min(max(2 * delay, self._pace.retry_first), self._pace.retry_most) if retry else 0.0
            try:
                async with asyncio.timeout(delay or None):
                    await self._wake.wait()
            except TimeoutError:
                self._again = self._again or retry

    def _settle(self) -> None:
        """Say that every tag was looked at: the others had been before `run`."""
        now = self._clock.now()
        self._inbox.put(Batch(self._device, now, after=(Settled(self._device, now),)))

    def resync(self) -> None:
        """Ask for all conditions again soon: something may be missing."""
        self._again = True
        self._wake.set()

    async def _open(self, sources: Sequence[Source]) -> None:
        """Create what is not there yet; one that cannot be had says why, once."""
        if not sources:
            return
        if self._subscription is None and (why := await self._subscribe()) is not None:
            for source in sources:
                self._lost(source, why)
            return
        assert self._subscription is not None  # noqa: S101 - just made
        for source, trouble in await open_sources(self._session, self._subscription, sources):
            if trouble is not None:
                self._lost(source, trouble)
                continue
            self._again = True
            if source.trouble:
                source.trouble = ""
                self._put([], before=[TagStatus(self._device, self._clock.now(), source.name, True)])
        open_now = [source for source in self._sources if source.monitored is not None]
        if open_now and not self._bracket.watched and not any(source.is_server for source in open_now):
            await self._bracket.watch(self._session, self._subscription)

    async def _subscribe(self) -> str | None:
        keep_alive, lifetime = counts(self._publishing, self._pace)
        params = ua.CreateSubscriptionParameters(self._publishing, lifetime, keep_alive, 1000, True, 0)
        try:
            result = await self._session.create_subscription(ua.CreateSubscriptionRequest(Parameters=params))
        except DisconnectedError as error:
            cause = error.__cause__
            if isinstance(cause, ua.UaStatusCodeError):  # a server with room for one subscription still gives its values
                return f"no subscription for events: {status_text(cause.code)}"
            raise
        self._subscription = result.SubscriptionId
        self._loop.add(result.SubscriptionId, self, result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount / 1000)
        return None

    def _lost(self, source: Source, why: str) -> None:
        if source.trouble == why:
            return
        self._log.warning("opcua.alarms_lost", source=source.name, reason=why)
        news = not source.trouble
        source.trouble = why
        now = self._clock.now()
        batch = Batch(self._device, now, [source.index], [None], [int(Quality.BAD)], [0], [now + self._offset], {0: why})
        batch.after = (TagStatus(self._device, now, source.name, False, why),) if news else ()
        self._inbox.put(batch)

    # -- refresh -------------------------------------------------------------------------------------------------

    async def _refresh(self) -> bool:
        """Have every condition told again; returns whether that is settled, one way or the other."""
        self._again = False
        self._bracket.begin()
        asked = [source for source in self._sources if source.monitored is not None]
        for source in asked:
            source.spoilt = False
            source.awaited = True
            source.refreshing = not source.is_server  # it may never be told of the start
        self._mark(asked, Refresh("begun"))
        assert self._subscription is not None  # noqa: S101 - a source is monitored in it
        why = await condition_refresh(self._session, self._subscription)
        if why is None:
            try:
                async with asyncio.timeout(self._session.timeout):
                    await self._bracket.wait()
                self._finish([source for source in asked if source.awaited])
            except TimeoutError:
                why = "the end of the refresh never came"
        if why == BUSY:
            self._again = True
            return False
        waiting = [source for source in asked if source.awaited]
        for source in waiting:
            source.awaited = source.refreshing = False
        if why is not None:
            self._log.warning("opcua.alarms_not_refreshed", reason=why)
            self._mark(waiting, Refresh("unknown", why))
        if not any(source.spoilt for source in asked):
            self._spoilt = 0
            return True
        return self._do_again([source for source in asked if source.spoilt])

    def _do_again(self, spoilt: Sequence[Source]) -> bool:
        self._spoilt += 1
        if self._spoilt < _MOST_SPOILT:
            self._again = True
            return False
        self._spoilt = 0
        why = "events were lost in each refresh; raise queue, or narrow the source"
        self._log.warning("opcua.alarms_not_refreshed", reason=why)
        self._mark(spoilt, Refresh("unknown", why))
        return True

    def _finish(self, sources: Sequence[Source]) -> None:
        """End the refresh of sources that did not hear of it themselves."""
        for source in sources:
            source.awaited = source.refreshing = False
        self._mark([source for source in sources if not source.spoilt], Refresh("done"))

    def _mark(self, sources: Sequence[Source], mark: Refresh) -> None:
        self._put([(source, mark, None) for source in sources])

    # -- what arrives --------------------------------------------------------------------------------------------

    def notified(self, rows: Columns, receipt: Receipt) -> None:
        """Take the events of one message."""
        out: list[tuple[Source, Any, int | None]] = []
        gaps: list[Notice] = []
        by_handle = {source.handle: source for source in self._sources}
        for handle, values in zip(rows.handles, rows.values, strict=True):
            source, event = by_handle.get(handle), event_of(values)
            if handle == HANDLE:
                self._of_the_server(event)
                continue
            if source is None or event is None:
                self._log.warning("opcua.event_not_understood", handle=handle)
                continue
            self._bracket.heard()
            if event.type in {eventfields.START, eventfields.END, eventfields.REQUIRED, eventfields.OVERFLOW}:
                out += self._special(source, event.type, gaps)
            elif source.wants(event):
                out.append(self._row(source, event))
        if out or gaps:
            self._put(out, receipt, before=gaps)
        else:
            self._loop.accept(receipt)

    def _special(self, source: Source, kind: str, gaps: list[Notice]) -> list[tuple[Source, Any, int | None]]:
        if kind == eventfields.START:
            source.refreshing = source.awaited
        elif kind == eventfields.REQUIRED:
            self.resync()
        elif kind == eventfields.OVERFLOW:
            self._declare([source], "queue_overflow", gaps)
        elif source.awaited:
            source.awaited = source.refreshing = False
            if source.is_server:
                self._bracket.ended()
            if not any(one.awaited for one in self._sources):
                self._bracket.complete()
            return [] if source.spoilt else [(source, Refresh("done"), None)]
        return []

    def _of_the_server(self, event: Event | None) -> None:
        """Take an event of the Server object, which is watched for what speaks of the subscription alone."""
        if event is not None and event.type == eventfields.END:
            self._bracket.ended()
        elif event is not None and event.type == eventfields.REQUIRED:
            self.resync()

    def _row(self, source: Source, event: Event) -> tuple[Source, Any, int | None]:
        now = self._clock.now()
        latest = max(now, now + self._offset) + self._slack
        condition = condition_of(event, self._session.namespaces, latest=latest, severity_min=source.config.severity_min)
        return source, condition, None if source.refreshing else condition.time

    def hole(self, missing: int) -> None:
        """Declare messages that are lost for good, and have everything told again."""
        gaps: list[Notice] = []
        self._declare(self._sources, "comm_loss", gaps, missing)
        self._put([], before=gaps)

    def status(self, code: int) -> None:
        """Have everything told again when the server reports a change of the subscription."""
        self._log.info("opcua.status_change", status=status_text(code))
        self.resync()

    def _declare(self, sources: Sequence[Source], reason: GapReason, gaps: list[Notice], count: int | None = None) -> None:
        now = self._clock.now()
        for source in sources:
            source.spoilt = source.spoilt or source.awaited
        gaps.append(Gap(self._device, reason, self._heard or now, now, tuple(source.name for source in sources), count))
        self.resync()

    def _put(
        self,
        rows: Sequence[tuple[Source, Any, int | None]],
        receipt: Receipt | None = None,
        *,
        before: Sequence[Notice] = (),
    ) -> None:
        """Queue rows. What tells a standing condition, and marks, carry the server's time of now: the time of their change is inside."""
        now = self._heard = self._clock.now()
        if not rows and not before:
            return
        size = len(rows)
        stamp = now + self._offset
        batch = Batch(
            self._device,
            now,
            [source.index for source, _, _ in rows],
            [value for _, value, _ in rows],
            [int(Quality.GOOD)] * size,
            [time or 0 for _, _, time in rows],
            [stamp] * size,
        )
        batch.before = tuple(before)
        self._inbox.put(batch, receipt)
