"""Keeping the samples of a tag in order where a Read overtook the subscription (pure)."""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.drivers.opcua.shape import Columns


class _Floor(NamedTuple):
    time: int
    sample: tuple[object, ...]
    until: float


class Floors:
    """What was delivered from a Read and may still come by subscription.

    After a baseline the first sample of each tag is dropped when it is the same one. After a later Read, samples of the tag that
    are older by the device's own clock, and the same sample, are dropped as long as they may still be on their way; no
    longer, for a device whose clock is set back must not lose data.
    """

    def __init__(self) -> None:
        self._baseline: dict[int, tuple[object, ...]] = {}
        self._floors: dict[int, _Floor] = {}

    def baseline(self, rows: Columns) -> None:
        """Take note of values read before their subscription existed."""
        for row, handle in enumerate(rows.handles):
            self._baseline[handle] = _sample(rows, row)

    def raise_to(self, rows: Columns, until: float) -> None:
        """Take note of values read beside the subscription; valid until the machine time ``until`` (seconds)."""
        for row, handle in enumerate(rows.handles):
            self._floors[handle] = _Floor(rows.source[row] or rows.server[row], _sample(rows, row), until)

    def forget(self, handle: int) -> None:
        """Expect no first sample of a tag any more: it is not subscribed."""
        self._baseline.pop(handle, None)

    def admitted(self, rows: Columns, now: float) -> Columns:
        """Return the rows that are news at machine time ``now``."""
        if not self._baseline and not self._floors:
            return rows
        keep = [row for row in range(len(rows)) if self._admits(rows, row, now)]
        if self._floors and all(floor.until < now for floor in self._floors.values()):
            self._floors.clear()
        return rows if len(keep) == len(rows) else rows.select(keep)

    def _admits(self, rows: Columns, row: int, now: float) -> bool:
        handle, sample = rows.handles[row], _sample(rows, row)
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


def _sample(rows: Columns, row: int) -> tuple[object, ...]:
    return (rows.types[row], rows.values[row], rows.status[row], rows.source[row])
