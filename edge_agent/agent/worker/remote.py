"""The agent's end of a connection in a worker: a `Driver` like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.agent.worker.wire import (
    Batches,
    Closed,
    Command,
    Counted,
    Failed,
    Opened,
    PollAt,
    Read,
    Report,
    Write,
    Written,
    arrived,
    error_of,
)
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Tag, Value
from edge_agent.ports import DeviceWiring, PollCounts


class Remote:
    """An open connection in a worker. ``polls``: its tags are polled, so a poll can be added."""

    def __init__(self, number: int, send: Callable[[Command], None], wiring: Mapping[str, DeviceWiring], *, polls: bool) -> None:
        loop = asyncio.get_running_loop()
        self._number, self._send, self._wiring, self._polls = number, send, wiring, polls
        self._tags: Mapping[str, Sequence[Tag]] = {}
        self._counts: Mapping[str, PollCounts] = {}
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._reading: asyncio.Future[list[Batch]] | None = None
        self._writes: dict[int, asyncio.Future[None]] = {}
        self._requests = 0
        self._failure: Exception | None = None

    @property
    def tags(self) -> Mapping[str, Sequence[Tag]]:
        """The tags of each device, see `edge_agent.ports.Driver.tags`."""
        return self._tags

    @property
    def counts(self) -> Mapping[str, PollCounts]:
        """See `edge_agent.ports.Polling`; at most some seconds old, and nothing where the driver does not poll."""
        return self._counts

    async def read(self) -> Sequence[Batch]:
        """See `edge_agent.ports.Driver.read`. A call that was cancelled has asked already: the next one takes its answer."""
        if self._reading is None:
            self._raise()
            self._reading = asyncio.get_running_loop().create_future()
            self._send(Read(self._number, {name: tuple(one.stored()) for name, one in self._wiring.items()}))
        batches = await asyncio.shield(self._reading)
        self._reading = None
        return batches

    async def acknowledge(self, device: str, tag: str, value: Value) -> None:
        """See `edge_agent.ports.Driver.acknowledge`."""
        self._raise()
        self._requests += 1
        answer = self._writes[self._requests] = asyncio.get_running_loop().create_future()
        self._send(Write(self._number, self._requests, device, tag, value))
        await answer

    def poll_at(self, time: int) -> bool:
        """See `edge_agent.ports.Driver.poll_at`."""
        if self._polls and self._failure is None:
            self._send(PollAt(self._number, time))
        return self._polls

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def report(self, report: Report) -> None:
        """Take what the worker says of this connection."""
        if isinstance(report, Opened):
            self._tags, self._counts = report.tags, report.counts
            _answer(self.opened, None)
        elif isinstance(report, Batches) and self._reading is not None:
            _answer(self._reading, arrived(report.batches))
        elif isinstance(report, Counted):
            self._count(report)
        elif isinstance(report, Failed):
            self.fail(error_of(report))
        elif isinstance(report, Written) and (answer := self._writes.pop(report.request, None)) is not None:
            _answer(answer, None, _refusal(report))
        elif isinstance(report, Closed):
            self.fail(DisconnectedError("the connection was closed"))
            _answer(self.closed, None)

    def _count(self, report: Counted) -> None:
        """Count on in place: whoever has the figures keeps them beyond the connection."""
        for name, now in report.counts.items():
            counts = self._counts[name]
            for figure in PollCounts.__struct_fields__:
                setattr(counts, figure, getattr(now, figure))

    def fail(self, error: Exception) -> None:
        """Let everybody who waits, and whoever asks later, know that the connection is gone; the first error stands."""
        self._failure = self._failure or error
        for future in (self.opened, self._reading, *self._writes.values()):
            if future is not None and not future.done():
                future.set_exception(self._failure)
                future.exception()  # read here: nobody may be waiting
        self._writes.clear()


def _refusal(written: Written) -> Exception | None:
    if written.refused:
        return PermissionError(written.refused)
    return DisconnectedError(written.lost) if written.lost else None


def _answer(future: asyncio.Future[Any], value: object, error: Exception | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
