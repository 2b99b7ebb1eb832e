"""Fakes at the seams of the agent, Driver, Sink and PlantClock, and a small unit to run between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from edge_agent.agent.unit import Unit
from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.derive import Fold
from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.model.instant import NS
from edge_agent.model.reading import Batch, DeviceUp, Quality, Tag, Value
from edge_agent.model.stream import Entry, Record
from edge_agent.ports import Buffer, Document, PlantClock, Request

T0 = 1_792_904_400 * NS
"""2026-10-25T04:00:00Z, t = 0 of the tests."""

TAGS = (Tag("plc1", "count", "uint16"), Tag("plc1", "order", "string"))
PLC1 = {"plc1": TAGS}
FILLER = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "filler",
        "context": {"order": "plc1.order"},
        "counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "100/s"}},
    }
)


def at(seconds: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(seconds * NS)


async def until(condition: Callable[[], object]) -> None:
    """Let the others work until ``condition`` holds; fail when it does not within five seconds of machine time."""
    end = asyncio.get_running_loop().time() + 5
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """Give everybody who is ready ``count`` turns of the loop: enough for whatever could happen without an event from outside."""
    for _ in range(count):
        await asyncio.sleep(0)


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks that run besides the test's own."""
    return asyncio.all_tasks() - {asyncio.current_task()}


class ManualClock:
    """Plant time that moves only when it is told to."""

    speed = 1.0

    def __init__(self, seconds: float = 0.0) -> None:
        """Stand at t = ``seconds``."""
        self._now = at(seconds)
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        """Return UTC ns."""
        return self._now

    async def sleep_until(self, time: int) -> None:
        """Return when the clock was advanced to ``time``."""
        while self._now < time:
            sleeper = (time, asyncio.get_running_loop().create_future())
            self._sleepers.append(sleeper)
            try:
                await sleeper[1]
            finally:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move on and wake whoever is due."""
        self._now += round(seconds * NS)
        for time, future in tuple(self._sleepers):
            if time <= self._now and not future.done():
                future.set_result(None)


class FakeDriver:
    """An open endpoint: delivers what the test puts in, notes what was accepted, polled and written."""

    def __init__(self, tags: Mapping[str, Sequence[Tag]] = PLC1) -> None:
        """Have nothing to deliver yet."""
        self.tags = tags
        self.accepted: list[Batch] = []
        self.polls: list[int] = []
        self.written: list[tuple[str, str, Value]] = []
        self.refuses: Exception | None = None
        self.on_poll: Callable[[int], None] = lambda _: None
        self._waiting: list[Batch] = []
        self._handed: list[Batch] = []
        self._error: DisconnectedError | None = None
        self._something = asyncio.Event()
        self._reading = False

    @property
    def idle(self) -> bool:
        """Whether everything was delivered and accepted, and the next read waits."""
        return self._reading and not self._waiting

    def put(self, *batches: Batch) -> None:
        """Have ``batches`` delivered by the next read."""
        self._waiting += batches
        self._something.set()

    def lose(self, reason: str = "cut") -> None:
        """End the connection after what waits."""
        self._error = DisconnectedError(reason)
        self._something.set()

    async def read(self) -> Sequence[Batch]:
        """Accept what was handed out before, then wait for more."""
        self.accepted += self._handed
        self._handed, self._reading = [], True
        await self._something.wait()
        self._reading = False
        if not self._waiting and self._error is not None:
            raise self._error
        self._handed, self._waiting = self._waiting, []
        if self._error is None:
            self._something.clear()
        return self._handed

    async def acknowledge(self, device: str, tag: str, value: Value) -> None:
        """Note the write, or refuse it."""
        if self.refuses is not None:
            raise self.refuses
        self.written.append((device, tag, value))

    def poll_at(self, time: int) -> bool:
        """Note the request."""
        self.polls.append(time)
        self.on_poll(time)
        return True


class FakeSink:
    """An open connection to a receiver that confirms what the test says, when it says so."""

    def __init__(self, window: int = 5, *, by_itself: bool = False) -> None:
        """Take ``window`` records at once; ``by_itself`` confirms each at once."""
        self.window = window
        self.by_itself = by_itself
        self.seen: list[Record] = []
        self.flying: dict[tuple[str, int], asyncio.Future[None]] = {}
        self.most = 0
        self.documents: list[Document] = []
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.on_announce: Callable[[Document], None] = lambda _: None
        self.kept: dict[str, bytes] = {}
        self._lost: DisconnectedError | None = None

    @property
    def numbers(self) -> list[int]:
        """The seq of everything that was handed over, in order."""
        return [record.key.seq for record in self.seen]

    async def publish(self, record: Record) -> None:
        """Take one record and wait for the test's word."""
        if self._lost is not None:
            raise self._lost
        self.seen.append(record)
        if self.by_itself:
            return
        place = (record.key.stream, record.key.seq)
        assert place not in self.flying, f"{place} is in flight twice"
        self.flying[place] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.flying))
        try:
            await self.flying[place]
        finally:
            del self.flying[place]

    async def retained(self, topics: Sequence[str]) -> dict[str, bytes]:
        """Return what the test says that the receiver keeps."""
        return {topic: payload for topic, payload in self.kept.items() if topic in topics}

    def confirm(self, *numbers: int, stream: str = "filler") -> None:
        """Confirm records by their seq."""
        for seq in numbers:
            self.flying[stream, seq].set_result(None)

    def reject(self, seq: int, reason: str = "not authorized", stream: str = "filler") -> None:
        """Refuse one record for ever."""
        self.flying[stream, seq].set_exception(RejectedError(reason))

    def lose(self, reason: str = "broker gone") -> None:
        """Lose the connection with everything in flight."""
        self._lost = DisconnectedError(reason)
        for future in self.flying.values():
            if not future.done():
                future.set_exception(DisconnectedError(reason))

    async def announce(self, document: Document) -> None:
        """Note a document."""
        if self._lost is not None:
            raise self._lost
        self.documents.append(document)
        self.on_announce(document)

    async def request(self) -> Request:
        """Wait for a command of the test."""
        return await self.requests.get()


@asynccontextmanager
async def opened(connection: Any) -> AsyncIterator[Any]:
    """Open a fake."""
    yield connection


def scan(seconds: float, count: Value | None, order: str = "WO-1", *, quality: Quality = Quality.GOOD, up: bool = False) -> Batch:
    """Return one read of both tags at t, behind a connect when ``up``."""
    before = (DeviceUp("plc1", at(seconds)),) if up else ()
    rows = len(TAGS)
    return Batch("plc1", at(seconds), [0, 1], [count, order], [int(quality), 0], [0] * rows, [0] * rows, before=before)


def fold() -> Fold:
    """Return the fold of the small unit."""
    return fold_of(FILLER, devices=PLC1)


def unit_of(buffer: Buffer, clock: PlantClock, *, folding: Fold | None = None, name: str = "filler") -> Unit:
    """Return the small unit, not opened."""
    return Unit(name, folding or fold(), buffer, clock, prefix="edgeagent", cfg="cfg")


async def stored(buffer: Buffer, stream: str = "filler", limit: int = 1000) -> list[Entry]:
    """Return the undelivered events of one stream, as the buffer keeps them."""
    return [record.entry for record in await buffer.peek("mqtt", None, limit, "E") if record.key.stream == stream]


def body(entry: Entry) -> dict[str, Any]:
    """Return what an event says."""
    content: dict[str, Any] = msgspec.json.decode(entry.body)
    return content


def short(entry: Entry) -> str:
    """Return an event's type without prefix and version."""
    return entry.type.removeprefix("edgeagent.").removesuffix(".v1")
