"""Where one device names what is being made and another one counts: the counters are read before a change goes on to the units.

What was made until the change was seen then belongs to what was being made until then. A device that reads its own counters with a change
(``ports.DeviceWiring``) needs nothing of this; one that cannot be asked, or does not answer in time, leaves a count that lies across.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from edge_agent.model.reading import Batch, Quality, Value

_READ = 1.0
"""Machine seconds that the reading of the counters may take."""

Read = Callable[[float], Awaitable[None]]
"""Reads the polled tags of an endpoint and returns when its units have them, at the latest after so many machine seconds."""


class Threshold:
    """Watches the names in batches on their way to the units.

    ``named`` gives for each device the tags, by index, that name what is being made, each with those who read the counters elsewhere.
    """

    def __init__(self, named: Mapping[str, Mapping[int, Sequence[Read]]]) -> None:
        """Know no name yet: the first is no change."""
        self._named = named
        self._last: dict[tuple[str, int], Value | None] = {}
        self._reading = False

    async def cross(self, batches: Sequence[Batch]) -> None:
        """Return when the counters elsewhere are read, where ``batches`` bring another name; at once where not, or while that goes on already.

        Two endpoints that change at once would wait for each other: the second one does not.
        """
        reads = {id(read): read for batch in batches for read in self._changed(batch)}
        if not reads or self._reading:
            return
        self._reading = True
        try:
            await asyncio.gather(*(read(_READ) for read in reads.values()))
        finally:
            self._reading = False

    def _changed(self, batch: Batch) -> list[Read]:
        named = self._named.get(batch.device, {})
        found: list[Read] = []
        if not named or batch.historical:
            return found
        for tag, value, quality in zip(batch.tags, batch.values, batch.quality, strict=True):
            if tag not in named or quality == Quality.BAD:
                continue
            key = (batch.device, tag)
            if key in self._last and self._last[key] != value:
                found += named[tag]
            self._last[key] = value
        return found
