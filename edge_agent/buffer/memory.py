"""The buffer's contract without a disk: for tests of everything that needs a buffer, and the model that the real one is compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from edge_agent.buffer.identity import Damage, new_epoch
from edge_agent.buffer.loss import loss_of
from edge_agent.model.stream import Checkpoint, Custody, Entry, Kind, Record, RecordKey
from edge_agent.ports import BufferStats


class _Kept(msgspec.Struct):
    record: Record
    state: Literal["waiting", "delivered", "resent"] = "waiting"
    loss: bool = False


class MemoryBuffer:
    """`ports.Buffer` in RAM. Everything is lost with the object; nothing ever has to be dropped for want of room."""

    def __init__(self, epoch: str | None = None, prefix: str = "edgeagent") -> None:
        """Start an empty store; ``epoch`` for tests that name it."""
        self._epoch = epoch or new_epoch()
        self._prefix = prefix
        self._records: list[_Kept] = []
        self._places: dict[RecordKey, int] = {}
        self._heads: dict[str, int] = {}
        self._states: dict[str, dict[str, bytes]] = {}
        self._last_seen: dict[str, int] = {}
        self._level: dict[str, int] = {}
        self._arrived = asyncio.Event()
        self.dead_letters: list[tuple[Record, str]] = []
        self.appends = 0
        self.damage: Damage | None = None

    @property
    def epoch(self) -> str:
        """The ULID of the store."""
        return self._epoch

    @property
    def previous_epoch(self) -> str | None:
        """None: memory remembers nothing."""
        return None

    @property
    def fresh(self) -> bool:
        """True: every memory buffer is new."""
        return True

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Number the events and keep the state."""
        for entry in events:
            seq = self._heads[entry.stream] = self._heads.get(entry.stream, 0) + 1
            key = RecordKey(entry.stream, self._epoch, seq)
            self._places[key] = len(self._records)
            self._records.append(_Kept(Record(key, entry)))
        if checkpoint is not None:
            self._states.setdefault(checkpoint.owner, {}).update(checkpoint.states)
            self._last_seen[checkpoint.owner] = checkpoint.last_seen
        self.appends += 1
        if events:
            self._arrived.set()
        return Custody.DURABLE

    async def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return the rule states of an owner and its last-seen time in UTC ns."""
        return dict(self._states.get(owner, {})), self._last_seen.get(owner)

    async def peek(self, output: str, after: RecordKey | None, limit: int, kind: Kind) -> Sequence[Record]:  # noqa: ARG002 - one output
        """Return up to ``limit`` undelivered records of ``kind`` in the order they were appended."""
        start = 0 if after is None else self._places.get(after, -1) + 1
        waiting = (kept.record for kept in self._records[start:] if kept.state != "delivered" and kept.record.entry.kind == kind)
        return [record for record, _ in zip(waiting, range(limit), strict=False)]

    async def settle(self, output: str, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:  # noqa: ARG002 - one output
        """Mark records as delivered, or put a loss record in their place."""
        for key in delivered:
            if (kept := self._waiting(key)) is not None:
                kept.state = "delivered"
        for key, reason in rejected:
            if (kept := self._waiting(key)) is not None:
                self._reject(kept, reason)
        for stream in self._heads:
            self._rise(stream)

    def _waiting(self, key: RecordKey) -> _Kept | None:
        place = self._places.get(key)
        return None if place is None or self._records[place].state == "delivered" else self._records[place]

    def _reject(self, kept: _Kept, reason: str) -> None:
        self.dead_letters.append((kept.record, reason))
        if kept.loss:
            kept.state = "delivered"
            return
        loss = loss_of([(kept.record.key.seq, kept.record.entry)], "rejected", reason)
        kept.record = Record(kept.record.key, loss.entry(self._prefix), kept.record.resent)
        kept.loss = True
        self._arrived.set()

    def _rise(self, stream: str) -> None:
        level = self._level.get(stream, 0)
        while (place := self._places.get(RecordKey(stream, self._epoch, level + 1))) is not None and self._records[
            place
        ].state == "delivered":
            level += 1
        self._level[stream] = level

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:  # noqa: ARG002 - one output
        """Mark delivered records as waiting again; returns how many there were."""
        marked = 0
        for kept in self._records:
            key = kept.record.key
            if kept.state == "delivered" and (key.stream, key.epoch) == (stream, epoch) and first <= key.seq <= last:
                kept.state, kept.record = "resent", Record(key, kept.record.entry, resent=True)
                marked += 1
        if marked:
            self._arrived.set()
        return marked

    async def arrived(self) -> None:
        """Return when something was appended or marked for resend since the last call returned."""
        await self._arrived.wait()
        self._arrived.clear()

    async def heads(self) -> Mapping[str, tuple[int, int, int]]:
        """Return per stream (first seq kept, last seq, last seq delivered without a hole)."""
        return {stream: (1, head, self._level.get(stream, 0)) for stream, head in self._heads.items()}

    async def stats(self) -> BufferStats:
        """Return figures."""
        waiting = [kept.record.entry for kept in self._records if kept.state != "delivered"]
        events = sum(entry.kind == "E" for entry in waiting)
        size = sum(len(kept.record.entry.body) for kept in self._records)
        oldest = min((entry.time for entry in waiting), default=None)
        return BufferStats(events, len(waiting) - events, oldest, size, self.appends, healthy=True)
