"""The MQTT side: a session that the broker keeps, and acknowledgements that go out only when they are asked for (MQTT 5, 4.3.2 and 3.1.2.11.2)."""

from __future__ import annotations

import queue
import ssl
import sys
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

SESSION = 7 * 86_400
"""Seconds for which the broker keeps what comes while the consumer is away; what it cannot keep is asked for from the agent."""

WINDOW = 500
"""Messages that the broker may send ahead of their acknowledgement (Receive Maximum)."""


class Broker(msgspec.Struct, frozen=True):
    """Where the broker is and who we are. ``tls`` is ready to use, None for plain TCP."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    websocket: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One message, and on which connection it came: an acknowledgement belongs to that connection alone."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    connection: int
    correlation: bytes | None = None


class Link:
    """One client. Its network runs in a thread of its own; messages wait in a queue that the receive window bounds."""

    def __init__(self, broker: Broker, filters: Sequence[str], reply: str) -> None:
        """Subscribe to ``filters`` and to the topic ``reply`` at each connect."""
        self._broker, self._filters, self._reply = broker, tuple(filters), reply
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._log = structlog.get_logger()
        self._lock = threading.Lock()
        self.connection = 0
        self.connected = False
        self._client = self._make()

    def _make(self) -> mqtt.Client:
        broker = self._broker
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            protocol=mqtt.MQTTv5,
            transport="tcp" if broker.websocket is None else "websockets",
            manual_ack=True,
        )
        if broker.websocket is not None:
            client.ws_set_options(path=broker.websocket)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def open(self) -> None:
        """Begin to connect, for ever."""
        asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it unannotated
        asked.SessionExpiryInterval = SESSION
        asked.ReceiveMaximum = WINDOW
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=15, clean_start=False, properties=asked)
        self._client.loop_start()

    def close(self) -> None:
        """Say goodbye; the session stays at the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, most: int, seconds: float) -> list[Message]:
        """Return what is there, up to ``most`` messages; wait up to ``seconds`` for the first one."""
        found: list[Message] = []
        try:
            first = self._waiting.get(timeout=seconds)
            while first is not None:
                found.append(first)
                if len(found) >= most:
                    break
                first = self._waiting.get_nowait()
        except queue.Empty:
            pass
        return found

    def wake(self) -> None:
        """Let `take` return at once."""
        self._waiting.put(None)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge in the order in which they came (MQTT 5, 4.6); those of a connection that is gone come again and are duplicates then."""
        for message in messages:
            with self._lock:
                if message.mid and message.connection == self.connection and self.connected:
                    self._client.ack(message.mid, 1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None) -> None:
        """Publish by QoS 1, with our reply topic where there is a ``correlation``; lost when there is no connection: whoever asks, asks again."""
        properties = None
        if correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ResponseTopic = self._reply
            properties.CorrelationData = correlation
        if self.connected:
            self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)

    # -- paho's thread -----------------------------------------------------------------------------------------------

    def _on_connect(self, client: mqtt.Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._log.warning("consumer.refused", host=self._broker.host, reason=str(reason))
            return
        with self._lock:
            self.connection += 1
            self.connected = True
        self._log.info("consumer.connected", host=self._broker.host, session_present=flags.session_present)
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in (*self._filters, self._reply)])

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls from where it caught it, and does not pass it on
        self._log.warning(
            "consumer.unreachable", host=self._broker.host, port=self._broker.port, reason=str(error or "no connection")
        )

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._lock:
            self.connected = False
        self._log.warning("consumer.disconnected", reason=str(reason))

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [name for name, reason in zip((*self._filters, self._reply), reasons, strict=False) if reason.is_failure]
        if refused:  # an access list: events would be missing that nobody would ever miss
            self._log.error("consumer.not_allowed", topics=refused, reason=str(reasons[-1]))

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        mid = message.mid if message.qos else 0
        self._waiting.put(Message(message.topic, bytes(message.payload), message.retain, mid, self.connection, correlation))
