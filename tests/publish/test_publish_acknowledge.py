"""The sink and acknowledgements: nothing counts as delivered that was not acknowledged with success."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import pytest
from publish_fake_broker import Counting, FakeBroker, Published, limits, outcomes_of, puback, until
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.ports import Document
from edge_agent.publish.reasons import RefusedError


async def test_records_leave_in_the_order_they_are_handed_over(open_sink, record):
    """A hundred concurrent publishes arrive in order, each once."""
    async with FakeBroker() as broker, open_sink(broker.port) as sink:
        assert await outcomes_of(sink, [record(n) for n in range(1, 101)]) == [None] * 100
        assert [int(seen.user["sequence"]) for seen in broker.published] == list(range(1, 101))
        assert not any(seen.dup for seen in broker.published)


async def test_a_broker_that_never_acknowledges_loses_the_connection(open_sink, record):
    """The watchdog ends the connection after ack_timeout, and nothing is reported as delivered."""
    started = asyncio.get_running_loop().time()
    async with FakeBroker(answer=lambda *_: ()) as broker, open_sink(broker.port, ack_timeout="300ms") as sink:
        for outcome in await outcomes_of(sink, [record(n) for n in (1, 2, 3)]):
            assert isinstance(outcome, DisconnectedError)
            assert re.search(r"has not acknowledged for .* \(3 messages in flight\)", str(outcome))
    assert asyncio.get_running_loop().time() - started < 1.5


async def test_the_watchdog_looks_at_the_oldest_message(open_sink, record):
    """Acknowledgements of later messages do not hide one that never comes."""

    def all_but_the_first(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        return () if seen.user["sequence"].endswith("01") else (puback(seen.mid),)

    async with FakeBroker(answer=all_but_the_first) as broker, open_sink(broker.port, ack_timeout="400ms") as sink:
        first = asyncio.create_task(sink.publish(record(1)))
        later = []
        while not first.done() and len(later) < 15:  # each is acknowledged at once, for four fifths of a second
            later.append(asyncio.create_task(sink.publish(record(2 + len(later)))))
            await asyncio.sleep(0.05)
        with pytest.raises(DisconnectedError, match="has not acknowledged"):
            await first
        assert 5 < len(later) < 15
        await asyncio.gather(*later, return_exceptions=True)


@pytest.mark.parametrize("code", [0x90, 0x99])
async def test_a_record_that_is_refused_for_good_is_rejected_alone(open_sink, record, code):
    """The record's own error names the reason; the others in flight are delivered."""

    def refuse_the_second(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        yield puback(seen.mid, code if seen.user["sequence"].endswith("2") else 0)

    async with FakeBroker(answer=refuse_the_second) as broker, open_sink(broker.port, reject_after=1) as sink:
        one, two, three = await outcomes_of(sink, [record(n) for n in (1, 2, 3)])
        assert one is None
        assert three is None
        assert isinstance(two, RejectedError)
        assert f"0x{code:02X}" in str(two)
        await sink.publish(record(4))
        assert (sink.counters.published, sink.counters.rejected) == (3, 1)


@pytest.mark.parametrize("code", [0x95, 0x9A, 0xEE])
async def test_a_code_that_no_puback_may_carry_is_a_refusal_all_the_same(open_sink, record, code):
    """3.4.2.1 does not list it, but brokers send it: it refuses this message for now, by its number, and nothing is delivered or set aside."""
    async with FakeBroker(answer=lambda _, seen: (puback(seen.mid, code),)) as broker, open_sink(broker.port) as sink:
        with pytest.raises(RefusedError, match=f"0x{code:02X}") as caught:
            await sink.publish(record(1))
        assert caught.value.code == code


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x97, 0x91])
async def test_a_refusal_for_now_ends_the_connection_so_that_order_is_kept(open_sink, record, code):
    """Records after the refused one are not delivered either, though the broker acknowledged them."""

    def refuse_the_third(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        yield puback(seen.mid, code if seen.user["sequence"].endswith("3") else 0)

    async with FakeBroker(answer=refuse_the_third) as broker, open_sink(broker.port) as sink:
        outcomes = await outcomes_of(sink, [record(n) for n in range(1, 7)])
        assert outcomes[:2] == [None, None]
        assert all(isinstance(outcome, RefusedError) for outcome in outcomes[2:])
        assert outcomes[2].code == code
        with pytest.raises(RefusedError, match=f"0x{code:02X}"):
            await sink.publish(record(7))


async def test_no_matching_subscribers_is_delivered_and_counted(open_sink, record):
    """PUBACK 0x10 finishes the record; a diagnostic counts it."""
    async with FakeBroker(answer=lambda _, seen: (puback(seen.mid, 0x10),)) as broker, open_sink(broker.port) as sink:
        await sink.publish(record(1))
        assert (sink.counters.published, sink.counters.unheard) == (1, 1)


async def test_a_wrong_acknowledgement_finishes_nothing(open_sink, record):
    """Unknown message ids and a second PUBACK are ignored; the right one still counts."""

    def confuse(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        yield puback(60_000)
        yield puback(0)
        yield puback(seen.mid)
        yield puback(seen.mid)

    async with FakeBroker(answer=confuse) as broker, open_sink(broker.port, window=2) as sink:
        assert await outcomes_of(sink, [record(n) for n in range(1, 9)]) == [None] * 8

    async with FakeBroker(answer=lambda _, seen: (puback(seen.mid + 1),)) as broker:
        with pytest.raises(DisconnectedError, match="has not acknowledged"):
            async with open_sink(broker.port, ack_timeout="200ms") as sink:
                await sink.publish(record(1))


async def test_acknowledgements_out_of_order_go_to_their_own_records(open_sink, record):
    """Each record gets the answer to its own message id, here the second is refused."""
    held: list[Published] = []

    def backwards(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        held.append(seen)
        if len(held) == 3:
            yield from (puback(one.mid, 0x99 if one.user["sequence"].endswith("2") else 0) for one in reversed(held))

    async with FakeBroker(answer=backwards) as broker, open_sink(broker.port, reject_after=1) as sink:
        one, two, three = await outcomes_of(sink, [record(n) for n in (1, 2, 3)])
        assert (one, three) == (None, None)
        assert isinstance(two, RejectedError)


async def test_the_receive_maximum_is_never_exceeded(open_sink, record):
    """Announcements and records together stay within the broker's Receive Maximum, and keep their order."""
    counting = Counting()
    async with FakeBroker(answer=counting, connack=limits(receive_maximum=3)) as broker, open_sink(broker.port, window=20) as sink:
        assert sink.window == 3
        tasks = [asyncio.create_task(sink.publish(record(n))) for n in range(1, 31)]
        tasks.append(asyncio.create_task(sink.announce(Document(TOPICS.status, b"{}"))))
        await asyncio.gather(*tasks)
        assert counting.most == 3
        assert [int(seen.user["sequence"]) for seen in broker.published[:-1]] == list(range(1, 31))


async def test_a_cancelled_publish_keeps_its_place_until_it_is_answered(open_sink, record):
    """The broker still counts an abandoned message, so the window does too."""
    held: list[int] = []

    def hold_the_first_two(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        if len(broker.published) <= 2:
            held.append(seen.mid)
            return ()
        return (puback(seen.mid),)

    async with FakeBroker(answer=hold_the_first_two, connack=limits(receive_maximum=2)) as broker, open_sink(broker.port) as sink:
        tasks = [asyncio.create_task(sink.publish(record(n))) for n in (1, 2, 3, 4)]
        await until(lambda: len(held) == 2)
        tasks[0].cancel()
        tasks[2].cancel()  # was waiting for a place
        await asyncio.sleep(0.05)
        assert len(broker.published) == 2
        broker.writer.write(puback(held[0]))
        await until(lambda: len(broker.published) == 3)
        assert not tasks[3].done()
        broker.writer.write(puback(held[1]))
        await asyncio.gather(tasks[1], tasks[3])
        assert [int(seen.user["sequence"]) for seen in broker.published] == [1, 2, 4]
        assert await outcomes_of(sink, [record(n) for n in range(5, 15)]) == [None] * 10


async def test_a_message_above_the_maximum_packet_size_is_rejected_before_it_is_sent(open_sink, record):
    """To the byte: the largest packet the broker takes goes out, one byte more does not and the queue moves on."""
    async with FakeBroker() as broker, open_sink(broker.port) as sink:
        await sink.publish(record(1, body=b'{"a":"' + b"x" * 500 + b'"}'))
        exact = broker.published[0].size
    async with FakeBroker(connack=limits(packet=exact)) as broker, open_sink(broker.port) as sink:
        with pytest.raises(RejectedError, match=f"has {exact + 1} bytes.*at most {exact}"):
            await sink.publish(record(1, body=b'{"a":"' + b"x" * 501 + b'"}'))
        await sink.publish(record(1, body=b'{"a":"' + b"x" * 500 + b'"}'))
        assert [seen.size for seen in broker.published] == [exact]
    async with FakeBroker() as broker, open_sink(broker.port, max_packet=1024) as sink:
        with pytest.raises(RejectedError, match="at most 1024"):
            await sink.publish(record(1, body=b'{"a":"' + b"x" * 1000 + b'"}'))


async def test_a_slow_reader_gets_everything_in_order(open_sink, record):
    """A full socket pauses the writing without losing, mixing or blocking anything."""
    async with FakeBroker() as broker, open_sink(broker.port, window=60) as sink:
        broker.reading.clear()
        big = b'{"a":"' + b"x" * 400_000 + b'"}'
        tasks = [asyncio.create_task(sink.publish(record(n, body=big))) for n in range(1, 61)]
        await asyncio.sleep(0.1)
        broker.reading.set()
        await asyncio.gather(*tasks)
        assert [int(seen.user["sequence"]) for seen in broker.published] == list(range(1, 61))
        assert len({seen.payload[-400_000:] for seen in broker.published}) == 1


async def test_acknowledgements_in_the_wrong_order_wait_for_each_other(open_sink, record):
    """The second is acknowledged, then the first is refused: both come again, in order, for the consumer has the second without the first."""
    held: list[int] = []

    def backwards(broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        held.append(seen.mid)
        return (puback(held[1]), puback(held[0], 0x83)) if len(held) == 2 else ()

    async with FakeBroker(answer=backwards) as broker, open_sink(broker.port) as sink:
        assert [type(outcome) for outcome in await outcomes_of(sink, [record(1), record(2)])] == [RefusedError] * 2
