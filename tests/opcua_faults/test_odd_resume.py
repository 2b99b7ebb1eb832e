"""A subscription that outlives its connection, or its agent: taken over, every change once, what is not there any more declared."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from odd_faults import BAD_SERVICE_UNSUPPORTED
from odd_plant import FAST, INT64, WallClock, config
from odd_server import OddServer

from edge_agent.drivers.opcua import resume
from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Boot, DeviceUp, Gap, Mark, Notice, Recovered
from edge_agent.ports import DeviceWiring, Trigger

TAGS: Mapping[str, Mapping[str, Any]] = {"count": {"node": "s=count"}, "other": {"node": "s=other"}}


class Reader:
    """An agent's reading side: keeps what it stored when it is killed, and goes on from there."""

    def __init__(self, server: OddServer, tags: Mapping[str, Mapping[str, Any]] = TAGS, **more: Any) -> None:
        self.server = server
        self.config = config(server.port, tags, **more)
        self.names = list(tags)
        self.stored: Mark | None = None
        self.storing = True
        self.triggers: tuple[Trigger, ...] = ()
        self.batches: list[Batch] = []
        self.start = 0
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read until the end of the block, and say goodbye."""
        self.start = len(self.batches)
        marks = (self.stored,) if self.stored is not None else ()
        wiring = DeviceWiring(self.triggers, marks=marks, returns=True, stored=lambda: (self.stored,) if self.stored else ())
        async with connect([self.config], WallClock(), {"plc": wiring}, FAST) as driver:
            task = asyncio.create_task(self._read(driver))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _read(self, driver: Any) -> None:
        while True:
            for batch in await driver.read():
                self.batches.append(batch)
                if self.storing and batch.mark is not None:
                    self.stored = batch.mark
                self._news.set()

    async def until(self, true: Callable[[], object], within: float = 5.0) -> None:
        """Return when it is so."""
        async with asyncio.timeout(within):
            while not true():
                self._news.clear()
                await self._news.wait()

    def values(self, tag: str, first: int = 0) -> list[object]:
        """The values of a tag in the batches from number ``first`` on."""
        wanted = self.names.index(tag)
        rows = [row for batch in self.batches[first:] for row in zip(batch.tags, batch.values, strict=True)]
        return [value for number, value in rows if number == wanted]

    def of(self, kind: type[Notice], first: int = 0) -> list[Any]:
        """The notices of a kind in the batches from number ``first`` on."""
        return [one for batch in self.batches[first:] for one in (*batch.before, *batch.after) if isinstance(one, kind)]

    async def came(self, tag: str, value: object) -> None:
        """Return when a tag has had that value."""
        await self.until(lambda: value in self.values(tag))


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[OddServer]:
    """Run an odd server with two variables."""
    server = OddServer()
    await server.start()
    server.value("count", INT64, 0)
    server.value("other", INT64, 0)
    try:
        yield server
    finally:
        for session in list(server.sessions.values()):
            server.end_session(session)
        for subscription in list(server.subscriptions.values()):
            subscription.delete()
        await server.stop()
        assert server.writes == 0


async def count(server: OddServer, values: range, pause: float = 0.02) -> None:
    """Let the counter go through values."""
    for value in values:
        server.value("count", INT64, value)
        await asyncio.sleep(pause)


async def settled(reader: Reader, value: int) -> None:
    """Return when this connection's subscription is described and brought a value of now."""
    await reader.until(
        lambda: any(batch.mark and batch.mark.facts for batch in reader.batches[reader.start :] if not batch.historical)
    )
    reader.server.value("count", INT64, value)
    await reader.came("count", value)


async def test_a_restart_of_the_agent_loses_nothing() -> None:
    """What is sampled while no agent runs is delivered once, in order, as historical rows, and the loss is taken back first."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        assert not server.sessions
        assert len(server.subscriptions) == 1
        await count(server, range(11, 31))
        first = len(reader.batches)
        async with reader.reading():
            server.value("other", INT64, 1)
            await reader.came("other", 1)
            await settled(reader, 31)
        assert reader.values("count", first) == list(range(11, 32))
        historical = [batch.historical for batch in reader.batches[first:] if len(batch)]
        assert historical[0]
        assert not historical[-1]
        notices = [type(notice) for notice in reader.batches[first].before]
        assert notices[0] is DeviceUp
        assert notices[-2:] == [Boot, Recovered]
        assert reader.of(Recovered, first)[0].covers("count")
        assert not reader.of(Gap)
        assert server.requests["TransferSubscriptions"] == 1
        assert server.requests["CreateSubscription"] == 1


async def test_a_killed_agent_is_told_again_what_it_had_not_stored() -> None:
    """Messages that were taken but not stored are not acknowledged, and come again after a kill."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
            reader.storing = False
            await count(server, range(11, 21))
            await reader.came("count", 20)
            server.cut()  # a kill: no goodbye, the session stays
        first = len(reader.batches)
        reader.storing = True
        await count(server, range(21, 31))
        async with reader.reading():
            await settled(reader, 31)
        assert reader.values("count", first) == list(range(11, 32))
        assert server.requests["Republish"] >= 1
        assert not reader.of(Gap)


