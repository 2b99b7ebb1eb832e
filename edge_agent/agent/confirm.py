"""The consumer's watermarks: taken in, checked, and watched after each connect, for a broker may have lost what it had acknowledged.

Who may write to the topics decides what is deleted, so a mark moves only forward, only inside what was delivered, and nothing else that stands
there does any harm. A mark that stays behind what was delivered before the connect means that it did not arrive: then it is published
again from there. That is repeated ever more rarely, for the consumer may just be away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from edge_agent.model.errors import StorageError
from edge_agent.model.outside import from_json
from edge_agent.ports import Confirming
from edge_agent.publish.listening import Listening
from edge_agent.publish.topics import StreamInfo, Topics

LARGEST = 256
"""Bytes of a watermark."""

_LOOK = 0.5
_AHEAD = 30.0
"""Machine seconds for which a mark may be ahead of the acknowledgements: the consumer can be faster than the broker's answer to us."""
_RARER, _RAREST = 4.0, 3600.0
_TELL = 600.0
"""Machine seconds between two lines of the log about the same kind of nonsense."""


class Watermark(msgspec.Struct, frozen=True):
    """The payload: everything up to ``seq`` of this epoch is applied."""

    epoch: str
    seq: int


class _Claim(msgspec.Struct):
    mark: Watermark
    since: float


class _Owed(msgspec.Struct):
    """What was delivered before a connect and is not confirmed: up to ``until``; it is sent again at ``due`` unless the mark moves."""

    until: int
    mark: int
    wait: float
    due: float


class Watermarks:
    """The marks of one agent's consumer. Times are machine seconds."""

    def __init__(
        self,
        buffer: Confirming,
        output: str,
        topics: Topics,
        streams: Mapping[str, StreamInfo],
        *,
        within: float,
        sent_again: Callable[[], None],
    ) -> None:
        """Watch ``streams``, which may grow; a mark may stand still for ``within`` s after a connect. ``sent_again`` is called when records wait again."""
        self._buffer, self._output, self._topics, self._streams = buffer, output, topics, streams
        self._within, self._sent_again = within, sent_again
        self._by_topic: dict[str, str] = {}
        self._heard: dict[str, bytes] = {}
        self._claims: dict[str, _Claim] = {}
        self._owed: dict[tuple[str, str], _Owed] = {}
        self._told: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._log = structlog.get_logger()
        self.refused = 0
        self.republished = 0

    @property
    def listening(self) -> Listening:
        """What to subscribe."""
        self._by_topic = {self._topics.confirmed(stream): stream for stream in self._streams}
        return Listening((f"{self._topics.base}/confirmed/+",), self.heard)

    def heard(self, topic: str, payload: bytes) -> None:
        """Keep the newest word on each known topic until `run` looks at it: no flood fills anything."""
        if (stream := self._by_topic.get(topic)) is None:
            self._refuse("of a stream that is not here")
        elif len(payload) > LARGEST:
            self._refuse("too long")
        elif payload:  # empty: the retained message was deleted
            self._heard[stream] = payload
            self._wake.set()

    async def run(self) -> None:
        """Take marks in and watch them, over one connection, until cancelled."""
        connected = await self._guarded(self._connected)
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._read()
            connected = connected or await self._guarded(self._connected)  # late: more than was delivered before, never less
            await self._guarded(self._take)
            await self._guarded(self._watch)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do ``work``; return False when the store did not let it be done."""
        try:
            await work()
        except StorageError as error:  # the buffer has told the log; the next look finds it mended
            self._log.debug("confirm.waits", reason=str(error))
            return False
        return True

    async def _connected(self) -> None:
        """Note what the consumer should confirm: what was delivered over the connections before this one."""
        now = asyncio.get_running_loop().time()
        self._owed = {
            (level.stream, level.epoch): _Owed(level.delivered, level.confirmed, self._within, now + self._within)
            for level in await self._buffer.levels()
            if level.confirmed is not None and level.confirmed < level.delivered
        }

    def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        heard, self._heard = self._heard, {}
        for stream, payload in heard.items():
            try:
                mark = from_json(payload, Watermark)
            except ValueError:
                self._refuse("not a watermark")
            else:
                self._claims[stream] = _Claim(mark, now)

    async def _take(self) -> None:
        now = asyncio.get_running_loop().time()
        for stream, claim in tuple(self._claims.items()):
            mark = claim.mark
            verdict = await self._buffer.confirm(stream, mark.epoch, mark.seq) if 0 <= mark.seq < 1 << 63 else "ahead"
            if verdict == "ahead" and now - claim.since < _AHEAD:
                continue
            del self._claims[stream]
            if verdict in {"ahead", "backwards", "unknown"}:
                self._refuse(verdict)

    async def _watch(self) -> None:
        """Publish again what is owed for too long."""
        if not self._owed:
            return
        now = asyncio.get_running_loop().time()
        levels = {(level.stream, level.epoch): level for level in await self._buffer.levels()}
        for key, owed in tuple(self._owed.items()):
            mark = levels[key].confirmed if key in levels else None
            if mark is None or mark >= owed.until:
                del self._owed[key]
            elif mark > owed.mark:
                owed.mark, owed.wait, owed.due = mark, self._within, now + self._within
            elif now >= owed.due:
                owed.wait = min(owed.wait * _RARER, _RAREST)
                owed.due = now + owed.wait
                await self._republish(*key, mark + 1, owed.until)

    async def _republish(self, stream: str, epoch: str, first: int, last: int) -> None:
        records = await self._buffer.resend(self._output, stream, epoch, first, last)
        self.republished += records
        self._log.warning("confirm.republished", stream=stream, epoch=epoch, first=first, last=last, records=records)
        if records:
            self._sent_again()

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._told.get(reason, float("-inf")) > _TELL:
            self._told[reason] = now
            self._log.warning("confirm.refused", reason=reason, refused=self.refused)
