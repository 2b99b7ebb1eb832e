"""The gap of an outage read from the server's historian: once, whole, before anything of now; or the gap stays."""

from __future__ import annotations

import asyncio

import pytest
from odd_plant import INT64
from odd_server import OddServer
from test_odd_resume import Reader, count, serving, settled

from edge_agent.model.reading import DeviceUp, Gap, Recovered

TAGS = {"count": {"node": "s=count", "history": True}, "other": {"node": "s=other"}}


def historian(server: OddServer, **more: object) -> Reader:
    """Return a reader of a server that keeps a history, and no subscription."""
    server.faults.history = True
    return Reader(server, TAGS, keep="0s", **more)


async def away(reader: Reader, values: range) -> None:
    """Read until everything works, then be away while the counter goes through values."""
    async with reader.reading():
        await first_sample(reader)
    await count(reader.server, values, pause=0.005)


async def first_sample(reader: Reader) -> None:
    """Return when the subscription brought a sample."""
    async with asyncio.timeout(5):
        while not reader.server.requests["Publish"]:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    reader.server.value("count", INT64, 10)
    await reader.came("count", 10)


async def test_the_gap_is_read_once_and_comes_before_what_is_now() -> None:
    """Every sample between the last before and the first after the outage comes once, in order, and only of the tag with a history."""
    async with serving() as server:
        reader = historian(server)
        await away(reader, range(11, 41))
        server.value("other", INT64, 5)
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 40)
            server.value("count", INT64, 41)
            await reader.came("count", 41)
        assert reader.values("count", first) == list(range(11, 42))
        assert reader.values("other", first) == [5]
        (historical,) = [batch for batch in reader.batches[first:] if batch.historical]
        assert historical.values == list(range(11, 40))
        (recovered,) = reader.of(Recovered, first)
        assert recovered.tags == ("count",)
        assert historical.before == (recovered,)
        assert any(isinstance(notice, DeviceUp) for notice in reader.batches[first].before)
        assert not reader.of(Gap)


async def test_the_same_gap_is_never_read_twice() -> None:
    """Another short absence asks for that absence only."""
    async with serving() as server:
        reader = historian(server)
        await away(reader, range(11, 21))
        async with reader.reading():
            await reader.came("count", 20)
        await count(server, range(21, 31))
        async with reader.reading():
            await reader.came("count", 30)
        assert reader.values("count")[-20:] == list(range(11, 31))


async def test_pages_are_put_together() -> None:
    """A historian that tells little at once is asked on and on, and nothing stays open there."""
    async with serving() as server:
        reader = historian(server)
        await away(reader, range(11, 41))
        server.faults.history_page = 4
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 40)
        assert reader.values("count", first) == list(range(11, 41))
        assert server.requests["HistoryRead"] > 5
        assert not server.points


async def test_a_historian_that_is_behind_is_waited_for() -> None:
    """Samples that it has not stored yet are asked for again."""
    async with serving() as server:
        reader = historian(server)
        await away(reader, range(11, 21))
        server.faults.history_lag = 3
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 20)
        assert reader.values("count", first) == list(range(11, 21))
        assert reader.of(Recovered, first)


@pytest.mark.parametrize("missing", [slice(0, 15), slice(-5, None)], ids=["begins late", "ends early"])
async def test_half_a_history_is_none(missing: slice) -> None:
    """Without the last sample before, or the first one after, nobody can say that it is whole: it is not told, and the gap stays."""
    async with serving() as server:
        reader = historian(server, history_within="500ms")
        await away(reader, range(11, 31))
        del server.history[(server.index, "count")][missing]
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 30)
        assert reader.values("count", first) == [30]
        assert not reader.of(Recovered, first)


async def test_a_slow_history_is_not_waited_for_longer_than_allowed() -> None:
    """Live rows wait for the bound and no longer, none of them is lost, and what the server holds ready is given back."""
    async with serving() as server:
        reader = historian(server, history_within="600ms")
        await away(reader, range(11, 21))
        server.faults.history_page, server.faults.history_delay = 2, 0.25
        first = len(reader.batches)
        async with reader.reading():
            await asyncio.sleep(0.4)
            server.value("count", INT64, 21)
            await reader.came("count", 21)
            assert not server.points
        assert reader.values("count", first) == [20, 21]
        assert not reader.of(Recovered, first)
        assert not reader.of(Gap, first)


async def test_a_history_with_too_many_samples_is_left() -> None:
    """More samples than allowed are not taken into memory."""
    async with serving() as server:
        reader = historian(server, history_rows=10)
        await away(reader, range(11, 41))
        server.faults.history_page = 4
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 40)
        assert reader.values("count", first) == [40]
        assert not reader.of(Recovered, first)
        assert not server.points


async def test_live_rows_beyond_the_bound_end_the_wait() -> None:
    """A tag that changes fast while the history is read is not held without end."""
    async with serving() as server:
        reader = historian(server, history_rows=20)
        await away(reader, range(11, 16))
        server.faults.history_delay = 3.0
        first = len(reader.batches)
        async with reader.reading():
            counting = asyncio.create_task(count(server, range(16, 400), pause=0.01))
            async with asyncio.timeout(2.5):
                await reader.came("count", 30)
            await counting
            await reader.came("count", 399)
        assert reader.values("count", first)[0] in range(15, 30)
        assert reader.values("count", first)[-380:] == list(range(20, 400))
        assert not reader.of(Recovered, first)


async def test_a_server_without_history_is_asked_once() -> None:
    """Where the agent may not read it the tag stays lost, and no HistoryRead is sent."""
    async with serving() as server:
        reader = historian(server)
        server.faults.history = False
        await away(reader, range(11, 16))
        async with reader.reading():
            await reader.came("count", 15)
        assert server.requests["HistoryRead"] == 0


async def test_a_history_across_a_restart_is_not_told() -> None:
    """What a counter did before and after a restart cannot be put in one row: the gap stays."""
    async with serving() as server:
        reader = historian(server)
        await away(reader, range(11, 16))
        await server.stop()
        await server.start()
        first = len(reader.batches)
        async with reader.reading():
            await reader.came("count", 15)
        assert server.requests["HistoryRead"] == 0
        assert not reader.of(Recovered, first)


async def test_the_subscription_comes_first() -> None:
    """A subscription that the server kept knows it all: no history is read."""
    async with serving() as server:
        server.faults.history = True
        reader = Reader(server, TAGS)
        async with reader.reading():
            await settled(reader, 10)
        await count(server, range(11, 21))
        first = len(reader.batches)
        async with reader.reading():
            await settled(reader, 21)
        assert reader.values("count", first) == list(range(11, 22))
        assert server.requests["HistoryRead"] == 0