async def test_a_lost_connection_loses_nothing() -> None:
    """A link that comes back in the same agent goes on with the subscription, though it closes the session it lost."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
            server.cut()
            await count(server, range(11, 16))
        first = len(reader.batches)
        await count(server, range(16, 21))
        async with reader.reading():
            await settled(reader, 21)
            assert len(server.sessions) == 1
            assert len(server.subscriptions) == 1
        assert reader.values("count", first) == list(range(11, 22))


async def test_a_restarted_server_is_not_gone_on_with() -> None:
    """Another run of the server is another line: a new subscription, a baseline, and nothing is called recovered."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        await server.stop()
        for subscription in list(server.subscriptions.values()):
            subscription.delete()
        await server.start()
        first = len(reader.batches)
        server.value("count", INT64, 20)
        async with reader.reading():
            await settled(reader, 21)
        assert reader.values("count", first) == [20, 21]
        assert not reader.of(Recovered)
        assert server.requests["TransferSubscriptions"] == 0


async def test_another_set_of_tags_is_not_gone_on_with() -> None:
    """A changed configuration begins anew and deletes what the server kept for the one before."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        old = next(iter(server.subscriptions))
        other = Reader(server, {"count": TAGS["count"]})
        other.stored = reader.stored
        async with other.reading():
            await settled(other, 11)
            assert old not in server.subscriptions
            assert len(server.subscriptions) == 1
        assert not other.of(Recovered)


async def test_a_server_that_does_not_transfer() -> None:
    """Where the service is refused a new subscription is made, nothing is called recovered, and the old one ends by its lifetime."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        server.faults.refuse["TransferSubscriptions"] = BAD_SERVICE_UNSUPPORTED
        async with reader.reading():
            await settled(reader, 11)
        assert not reader.of(Recovered)
        assert reader.values("count")[-1] == 11


async def test_a_message_that_is_gone_is_a_gap_where_it_was() -> None:
    """The rows before and after a hole come; the hole is declared between them, with its bounds."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
            reader.storing = False
            for value in (11, 12, 13, 14):
                server.value("count", INT64, value)
                await reader.came("count", value)
            server.cut()
        (subscription,) = server.subscriptions.values()
        missing = sorted(subscription.kept)[-3]
        del subscription.kept[missing]
        first, reader.storing = len(reader.batches), True
        async with reader.reading():
            await settled(reader, 15)
        assert reader.values("count", first) == [11, 13, 14, 15]
        (gap,) = reader.of(Gap, first)
        assert (gap.reason, gap.count, gap.tags) == ("comm_loss", 1, ())
        assert gap.since < gap.until
        place = next(number for number, batch in enumerate(reader.batches) if gap in batch.before)
        assert reader.values("count", place) == [13, 14, 15]
        assert reader.of(Recovered, first)


async def test_a_message_that_comes_twice_is_taken_once() -> None:
    """A server that sends again what it was asked for is believed once."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
            reader.storing = False
            server.value("count", INT64, 11)
            await reader.came("count", 11)
            server.cut()
        first, reader.storing = len(reader.batches), True
        (subscription,) = server.subscriptions.values()
        server.faults.twice = 5
        await count(server, range(12, 15))
        async with reader.reading():
            await settled(reader, 15)
        assert reader.values("count", first) == [11, 12, 13, 14, 15]
        assert subscription.number in server.subscriptions


async def test_a_queue_that_overflowed_is_a_gap_of_its_tag() -> None:
    """What the server could not keep is declared for the tag that lost it, and nothing else is."""
    async with serving() as server:
        server.faults.most_queue = 5
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        await count(server, range(11, 31), pause=0.001)
        first = len(reader.batches)
        async with reader.reading():
            await settled(reader, 31)
        assert reader.values("count", first)[-6:] == [26, 27, 28, 29, 30, 31]
        (gap,) = reader.of(Gap, first)
        assert (gap.reason, gap.tags) == ("queue_overflow", ("count",))


