"""The paho client of one connection: everything CONNECT says, and the few calls that need the library's own types."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.ports import Document
from edge_agent.publish import tls
from edge_agent.publish.commands import LARGEST
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.dial import beside
from edge_agent.publish.express import Express
from edge_agent.publish.route import Wire
from edge_agent.publish.topics import Topics

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311

_SESSION_EXPIRY = 30  # s; longer than the will delay, because the will goes out when the session ends (3.1.3.2.2)
_WILL_DELAY = 10  # s
_DISCONNECT_WITH_WILL = 0x04
_RECEIVE_MAXIMUM = 16


class Engine(Express):
    """A client on a socket that somebody else opens, and whose silence somebody else judges.

    The library's own ways are not used: a proxy would need another package, its WebSocket loses packets, and it ends a slow
    connection whose ping waits behind a long message.
    """

    def open_by(self, opener: Callable[[], Wire]) -> None:
        """Let ``opener`` make the socket of the next connect."""
        self._opener = opener

    def ping(self) -> None:
        """Queue a PINGREQ."""
        self._send_pingreq()

    def _create_socket(self) -> Wire:  # type: ignore[override]  # the part of a socket that the library uses
        return self._opener()


def make(config: MqttConfig, topics: Topics, will: Document, version: MQTTProtocolVersion) -> Engine:
    """Return a fresh client that will not reconnect; raises DisconnectedError for files that do not work."""
    client = Engine(
        CallbackAPIVersion.VERSION2,
        config.client_id or topics.agent,
        protocol=version,
        clean_session=None if version is V5 else True,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages_set(0)  # unlimited: the window counts
    if config.username is not None:
        client.username_pw_set(config.username, tls.password(config.password_file) if config.password_file is not None else None)
    properties = _will_properties(will) if version is V5 else None
    client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)
    return client


async def dial(client: Engine, opener: Callable[[], Wire], keepalive: float, version: MQTTProtocolVersion) -> None:
    """Open the socket by ``opener``, which may block, and queue CONNECT; ``keepalive`` in s. Raises as ``opener`` and the library do."""
    client.open_by(opener)
    seconds = max(1, round(keepalive))

    def work() -> None:
        if version is V5:
            client.connect("broker", keepalive=seconds, clean_start=True, properties=_connect_properties())
        else:
            client.connect("broker", keepalive=seconds)

    await beside(work, lambda: hang_up(client))


def hang_up(client: Client) -> None:
    """Close the socket, if there is one, without a word."""
    if (sock := client.socket()) is not None:
        sock.close()


def subscribe(client: Client, topics: Sequence[str], version: MQTTProtocolVersion, *, retained: bool = False) -> None:
    """Ask for ``topics`` at QoS 1, and for no retained leftovers (unless they are what is wanted) where the version can say so."""
    if version is V5:
        handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
        options = SubscribeOptions(qos=1, retainHandling=handling)
        client.subscribe([(topic, options) for topic in topics])
    else:
        client.subscribe([(topic, 1) for topic in topics])


def say_goodbye(client: Client, version: MQTTProtocolVersion, *, will: bool) -> None:
    """Queue a DISCONNECT. With ``will`` the broker publishes it (MQTT 5 only: 3.1.1 does so when nothing is said at all)."""
    if version is not V5:
        client.disconnect()
    elif will:
        client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=_DISCONNECT_WITH_WILL))
    else:
        properties = _properties(PacketTypes.DISCONNECT)
        properties.SessionExpiryInterval = 0  # nothing is kept for us: the outbox is on our disk
        client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Normal disconnection"), properties)


def _connect_properties() -> Properties:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = _SESSION_EXPIRY
    properties.ReceiveMaximum = _RECEIVE_MAXIMUM
    properties.MaximumPacketSize = 16 * LARGEST
    properties.RequestProblemInformation = 1
    return properties


def _will_properties(will: Document) -> Properties:
    properties = _properties(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = _WILL_DELAY
    properties.ContentType = will.content_type
    properties.PayloadFormatIndicator = 1
    if will.expiry is not None:
        properties.MessageExpiryInterval = will.expiry
    return properties


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]
