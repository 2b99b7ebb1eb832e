"""One connection to a broker, from CONNACK to its end: who waits for what, and what ended it in words.

The library queues, resends and forgets in its own way; so it never holds more than the window, never reconnects, and dies with its
connection. What it calls published is believed only by the reason code of the acknowledgement. MQTT 3.1.1 has no such code: there
an acknowledgement is all there is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import structlog
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.publish.address import Broker
from edge_agent.publish.client import V5, Engine, Packed, hang_up, say_goodbye, subscribe
from edge_agent.publish.commands import Commands
from edge_agent.publish.config import Command, MqttConfig
from edge_agent.publish.kept import Kept
from edge_agent.publish.listening import LARGEST, NOTHING, Listening
from edge_agent.publish.liveness import Liveness, Traffic
from edge_agent.publish.pump import Pump, StrangeAnswerError
from edge_agent.publish.reasons import OtherVersionError, RefusedError, RenewedError, outcome, remedy, words
from edge_agent.publish.route import Wire, raw
from edge_agent.publish.suspects import AT_ONCE, MEANT, Named, Suspects
from edge_agent.publish.tries import Tries
from edge_agent.publish.websocket import WebSocketError
from edge_agent.publish.window import Window

_TEARDOWN = 3.0  # s
_PROTOCOL_ERROR, _UNSUPPORTED_VERSION = 0x82, 0x84

_log = structlog.get_logger()


class Connection:
    """A client whose socket is open and whose CONNECT is on its way; from here on the event loop drives it.

    ``commands`` maps topics to what is asked there; ``largest`` = bytes of a packet, ``retains`` = whether the broker keeps retained messages; both as CONNACK says.
    """

    def __init__(
        self,
        client: Engine,
        broker: Broker,
        config: MqttConfig,
        version: MQTTProtocolVersion,
        commands: Mapping[str, Command],
        tries: Tries,
        suspects: Suspects | None = None,
    ) -> None:
        self.version = version
        self.where = broker.where
        self.largest = config.max_packet
        self.retains = True
        self.failure: DisconnectedError | None = None
        self.without_word = False
        """Whether the broker just closed an accepted connection."""
        loop = self._loop = asyncio.get_running_loop()
        self.granted = config.window
        """How many may be in flight; while the agent looks for the message that the broker hangs up for, fewer are."""
        self.window = Window(config.window, loop)
        self.commands = Commands(commands)
        self.listening: Listening = NOTHING
        """What is heard beside the commands; set before `subscribe`."""
        self._client = client
        self._tries = tries
        self._suspects = suspects or Suspects(tries)
        self._ack_timeout, self._keepalive = config.ack_timeout / 1e9, config.keepalive / 1e9
        self._accepted: asyncio.Future[Properties | None] = loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._closing = False
        self._kept: Kept | None = None
        wire = cast("Wire", client.socket())
        self._traffic, self._liveness = Traffic(raw(wire)), Liveness(loop.time())
        self._spoke = self._pinged = loop.time()
        self._interval = min(1.0, self._ack_timeout / 4, self._keepalive / 8)
        self._pump = Pump(client, wire, tick=self._watch, broken=self._broken, interval=self._interval)
        self._listen_to(client)
        self._pump.start()

    def _listen_to(self, client: Client) -> None:
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_close = lambda *_: self._pump.stop()
        client.on_socket_register_write = lambda *_: self._pump.flush_soon()

    async def accepted(self) -> None:
        """Wait for the CONNACK and keep its limits (3.2.2.3). Raises DisconnectedError with the broker's reason."""
        granted = await self._accepted
        if getattr(granted, "MaximumQoS", 1) == 0:
            raise RefusedError(f"{self.where} takes QoS 0 only, which confirms nothing; use a broker that takes QoS 1", code=0x9B)
        self.granted = min(self.granted, getattr(granted, "ReceiveMaximum", 65_535))
        self.window.size = 1 if self._suspects.careful else self.granted
        self.largest = min(self.largest, getattr(granted, "MaximumPacketSize", self.largest))
        self.retains = bool(getattr(granted, "RetainAvailable", 1))

    async def send(self, topic: str, payload: bytes, properties: bytes, *, retain: bool, name: str = "") -> int:
        """Send one QoS 1 message in its turn and return the reason code of its acknowledgement; ``name`` tells it from others at each try.

        Raises RejectedError for what can never be sent, DisconnectedError when the connection ends before the acknowledgement.
        """
        message = Named(topic, name or topic, len(payload) + len(properties))
        if self._suspects.condemned(message):
            raise RejectedError(f"{self.where} hangs up whenever this message on {topic} comes")
        await self.window.take()
        try:
            info = self._client.publish(topic, payload, 1, retain, Packed(properties) if properties else None)
        except ValueError as error:  # what the library itself refuses
            self.window.give_back()
            raise RejectedError(f"{topic}: {error}") from error
        self._spoke = self._loop.time()
        answer = self.window.sent(info.mid, message)
        if info.rc != 0:
            self._end(DisconnectedError(f"{self.where}: the connection was lost while sending"))
        return await answer

    async def subscribe(self, topics: Sequence[str], *, retained: bool = False) -> list[int]:
        """Subscribe and return the reason code of each topic; one after another. Raises DisconnectedError without an answer in time."""
        if self.failure is not None:
            raise self.failure
        if self._subscribed.done():
            self._subscribed = self._loop.create_future()
        subscribe(self._client, topics, self.version, retained=retained)
        try:
            async with asyncio.timeout(self._ack_timeout):
                return [code.value for code in await self._subscribed]
        except TimeoutError as error:
            raise DisconnectedError(f"{self.where} does not answer a subscription") from error

    async def retained(self, topics: Sequence[str]) -> tuple[dict[str, bytes], dict[str, int]]:
        """Return what the broker keeps on ``topics``, and the reason codes of those that may not be read; nothing is subscribed afterwards.

        MQTT does not say when all of it has come: whatever is missing is waited for until nothing has come for a second.
        """
        self._kept = Kept(topics)
        codes = await self.subscribe(topics, retained=True)
        refused = {topic: code for topic, code in zip(topics, codes, strict=False) if code >= 0x80}
        await self._kept.complete(refused)
        if self.failure is not None:
            raise self.failure
        self._client.unsubscribe(list(topics))
        return self._kept.found, refused

    async def renew(self, reason: str) -> None:
        """End the connection between two messages: nothing new leaves, and what is in flight is answered first.

        Everybody who waits then gets RenewedError. A broker that answers no more ends it in its own way.
        """
        self.window.shut()
        await self.window.idle()
        await asyncio.sleep(0)  # who has just been answered goes first
        self._end(RenewedError(reason))

    async def close(self, *, graceful: bool) -> None:
        """End the connection within 3 s: after what is in flight and without the will, or at once and leaving the will."""
        try:
            async with asyncio.timeout(_TEARDOWN):
                if graceful:
                    await self.window.idle()
                if not self._ended.done() and (graceful or self.version is V5):
                    self._closing = True
                    say_goodbye(self._client, self.version, will=not graceful)
                    await self._ended
        except TimeoutError:
            _log.debug("mqtt.close_timeout", broker=self.where)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the socket without a word and let everyone who waits know. Safe to call twice."""
        self._end(DisconnectedError(f"the connection to {self.where} was closed"))
        with contextlib.suppress(OSError):
            hang_up(self._client)

    def _end(self, error: DisconnectedError) -> None:
        self._pump.stop()
        if self._ended.done():
            return
        self.failure = error
        self._ended.set_result(None)
        for future in (self._accepted, self._subscribed):
            if not future.done():
                future.set_exception(error)
                future.exception()  # read here: nobody may be waiting for it
        self.window.fail(error)
        self.commands.fail(error)
        if self._kept is not None:
            self._kept.give_up()

    # -- what the clock and the library tell; nothing here raises -------------------------------------------------

    def _watch(self) -> None:
        now = self._loop.time()
        self._liveness.see(self._traffic.look(), now)
        silent, waited = self._liveness.silent(now), self.window.oldest(self._liveness.took)
        half = self._keepalive / 2
        if waited + self._interval > self._ack_timeout:  # at the next look it would be too long ago
            n = self.window.in_flight
            self._end(
                DisconnectedError(f"{self.where} is connected but has not acknowledged for {waited:.1f} s ({n} messages in flight)")
            )
        elif silent + self._interval > self._keepalive:
            self._end(DisconnectedError(f"{self.where} has been silent for {silent:.1f} s and does not answer pings"))
        elif now - self._pinged >= half and max(silent, now - self._spoke) >= half and self._accepted.done():
            self._pinged = now
            self._client.ping()

    def _broken(self, error: Exception) -> None:
        if isinstance(error, StrangeAnswerError):
            self._end(DisconnectedError(f"{self.where} does not speak MQTT; check the port"))
        elif isinstance(error, WebSocketError):
            self._end(DisconnectedError(f"{self.where} broke the WebSocket protocol: {error}"))
        else:
            self._end(DisconnectedError(f"{self.where} sent what the MQTT library cannot read ({type(error).__name__}: {error})"))

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        code = reason.value
        if code == 0:
            if not self._accepted.done():
                self._accepted.set_result(properties)
            return
        kind = OtherVersionError if code == _UNSUPPORTED_VERSION and self.version is V5 else RefusedError
        detail = getattr(properties, "ReasonString", "") or getattr(properties, "ServerReference", "")
        self._end(kind(f"{self.where} refused the connection: {words(code, detail)}{remedy(code)}", code=code))

    def _on_disconnect(self, _client: Client, _data: Any, flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        code = reason.value
        if self._closing:
            self._end(DisconnectedError(f"the connection to {self.where} was closed"))
        elif flags.is_disconnect_packet_from_server:
            detail = getattr(properties, "ReasonString", "")
            self._end(
                self._hung_up(RefusedError(f"{self.where} ended the connection: {words(code, detail)}{remedy(code)}", code=code))
            )
        elif code == _PROTOCOL_ERROR:
            self._end(DisconnectedError(f"{self.where} broke the MQTT protocol; is it an MQTT broker?"))
        elif not self._accepted.done():
            text = f"{self.where} closed the connection without an answer; check that it is an MQTT broker and who may connect"
            self._end(OtherVersionError(text) if self.version is V5 else DisconnectedError(text))
        else:
            self.without_word = True
            self._end(DisconnectedError(f"{self.where} closed the connection"))

    def _hung_up(self, error: RefusedError) -> RefusedError:
        """Look for the message that the broker means, if it means one."""
        if error.code in MEANT and self._suspects.hung_up(self.window.flight(), self.granted):
            error.retry_after = AT_ONCE
        return error

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        code = self._client.strange.pop(mid, reason.value)
        verdict = outcome(code)
        message = self.window.name(mid)
        if verdict == "again" or (verdict == "never" and not self._tries.refused(message.name, message.topic)):
            # Acknowledgements of later messages must not count: the next connection starts again at this one, in order.
            error = RefusedError(f"{self.where} refused a message for now: {words(code)}{remedy(code)}", code=code)
            if verdict == "never" and self._suspects.refused():
                error.retry_after = AT_ONCE
            self._end(error)
            return
        if verdict != "never":
            self._tries.accepted(message.topic)
            if self._suspects.accepted(message) and self.window.size < self.granted:
                self.window.resize(self.granted)
        self.window.acknowledge(mid, code)

    def _on_subscribe(self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if not self._subscribed.done():
            self._subscribed.set_result(reasons)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if self._kept is not None and self._kept.arrived(message.topic, bytes(message.payload), retained=message.retain):
            return
        properties = message.properties
        if message.topic not in self.commands.topics and self.listening.filters:
            if len(message.payload) <= LARGEST:
                self.listening.heard(message.topic, bytes(message.payload))
            return
        self.commands.arrived(
            message.topic,
            bytes(message.payload),
            retained=message.retain,
            reply=getattr(properties, "ResponseTopic", None),
            correlation=getattr(properties, "CorrelationData", None),
        )
