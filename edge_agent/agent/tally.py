"""What one device has delivered, counted by the batch: a batch of a thousand samples costs a few looks along its columns and no more."""

from __future__ import annotations

from collections import Counter

from edge_agent.model.histogram import Histogram
from edge_agent.model.reading import Batch, ClockOffset, Gap, Quality
from edge_agent.ports import PollCounts

_BAD = int(Quality.BAD)


class DeviceTally:
    """Figures of one device since the start of the agent; durations in seconds of machine time, offsets in ns."""

    def __init__(self, speed: float = 1.0) -> None:
        """Begin with nothing; ``speed`` is the plant clock's."""
        self._speed = speed
        self.connects = 0
        self.batches = 0
        self.samples = 0
        self.bad: set[int] = set()
        self.requests = Histogram()
        self.gaps: Counter[str] = Counter()
        self.clock_offset: int | None = None
        self._before = PollCounts()
        self._now: PollCounts | None = None

    @property
    def polls(self) -> PollCounts | None:
        """What the driver counts of its polls, over all connections; None where nothing is polled."""
        return None if self._now is None else self._before.plus(self._now)

    def connected(self, counts: PollCounts | None) -> None:
        """Note a new connection, whose driver counts in ``counts`` from now on."""
        self.connects += 1
        if counts is not None:
            self._before, self._now = self.polls or self._before, counts

    def seen(self, batch: Batch) -> None:
        """Count one batch."""
        self.batches += 1
        self.samples += len(batch.tags)
        if batch.asked and not batch.historical:
            self.requests.observe((batch.received - batch.asked) / 1e9 / self._speed)
        if batch.before or batch.after:
            self._told(batch)
        if batch.historical:
            return
        if _BAD in batch.quality:
            for tag, quality in zip(batch.tags, batch.quality, strict=True):
                (self.bad.add if quality == _BAD else self.bad.discard)(tag)
        elif self.bad:
            self.bad.difference_update(batch.tags)

    def _told(self, batch: Batch) -> None:
        for notice in (*batch.before, *batch.after):
            if isinstance(notice, Gap):
                self.gaps[notice.reason] += 1
            elif isinstance(notice, ClockOffset):
                self.clock_offset = notice.offset


def newest(batch: Batch) -> int | None:
    """Return the best time (UTC ns) of the newest sample that is not bad, None where there is none.

    Nearly every batch has only good rows with times of one kind; these are looked at as columns.
    """
    if not batch.quality:
        return None
    if _BAD not in batch.quality:
        if min(batch.source) > 0:
            return max(batch.source)
        if not any(batch.source):
            if min(batch.server) > 0:
                return max(batch.server)
            if not any(batch.server):
                return batch.received
    return max(
        (source or server or batch.received for source, server, quality in zip(batch.source, batch.server, batch.quality, strict=True) if quality != _BAD),
        default=None,
    )  # fmt: skip
