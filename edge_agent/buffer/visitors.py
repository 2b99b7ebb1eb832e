"""What is asked of the buffer on disk besides the delivery, each question answered by the writer thread in its turn.

That is what people ask (`ports.Archive`), and where the store comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import apsw

from edge_agent.buffer.lineage import Lineage, Succession
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Kind, RecordKey
from edge_agent.ports import Confirmation, DeadLetter, Page, StreamLevel

T = TypeVar("T")


class Visitors:
    """The part of the buffer that is for people; whoever inherits it brings the way to the thread."""

    async def _ask(self, function: Callable[[Outbox, float], T]) -> T:
        raise NotImplementedError

    async def levels(self) -> Sequence[StreamLevel]:
        """Return how far the streams of every epoch are."""
        return await self._ask(lambda outbox, _: outbox.levels())

    async def confirm(self, stream: str, epoch: str, seq: int) -> Confirmation:
        """Take in that the consumer has applied a stream up to ``seq``, see `ports.Confirming`."""
        return await self._ask(lambda outbox, _: outbox.confirm(stream, epoch, seq))

    async def waiting(self, kind: Kind, after: int, limit: int) -> Page:
        """Return undelivered records from behind position ``after`` without handing them out."""
        return await self._ask(lambda outbox, _: outbox.waiting(kind, after, limit))

    async def kept(self, stream: str, epoch: str, first: int, last: int, limit: int) -> Page:
        """Return records of a stream that are still there, in order."""
        return await self._ask(lambda outbox, _: outbox.kept(stream, epoch, first, last, limit))

    async def dead_letter_count(self) -> int:
        """Return how many dead letters there are."""
        return await self._ask(lambda outbox, _: outbox.committer.store.letters())

    async def dead_letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return dead letters behind number ``after``."""
        return await self._ask(lambda outbox, _: outbox.dead_letters(after, limit))

    async def retry(self, numbers: Sequence[int]) -> Sequence[tuple[int, RecordKey]]:
        """Append what dead letters say as new records and drop the letters."""
        return await self._ask(lambda outbox, now: outbox.retry(numbers, now))

    async def lineage(self) -> Lineage:
        """Return the runs of this store."""
        return await self._ask(lambda outbox, _: outbox.committer.lineage)

    async def succeed(self, plan: Succession) -> None:
        """Begin a new epoch: everything appended from now on is numbered in it. Raises StorageError: then the old one goes on."""
        await self._ask(lambda outbox, now: outbox.succeed(plan, now))

    async def distrust(self, said: str) -> None:
        """Put the open store aside as damaged and go on with what can be saved of it; `damage` then says what that was."""
        await self._ask(lambda outbox, _: outbox.distrust(apsw.CorruptError(said)))
