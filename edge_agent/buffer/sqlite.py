"""The buffer on disk, for asyncio: `ports.Buffer` by way of the writer thread."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.visitors import Visitors
from edge_agent.buffer.writer import Writer
from edge_agent.model.stream import Checkpoint, Custody, Entry, Kind, Record, RecordKey
from edge_agent.ports import BufferStats

T = TypeVar("T")


class SqliteBuffer(Visitors):
    """`ports.Buffer` over a SQLite store. Made by `open_buffer` only."""

    def __init__(self, writer: Writer) -> None:
        """Speak for a writer that has been started."""
        self._writer = writer
        self._output: str | None = None

    async def _ask(self, function: Callable[[Outbox, float], T]) -> T:
        return await self._writer.ask(function)

    @property
    def epoch(self) -> str:
        """The ULID of the store; empty as long as the disk has not let it be opened."""
        return self._writer.outbox.committer.epoch

    @property
    def readable(self) -> bool:
        """Whether the store has been opened: until then appends stay in memory, and there are no states to go on from."""
        return bool(self._writer.outbox.committer.epoch)

    async def opened(self) -> None:
        """Return when the store has been opened."""
        await self._writer.usable.wait()

    @property
    def previous_epoch(self) -> str | None:
        """The epoch before, where the store was re-created and still knew it."""
        return self._writer.outbox.committer.previous_epoch

    @property
    def fresh(self) -> bool:
        """Whether this opening created the store."""
        return self._writer.outbox.committer.fresh

    @property
    def damage(self) -> Damage | None:
        """What is known of a damaged store that was replaced at this opening or since: the matter of a `collection.gap{corruption}`."""
        return self._writer.outbox.committer.damage

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Commit events and rule state together; returns when they are safe. Raises StorageError when nothing was accepted.

        Cancelling the wait does not take the append back.
        """
        if not events and checkpoint is None:
            return Custody.DURABLE
        return await self._writer.append(tuple(events), () if checkpoint is None else (checkpoint,))

    async def declare(self, events: Sequence[Entry], checkpoint: Checkpoint, damage: Damage) -> Custody:
        """Append the events that declare ``damage``: with their commit it is told, and no later start tells it again. Raises StorageError."""
        return await self._writer.append(tuple(events), (checkpoint,), damage)

    async def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return the stored rule states of an owner and its last-seen time in UTC ns."""
        return await self._ask(lambda outbox, _: outbox.states(owner))

    async def peek(self, output: str, after: RecordKey | None, limit: int, kind: Kind) -> Sequence[Record]:
        """Return up to ``limit`` undelivered records of ``kind`` in the order they were appended."""
        self._check_output(output)
        return await self._ask(lambda outbox, _: outbox.peek(after, limit, kind))

    async def settle(self, output: str, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:
        """Mark records as delivered or set them aside. Returns before this is on the disk: a kill within a second repeats them."""
        self._check_output(output)
        gone, refused = tuple(delivered), tuple(rejected)
        await self._ask(lambda outbox, _: outbox.settle(gone, refused))

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:
        """Mark delivered records as waiting again; returns how many were still there."""
        self._check_output(output)
        return await self._ask(lambda outbox, now: outbox.resend(stream, epoch, first, last, now))

    async def arrived(self) -> None:
        """Return when something was appended or marked for resend since the last call returned."""
        await self._writer.arrived.wait()
        self._writer.arrived.clear()

    async def heads(self) -> Mapping[str, tuple[int, int, int]]:
        """Return per stream (first seq still kept, last seq, last seq delivered without a hole)."""
        return await self._ask(lambda outbox, _: outbox.heads())

    async def stats(self) -> BufferStats:
        """Return figures for status and health."""
        return await self._ask(lambda outbox, _: outbox.stats())

    def _check_output(self, output: str) -> None:
        """One output has custody of the records; a second one would need a cursor of its own."""
        if self._output is None:
            self._output = output
        if output != self._output:
            raise ValueError(f"the records belong to output {self._output!r}; {output!r} cannot take them too")


@asynccontextmanager
async def open_buffer(
    config: BufferConfig,
    *,
    machine_clock: Callable[[], float] = time.monotonic,
    prefix: str = "edgeagent",
    vfs: str | None = None,
    as_found: bool = False,
) -> AsyncIterator[SqliteBuffer]:
    """Open the store in ``config.path`` and keep it for one agent; leaving commits what waits.

    ``machine_clock`` gives seconds; ``prefix`` is the type prefix of the loss records that the buffer makes; ``vfs`` names an apsw VFS for
    fault injection. ``as_found`` is for people without an agent: a store that is missing or damaged is refused with StorageError, and not
    replaced. Raises ConfigError when another agent has the directory or a newer program wrote it. A disk that does not let the store be
    opened is no error: appends are VOLATILE and the health is bad until it does (``as_found``: StorageError).
    """
    writer = Writer(config, machine_clock, prefix, vfs, as_found)
    try:
        await writer.start()
        yield SqliteBuffer(writer)
    finally:
        await writer.stop()
