"""A list of brokers: who is next, who is left alone, and the way back to the first."""

from __future__ import annotations

import asyncio
import socket

import pytest
from publish_fake_broker import FakeBroker, connack, outcomes_of, until
from publish_setting import free_port

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.memory import Memory
from edge_agent.publish.order import Order
from edge_agent.publish.reasons import RefusedError, RenewedError


def test_the_next_broker_has_its_turn_and_the_first_is_preferred():
    """In order and around while none can be had; after a connection that held, from the first again; after a short one, the next."""
    order = Order(3)
    tried = []
    for _ in range(4):
        tried.append(order.next(0.0))
        assert order.failed(tried[-1], 0.0, slow=False)
    assert tried == [0, 1, 2, 0]
    order.lost(1, 60.0)
    assert order.next(0.0) == 0
    order.lost(1, 2.0)
    assert order.next(0.0) == 2
    order.back(0)
    assert order.next(0.0) == 0


def test_a_broker_that_refuses_is_left_alone_while_others_are_tried():
    """Wrong credentials bar one broker for 30 s; when all are barred, the link has to wait."""
    order = Order(2)
    assert order.failed(0, 100.0, slow=True)
    assert [order.next(time) for time in (100.0, 129.0)] == [1, 1]
    assert order.failed(1, 101.0, slow=False)
    assert order.next(102.0) == 1
    assert not order.failed(1, 102.0, slow=True)
    assert order.next(130.5) == 0
    assert order.better(1, 103.0) == ()
    assert order.better(1, 131.0) == (0,)


def _two(first: int, second: int, **changes: object) -> tuple[dict[str, object], Memory]:
    settings = {"broker": [f"mqtt://127.0.0.1:{first}", {"url": f"mqtt://127.0.0.1:{second}"}], **changes}
    return settings, Memory(MqttConfig.model_validate({**settings, "allow_insecure": True}))


async def test_the_second_broker_takes_over_at_the_next_try(open_sink, record):
    """One try each, in order; the counters go on over connections."""
    async with FakeBroker() as broker:
        settings, memory = _two(free_port(), broker.port)
        with pytest.raises(DisconnectedError, match="nothing listens there"):
            async with open_sink(0, memory=memory, **settings):
                pytest.fail("connected")
        for _ in range(2):
            async with open_sink(0, memory=memory, **settings) as sink:
                await sink.publish(record(1, resent=True))
        counters = memory.counters
        assert (counters.published, counters.resent, counters.connections, counters.reconnects) == (2, 2, 2, 1)


async def test_a_refusal_of_one_broker_does_not_slow_the_other_down(open_sink):
    """Bad credentials at the first: the second at once. At both: a slow retry."""
    async with FakeBroker(connack=connack(0x86)) as first, FakeBroker(connack=connack(0x86)) as second:
        settings, memory = _two(first.port, second.port)
        slow = []
        for _ in range(2):
            with pytest.raises(RefusedError) as caught:
                async with open_sink(0, memory=memory, **settings):
                    pytest.fail("connected")
            slow.append(caught.value.slow)
        assert slow == [False, True]
        assert (len(first.connects), len(second.connects)) == (1, 1)


async def test_the_first_broker_is_returned_to_without_losing_or_doubling(open_sink, record):
    """Once it answers again, the connection to the second ends between two records, and every record arrived at one of the two."""
    port = free_port()
    async with FakeBroker() as second:
        settings, memory = _two(port, second.port, return_after="100ms")
        memory.order.failed(0, 0.0, slow=False)
        streaming = asyncio.create_task(_stream(open_sink(0, memory=memory, **settings), record))
        await until(lambda: len(second.published) > 5)
        await asyncio.sleep(0.15)  # it has looked once in vain
        assert not streaming.done()
        with socket.create_server(("127.0.0.1", port)), pytest.raises(RenewedError, match="is back"):
            await asyncio.wait_for(streaming, 5)
        sent = [int(seen.user["sequence"]) for seen in second.published]
        assert sent == list(range(1, len(sent) + 1))
        assert memory.order.next(0.0) == 0
        assert memory.counters.renewals == 1


async def _stream(sink_of_second, record) -> None:
    """Publish five records at a time until the connection is renewed; each has its answer by then, or was never sent."""
    async with sink_of_second as sink:
        for first in range(1, 100_000, 5):
            for outcome in await outcomes_of(sink, [record(number) for number in range(first, first + 5)]):
                assert outcome is None or isinstance(outcome, RenewedError)
                if outcome is not None:
                    raise outcome


async def test_never_stays_where_it_is(open_sink):
    """With return_after: never the second broker keeps the connection."""
    async with FakeBroker() as first, FakeBroker() as second:
        settings, memory = _two(first.port, second.port, return_after="never")
        memory.order.failed(0, 0.0, slow=False)
        async with open_sink(0, memory=memory, **settings):
            await asyncio.sleep(0.1)
            assert (len(first.connects), len(second.connects)) == (0, 1)
