"""The sink against mosquitto: the same promises with a broker that others run."""

from __future__ import annotations

import asyncio
import json
import queue
from typing import Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from publish_fake_broker import outcomes_of, until
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Document
from edge_agent.publish import client
from edge_agent.publish.reasons import RefusedError

pytestmark = pytest.mark.mosquitto


class Listener:
    """An independent subscriber with a persistent session (the library's own thread)."""

    def __init__(self, port: int, topic: str, name: str = "mom") -> None:
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        subscribed: queue.Queue[bool] = queue.Queue()
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_subscribe = lambda *_: subscribed.put(True)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 300
        self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.client.loop_start()
        self.client.subscribe(topic, 1)
        subscribed.get(timeout=5)

    def take(self, n: int) -> list[paho.MQTTMessage]:
        """Return the next ``n`` messages."""
        return [self.messages.get(timeout=5) for _ in range(n)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def _sequences(messages):
    return [int(json.loads(message.payload)["sequence"]) for message in messages]


async def test_three_hundred_events_arrive_once_and_in_order(mosquitto, open_sink, record):
    """A subscriber sees all events in order with their properties, and status and checkpoints as retained messages."""
    broker = mosquitto()
    online = (Document(TOPICS.status, b'{"status":"online"}'),)
    with Listener(broker.port, "edge/#") as mom:
        async with open_sink(broker.port, online=online) as sink:
            assert sink.protocol == "5"
            assert await outcomes_of(sink, [record(n) for n in range(1, 301)]) == [None] * 300
        status, *events = await asyncio.to_thread(mom.take, 301)
        assert status.payload == b'{"status":"online"}'
        assert _sequences(events) == list(range(1, 301))
        assert dict(events[0].properties.UserProperty)["sequence"] == "00000000000000000001"
        assert events[0].properties.ContentType == "application/cloudevents+json; charset=utf-8"
        assert not any(event.retain for event in events)
    with Listener(broker.port, "edge/#", "late") as late:
        (only,) = await asyncio.to_thread(late.take, 1)
        assert (only.topic, only.retain) == (TOPICS.status, True)
        assert late.messages.empty()


async def test_the_will_speaks_when_the_agent_is_killed_and_not_when_it_leaves(mosquitto, open_sink, monkeypatch):
    """A normal end leaves the last words to the agent; an end by an exception makes the broker say offline, retained."""
    broker = mosquitto()
    monkeypatch.setattr(client, "_WILL_DELAY", 0)
    with Listener(broker.port, TOPICS.status) as mom:
        async with open_sink(broker.port) as sink:
            await sink.announce(Document(TOPICS.status, b'{"status":"stopped"}'))
        with pytest.raises(ZeroDivisionError):
            async with open_sink(broker.port):
                raise ZeroDivisionError
        got = [message.payload for message in await asyncio.to_thread(mom.take, 2)]
        assert got == [b'{"status":"stopped"}', b'{"status":"offline"}']
    with Listener(broker.port, TOPICS.status, "late") as late:
        (only,) = await asyncio.to_thread(late.take, 1)
        assert (only.payload, only.retain) == (b'{"status":"offline"}', True)


async def test_a_reconnect_within_the_will_delay_stays_unseen(mosquitto, open_sink, record):
    """A short loss does not tell the plant that the agent is offline."""
    broker = mosquitto()
    with Listener(broker.port, "edge/#") as mom:
        for seq in (1, 2):
            async with open_sink(broker.port) as sink:
                await sink.publish(record(seq))
                sink._connection.abandon()
        assert _sequences(await asyncio.to_thread(mom.take, 2)) == [1, 2]
        assert mom.messages.empty()


async def test_a_broker_that_is_killed_and_returns_gets_the_rest(mosquitto, open_sink, record):
    """After kill -9 a new connection takes over, and what was not acknowledged is sent again by its owner."""
    broker = mosquitto()
    waiting = {n: record(n) for n in range(1, 401)}
    async with open_sink(broker.port) as sink:
        tasks = {n: asyncio.create_task(sink.publish(one)) for n, one in waiting.items()}
        await until(lambda: sink.counters.published >= 50)
        broker.kill()
        await asyncio.wait(tasks.values())
        for n, task in tasks.items():
            if task.exception() is None:
                del waiting[n]
            else:
                assert isinstance(task.exception(), DisconnectedError)
    assert 0 < len(waiting) <= 350
    with pytest.raises(DisconnectedError, match="nothing listens there"):
        async with open_sink(broker.port):
            pytest.fail("connected")
    broker.start()
    with Listener(broker.port, "edge/#") as mom:
        async with open_sink(broker.port) as sink:
            assert set(await outcomes_of(sink, waiting.values())) == {None}
        assert _sequences(await asyncio.to_thread(mom.take, len(waiting))) == sorted(waiting)


async def test_credentials_and_access_list(mosquitto, open_sink, record, tmp_path):
    """A wrong password and a forbidden topic are told apart, in words."""
    users, access = tmp_path / "users", tmp_path / "acl"
    users.write_text("")
    users.chmod(0o600)
    maker = await asyncio.create_subprocess_exec("mosquitto_passwd", "-b", str(users), "gw", "right")
    assert await maker.wait() == 0
    access.write_text("user gw\ntopic write edge/v1/acme/plant1/_agent/gw-l3/#\n")
    broker = mosquitto(f"allow_anonymous false\npassword_file {users}\nacl_file {access}")
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    secret.chmod(0o600)
    login = {"username": "gw", "password_file": str(secret)}
    with pytest.raises(RefusedError, match=r"not authorised|bad user name or password"):
        async with open_sink(broker.port, **login):
            pytest.fail("connected")
    secret.write_text("right\n")
    async with open_sink(broker.port, **login) as sink:
        await sink.announce(Document(TOPICS.status, b"{}"))
        await sink.publish(record(1, stream="_agent/gw-l3"))
        with pytest.raises(RefusedError, match=r"not authorised \(0x87\)") as refused:
            await sink.publish(record(1))
        assert refused.value.slow


async def test_a_second_agent_with_the_same_id_is_noticed(mosquitto, open_sink):
    """The first connection ends at once, the second works (this broker's version does not say why, newer ones do)."""
    broker = mosquitto()
    async with open_sink(broker.port) as first, open_sink(broker.port) as second:
        with pytest.raises(DisconnectedError, match=r"closed the connection|session taken over"):
            await first.request()
        await second.announce(Document(TOPICS.status, b"{}"))


async def test_a_resend_request_is_answered_over_mqtt_5(mosquitto, open_sink):
    """Request and response with correlation, both ways through a real broker."""
    broker = mosquitto()
    async with open_sink(broker.port) as sink:
        with Listener(broker.port, "mes/answers") as mes:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic, properties.CorrelationData = "mes/answers", b"\x00\x07"
            mes.client.publish(TOPICS.command("resend"), b'{"stream":"filler"}', 1, properties=properties)
            request = await asyncio.wait_for(sink.request(), 5)
            assert (request.command, request.reply) == ("resend", "mes/answers")
            await sink.announce(Document(request.reply, b'{"found":3}', retain=False, correlation=request.correlation))
            (answer,) = await asyncio.to_thread(mes.take, 1)
            assert (answer.payload, answer.properties.CorrelationData) == (b'{"found":3}', b"\x00\x07")


async def test_an_oversize_event_does_not_block_the_queue(mosquitto, open_sink, record):
    """Mosquitto's max_packet_size reaches us in CONNACK: the big one is rejected here, its neighbours arrive."""
    broker = mosquitto("allow_anonymous true\nmax_packet_size 2000")
    async with open_sink(broker.port) as sink:
        one, big, two = await outcomes_of(sink, [record(1), record(2, body=b'{"a":"' + b"x" * 3000 + b'"}'), record(3)])
        assert (one, two) == (None, None)
        assert "at most 2000" in str(big)


async def test_tls_on_the_plain_port_says_so(mosquitto, open_sink):
    """mqtts:// to the plain listener names the mistake."""
    broker = mosquitto()
    with pytest.raises(DisconnectedError, match="hung up in the TLS handshake; is that its TLS port"):
        async with open_sink(broker.port, tls={"insecure": True}):
            pytest.fail("connected")
