"""Answers what people ask of the buffer: for the running agent by its local API, and for a store without an agent in the command itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from edge_agent.agent.envelope import Envelope
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.instant import iso
from edge_agent.model.stream import Kind, Record, record_id
from edge_agent.ports import ArchiveBuffer, DeadLetter, StreamLevel
from edge_agent.status.report import BufferReport, LetterReport, ResendWish, Resent, Retried, RetryWish, StreamReport, Wanted

_PAGE = 200
"""Records read at once: between two pages the writer thread commits what the agent appends."""


class BufferDesk:
    """A `status.report.Desk` over an open buffer."""

    def __init__(
        self, buffer: ArchiveBuffer, output: str, path: Path, envelope: Envelope | None, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Answer for ``buffer`` in ``path``; ``changed`` is called when records of the past wait again."""
        self._buffer = buffer
        self._output = output
        self._path = path
        self._envelope = envelope
        self._changed = changed

    async def buffer(self) -> BufferReport:
        """Return the figures; without streams while the store cannot be read."""
        stats = await self._buffer.stats()
        levels: Sequence[StreamLevel] = ()
        letters = 0
        try:
            levels, letters = await self._buffer.levels(), await self._buffer.dead_letter_count()
        except StorageError:
            if stats.healthy:
                raise
        return BufferReport(
            path=str(self._path.absolute()),
            epoch=self._buffer.epoch,
            healthy=stats.healthy,
            detail=stats.detail,
            waiting_events=stats.waiting_events,
            waiting_telemetry=stats.waiting_telemetry,
            oldest=None if stats.oldest is None else iso(stats.oldest),
            bytes=stats.bytes,
            commits=stats.commits,
            dead_letters=letters,
            streams=[_stream(level) for level in levels],
        )

    # -- export ----------------------------------------------------------------------------------------------------

    async def export(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Yield CloudEvents as lines of JSON: the bytes that are or were published."""
        encoder = (await self.envelope()).encoder()
        async for records in self.records(wanted):
            yield b"".join(encoder.encode(record).payload + b"\n" for record in records)

    async def envelope(self) -> Envelope:
        """Return how the streams of this store are published. Raises EdgeAgentError when that is not known of all of them."""
        streams = {level.stream for level in await self._buffer.levels()}
        unknown = streams - (self._envelope.streams.keys() if self._envelope else set())
        if self._envelope is None or unknown:
            raise EdgeAgentError(
                f"the store does not tell how {', '.join(sorted(unknown)) or 'its streams'} are published; "
                "name the configuration of its gateway with --config"
            )
        return self._envelope

    def records(self, wanted: Wanted) -> AsyncIterator[Sequence[Record]]:
        """Yield the records themselves, in the order of delivery, some at a time."""
        return self._undelivered() if wanted.stream is None else self._range(wanted, wanted.stream)

    async def _undelivered(self) -> AsyncIterator[Sequence[Record]]:
        kinds: tuple[Kind, ...] = ("E", "T")
        for kind in kinds:
            position, end = 0, False
            while not end:
                page = await self._buffer.waiting(kind, position, _PAGE)
                position, end = page.position, page.end
                if page.records:
                    yield page.records

    async def _range(self, wanted: Wanted, stream: str) -> AsyncIterator[Sequence[Record]]:
        level = await self._level(stream, wanted.epoch)
        last = level.last if wanted.last is None else wanted.last
        first, end = wanted.first, False
        while not end:
            page = await self._buffer.kept(stream, level.epoch, first, last, _PAGE)
            first, end = page.position + 1, page.end
            if page.records:
                yield page.records

    async def _level(self, stream: str, epoch: str | None) -> StreamLevel:
        levels = await self._buffer.levels()
        wanted = epoch or self._buffer.epoch
        for level in levels:
            if (level.stream, level.epoch) == (stream, wanted):
                return level
        epochs = sorted({level.epoch for level in levels if level.stream == stream})
        if epochs:
            raise EdgeAgentError(f"stream {stream} has nothing in epoch {wanted}; it has in {', '.join(epochs)} (--epoch)")
        names = sorted({level.stream for level in levels})
        raise EdgeAgentError(f"there is no stream {stream!r}; there is {', '.join(names) or 'none at all yet'}")

    # -- saying again ----------------------------------------------------------------------------------------------

    async def resend(self, wish: ResendWish) -> Resent:
        """Have delivered records sent again under their names."""
        if wish.to_seq is not None and wish.to_seq < wish.from_seq:
            raise EdgeAgentError(f"from {wish.from_seq} to {wish.to_seq} is no range; name the lower number first")
        level = await self._level(wish.stream, wish.epoch)
        first, last = max(wish.from_seq, 1), min(level.last if wish.to_seq is None else wish.to_seq, level.last)
        if first > last:
            raise EdgeAgentError(
                f"stream {wish.stream} ends at {level.last}; there is nothing from {wish.from_seq} to {wish.to_seq}"
            )
        resent = await self._buffer.resend(self._output, wish.stream, level.epoch, first, last)
        if resent:
            self._changed()
        waiting = max(0, last - max(first - 1, level.delivered))
        not_kept = min(last, level.first - 1) - first + 1
        return Resent(wish.stream, level.epoch, first, last, resent, waiting, max(0, not_kept))

    async def dead_letters(self, after: int, limit: int) -> Sequence[LetterReport]:
        """Return dead letters behind number ``after``."""
        return [_letter(letter) for letter in await self._buffer.dead_letters(after, limit)]

    async def retry(self, wish: RetryWish) -> Sequence[Retried]:
        """Append what dead letters say as new records."""
        return [Retried(number, record_id(key)) for number, key in await self._buffer.retry(wish.numbers)]


def _stream(level: StreamLevel) -> StreamReport:
    waiting = level.last - level.delivered
    oldest = None if level.oldest is None or not waiting else iso(level.oldest)
    return StreamReport(level.stream, level.epoch, level.first, level.last, level.delivered, waiting, oldest, level.confirmed)


def _letter(letter: DeadLetter) -> LetterReport:
    key, entry = letter.record.key, letter.record.entry
    return LetterReport(
        letter.number, record_id(key), key.stream, entry.type, iso(entry.time), letter.reason, letter.detail, len(entry.body)
    )
