"""One MQTT connection of an edge node: what it hears waits in a list, what it says is handed to the socket or not said at all.

Nothing is published from the library's callbacks, and no message waits in a queue of the library while another one could overtake its number.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish import endings, packed, tls
from edge_agent.publish.address import Broker
from edge_agent.publish.client import V5, Engine, hang_up, subscribe
from edge_agent.publish.dial import beside
from edge_agent.publish.pump import Pump
from edge_agent.publish.reach import ReachConfig
from edge_agent.publish.route import Wire, raw
from edge_agent.publish.watchdog import Watchdog
from edge_agent.publish.window import Window

_TEARDOWN = 3.0  # s
_WITH_WILL = 0x04
_HEARD = 64
_LARGEST = 65_536
_FULL = 0.005  # s; a socket that takes nothing more is asked again after so long


class Heard(NamedTuple):
    """A message that has come."""

    topic: str
    payload: bytes
    retained: bool


class EdgeEngine(Engine):
    """The library's client, which tells how many pings were answered."""

    pings = 0
    pongs = 0

    def ping(self) -> None:
        """Queue a PINGREQ: its answer proves that the broker has read everything before it."""
        self.pings += 1
        super().ping()

    def _handle_pingresp(self) -> MQTTErrorCode:
        self.pongs += 1
        return super()._handle_pingresp()


