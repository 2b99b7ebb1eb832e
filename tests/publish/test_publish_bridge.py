"""The bridge of docs/how-to/outputs.md: a second broker gets every event of the first one, also when either of them was killed."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.model.errors import DisconnectedError

PAGE = Path(__file__).parents[2] / "docs/how-to/outputs.md"
pytestmark = pytest.mark.mosquitto


def _bridge(port):
    """Return the page's example, to a broker on ``port``."""
    (block,) = re.findall(r"```conf\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    text = block.replace("second.plant1:1883", f"127.0.0.1:{port}").replace("restart_timeout 1 30", "restart_timeout 1")
    return f"allow_anonymous true\n{text}"


_SECOND = "allow_anonymous true\nmax_queued_messages 0\nautosave_interval 1\nautosave_on_changes false"
_SAVED = 2.5
"""Seconds after which a broker has saved what it has: what is acknowledged in the last one may not be on its disk."""


class _Receiver:
    """Whoever listens at the second broker, in a session of its own that lasts."""

    def __init__(self, port):
        self.seen = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "mes", protocol=MQTTProtocolVersion.MQTTv311, clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = lambda _c, _u, message: self.seen.append(json.loads(message.payload))
        self._client.on_connect = lambda client, *_: client.subscribe("edge/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


async def _published(broker, open_sink, record, numbers):
    """Send records as the forwarder does: what is not acknowledged is sent again."""
    left = list(numbers)
    while left:
        try:
            async with open_sink(broker.port) as sink:
                while left:
                    await asyncio.gather(*(sink.publish(record(number)) for number in left[:20]))
                    del left[:20]
        except DisconnectedError:
            await asyncio.sleep(0.1)


async def _until(holds):
    async with asyncio.timeout(25):
        while not holds():  # noqa: ASYNC110 - what brokers do rings no bell here
            await asyncio.sleep(0.02)


def _numbers(receiver):
    return {int(event["sequence"]) for event in receiver.seen}


async def test_the_second_broker_gets_all(mosquitto, open_sink, record):
    """Events made while the second broker is killed come after it is back, with their own ids; the first one takes them meanwhile without delay."""
    second = mosquitto(_SECOND)
    receiver = _Receiver(second.port)
    first = mosquitto(_bridge(second.port))
    try:
        await _published(first, open_sink, record, range(1, 101))
        await _until(lambda: _numbers(receiver) == set(range(1, 101)))
        await asyncio.sleep(_SAVED)
        second.kill()
        await _published(first, open_sink, record, range(101, 1401))  # more than the broker would keep by its defaults
        assert max(_numbers(receiver)) == 100
        second.start()
        await _until(lambda: _numbers(receiver) == set(range(1, 1401)))
        ids = {event["id"] for event in receiver.seen}
        assert len(ids) == 1400
        assert all(event["data"]["delta"] == 1 for event in receiver.seen)
    finally:
        receiver.close()


async def test_the_first_broker_is_killed(mosquitto, open_sink, record):
    """A first broker that is killed while it hands on has saved what waits; what it had not acknowledged the agent sends again."""
    second = mosquitto(_SECOND)
    receiver = _Receiver(second.port)
    first = mosquitto(_bridge(second.port))
    try:
        await asyncio.sleep(_SAVED)
        second.kill()
        await _published(first, open_sink, record, range(1, 301))
        await asyncio.sleep(_SAVED)
        first.kill()
        first.start()
        second.start()
        await _published(first, open_sink, record, range(301, 401))
        await _until(lambda: _numbers(receiver) == set(range(1, 401)))
    finally:
        receiver.close()