async def test_nothing_is_kept_where_nobody_comes_back_for_it() -> None:
    """With ``keep: 0s``, or readers that remember nothing, the subscription ends with the session."""
    async with serving() as server:
        reader = Reader(server, keep="0s")
        async with reader.reading():
            server.value("count", INT64, 1)
            await reader.came("count", 1)
        assert not server.subscriptions
        assert all(batch.mark is None for batch in reader.batches)


async def test_only_what_is_stored_is_acknowledged() -> None:
    """The server keeps every message until its rows are on disk."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
            reader.storing = False
            (subscription,) = server.subscriptions.values()
            for value in range(11, 16):
                server.value("count", INT64, value)
                await reader.came("count", value)
            assert reader.stored is not None
            assert set(range(reader.stored.number + 1, subscription.sequence)) <= set(subscription.kept)
            reader.storing = True
            for value in range(16, 22):
                server.value("count", INT64, value)
                await reader.came("count", value)
            assert reader.stored.number > 10
            assert len(subscription.kept) < 5


async def test_samples_that_a_read_overtook_do_not_come_after_it() -> None:
    """A trigger group's Read is newer than what waits in the subscription: the mark says so, for the reader to drop it."""
    async with serving() as server:
        reader = Reader(server)
        reader.triggers = (Trigger("unit/record", "other", ("count",)),)
        async with reader.reading():
            await settled(reader, 10)
            server.value("other", INT64, 1)
            await reader.until(lambda: any(batch.snapshots and batch.mark and batch.mark.seen for batch in reader.batches[2:]))
            snapshot = next(batch for batch in reader.batches[2:] if batch.snapshots and batch.mark and batch.mark.seen)
        assert snapshot.mark is not None
        assert snapshot.mark.seen[0] == snapshot.source[0]


async def test_a_server_that_refuses_is_asked_to_keep_nothing() -> None:
    """After the first refusal the subscription ends with its session: nobody could take it over."""
    async with serving() as server:
        reader = Reader(server)
        server.faults.refuse["TransferSubscriptions"] = BAD_SERVICE_UNSUPPORTED
        for value in range(1, 4):
            async with reader.reading():
                await settled(reader, 10 * value)
        assert len(server.subscriptions) == 1  # of the first time, until its lifetime is over


async def test_many_returns_leave_nothing_behind() -> None:
    """Cut off again and again there is one subscription, one session at most that is not in use, and every change came once."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 1)
            server.cut()
        value = 1
        for _ in range(20):
            resume.proved(reader.stored.line if reader.stored else "")  # each return lasted
            async with reader.reading():
                await settled(reader, value := value + 1)
                server.cut()
            server.value("count", INT64, value := value + 1)
        resume.proved(reader.stored.line if reader.stored else "")
        async with reader.reading():
            await settled(reader, value + 1)
            assert len(server.sessions) == 1
            assert len(server.subscriptions) == 1
        assert list(dict.fromkeys(reader.values("count"))) == list(range(value + 2))
        assert reader.values("count") == sorted(map(int, map(str, reader.values("count"))))
        assert not reader.of(Gap)


async def test_readers_that_are_differently_far_begin_at_the_one_behind() -> None:
    """What one of two readers lacks comes again, with marks by which the other one knows that it has it."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
            behind, first = reader.stored, len(reader.batches)
            reader.storing = False  # the server keeps everything from here on
            await count(server, range(11, 14), pause=0.1)
            await reader.came("count", 13)
            server.cut()
        ahead = reader.batches[-1].mark
        assert behind is not None
        assert ahead is not None
        assert ahead.number > behind.number
        second = len(reader.batches)
        wiring = DeviceWiring(marks=(ahead, behind), returns=True, stored=lambda: (ahead, behind))
        async with connect([reader.config], WallClock(), {"plc": wiring}, FAST) as driver:
            task = asyncio.create_task(reader._read(driver))
            await reader.until(lambda: 13 in reader.values("count", second))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        again = [
            batch for batch in reader.batches[second:] if batch.historical and batch.mark and batch.mark.number > behind.number
        ]
        assert [value for batch in again for value in batch.values] == reader.values("count", first)[-len(again) :]
        assert [batch.mark.number for batch in again if batch.mark] == list(range(behind.number + 1, ahead.number + 1))


