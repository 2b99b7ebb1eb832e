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

from edge_agent.agent.lanes import Lanes
from edge_agent.model.errors import DisconnectedError, RejectedError, StorageError
from edge_agent.model.histogram import Histogram
from edge_agent.model.stream import Record, RecordKey
from edge_agent.ports import Buffer, Sink

_NAP = 0.02
"""Machine seconds between two looks for something new while a paced backlog waits and nothing is in flight."""

_RETRY = 0.5
"""Machine seconds before a store that could not be read is asked again."""


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
        flight = _Flight(sink, await self._lanes())
        try:
            while True:
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
                    await self._wait_for_more(flight)
        finally:
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

    async def _fill_if_readable(self, flight: _Flight, window: int) -> bool:
        try:
            await self._fill(flight, window)
        except StorageError as error:  # the buffer mends itself; what is in flight goes on
            self._log.error("forward.not_readable", reason=str(error))
            return False
        return True

    async def _fill(self, flight: _Flight, window: int) -> None:
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

    async def _wait_for_more(self, flight: _Flight) -> None:
        await self._buffer.arrived()
        if flight.lanes.emptied:  # a resend may have marked records before our place
            flight.lanes.restart()

    def _harvest(self, flight: _Flight) -> None:
        """Note what was confirmed or rejected since the last look, and raise the first failure that ends the connection."""
        rejections = len(flight.rejected)
        failure = flight.harvest(self._delivered)
        for key, reason in flight.rejected[rejections:]:
            self._delivered.rejected += 1
            self._log.error("record.rejected", stream=key.stream, seq=key.seq, reason=reason)
        if failure is not None:
            raise failure

    def _settle_soon(self, flight: _Flight) -> None:
        """Tell the buffer in the background: the window slides on while the disk works, and what waits is settled together."""
        if (flight.done or flight.rejected) and (flight.settling is None or flight.settling.done()):
            if flight.settling is not None:
                flight.settling.result()
            flight.settling = asyncio.create_task(self._settle(flight))

    async def _settle(self, flight: _Flight) -> None:
        while flight.done or flight.rejected:
            done, flight.done = flight.done, []
            rejected, flight.rejected = flight.rejected, []
            try:
                await self._buffer.settle(self._output, done, rejected)
            except StorageError as error:  # settled with the next confirmation, or sent again after a restart: never lost
                self._log.error("settle.not_stored", reason=str(error), records=len(done) + len(rejected))
                flight.done[:0], flight.rejected[:0] = done, rejected
                return
            flight.lanes.open.difference_update(done)
            flight.lanes.open.difference_update(key for key, _ in rejected)

    async def _settle_rest(self, flight: _Flight) -> None:
        """On the way out: settle what was confirmed, so that it is not sent twice without need."""
        if flight.settling is not None:
            await flight.settling
        await self._settle(flight)


class _Flight:
    """The records handed to one sink and not settled yet."""

    def __init__(self, sink: Sink, lanes: Lanes) -> None:
        self._sink = sink
        self.lanes = lanes
        self.tasks: dict[asyncio.Task[None], tuple[Record, float]] = {}
        self._ended: list[asyncio.Task[None]] = []
        self._some = asyncio.Event()
        self.done: list[RecordKey] = []
        self.rejected: list[tuple[RecordKey, str]] = []
        self.settling: asyncio.Task[None] | None = None

    def send(self, record: Record) -> None:
        """Hand one record over; tasks start in the order they are made, so the sink sees the buffer's order."""
        task = asyncio.create_task(self._sink.publish(record))
        self.tasks[task] = (record, time.monotonic())
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ended.append(task)
        self._some.set()

    async def some_done(self, seconds: float | None) -> None:
        """Wait until at least one record in flight is confirmed or failed, at most ``seconds``."""
        if seconds is None:
            await self._some.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._some.wait()

    def harvest(self, delivered: Delivered) -> BaseException | None:
        """Move what finished since the last call to ``done`` and ``rejected``; return the first failure of another kind."""
        failure: BaseException | None = None
        now = time.monotonic()
        ended, self._ended = self._ended, []
        self._some.clear()
        for task in ended:
            record, since = self.tasks.pop(task)
            self.lanes.landed(record)
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                delivered.acknowledged(record, now - since)
                self.done.append(record.key)
            elif isinstance(error, RejectedError):
                self.rejected.append((record.key, str(error)))
            else:
                failure = failure or error
        return failure

    async def abandon(self) -> None:
        """Cancel what is still in flight and wait until it is over."""
        pending = [task for task in self.tasks if not task.done()]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        self._ended = list(self.tasks)  # all are done, whether or not each has been told


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
