"""Where readings wait while the store could not be opened yet: without their stored state the units cannot say what a reading means.

When the store opens everything goes to the units in the order it came, with its own times: counters go on from what was stored, and
nothing has been lost. What did not fit is declared as a gap by the rules that read it; a counter's parts of that time are in its next count.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from edge_agent.model.reading import Batch, Gap, Notice

Deliver = Callable[[Batch], Awaitable[None]]
_NOTICES = 1_000
"""Notices of dropped batches that are kept for each device and reader; then the oldest go too."""


class _Lost:
    """What was dropped of one device for one reader."""

    def __init__(self, batch: Batch) -> None:
        self.device, self.since, self.until, self.count = batch.device, batch.received, batch.received, 0
        self.notices: deque[Notice] = deque(maxlen=_NOTICES)

    def take(self, batch: Batch) -> None:
        self.until, self.count = batch.received, self.count + 1
        self.notices.extend((*batch.before, *batch.after))

    def batch(self) -> Batch:
        gap = Gap(self.device, "buffer_overflow", self.since, self.until, count=self.count)
        return Batch(self.device, self.until, before=(*self.notices, gap))


class Hold:
    """Batches on their way to units and journal: passed on at once, or kept until `release`. At most ``batches`` with ``rows`` rows are kept."""

    def __init__(self, batches: int = 10_000, rows: int = 200_000) -> None:
        """Pass everything on until `close` is called."""
        self._batches, self._rows_limit = batches, rows
        self._kept: deque[tuple[Deliver, Batch]] = deque()
        self._lost: dict[tuple[Deliver, str], _Lost] = {}
        self._rows = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many batches wait."""
        return len(self._kept)

    @property
    def closed(self) -> bool:
        """Whether batches are kept now."""
        return self._closed

    @property
    def dropped(self) -> int:
        """How many batches did not fit."""
        return sum(lost.count for lost in self._lost.values())

    def close(self) -> None:
        """Keep what comes from now on."""
        self._closed = True

    def door(self, deliver: Deliver) -> Deliver:
        """Return the way to ``deliver``."""

        async def through(batch: Batch) -> None:
            if self._closed:
                self._keep(deliver, batch)
            else:
                await deliver(batch)

        return through

    def _keep(self, deliver: Deliver, batch: Batch) -> None:
        self._kept.append((deliver, batch))
        self._rows += len(batch)
        while len(self._kept) > self._batches or (self._rows > self._rows_limit and len(self._kept) > 1):
            reader, oldest = self._kept.popleft()
            self._rows -= len(oldest)
            key = (reader, oldest.device)
            if key not in self._lost:
                self._lost[key] = _Lost(oldest)
            self._lost[key].take(oldest)

    async def release(self, joined: Callable[[], None]) -> None:
        """Deliver what waits, in order, then pass on; returns when all of it is in custody.

        ``joined`` is called as soon as what waited stands in the inboxes: no unit may look at the clock before, for a shift boundary that
        has passed meanwhile comes behind the readings of the old shift.
        """
        lost, self._lost = self._lost, {}
        self._kept.extendleft([(deliver, each.batch()) for (deliver, _), each in reversed(lost.items())])
        while True:
            now, self._kept, self._rows = self._kept, deque(), 0
            custody = asyncio.gather(
                *(deliver(batch) for deliver, batch in now)
            )  # each joins its inbox in this order, in its first step
            asyncio.get_running_loop().call_soon(joined)  # and this is behind all of them
            await custody
            if not self._kept:
                break
        self._closed = False
