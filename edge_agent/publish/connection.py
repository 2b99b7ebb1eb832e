"""One connection to a broker, from CONNACK to its end: who waits for what, and for which message it ended.

What it hears is in `Hearing`, its health is the `Watchdog`'s, its ends have their words in `endings`. The library queues, resends and
forgets in its own way; so it never holds more than the window, never reconnects, and dies with its connection. What it calls published is
believed only by the reason code of the acknowledgement. MQTT 3.1.1 has no such code: there an acknowledgement is all there is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, cast

import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.publish import endings
from edge_agent.publish.address import Broker
from edge_agent.publish.client import V5, Engine, hang_up, say_goodbye
from edge_agent.publish.closings import Named
from edge_agent.publish.commands import Commands
from edge_agent.publish.config import Command, MqttConfig
from edge_agent.publish.hearing import Hearing
from edge_agent.publish.pump import Pump
from edge_agent.publish.reasons import RefusedError, RenewedError, outcome
from edge_agent.publish.rehearsal import Letter, Rehearsal
from edge_agent.publish.route import Wire, raw
from edge_agent.publish.suspects import AT_ONCE, MEANT, SOON, Suspects
from edge_agent.publish.tries import Tries
from edge_agent.publish.watchdog import Watchdog
from edge_agent.publish.window import Window

_TEARDOWN = 3.0  # s
_PROTOCOL_ERROR = 0x82

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
        """Whether the broker just closed an accepted connection, and not for a message as far as is known."""
        self.granted = config.window
        """How many may be in flight; fewer are while a message is looked for that the broker hangs up for."""
        self.window = Window(config.window, asyncio.get_running_loop())
        timeout = config.ack_timeout / 1e9
        self.hearing = Hearing(client, self.where, version, Commands(commands), timeout)
        self._client = client
        self._tries, self._suspects = tries, suspects or Suspects(tries)
        self._closing = False
        loop = asyncio.get_running_loop()
        self._accepted: asyncio.Future[Properties | None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._rehearsal = Rehearsal(lambda letter: self._post(letter, held=True), self._ended)
        wire = cast("Wire", client.socket())
        self._watchdog = Watchdog(client, raw(wire), self.window, ack_timeout=timeout, keepalive=config.keepalive / 1e9)
        self._pump = Pump(client, wire, tick=self._watch, broken=self._broken, interval=self._watchdog.interval)
        self._listen_to(client)
        self._pump.start()

    def _listen_to(self, client: Engine) -> None:
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.acknowledged = self._on_acknowledged
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
        letter = Letter(message, payload, properties, retain)
        await self.window.take()
        try:
            took = await self._rehearse(message)
            answer = self._post(letter)
        except BaseException:
            self.window.give_back()
            raise
        if took is not None:
            self._rehearsal.on_trial(took)
        code = await answer
        if code < 0x80:
            self._rehearsal.taken(letter)
        return code

    async def _rehearse(self, message: Named) -> float | None:
        """Let the connection show that it stands and works, if ``message`` is on trial; see `Rehearsal.show`."""
        proof = self._suspects.proof(message, self._rehearsal.so_far)
        return None if proof is None else await self._rehearsal.show(proof, message)

    def _post(self, letter: Letter, *, held: bool = False) -> asyncio.Future[int]:
        """Send on the place that was taken, which is ``held`` beyond the answer or not. Raises as `send` does."""
        self.window.raise_failure()
        try:
            mid = self._client.post(letter.named.topic, letter.payload, letter.properties, retain=letter.retain)
        except ValueError as error:  # what the library itself refuses
            raise RejectedError(f"{letter.named.topic}: {error}") from error
        self._watchdog.spoke()
        self._rehearsal.left(letter)
        answer = self.window.sent(mid or 0, letter.named, held=held)
        if mid is None:
            self._end(DisconnectedError(f"{self.where}: the connection was lost while sending"))
        return answer

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

    def _end(self, error: DisconnectedError, *, closed: bool = False) -> None:
        """Let everybody who waits know; ``closed``: by the broker, without a word."""
        self._pump.stop()
        if self._ended.done():
            return
        self.failure = error
        self._ended.set_result(None)
        if not self._accepted.done():
            self._accepted.set_exception(error)
            self._accepted.exception()  # read here: nobody may be waiting for it
        elif not (error.planned or closed):
            self._suspects.ended()
        self.window.fail(error)
        self.hearing.fail(error)

    # -- what the clock and the library tell; nothing here raises -------------------------------------------------

    def _watch(self) -> None:
        if (trouble := self._watchdog.look(accepted=self._accepted.done())) is not None:
            self._end(DisconnectedError(f"{self.where} {trouble}"))

    def _broken(self, error: Exception) -> None:
        self._end(endings.broken(self.where, error))

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.value == 0:
            if not self._accepted.done():
                self._accepted.set_result(properties)
            return
        self._end(endings.refused(self.where, reason.value, properties, newest=self.version is V5))

    def _on_disconnect(self, _client: Client, _data: Any, flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        code = reason.value
        if self._closing:
            self._end(DisconnectedError(f"the connection to {self.where} was closed"))
        elif flags.is_disconnect_packet_from_server:
            self._end(self._hung_up(endings.hung_up(self.where, code, properties)))
        elif code == _PROTOCOL_ERROR:
            self._end(DisconnectedError(f"{self.where} broke the MQTT protocol; is it an MQTT broker?"))
        elif not self._accepted.done():
            self._end(endings.unanswered(self.where, newest=self.version is V5))
        elif not self._ended.done():
            self._closed()

    def _hung_up(self, error: RefusedError) -> RefusedError:
        """Look for the message that the broker means, if it means one."""
        if error.code in MEANT and self._suspects.hung_up(self.window.flight(), self.granted):
            error.retry_after = AT_ONCE
        return error

    def _closed(self) -> None:
        """Look for the message that a broker means which closes without a word, if it means one."""
        against = self._suspects.closed(self.window.flight(), self._rehearsal.trial())
        error = endings.closed(self.where, against)
        error.retry_after = SOON if against else None
        self.without_word = not against
        self._end(error, closed=True)

    def _on_acknowledged(self, mid: int, code: int) -> None:
        verdict = outcome(code)
        message = self.window.name(mid)
        if verdict == "again" or (verdict == "never" and not self._tries.refused(message.name, message.topic)):
            # Acknowledgements of later messages must not count: the next connection starts again at this one, in order.
            error = endings.not_now(self.where, code)
            if verdict == "never" and self._suspects.refused():
                error.retry_after = AT_ONCE
            self._end(error)
            return
        if verdict != "never":
            self._tries.accepted(message.topic)
            if self._suspects.accepted(message) and self.window.size < self.granted:
                self.window.resize(self.granted)
        self.window.acknowledge(mid, code)