async def test_units_of_different_lines_go_on_with_none() -> None:
    """A reader that knows another subscription, or none, makes everything begin anew, and what was kept is deleted."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        old, mark = next(iter(server.subscriptions)), reader.stored
        assert mark is not None
        other = Mark("other:7@1", 3, facts=mark.facts)
        wiring = DeviceWiring(marks=(mark, other), returns=True)
        async with connect([reader.config], WallClock(), {"plc": wiring}, FAST) as driver:
            batches = await driver.read()
            assert batches[0].values[0] == 10
            assert not batches[0].historical
        assert old not in server.subscriptions


async def test_a_restart_of_the_plc_stands_where_it_was() -> None:
    """Counts of before and after a restart that nobody saw are parts of one message, with the evidence between them."""
    tags = {"count": TAGS["count"], "boot": {"node": "s=boot", "type": "int64"}}
    async with serving() as server:
        server.value("boot", INT64, 1)
        reader = Reader(server, tags, boot="boot")
        async with reader.reading():
            await settled(reader, 10)
        await count(server, range(11, 14), pause=0.005)
        server.value("boot", INT64, 2)
        await count(server, range(1, 4), pause=0.005)
        first = len(reader.batches)
        async with reader.reading():
            await settled(reader, 4)
        parts = [batch for batch in reader.batches[first:] if batch.historical]
        assert [part.values for part in parts] == [[11, 12, 13], [2, 1, 2, 3]]
        assert [part.mark.left for part in parts if part.mark] == [1, 0]
        assert [notice.boot_id for notice in parts[1].before if isinstance(notice, Boot)] == [2]
        assert [notice.boot_id for notice in reader.of(Boot, first)] == [1, 2]


async def test_a_group_that_fired_out_of_sight_more_than_once_is_a_gap() -> None:
    """Only the last record can still be read; those before it are declared."""
    async with serving() as server:
        reader = Reader(server)
        reader.triggers = (Trigger("unit/record", "other", ("count",)),)
        async with reader.reading():
            await settled(reader, 10)
        for value in (1, 2, 3):
            server.value("other", INT64, value)
        first = len(reader.batches)
        async with reader.reading():
            await settled(reader, 11)
        (gap,) = reader.of(Gap, first)
        assert (gap.tags, gap.count) == (("count",), 2)
        snapshots = [batch for batch in reader.batches[first:] if batch.snapshots]
        assert [batch.values for batch in snapshots] == [[10]]


async def test_a_subscription_that_stays_silent_is_not_believed() -> None:
    """A server that gives the subscription away and then says nothing in it proves nothing: the next try begins anew, without a word before."""
    async with serving() as server:
        reader = Reader(server)
        async with reader.reading():
            await settled(reader, 10)
        mark, first = reader.stored, len(reader.batches)
        assert mark is not None
        server.faults.silent = True
        wiring = DeviceWiring(marks=(mark,), returns=True, stored=lambda: (mark,))
        async with connect([reader.config], WallClock(), {"plc": wiring}, FAST) as driver:
            with pytest.raises(DisconnectedError, match="no publish response"):
                await driver.read()
        server.faults.silent = False
        async with reader.reading():
            await settled(reader, 11)
            assert len(server.subscriptions) == 1
        assert not reader.of(Recovered, first)
        assert server.requests["CreateSubscription"] == 2


@pytest.mark.parametrize("after", [0.0, 0.4], ids=["with what was kept", "later"])
async def test_the_values_of_now_that_a_server_adds_are_told_once(after: float) -> None:
    """SendInitialValues brings the last sample of every queue a second time (OPC 10000-4, 5.14.7): it is one sample, and no second trigger."""
    async with serving() as server:
        reader = Reader(server)
        reader.triggers = (Trigger("unit/record", "other", ("count",)),)
        async with reader.reading():
            await settled(reader, 10)
        await count(server, range(11, 16))
        server.value("other", INT64, 1)
        first, server.faults.initial = len(reader.batches), after
        async with reader.reading():
            await reader.came("other", 1)
            await asyncio.sleep(after + 0.2)
            await settled(reader, 16)
        subscribed = [batch for batch in reader.batches[first:] if not batch.snapshots]
        rows = [(tag, value) for batch in subscribed for tag, value in zip(batch.tags, batch.values, strict=True)]
        assert [value for tag, value in rows if reader.names[tag] == "count"] == list(range(11, 17))
        assert [value for tag, value in rows if reader.names[tag] == "other"] == [1]
        assert not reader.of(Gap, first)
