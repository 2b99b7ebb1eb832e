"""Mirrored values on a real broker: kept while they hold, gone when nobody tells them any more."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from edge_agent.agent.values import Values
from edge_agent.model.instant import MS, NS
from edge_agent.model.reading import Batch

pytestmark = pytest.mark.mosquitto

TOPIC = "edge/v1/acme/plant1/filler/_value/plc1/speed"


class _KilledError(Exception):
    """What ends a connection without a word."""


def _batch(value, quality: int = 0) -> Batch:
    return Batch("plc1", 1_700_000_000 * NS, [0], [value], [quality], [0], [0])


async def _kept(open_sink, port: int, protocol: str = "5") -> dict:
    """Return what a newcomer is given."""
    async with open_sink(port, client_id="newcomer", protocol=protocol) as sink:
        return dict(await sink.retained((TOPIC,)))


class _Counting:
    """A sink that says how often the broker has acknowledged."""

    def __init__(self, sink) -> None:
        self._sink = sink
        self.acknowledged = 0
        self.news = asyncio.Event()

    async def announce(self, document) -> None:
        await self._sink.announce(document)
        self.acknowledged += 1
        self.news.set()


async def _mirrored(open_sink, port: int, values: Values, messages: int, protocol: str = "5") -> None:
    """Be an agent that is killed after ``messages`` were acknowledged."""
    with contextlib.suppress(_KilledError):
        async with open_sink(port, client_id="gw1", protocol=protocol) as sink, asyncio.timeout(20):
            counting = _Counting(sink)
            telling = asyncio.create_task(values.run(counting))
            while counting.acknowledged < messages:
                counting.news.clear()
                await counting.news.wait()
            telling.cancel()
            await asyncio.wait((telling,))
            raise _KilledError


def _values() -> Values:
    return Values({"plc1": [(TOPIC,)]}, every=20 * MS, expiry=3 * NS)


async def test_a_dead_agents_values_go(mosquitto, open_sink):
    """While the agent lives a value that does not change is told again and stays; after its expiry nobody is given that of a killed one."""
    broker, values = mosquitto(), _values()
    await values.deliver(_batch(72.5))
    await _mirrored(open_sink, broker.port, values, 5)
    assert json.loads((await _kept(open_sink, broker.port))[TOPIC]) == {"timestamp_ms": 1_700_000_000_000, "value": 72.5}
    await asyncio.sleep(4.1)  # the broker's own clock
    assert await _kept(open_sink, broker.port) == {}


async def test_a_bad_value_is_removed(mosquitto, open_sink):
    """A sample that turned bad while the broker was away leaves nothing for newcomers."""
    broker, values = mosquitto(), _values()
    await values.deliver(_batch(72.5))
    await _mirrored(open_sink, broker.port, values, 1)
    assert TOPIC in await _kept(open_sink, broker.port)
    await values.deliver(_batch(None, 2))
    await _mirrored(open_sink, broker.port, values, 1)
    assert await _kept(open_sink, broker.port) == {}


async def test_without_expiry_nothing_is_kept(mosquitto, open_sink):
    """MQTT 3.1.1 knows no expiry: values are sent to who listens, and none is retained to stay true for ever."""
    broker, values = mosquitto(), _values()
    await values.deliver(_batch(72.5))
    await _mirrored(open_sink, broker.port, values, 1, "3.1.1")
    assert await _kept(open_sink, broker.port) == {}
