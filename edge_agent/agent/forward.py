"""Carries records from the buffer to the sink: a sliding window in order, settled only by acknowledgement.

A record is finished when the sink has confirmed it and not before. What was in flight when a connection died is sent again
on the next one, in the same order, from the oldest record without an acknowledgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

from edge_agent.agent.flight import Flight, News, happened
from edge_agent.agent.lanes import Lanes
from edge_agent.model.errors import DisconnectedError, RejectedError, StorageError
from edge_agent.model.histogram import Histogram
from edge_agent.model.stream import Record
from edge_agent.ports import Buffer, Sink

_NAP = 0.02
"""Machine seconds between two looks for something new while a paced backlog waits and nothing is in flight."""

_RETRY = 0.5
"""Machine seconds before a store that could not be read is asked again."""

_TOGETHER = 0.005
"""Machine seconds for which confirmations are gathered, while more are due, before the buffer is told: each time costs a turn of the disk thread."""


class Delivered:
    """What the forwarder has achieved, for status and for the watchdog: counts, and machine times in seconds."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        self.sent = 0
        self.rejected = 0
        self.last_acknowledged: float | None = None
        self.waits: deque[float] = deque(maxlen=512)
        self.acknowledgements = Histogram()
        self.listeners: list[Callable[[Record, float], None]] = []

    def acknowledged(self, record: Record, seconds: float) -> None:
        """Count one record that was confirmed ``seconds`` after it was handed over, and tell whoever listens."""
        self.sent += 1
        self.last_acknowledged = time.monotonic()
        self.waits.append(seconds)
        self.acknowledgements.observe(seconds)
        for listener in self.listeners:
            listener(record, seconds)


class Forwarder:
    """Moves the records of one output while a sink is open; one object for the life of the agent."""

    def __init__(self, buffer: Buffer, output: str, delivered: Delivered, *, drain_rate: float | None = None) -> None:
        """Forward what ``buffer`` holds for ``output``, counting in ``delivered``.

        ``drain_rate``: records per second, of each kind, of what waited when a sink came up or was asked for again.
        """
        self._buffer = buffer
        self._output = output
        self._delivered = delivered
        self.drain_rate = drain_rate
        self._log = structlog.get_logger().bind(output=output)
        self._again = False

    def start_over(self) -> None:
        """Look for waiting records from the oldest again: some were marked for resending."""
        self._again = True

    async def run(self, sink: Sink) -> None:
        """Forward until cancelled. Raises DisconnectedError when the sink is lost; everything confirmed by then is settled."""
        flight, news = Flight(sink, await self._lanes()), News(self._buffer)
        try:
            while True:
                if news.came():
                    flight.lanes.more()
                readable = await self._fill_if_readable(flight, sink.window)
                if flight.tasks:
                    await flight.some_done(flight.lanes.pause)
                    self._harvest(flight)
                    self._settle_soon(flight)
                elif not readable:
                    await asyncio.sleep(_RETRY)
                elif flight.lanes.pause is not None:
                    await asyncio.sleep(min(flight.lanes.pause, _NAP))
                else:
                    await self._wait_for_more(flight, news)
        finally:
            await news.end()
            await flight.abandon()
            with contextlib.suppress(DisconnectedError, RejectedError):
                self._harvest(flight)
            await self._settle_rest(flight)

    async def _lanes(self) -> Lanes:
        heads: dict[str, int] = {}
        if self.drain_rate is not None:
            with contextlib.suppress(StorageError):  # no pace then; the buffer has told the log that it is in trouble
                heads = {stream: last for stream, (_, last, _) in (await self._buffer.heads()).items()}
        return Lanes(partial(self._buffer.peek, self._output), self.drain_rate, self._buffer.epoch, heads)

    async def _fill_if_readable(self, flight: Flight, window: int) -> bool:
        try:
            await self._fill(flight, window)
        except StorageError as error:  # the buffer mends itself; what is in flight goes on
            self._log.error("forward.not_readable", reason=str(error))
            return False
        return True

    async def _fill(self, flight: Flight, window: int) -> None:
        if self._again:
            self._again = False
            flight.lanes.start_over()
        flight.lanes.pause = None
        while len(flight.tasks) < window:
            now = time.monotonic()
            record = await flight.lanes.next(window, now)
            if record is None:
                return
            flight.send(record)

    async def _wait_for_more(self, flight: Flight, news: News) -> None:
        if not flight.lanes.passed:  # else something came while records were in flight, and it may stand before our place
            await news.wait()
            news.came()
        flight.lanes.passed = False
        if flight.lanes.emptied:  # a resend may have marked records before our place
            flight.lanes.restart()

    def _harvest(self, flight: Flight) -> None:
        """Note what was confirmed or rejected since the last look, and raise the first failure that ends the connection."""
        rejections = len(flight.rejected)
        failure = flight.harvest(self._delivered.acknowledged)
        for key, reason in flight.rejected[rejections:]:
            self._delivered.rejected += 1
            self._log.error("record.rejected", stream=key.stream, seq=key.seq, reason=reason)
        if failure is not None:
            raise failure

    def _settle_soon(self, flight: Flight) -> None:
        """Tell the buffer in the background: the window slides on while the disk works, and what waits is settled together."""
        if (flight.done or flight.rejected) and (flight.settling is None or flight.settling.done()):
            if flight.settling is not None:
                flight.settling.result()
            flight.settling = asyncio.create_task(self._settle_together(flight))

    async def _settle_together(self, flight: Flight) -> None:
        await happened(flight.landed, _TOGETHER)
        while not await self._settle(flight) and not flight.over.is_set():
            await happened(flight.over, _RETRY)

    async def _settle(self, flight: Flight) -> bool:
        """Tell the buffer; return whether it has taken everything."""
        while flight.done or flight.rejected:
            done, flight.done = flight.done, []
            rejected, flight.rejected = flight.rejected, []
            try:
                await self._buffer.settle(self._output, done, rejected)
            except StorageError as error:  # told again soon, or sent again after a restart: never lost
                self._log.error("settle.not_stored", reason=str(error), records=len(done) + len(rejected))
                flight.done[:0], flight.rejected[:0] = done, rejected
                return False
            flight.lanes.open.difference_update(done)
            flight.lanes.open.difference_update(key for key, _ in rejected)
        return True

    async def _settle_rest(self, flight: Flight) -> None:
        """On the way out: settle what was confirmed, so that it is not sent twice without need."""
        flight.over.set()
        if flight.settling is not None:
            await flight.settling
        await self._settle(flight)


async def drained(buffer: Buffer, seconds: float) -> bool:
    """Return True as soon as nothing waits for delivery, False when ``seconds`` of machine time are over."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                stats = await buffer.stats()
                if stats.waiting_events + stats.waiting_telemetry == 0:
                    return True
                await asyncio.sleep(0.02)
    except (TimeoutError, DisconnectedError):
        return False