class Link:
    """A client whose socket is open and whose CONNECT is on its way; from here on the event loop drives it."""

    def __init__(self, client: EdgeEngine, broker: Broker, config: ReachConfig, version: MQTTProtocolVersion) -> None:
        self.version, self.where = version, broker.where
        self.largest = config.max_packet
        self.failure: DisconnectedError | None = None
        loop = asyncio.get_running_loop()
        self.client = client
        self._timeout = config.ack_timeout / 1e9
        self._accepted: asyncio.Future[Properties | None] = loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._waiting: deque[Heard] = deque(maxlen=_HEARD)
        self._news = asyncio.Event()
        wire = cast("Wire", client.socket())
        watched = Window(1, loop)
        self._watchdog = Watchdog(client, raw(wire), watched, ack_timeout=self._timeout, keepalive=config.keepalive / 1e9)
        self._pump = Pump(client, wire, tick=self._watch, broken=self._broken, interval=self._watchdog.interval)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe, client.on_message = self._on_subscribe, self._on_message
        client.on_socket_close = lambda *_: self._pump.stop()
        client.on_socket_register_write = lambda *_: self._pump.flush_soon()
        self._pump.start()

    async def accepted(self) -> None:
        """Wait for the CONNACK. Raises DisconnectedError with the broker's reason."""
        granted = await self._accepted
        self.largest = min(self.largest, getattr(granted, "MaximumPacketSize", self.largest))

    async def subscribe(self, topics: Sequence[str]) -> list[int]:
        """Subscribe at QoS 1, retained messages wanted; return the reason code of each topic. Raises DisconnectedError."""
        subscribe(self.client, topics, self.version, retained=True)
        try:
            async with asyncio.timeout(self._timeout):
                return [code.value for code in await self._subscribed]
        except TimeoutError as error:
            raise DisconnectedError(f"{self.where} does not answer a subscription") from error

    async def ready(self) -> None:
        """Return when everything said so far is with the socket. Raises DisconnectedError."""
        while self.failure is None and self.client.want_write():  # noqa: ASYNC110 - a socket with room again tells the pump, not us
            await asyncio.sleep(_FULL)
        self.raise_failure()

    def fits(self, topic: str, payload: bytes) -> bool:
        """Whether the broker takes a message of this size."""
        return packed.packet_size(topic, payload, b"\0") <= self.largest

    def post(self, topic: str, payload: bytes, *, qos: int = 0) -> None:
        """Hand one message to the socket, never retained. Raises DisconnectedError; call it right after `ready`."""
        self.raise_failure()
        info = self.client.publish(topic, payload, qos, retain=False)
        self._watchdog.spoke()
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(DisconnectedError(f"{self.where}: the connection was lost while sending"))
            self.raise_failure()

    async def heard(self, seconds: float) -> list[Heard]:
        """Return what has come, waiting at most ``seconds`` for something. Raises DisconnectedError."""
        if not self._waiting and self.failure is None and seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        self._news.clear()
        found = list(self._waiting)
        self._waiting.clear()
        if not found:
            self.raise_failure()
        return found

    @property
    def pending(self) -> bool:
        """Whether something has come that nobody has looked at."""
        return bool(self._waiting)

    def raise_failure(self) -> None:
        """Raise what ended the connection, if it has ended."""
        if self.failure is not None:
            raise self.failure

    async def close(self, *, goodbye: bool) -> None:
        """End the connection; with ``goodbye`` by a DISCONNECT that, in MQTT 5, asks for the will (tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50)."""
        try:
            async with asyncio.timeout(_TEARDOWN):
                if goodbye and self.failure is None:
                    reason = ReasonCode(PacketTypes.DISCONNECT, identifier=_WITH_WILL) if self.version is V5 else None
                    self.client.disconnect(reason)
                    await self._ended
        except TimeoutError:
            pass  # the socket is closed all the same; the broker then says what the will says
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word. Safe to call twice."""
        self._end(DisconnectedError(f"the connection to {self.where} was closed"))
        with contextlib.suppress(OSError):
            hang_up(self.client)

    def _end(self, error: DisconnectedError) -> None:
        self._pump.stop()
        if self._ended.done():
            return
        self.failure = error
        self._ended.set_result(None)
        self._news.set()
        for future in (self._accepted, self._subscribed):
            if not future.done():
                future.set_exception(error)
                future.exception()  # read here: nobody may be waiting for it

    # -- what the clock and the library tell; nothing here raises -------------------------------------------------

    def _watch(self) -> None:
        if (trouble := self._watchdog.look(accepted=self._accepted.done())) is not None:
            self._end(DisconnectedError(f"{self.where} {trouble}"))

    def _broken(self, error: Exception) -> None:
        self._end(endings.broken(self.where, error))

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.value != 0:
            self._end(endings.refused(self.where, reason.value, properties, newest=self.version is V5))
        elif not self._accepted.done():
            self._accepted.set_result(properties)

    def _on_disconnect(self, _client: Client, _data: Any, flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(endings.hung_up(self.where, reason.value, properties))
        elif not self._accepted.done():
            self._end(endings.unanswered(self.where, newest=self.version is V5))
        else:
            self._end(endings.closed(self.where, ""))

    def _on_subscribe(self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if not self._subscribed.done():
            self._subscribed.set_result(reasons)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if len(message.payload) <= _LARGEST:
            self._waiting.append(Heard(message.topic, bytes(message.payload), message.retain))
            self._news.set()


def make(config: ReachConfig, client_id: str, version: MQTTProtocolVersion) -> EdgeEngine:
    """Return a client of one connection. Raises DisconnectedError for a password file that does not work."""
    client = EdgeEngine(
        CallbackAPIVersion.VERSION2,
        config.client_id or client_id,
        protocol=version,
        clean_session=None if version is V5 else True,
        reconnect_on_failure=False,
    )
    if config.username is not None:
        client.username_pw_set(config.username, tls.password(config.password_file) if config.password_file is not None else None)
    return client


async def greet(client: EdgeEngine, wire: Wire, keepalive: float, version: MQTTProtocolVersion, will: tuple[str, bytes]) -> None:
    """Say CONNECT over ``wire`` with a clean start and no session to keep; ``keepalive`` in s.

    ``will``: topic and payload of the NDEATH, QoS 1 and not retained, told with the end of the connection (tck-id-payloads-ndeath-will-message-...).
    """
    client.will_set(*will, qos=1, retain=False)
    client.open_by(lambda: wire)
    seconds = max(1, round(keepalive))

    def work() -> None:
        if version is V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0  # tck-id-principles-persistence-clean-session-50
            properties.MaximumPacketSize = 4 * _LARGEST
            client.connect("broker", keepalive=seconds, clean_start=True, properties=properties)
        else:
            client.connect("broker", keepalive=seconds)

    await beside(work, lambda: hang_up(client))
