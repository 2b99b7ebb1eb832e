"""Where what is being made changes: the counters are read with it, and told with it as of one instant.

A unit's counters may be polled more rarely than its order. What they hold when the order has changed was made before, as far as anybody can know;
read at their own next turn, it would be the next order's as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.watch import Watch, add_row
from edge_agent.model.reading import Batch
from edge_agent.ports import DeviceWiring

Polled = Sequence[tuple[Watch, list[Batch]]]
"""Blocks that were read in one poll, and what came of each."""


class Bounds:
    """The tags of one device that name what is being made, and those that count it."""

    def __init__(self, fields: Sequence[Field], watches: Sequence[Watch], wiring: DeviceWiring) -> None:
        """Find them in ``watches``; names that the device does not have are others' business."""
        self._named = frozenset(field.index for field in fields if field.name in wiring.boundary)
        self._counted = tuple(field.index for field in fields if field.name in wiring.counted) if self._named else ()
        self._watches = [watch for watch in watches if any(field.index in self._counted for field in watch.block.fields)]

    def crossed(self, polled: Polled) -> bool:
        """Whether a poll has found another name of what is being made, and there is something to count."""
        return bool(self._counted) and any(not self._named.isdisjoint(batch.tags) for _, parts in polled for batch in parts)

    def unread(self, watches: Sequence[Watch]) -> list[Watch]:
        """Return the blocks with counters that are not among those polled anyway."""
        return [watch for watch in self._watches if watch not in watches]

    def join(self, polled: Polled) -> None:
        """Report every counter, also one that stands, and give them and the names one instant: all were sampled before it.

        The names go last among the requests' answers only if they were read last; what was counted between two requests is a matter of ms.
        """
        parts = [(watch, batch) for watch, batches in polled for batch in batches]
        until = max(batch.received for _, batch in parts)
        told = {index for _, batch in parts for index in batch.tags}
        for watch, batch in parts:
            standing = [index for index in self._counted if index not in told and watch.holds(index)]
            for index in standing:
                if (sample := watch.last(index)) is not None:
                    told.add(index)
                    add_row(batch, index, sample)
            if not self._named.isdisjoint(batch.tags) or any(index in batch.tags for index in self._counted):
                batch.received = until
