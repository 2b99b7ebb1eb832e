"""Keeping the samples of a tag in order where a Read overtook the subscription, or was overtaken by it (pure)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from edge_agent.drivers.opcua.shape import Columns


class _Floor(NamedTuple):
    time: int
    sample: tuple[object, ...]
    until: float


_INFO: Final = 0xFFFF
"""The bits of a StatusCode that speak of this one delivery, as an overflow (OPC 10000-4, 7.39.1)."""


class Beside:
    """The newest samples that came by subscription while a Read was on its way."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[Columns, int]] = {}

    def came(self, rows: Columns) -> None:
        """Take note of rows that are delivered now."""
        self._newest.update((handle, (rows, row)) for row, handle in enumerate(rows.handles))

    def fresh(self, read: Columns, anyway: Collection[int] = ()) -> Columns:
        """Return what was read without the rows that are no news any more; those of the handles in ``anyway`` are."""
        if not self._newest:
            return read
        keep = [row for row, handle in enumerate(read.handles) if handle in anyway or not self._overtook(read, row)]
        return read if len(keep) == len(read) else read.select(keep)

    def newest(self, read: Columns) -> Columns:
        """Return what was read, all of it, with what overtook it in its place."""
        out = Columns()
        for row, handle in enumerate(read.handles):
            if self._overtook(read, row):
                out.copy_row(*self._newest[handle])
                out.status[-1] &= ~_INFO  # an overflow was declared with the sample itself
            else:
                out.copy_row(read, row)
        return out

    def _overtook(self, read: Columns, row: int) -> bool:
        """Whether the sample of a row has been overtaken. Where times do not tell, it has: anything newer comes by subscription."""
        if read.handles[row] not in self._newest:
            return False
        rows, newest = self._newest[read.handles[row]]
        read_at, came_at = read.source[row] or read.server[row], rows.source[newest] or rows.server[newest]
        return read_at <= 0 or came_at <= 0 or read_at <= came_at


class Floors:
    """What was delivered from a Read and may still come by subscription.

    After a baseline the first sample of each tag is dropped when it is the same one. After a later Read, samples of the tag that
    are older by the device's own clock, and the same sample, are dropped as long as they may still be on their way; no
    longer, for a device whose clock is set back must not lose data.
    """

    def __init__(self) -> None:
        self._baseline: dict[int, tuple[object, ...]] = {}
        self._floors: dict[int, _Floor] = {}
        self._reads: list[Beside] = []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Beside]:
        """Take note of what comes beside a Read, from before it is asked for until it is delivered."""
        beside = Beside()
        self._reads.append(beside)
        try:
            yield beside
        finally:
            self._reads.remove(beside)

    def baseline(self, rows: Columns) -> None:
        """Take note of values read before their subscription existed."""
        for row, handle in enumerate(rows.handles):
            self._baseline[handle] = sample_of(rows, row)

    def told(self, samples: Mapping[int, tuple[object, ...]]) -> None:
        """Take note of the last samples that were delivered of a subscription that was taken over: they may come once more."""
        self._baseline.update(samples)

    def raise_to(self, rows: Columns, until: float) -> None:
        """Take note of values read beside the subscription; valid until the machine time ``until`` (seconds)."""
        for row, handle in enumerate(rows.handles):
            self._floors[handle] = _Floor(rows.source[row] or rows.server[row], sample_of(rows, row), until)

    def forget(self, handle: int) -> None:
        """Expect no first sample of a tag any more: it is not subscribed."""
        self._baseline.pop(handle, None)

    def admitted(self, rows: Columns, now: float) -> Columns:
        """Return the rows that are news at machine time ``now``."""
        rows = self._news(rows, now)
        for beside in self._reads:
            beside.came(rows)
        return rows

    def _news(self, rows: Columns, now: float) -> Columns:
        if not self._baseline and not self._floors:
            return rows
        keep = [row for row in range(len(rows)) if self._admits(rows, row, now)]
        if self._floors and all(floor.until < now for floor in self._floors.values()):
            self._floors.clear()
        return rows if len(keep) == len(rows) else rows.select(keep)

    def _admits(self, rows: Columns, row: int, now: float) -> bool:
        handle, sample = rows.handles[row], sample_of(rows, row)
        if self._baseline.pop(handle, None) == sample:
            return False
        floor = self._floors.get(handle)
        if floor is None or floor.until < now:
            return True
        time = rows.source[row] or rows.server[row]
        if 0 < time < floor.time:
            return False
        del self._floors[handle]  # what comes after this one is newer
        return sample != floor.sample


def sample_of(rows: Columns, row: int) -> tuple[object, ...]:
    """Return what makes a sample this one and no other: type, value, status, source time."""
    return (rows.types[row], rows.values[row], rows.status[row], rows.source[row])
