"""The MQTT sink: records go out as CloudEvents in order, and only an acknowledgement with a success code finishes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.model.stream import Record, record_id
from edge_agent.ports import Document, Request
from edge_agent.publish import endings, packed, tls
from edge_agent.publish.address import Broker
from edge_agent.publish.client import V5, V311, dial, hang_up, make
from edge_agent.publish.cloudevents import Encoder
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.connection import Connection
from edge_agent.publish.listening import NOTHING, Listening
from edge_agent.publish.memory import Counters, Memory
from edge_agent.publish.reasons import TAKEN_OVER, OtherVersionError, RefusedError, outcome, remedy, words
from edge_agent.publish.renewal import Seen, better_broker, files_replaced, seen
from edge_agent.publish.route import open_wire
from edge_agent.publish.topics import StreamInfo, Topics

_log = structlog.get_logger()


class MqttSink:
    """An open connection to a broker; a `Sink`. Made by `connect` only. ``protocol`` is ``5`` or ``3.1.1``."""

    def __init__(self, connection: Connection, encoder: Encoder, counters: Counters) -> None:
        self.counters = counters
        self.protocol = "5" if connection.version is V5 else "3.1.1"
        self._connection = connection
        self._encoder, self._event_head = encoder, packed.head(encoder.content_type)

    @property
    def window(self) -> int:
        """How many messages may be in flight at once: the configured number or the broker's Receive Maximum."""
        return self._connection.granted

    async def publish(self, record: Record) -> None:
        """Send one record and return on its successful acknowledgement, see `Sink`.

        An answer that may be different later ends the whole connection: the next one starts again at this record, in order.
        """
        message = self._encoder.encode(record)
        properties = packed.publish(self._event_head, packed.user(message.user)) if self.protocol == "5" else b""
        await self._send(message.topic, message.payload, properties, retain=False, name=record_id(record.key))
        self.counters.published += 1
        self.counters.resent += record.resent

    async def announce(self, document: Document) -> None:
        """Send a retained or unnumbered message and wait for its acknowledgement. Raises as `publish` does."""
        properties, retain = b"", document.retain and document.lasting
        if self.protocol == "5":
            head, retain = packed.head(document.content_type), document.retain
            properties = packed.publish(head, expiry=document.expiry, correlation=document.correlation)
        await self._send(document.topic, document.payload, properties, retain=retain and self._connection.retains)

    async def retained(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        """Return what the broker keeps on ``topics``; those with nothing, or that may not be read, are left out. Raises DisconnectedError."""
        found, refused = await self._connection.hearing.retained(topics)
        for topic, code in refused.items():
            _log.warning("mqtt.not_readable", topic=topic, reason=words(code))
        return found

    async def request(self) -> Request:
        """Wait for the next command from outside. Raises DisconnectedError when the link is gone."""
        return await self._connection.hearing.commands.next()

    async def listen(self) -> None:
        """Subscribe to the command topics and what else is listened to; a broker that refuses is logged, and publishing goes on without."""
        topics, kept = list(self._connection.hearing.commands.topics), self._connection.hearing.listening.filters
        codes = await self._connection.hearing.subscribe(topics) if topics else []
        for topic, code in zip(topics, codes, strict=False):
            if code >= 0x80:
                _log.warning("mqtt.no_commands", topic=topic, reason=words(code))
        for topic, code in zip(kept, await self._connection.hearing.subscribe(kept, retained=True) if kept else [], strict=False):
            if code >= 0x80:
                _log.warning("mqtt.not_subscribed", topic=topic, reason=words(code))

    async def _send(self, topic: str, payload: bytes, properties: bytes, *, retain: bool, name: str = "") -> None:
        size = packed.packet_size(topic, payload, properties)
        where = self._connection.where
        if size > self._connection.largest:
            self.counters.rejected += 1
            raise RejectedError(f"the message has {size} bytes, {where} takes at most {self._connection.largest}")
        code = await self._connection.send(topic, payload, properties, retain=retain, name=name)
        verdict = outcome(code)
        if verdict == "never":
            self.counters.rejected += 1
            raise RejectedError(f"{where} refuses this message on {topic}: {words(code)}{remedy(code)}")
        self.counters.unheard += verdict == "unheard"


@asynccontextmanager
async def connect(
    config: MqttConfig,
    *,
    topics: Topics,
    streams: Mapping[str, StreamInfo],
    will: Document,
    online: Sequence[Document] = (),
    type_prefix: str = "edgeagent",
    memory: Memory | None = None,
    listening: Listening = NOTHING,
    versions: Mapping[str, str] | None = None,
) -> AsyncIterator[MqttSink]:
    """Open a connection to the next broker, listen for commands, announce ``online`` in its order (status first), and yield the sink.

    Leaving normally sends DISCONNECT without the will: announce offline before. Leaving by an exception leaves the will to the
    broker. Raises DisconnectedError with the reason in words (RefusedError when the broker answered and said no, RenewedError when
    the connection was given up for a better one). ``memory`` = what was learned on connections before; ``listening`` = what is heard
    beside the commands, ``versions`` = those of the schemas.
    """
    memory = memory or Memory(config)
    encoder = Encoder(
        streams,
        prefix=type_prefix,
        schema=config.dataschema,
        per_type=config.topics == "per_type",
        flat=config.format == "flat",
        event=config.event_level,
        versions=versions or {},
    )
    before = seen(config.files)
    place, connection = await _next(config, topics, will, memory)
    clock = asyncio.get_running_loop().time
    opened = clock()
    watch = asyncio.create_task(_renew(connection, config, before, place, memory), name="mqtt-renewal")
    try:
        connection.hearing.listening = listening
        sink = MqttSink(connection, encoder, memory.counters)
        await sink.listen()
        for document in online:
            await sink.announce(document)
        yield sink
    except BaseException as error:
        await connection.close(graceful=False)
        if error is connection.failure:
            _learn(connection.failure, connection, clock() - opened, place, memory)
        raise
    else:
        await connection.close(graceful=True)
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def _next(config: MqttConfig, topics: Topics, will: Document, memory: Memory) -> tuple[int, Connection]:
    """Connect to the broker whose turn it is; of several, the next one gets its turn when that fails."""
    clock = asyncio.get_running_loop().time
    place = memory.order.next(clock())
    broker = config.brokers[place]
    memory.broker = broker.url
    try:
        connection = await _open(broker, config, topics, will, memory)
    except DisconnectedError as error:
        memory.takeovers.failed(broker.where)
        if memory.order.failed(place, clock(), slow=error.slow):
            error.slow = False  # another one may be tried at once
        raise
    memory.counters.connections += 1
    if len(config.brokers) > 1:
        _log.info("mqtt.connected", broker=broker.url, place=place + 1)
    return place, connection


async def _renew(connection: Connection, config: MqttConfig, before: Seen, place: int, memory: Memory) -> None:
    """Give the connection up as soon as there is a reason to."""
    reasons = [asyncio.create_task(files_replaced(config, before)), asyncio.create_task(better_broker(config, place, memory))]
    try:
        done, _ = await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        reason = done.pop().result()
    finally:
        for task in reasons:
            task.cancel()
        await asyncio.wait(reasons)
    memory.counters.renewals += 1
    await connection.renew(reason)


def _learn(error: DisconnectedError, connection: Connection, lasted: float, place: int, memory: Memory) -> None:
    """Remember how a connection ended; a client id that somebody else uses too is answered by waiting, and said aloud."""
    if error.planned:
        return
    memory.order.lost(place, lasted)
    named = isinstance(error, RefusedError) and error.code == TAKEN_OVER
    now = asyncio.get_running_loop().time()
    if named and memory.takeovers.own(now):
        error.slow = False  # a CONNECT of ours that came late, and has gone: nobody else is there, so the next try may come soon
        _log.info("mqtt.own_connect_came_late", broker=connection.where)
        return
    pause = memory.takeovers.ended(
        where=connection.where, named=named, without_word=connection.without_word, lasted=lasted, now=now
    )
    if pause is not None:
        memory.counters.takeovers += 1
        error.retry_after = pause
        if not named:
            error.args = (f"{error}; it does so again and again: does another client use the same client_id?",)
        _log.error(
            "mqtt.taken_over",
            broker=connection.where,
            times=memory.takeovers.count,
            pause_s=round(pause),
            certain=named,
            meaning="another client uses the same client_id; give each agent its own",
        )


async def _open(broker: Broker, config: MqttConfig, topics: Topics, will: Document, memory: Memory) -> Connection:
    if config.protocol != "auto":
        return await _dial(broker, config, topics, will, V5 if config.protocol == "5" else V311, memory)
    try:
        return await _dial(broker, config, topics, will, V5, memory)
    except OtherVersionError:
        connection = await _dial(broker, config, topics, will, V311, memory)
        _log.warning("mqtt.fallback", broker=broker.url, protocol="3.1.1", meaning="acknowledgements carry no reason codes")
        return connection


async def _dial(
    broker: Broker, config: MqttConfig, topics: Topics, will: Document, version: MQTTProtocolVersion, memory: Memory
) -> Connection:
    """Connect once and wait for the CONNACK, all within ``connect_timeout``."""
    client = make(config, topics, will, version)
    connection = None
    seconds = config.connect_timeout / 1e9
    try:
        async with asyncio.timeout(seconds):
            await dial(client, lambda: open_wire(broker, config.tls, memory.names, seconds), config.keepalive / 1e9, version)
            if client.socket() is None:  # the library wrote CONNECT into a connection that was closed already, and tells nobody
                raise endings.unanswered(broker.where, newest=version is V5)  # noqa: TRY301 - handled like any other failure here
            commands = {topics.command(name): name for name in config.commands}
            connection = Connection(client, broker, config, version, commands, memory.tries, memory.suspects)
            await connection.accepted()
            return connection
    except BaseException as error:
        if connection is not None:
            connection.abandon()
        hang_up(client)
        if isinstance(error, TimeoutError) and connection is not None:
            memory.takeovers.unanswered(asyncio.get_running_loop().time())
            raise DisconnectedError(f"{connection.where} takes connections but does not answer MQTT's CONNECT") from error
        if isinstance(error, OSError | ValueError):
            raise DisconnectedError(tls.dial_trouble(error, broker)) from error
        raise
