"""What is under way between buffer and sink: records in flight until their answer, and the word that there is more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from edge_agent.agent.lanes import Lanes
from edge_agent.model.errors import RejectedError
from edge_agent.model.stream import Record, RecordKey
from edge_agent.ports import Buffer, Sink


class News:
    """Whether something new is in the buffer, told without waiting for it."""

    def __init__(self, buffer: Buffer) -> None:
        """Listen to ``buffer`` from the first question on."""
        self._buffer = buffer
        self._next: asyncio.Task[None] | None = None

    def _waiting(self) -> asyncio.Task[None]:
        if self._next is None:
            self._next = asyncio.create_task(self._buffer.arrived())
        return self._next

    def came(self) -> bool:
        """Whether there was something since the last call; what comes from now on belongs to the next one."""
        if not self._waiting().done():
            return False
        self._waiting().result()
        self._next = None
        self._waiting()
        return True

    async def wait(self) -> None:
        """Return when there is something."""
        await asyncio.wait([self._waiting()])

    async def end(self) -> None:
        """Wait for nothing any more."""
        self._waiting().cancel()
        await asyncio.wait([self._waiting()])


class Flight:
    """The records handed to one sink and not settled yet."""

    def __init__(self, sink: Sink, lanes: Lanes) -> None:
        """Hand records to ``sink``; ``lanes`` hears of each that is not in flight any more."""
        self._sink = sink
        self.lanes = lanes
        self.tasks: dict[asyncio.Task[None], tuple[Record, float]] = {}
        self._ended: list[asyncio.Task[None]] = []
        self._some = asyncio.Event()
        self.done: list[RecordKey] = []
        self.rejected: list[tuple[RecordKey, str]] = []
        self.settling: asyncio.Task[None] | None = None
        self.landed = asyncio.Event()
        """Set while nothing is in flight."""
        self.over = asyncio.Event()
        """Set when the forwarding ends: nothing more will be confirmed."""

    def send(self, record: Record) -> None:
        """Hand one record over; tasks start in the order they are made, so the sink sees the buffer's order."""
        task = asyncio.create_task(self._sink.publish(record))
        self.tasks[task] = (record, time.monotonic())
        self.landed.clear()
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ended.append(task)
        self._some.set()

    async def some_done(self, seconds: float | None) -> None:
        """Wait until at least one record in flight is confirmed or failed, at most ``seconds``."""
        await happened(self._some, seconds)

    def harvest(self, acknowledged: Callable[[Record, float], None]) -> BaseException | None:
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
                acknowledged(record, now - since)
                self.done.append(record.key)
            elif isinstance(error, RejectedError):
                self.rejected.append((record.key, str(error)))
            else:
                failure = failure or error
        if not self.tasks:
            self.landed.set()
        return failure

    async def abandon(self) -> None:
        """Cancel what is still in flight and wait until it is over."""
        pending = [task for task in self.tasks if not task.done()]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        self._ended = list(self.tasks)  # all are done, whether or not each has been told


async def happened(event: asyncio.Event, seconds: float | None) -> None:
    """Return when ``event`` is set, at the latest after ``seconds``."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
