"""Coming up: what CONNECT says, and what a person reads when there is no connection."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from publish_fake_broker import FakeBroker, connack, until
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Document
from edge_agent.publish import mqtt
from edge_agent.publish.reasons import RefusedError


@pytest.mark.parametrize(
    ("code", "words", "slow"),
    [
        (0x86, "bad user name or password .*password_file", True),
        (0x87, "not authorised", True),
        (0x8A, "banned", True),
        (0x88, "server unavailable", False),
        (0x89, "server busy", False),
        (0x9C, "use another server", False),
        (0x97, "quota exceeded", False),
    ],
)
async def test_a_refused_connection_says_why(open_sink, code, words, slow):
    """The reason stands in the error, and whether knocking again soon makes sense."""
    async with FakeBroker(connack=connack(code)) as broker:
        with pytest.raises(RefusedError, match=f"refused the connection: {words}") as caught:
            async with open_sink(broker.port):
                pytest.fail("connected")
        assert caught.value.slow is slow
        assert len(broker.connects) == 1


async def test_the_brokers_own_words_are_passed_on(open_sink):
    """A Reason String in the CONNACK is quoted."""
    async with FakeBroker(connack=connack(0x87, b"\x1f\x00\x06no ACL")) as broker:
        with pytest.raises(RefusedError, match="'no ACL'"):
            async with open_sink(broker.port):
                pytest.fail("connected")


async def test_a_broker_without_qos_1_is_refused(open_sink):
    """QoS 0 confirms nothing, so such a broker is no receiver."""
    async with FakeBroker(connack=connack(0, b"\x24\x00")) as broker:
        with pytest.raises(RefusedError, match="QoS 0 only"):
            async with open_sink(broker.port):
                pytest.fail("connected")


async def test_a_broker_that_takes_the_connection_and_says_nothing_is_left_in_time(open_sink):
    """No CONNACK within connect_timeout is an error that names it."""
    async with FakeBroker(silent=True) as broker:
        with pytest.raises(DisconnectedError, match="does not answer MQTT's CONNECT"):
            async with open_sink(broker.port, connect_timeout="200ms"):
                pytest.fail("connected")


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail\r\n"])
async def test_another_protocol_on_the_port_is_recognised(open_sink, greeting):
    """A greeting that is no CONNACK is told apart from a broker at once."""
    async with FakeBroker(silent=True, greeting=greeting) as broker:
        with pytest.raises(DisconnectedError, match="does not speak MQTT"):
            async with open_sink(broker.port, connect_timeout="5s"):
                pytest.fail("connected")


async def test_nothing_listening_is_said_so(open_sink):
    """A refused TCP connection names address and reason."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take the port
        with pytest.raises(DisconnectedError, match="refused the connection: nothing listens there"):
            async with open_sink(bound.getsockname()[1]):
                pytest.fail("connected")


async def test_a_name_that_is_not_known_is_said_so(open_sink, monkeypatch):
    """A failing look-up names the host."""

    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DisconnectedError, match=r"broker\.invalid:1883 cannot be reached: the name is not known"):
        async with open_sink(0, broker="mqtt://broker.invalid"):
            pytest.fail("connected")


async def test_a_connection_that_comes_too_late_is_closed_again(open_sink, monkeypatch):
    """The loop runs on while something blocks, the try ends in time, and a socket opened after that is not left behind."""
    release = threading.Event()
    real = mqtt.open_wire

    def slow(*args: Any) -> Any:
        release.wait(5)
        return real(*args)

    async with FakeBroker(silent=True) as broker:
        monkeypatch.setattr(mqtt, "open_wire", slow)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        counting = asyncio.create_task(count())
        with pytest.raises(DisconnectedError, match="does not answer"):
            async with open_sink(broker.port, connect_timeout="300ms"):
                pytest.fail("connected")
        counting.cancel()
        assert turns > 10
        release.set()
        for thread in threading.enumerate():
            if thread.name == "mqtt-dial":
                await asyncio.to_thread(thread.join, 5)
        await until(lambda: broker.writer is not None and not broker._writers)


@pytest.mark.parametrize("refusal", [connack(0x84), connack(0x01, version=4), b""], ids=["code_84", "code_1", "hangs_up"])
async def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(open_sink, record, refusal):
    """However such a broker refuses, the second try succeeds and delivers the same payload."""
    async with FakeBroker(versions=(4,), wrong_version=refusal) as broker:
        async with open_sink(broker.port) as sink:
            assert [seen.version for seen in broker.connects] == [5, 4]
            assert sink.protocol == "3.1.1"
            assert broker.subscriptions == [TOPICS.command(name) for name in ("resend", "rebirth", "snapshot")]
            await sink.publish(record(1))
            await sink.announce(Document(TOPICS.status, b"{}", expiry=5))
            assert broker.published[0].payload.startswith(b'{"specversion":"1.0"')
            listening = asyncio.create_task(sink.request())
            await asyncio.sleep(0)
            assert not listening.done()
            listening.cancel()
        await until(lambda: broker.disconnects == [b""])


