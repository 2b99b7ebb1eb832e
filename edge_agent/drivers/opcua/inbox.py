"""The bounded queue between acquisition and ``read``: what was returned is accepted, and may be acknowledged, at the next call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Gap, Notice


class Receipt(NamedTuple):
    """A notification message that the server keeps until it is acknowledged."""

    subscription: int
    sequence: int


class _Overrun:
    """What a device lost while the queue was full; its notices are kept, for they are few and happen once."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.count = 0
        self.notices: list[Notice] = []


class Inbox:
    """Batches in order, at most ``limit`` rows. ``accepted`` gets the receipts that may be acknowledged.

    A batch that does not fit is dropped and declared: the next batch of its device begins with a gap (``sampling_overrun``).
    ``on_room`` is told the devices that lost rows as soon as there is room again, so that they read their values anew.
    """

    def __init__(self, limit: int, accepted: Callable[[Receipt], None], on_room: Callable[[str], None]) -> None:
        self._limit = limit
        self._accepted = accepted
        self._on_room = on_room
        self._waiting: deque[tuple[Batch, Receipt | None]] = deque()
        self._rows = 0
        self._handed: list[Receipt] = []
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()
        self._failure: DisconnectedError | None = None
        self._overruns: dict[str, _Overrun] = {}
        self._last: dict[str, int] = {}

    def put(self, batch: Batch, receipt: Receipt | None = None) -> None:
        """Add a batch, or drop and declare it when the queue is full."""
        device = batch.device
        if self._rows and self._rows + len(batch) > self._limit:
            overrun = self._overruns.setdefault(device, _Overrun(self._last.get(device, batch.received)))
            overrun.count += len(batch)
            overrun.notices.extend((*batch.before, *batch.after))
            if receipt is not None:
                self._accepted(receipt)  # declared as lost; the server need not keep it
            return
        if (lost := self._overruns.pop(device, None)) is not None:
            gap = Gap(device, "sampling_overrun", lost.since, batch.received, (), lost.count)
            batch.before = (gap, *lost.notices, *batch.before)
        self._last[device] = batch.received
        self._waiting.append((batch, receipt))
        self._rows += len(batch)
        self._arrived.set()

    async def room(self, rows: int) -> None:
        """Return when that many more rows fit, or nothing waits."""
        while self._rows and self._rows + rows > self._limit:
            self._taken.clear()
            await self._taken.wait()

    def fail(self, error: DisconnectedError) -> None:
        """Let ``take`` raise ``error`` once everything before it was taken; the first failure stands."""
        self._failure = self._failure or error
        self._arrived.set()

    async def take(self) -> list[Batch]:
        """Accept what was returned before, wait until something is there, and return all of it."""
        handed, self._handed = self._handed, []
        for receipt in handed:
            self._accepted(receipt)
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        batches = [batch for batch, _ in self._waiting]
        self._handed = [receipt for _, receipt in self._waiting if receipt is not None]
        self._waiting.clear()
        self._rows = 0
        self._taken.set()
        for device in list(self._overruns):
            self._on_room(device)
        return batches
