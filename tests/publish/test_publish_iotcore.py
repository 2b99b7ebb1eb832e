"""The embedded broker of the demo: what of MQTT the demo may count on."""

from __future__ import annotations

import asyncio
import json
import queue
from typing import Self

import iotcore
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from publish_fake_broker import outcomes_of
from publish_setting import TOPICS, WILL, free_port

from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Document
from edge_agent.publish import client

TOML = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 262144
max_inflight_count = 100
dynamic_filters = true
"""


@pytest.fixture
def broker(tmp_path):
    """Start the embedded broker with an MQTT 5 listener, which only a configuration file can give it."""
    config = tmp_path / "broker.toml"
    config.write_text(TOML.format(port=free_port()))
    with iotcore.Broker(config_path=str(config)) as running:
        yield running


class Mom:
    """A subscriber with a persistent session that can be cut off and come back."""

    def __init__(self, port: int, topic: str, name: str = "mom") -> None:
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        events: queue.Queue[bool] = queue.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, reconnect_on_failure=False)
        self.client.on_connect = lambda _c, _u, flags, *_: events.put(flags.session_present)
        self.client.on_subscribe = lambda *_: events.put(True)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 300
        self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.client.loop_start()
        self.present = events.get(timeout=5)
        if not self.present:
            self.client.subscribe(topic, 1)
            events.get(timeout=5)

    def take(self, n: int) -> list[paho.MQTTMessage]:
        return [self.messages.get(timeout=5) for _ in range(n)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def test_events_in_order_with_properties_and_a_subscriber_that_was_away(broker, open_sink, record):
    """QoS 1, order, user properties, content type; what was sent while the subscriber was away waits for it."""
    with Mom(broker.port, "edge/v1/+/+/packaging/#") as mom:
        assert not mom.present
        async with open_sink(broker.port) as sink:
            assert sink.protocol == "5"
            assert await outcomes_of(sink, [record(n) for n in range(1, 201)]) == [None] * 200
        seen = await asyncio.to_thread(mom.take, 200)
        assert dict(seen[0].properties.UserProperty)["id"] == json.loads(seen[0].payload)["id"]
        assert seen[0].properties.ContentType == "application/cloudevents+json; charset=utf-8"
    async with open_sink(broker.port) as sink:
        assert await outcomes_of(sink, [record(n) for n in range(201, 401)]) == [None] * 200
    with Mom(broker.port, "edge/v1/+/+/packaging/#") as mom:
        assert mom.present
        seen += await asyncio.to_thread(mom.take, 200)
    assert [int(json.loads(one.payload)["sequence"]) for one in seen] == list(range(1, 401))


async def test_retained_messages_are_kept_and_expire(broker, open_sink):
    """Status is there for who comes later; an expired ``_state`` is not."""
    online = (Document(TOPICS.status, b"online"), Document("edge/v1/x/_state", b"soon gone", expiry=1))
    async with open_sink(broker.port, online=online):
        with Mom(broker.port, "edge/v1/#", "early") as early:
            assert {one.payload for one in await asyncio.to_thread(early.take, 2)} == {b"online", b"soon gone"}
        await asyncio.sleep(1.5)
        with Mom(broker.port, "edge/v1/#", "late") as late:
            assert [one.payload for one in await asyncio.to_thread(late.take, 1)] == [b"online"]
            await asyncio.sleep(0.1)
            assert late.messages.empty()


async def test_the_will_of_a_lost_agent_is_published_and_retained(broker, open_sink, monkeypatch):
    """A connection that ends without DISCONNECT makes the broker say offline; a normal end does not."""
    monkeypatch.setattr(client, "_WILL_DELAY", 0)
    with Mom(broker.port, TOPICS.status) as mom:
        async with open_sink(broker.port, client_id="leaves") as sink:
            await sink.announce(Document(TOPICS.status, b"stopped"))
        async with open_sink(broker.port, client_id="dies") as sink:
            sink._connection.abandon()
        assert [one.payload for one in await asyncio.to_thread(mom.take, 2)] == [b"stopped", WILL.payload]
    with Mom(broker.port, TOPICS.status, "late") as late:
        (only,) = await asyncio.to_thread(late.take, 1)
        assert (only.payload, only.retain) == (WILL.payload, True)


async def test_requests_with_reply_and_correlation(broker, open_sink):
    """A command and its answer pass with Response Topic and Correlation Data."""
    async with open_sink(broker.port) as sink:
        with Mom(broker.port, "mes/answers", "mes") as mes:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic, properties.CorrelationData = "mes/answers", b"\x00\x07"
            mes.client.publish(TOPICS.command("rebirth"), b"{}", 1, properties=properties)
            request = await asyncio.wait_for(sink.request(), 5)
            await sink.announce(Document(request.reply, b"done", retain=False, correlation=request.correlation))
            (answer,) = await asyncio.to_thread(mes.take, 1)
            assert (answer.payload, answer.properties.CorrelationData) == (b"done", b"\x00\x07")


async def test_its_default_listener_knows_3_1_1_only(open_sink, record):
    """Without a configuration file the broker hangs up on MQTT 5; the agent falls back, or says so when it may not."""
    with iotcore.Broker(port=free_port(), listen="127.0.0.1") as broker:
        async with open_sink(broker.port) as sink:
            assert sink.protocol == "3.1.1"
            await sink.publish(record(1))
        with pytest.raises(DisconnectedError, match="closed the connection without an answer"):
            async with open_sink(broker.port, protocol=5):
                pytest.fail("connected")