async def test_a_fixed_version_is_not_changed(open_sink):
    """With protocol 5 a broker that refuses it is an error that names the setting; 3.1.1 is asked for at once."""
    async with FakeBroker(versions=(4,), wrong_version=connack(0x84)) as broker:
        with pytest.raises(RefusedError, match=r"unsupported protocol version .*set protocol"):
            async with open_sink(broker.port, protocol=5):
                pytest.fail("connected")
        async with open_sink(broker.port, protocol="3.1.1") as sink:
            assert sink.protocol == "3.1.1"
        assert [seen.version for seen in broker.connects] == [5, 4]


async def test_a_3_1_1_refusal_is_told_too(open_sink):
    """Return code 5 of MQTT 3.1.1 becomes the same words."""
    async with FakeBroker(connack=connack(5, version=4)) as broker:
        with pytest.raises(RefusedError, match="not authorised"):
            async with open_sink(broker.port, protocol="3.1.1"):
                pytest.fail("connected")


async def test_connect_says_what_the_contract_needs(open_sink, tmp_path):
    """Clean start, session expiry above the will delay, retained will with its properties, credentials from the file."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    async with FakeBroker() as broker, open_sink(broker.port, username="gw", password_file=str(secret), keepalive="15s"):
        seen = broker.connects[0]
        assert (seen.client_id, seen.keepalive, seen.username, seen.password) == ("gw-l3", 15, "gw", b"s3cret")
        assert seen.flags & 0b0011_1110 == 0b0010_1110  # will retain, will QoS 1, will, clean start
        assert (seen.properties.SessionExpiryInterval, seen.will_properties.WillDelayInterval) == (30, 10)
        assert (seen.will_topic, seen.will_payload) == (TOPICS.status, b'{"status":"offline"}')
        assert seen.will_properties.ContentType == "application/json"


async def test_messages_carry_their_properties(open_sink, record):
    """Content type, payload format and user properties; ``resend`` only on what was sent before, with the same bytes."""
    online = (Document(TOPICS.status, b'{"status":"online"}'), Document("edge/x/_state", b"{}", expiry=30))
    async with FakeBroker() as broker, open_sink(broker.port, online=online) as sink:
        await sink.publish(record(7))
        await sink.publish(record(7, resent=True))
        status, state, first, again = broker.published
        assert [one.retain for one in broker.published] == [True, True, False, False]
        assert [one.qos for one in broker.published] == [1] * 4
        assert (status.topic, status.payload, status.properties.ContentType) == (
            TOPICS.status,
            b'{"status":"online"}',
            "application/json",
        )
        assert state.properties.MessageExpiryInterval == 30
        assert not hasattr(first.properties, "MessageExpiryInterval")
        assert first.properties.ContentType == "application/cloudevents+json; charset=utf-8"
        assert first.properties.PayloadFormatIndicator == 1
        assert first.user == {
            "type": "edgeagent.production.count.v1",
            "source": "/acme/plant1/gw-l3/filler",
            "id": "01JB2K7Z0000000000000000XY-filler-000000000007",
            "sequence": "00000000000000000007",
        }
        assert again.user == {**first.user, "resend": "1"}
        assert (again.topic, again.payload) == (first.topic, first.payload)


async def test_a_broker_without_retained_messages_gets_them_plain(open_sink):
    """Retain Available 0 in CONNACK: retaining would be a protocol error."""
    online = (Document(TOPICS.status, b"{}"),)
    async with FakeBroker(connack=connack(0, b"\x25\x00")) as broker, open_sink(broker.port, online=online):
        assert [one.retain for one in broker.published] == [False]


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
async def test_a_connection_that_is_closed_before_connect_is_written_is_a_lost_one(open_sink, monkeypatch, protocol):
    """A load balancer without brokers, a broker that wants a certificate (TLS 1.3 says so late): words and another try, not the agent's end."""
    peers = 0

    def closed(*_: object) -> socket.socket:
        nonlocal peers
        peers += 1
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr(mqtt, "open_wire", closed)
    with pytest.raises(DisconnectedError, match=r"closed the connection without an answer; check .* who may connect"):
        async with open_sink(1883, protocol=protocol):
            pytest.fail("connected")
    assert peers == (2 if protocol == "auto" else 1)
