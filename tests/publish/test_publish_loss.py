"""The sink when a connection ends: by the peer, by garbage, by silence, by our own wish."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from publish_fake_broker import Counting, FakeBroker, Published, outcomes_of, puback, until
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Document
from edge_agent.publish import connection
from edge_agent.publish.reasons import RefusedError


async def test_only_what_was_acknowledged_before_the_cut_is_delivered(open_sink, record):
    """A broker that dies after 5 acknowledgements leaves 5 delivered and the rest to be sent again."""

    def die_after_five(broker: FakeBroker, seen: Published) -> Iterable[bytes | None]:
        yield puback(seen.mid) if len(broker.published) <= 5 else None

    async with FakeBroker(answer=die_after_five) as broker, open_sink(broker.port, window=10) as sink:
        outcomes = await outcomes_of(sink, [record(n) for n in range(1, 31)])
        assert outcomes[:5] == [None] * 5
        assert all(isinstance(outcome, DisconnectedError) for outcome in outcomes[5:])
        with pytest.raises(DisconnectedError, match="closed the connection"):
            await sink.publish(record(99))
        with pytest.raises(DisconnectedError, match="closed the connection"):
            await sink.announce(Document(TOPICS.status, b"{}"))
        with pytest.raises(DisconnectedError, match="closed the connection"):
            await sink.request()


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 50, b"\xff" * 50, b"\x40\x02\x00", b"\x32\xff\xff\xff\xff\x01", b"\x20\x01\x00", b"\x30\x02\x00\x09"]
)
async def test_garbage_in_the_stream_ends_the_connection_with_words(open_sink, record, garbage):
    """What cannot be MQTT ends in a DisconnectedError for everyone who waits, never in a callback's exception."""
    async with FakeBroker(answer=lambda *_: (garbage, None)) as broker, open_sink(broker.port) as sink:
        with pytest.raises(DisconnectedError, match=r"127\.0\.0\.1:\d+ "):
            await sink.publish(record(1))


async def test_a_session_taken_over_says_what_to_change(open_sink, record):
    """DISCONNECT 0x8E tells of the second client with the same id, and asks for slow retries."""
    taken_over = b"\xe0\x02\x8e\x00"
    async with FakeBroker(answer=lambda *_: (taken_over,)) as broker, open_sink(broker.port) as sink:
        with pytest.raises(RefusedError, match=r"session taken over .*give each agent its own") as caught:
            await sink.publish(record(1))
        assert caught.value.slow


async def test_a_broker_that_answers_no_ping_is_lost(open_sink):
    """An idle connection whose peer is silent ends within twice the keep-alive."""
    async with FakeBroker(answers_pings=False) as broker, open_sink(broker.port, keepalive="1s", ack_timeout="400ms") as sink:
        async with asyncio.timeout(4):
            with pytest.raises(DisconnectedError, match="does not answer pings"):
                await sink.request()


async def test_leaving_normally_says_goodbye_without_the_will(open_sink, record):
    """DISCONNECT 0x00 with Session Expiry 0, after what was in flight has been answered."""
    counting = Counting()
    async with FakeBroker(answer=counting) as broker:
        async with open_sink(broker.port) as sink:
            task = asyncio.create_task(sink.publish(record(1)))
            await until(lambda: broker.published)
        await task
        await until(lambda: broker.disconnects)
        assert broker.disconnects[0][0] == 0
        assert broker.disconnects[0].endswith(b"\x11\x00\x00\x00\x00")


async def test_leaving_by_an_exception_leaves_the_will(open_sink):
    """DISCONNECT 0x04 asks the broker to publish the will."""
    async with FakeBroker() as broker:
        with pytest.raises(ZeroDivisionError):
            async with open_sink(broker.port):
                raise ZeroDivisionError
        await until(lambda: broker.disconnects)
        assert broker.disconnects == [b"\x04"]


async def test_closing_a_stuck_connection_is_bounded(open_sink, record, monkeypatch):
    """A peer that neither reads nor acknowledges cannot hold the shutdown."""
    monkeypatch.setattr(connection, "_TEARDOWN", 0.2)
    async with FakeBroker(answer=lambda *_: ()) as broker:
        started = asyncio.get_running_loop().time()
        async with open_sink(broker.port) as sink:
            broker.reading.clear()
            tasks = [asyncio.create_task(sink.publish(record(n, body=b'{"a":"' + b"x" * 900_000 + b'"}'))) for n in range(1, 21)]
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - started < 1
        assert all(isinstance(outcome, DisconnectedError) for outcome in await asyncio.gather(*tasks, return_exceptions=True))
        broker.reading.set()
