"""The buffer's contract without a disk: for tests of everything that needs a buffer, and the model that the real one is compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from edge_agent.buffer.archive import again
from edge_agent.buffer.identity import Damage, new_epoch
from edge_agent.buffer.loss import loss_of
from edge_agent.model.stream import Checkpoint, Custody, Entry, Kind, Record, RecordKey
from edge_agent.ports import BufferStats, DeadLetter, Page, StreamLevel


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
        self._letters: dict[int, DeadLetter] = {}
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
        number = max(self._letters, default=0) + 1
        self._letters[number] = DeadLetter(number, kept.record, "rejected", reason)
        if kept.loss:
            kept.state = "delivered"
            return
        loss = loss_of([(kept.record.key.seq, kept.record.entry)], "rejected", reason)
        kept.record = Record(kept.record.key, loss.entry(self._prefix), kept.record.resent)
        kept.loss = True
        self._arrived.set()

    def _rise(self, stream: str) -> None:
        level = self._level.get(stream, 0)
        while (place := self._places.get(RecordKey(stream, self._epoch, level + 1))) is not None:
            if self._records[place].state == "waiting":  # one that is asked for again was delivered before
                break
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

    # -- for people ------------------------------------------------------------------------------------------------

    async def levels(self) -> Sequence[StreamLevel]:
        """Return how far the streams are."""
        found = []
        for stream, (first, head, level) in (await self.heads()).items():
            place = self._places.get(RecordKey(stream, self._epoch, level + 1))
            oldest = None if place is None else self._records[place].record.entry.time
            found.append(StreamLevel(stream, self._epoch, first, head, level, oldest))
        return found

    async def waiting(self, kind: Kind, after: int, limit: int) -> Page:
        """Return undelivered records from behind position ``after``."""
        places = [
            place
            for place, kept in enumerate(self._records, 1)
            if place > after and kept.state != "delivered" and kept.record.entry.kind == kind
        ]
        records = [self._records[place - 1].record for place in places[:limit]]
        return Page(records, places[:limit][-1] if records else after, end=len(places) < limit)

    async def kept(self, stream: str, epoch: str, first: int, last: int, limit: int) -> Page:
        """Return the records of a stream, in order."""
        found = [
            kept.record for kept in self._records if kept.record.key[:2] == (stream, epoch) and first <= kept.record.key.seq <= last
        ]
        records = [Record(record.key, record.entry) for record in found[:limit]]
        return Page(records, records[-1].key.seq if records else last, end=len(found) < limit)

    async def dead_letter_count(self) -> int:
        """Return how many dead letters there are."""
        return len(self._letters)

    async def dead_letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return dead letters behind number ``after``."""
        return [letter for number, letter in sorted(self._letters.items()) if number > after][:limit]

    async def retry(self, numbers: Sequence[int]) -> Sequence[tuple[int, RecordKey]]:
        """Append what dead letters say as new records and drop the letters."""
        done = []
        for number in sorted(set(numbers) & self._letters.keys()):
            letter = self._letters.pop(number)
            await self.append([again(letter)], None)
            stream = letter.record.key.stream
            done.append((number, RecordKey(stream, self._epoch, self._heads[stream])))
        return done
