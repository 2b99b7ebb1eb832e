"""Delivering what a subscription kept while nobody listened: in the order of its own time, each row once, nothing of it taken for news of now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from edge_agent.drivers.opcua.floors import sample_of
from edge_agent.drivers.opcua.inbox import Receipt
from edge_agent.drivers.opcua.report import Reporter
from edge_agent.drivers.opcua.resume import Missed
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.track import Track
from edge_agent.model.reading import Gap
from edge_agent.ports import Trigger

_SLACK: Final = 1.0
"""Machine seconds, beside two publishing intervals, in which a server says what it has kept; then it has nothing."""


class Taking(Protocol):
    """How a device makes rows of its tags out of the rows of a message."""

    def __call__(self, rows: Columns) -> Columns:
        """Return the rows of tags, parts taken out."""
        ...


class Comeback:
    """Takes messages until the server has told everything that it kept. ``boot`` is the boot tag's handle, -1 without one."""

    def __init__(self, reporter: Reporter, track: Track, boot: int) -> None:
        self._reporter, self._track, self._boot = reporter, track, boot
        self._done = asyncio.Event()
        self._times: dict[int, list[int]] = {}
        self.last: dict[int, tuple[object, ...]] = {}
        self.active = True

    def message(self, rows: Columns, receipt: Receipt) -> None:
        """Deliver the rows of one message, oldest first; a restart of the device stands between them where it was."""
        rows = self._news(rows)
        for handle, source, server in zip(rows.handles, rows.source, rows.server, strict=True):
            self._times.setdefault(handle, []).append(source or server)
        parts = self._parts(rows)
        for place, part in enumerate(parts):
            left = len(parts) - place - 1
            mark = self._track.mark(part, receipt.sequence, left)
            self._reporter.put(part, None if left else receipt, mark=mark, historical=True)

    def _news(self, rows: Columns) -> Columns:
        """Return rows in the order of their times without those told already: a server sends the values of now besides what it has kept."""
        times = [source or server for source, server in zip(rows.source, rows.server, strict=True)]
        news = []
        for row in sorted(range(len(rows)), key=times.__getitem__):
            handle, sample = rows.handles[row], sample_of(rows, row)
            if self.last.get(handle) != sample:
                self.last[handle] = sample
                news.append(row)
        return rows.select(news)

    def _parts(self, ordered: Columns) -> list[Columns]:
        cuts = [row for row, handle in enumerate(ordered.handles) if handle == self._boot and row]
        return [ordered.select(range(start, end)) for start, end in zip((0, *cuts), (*cuts, len(ordered)), strict=True)]

    def again(self, messages: Sequence[Missed], subscription: int, taking: Taking) -> None:
        """Deliver messages that were asked for again, and declare those that are gone where they were."""
        lost = 0
        for missed in messages:
            if missed.message is None:
                lost += missed.lost
                continue
            rows = taking(missed.message.rows)
            if lost:
                self._reporter.hole(lost, min((time for time in rows.source if time), default=0))
                lost = 0
            if len(rows):
                self.message(rows, Receipt(subscription, missed.message.sequence))
        if lost:
            self._reporter.hole(lost)

    def caught_up(self) -> None:
        """End the wait: soon everything is news."""
        self._done.set()

    async def wait(self, publishing: float) -> None:
        """Return when the server has told everything, or says nothing for two publishing intervals (ms) and a little."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * publishing / 1000 + _SLACK):
                await self._done.wait()
        self.active = False

    def not_told(self, rows: Columns) -> Columns:
        """Return of ``rows``, read before the wait, those whose tags said nothing meanwhile."""
        return rows.select([row for row, handle in enumerate(rows.handles) if handle not in self._times])

    def overwritten(self, device: str, groups: Mapping[int, Sequence[Trigger]]) -> list[Gap]:
        """Return the gaps of trigger groups that fired more than once: only what the last one said can still be read."""
        gaps = []
        for handle, some in groups.items():
            times = self._times.get(handle, [])
            if len(times) > 1:
                gaps += [Gap(device, "comm_loss", times[0], times[-1], group.tags, len(times) - 1) for group in some]
        return gaps
