"""The bounded queue between acquisition and `read`: polling never waits for whoever takes the batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch

CAPACITY = 100_000
"""Rows (an empty batch counts as one) that may wait: 10 s of 1,000 tags at 10/s while the disk is away."""


class Outlet:
    """Batches waiting to be read, and after them the error that ended the acquisition."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Hold at most ``capacity`` rows."""
        self._capacity = capacity
        self._waiting: deque[Batch] = deque()
        self._weight = 0
        self._something = asyncio.Event()
        self._error: DisconnectedError | None = None

    @property
    def full(self) -> bool:
        """Whether no more may be put in until somebody reads."""
        return self._weight >= self._capacity

    def put(self, batches: Sequence[Batch]) -> None:
        """Add batches in order. A sign of life takes the place of the same device's sign of life just before it."""
        for batch in batches:
            if (
                self._waiting
                and is_sign_of_life(batch)
                and is_sign_of_life(last := self._waiting[-1])
                and last.device == batch.device
            ):
                self._waiting[-1] = batch
                continue
            self._waiting.append(batch)
            self._weight += len(batch) + 1
        if batches:
            self._something.set()

    def end(self, error: DisconnectedError) -> None:
        """Nothing follows what waits; then ``error`` is raised."""
        self._error = error
        self._something.set()

    async def take(self) -> Sequence[Batch]:
        """Wait for something and return everything; raises the error of `end` when nothing is left. Safe to cancel."""
        await self._something.wait()
        if not self._waiting and self._error is not None:
            raise self._error
        taken = list(self._waiting)
        self._waiting.clear()
        self._weight = 0
        if self._error is None:
            self._something.clear()
        return taken


def is_sign_of_life(batch: Batch) -> bool:
    """Whether a batch says no more than that the device answered at ``received`` and nothing changed."""
    return not batch.tags and not batch.before and not batch.after
