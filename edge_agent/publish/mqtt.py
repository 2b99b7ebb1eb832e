"""The MQTT sink: records go out as CloudEvents in order, and only an acknowledgement with a success code finishes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.model.stream import Record
from edge_agent.ports import Document, Request
from edge_agent.publish import packed, tls
from edge_agent.publish.client import V5, V311, dial, hang_up, make
from edge_agent.publish.cloudevents import CONTENT_TYPE, Encoder
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.connection import Connection
from edge_agent.publish.reasons import OtherVersionError, outcome, remedy, words
from edge_agent.publish.topics import StreamInfo, Topics

_EVENT_HEAD = packed.head(CONTENT_TYPE)

_log = structlog.get_logger()


class Counters:
    """What happened on one connection, for status and metrics. ``unheard`` = acknowledged, but nobody subscribes."""

    def __init__(self) -> None:
        self.published = 0
        self.resent = 0
        self.unheard = 0
        self.rejected = 0


class MqttSink:
    """An open connection to a broker; a `Sink`. Made by `connect` only. ``protocol`` is ``5`` or ``3.1.1``."""

    def __init__(self, connection: Connection, encoder: Encoder) -> None:
        self.counters = Counters()
        self.protocol = "5" if connection.version is V5 else "3.1.1"
        self._connection = connection
        self._encoder = encoder

    @property
    def window(self) -> int:
        """How many messages may be in flight at once: the configured number or the broker's Receive Maximum."""
        return self._connection.window.size

    async def publish(self, record: Record) -> None:
        """Send one record and return on its successful acknowledgement, see `Sink`.

        An answer that may be different later ends the whole connection: the next one starts again at this record, in order.
        """
        message = self._encoder.encode(record)
        properties = packed.publish(_EVENT_HEAD, packed.user(message.user)) if self.protocol == "5" else b""
        await self._send(message.topic, message.payload, properties, retain=False)
        self.counters.published += 1
        self.counters.resent += record.resent

    async def announce(self, document: Document) -> None:
        """Send a retained or unnumbered message and wait for its acknowledgement. Raises as `publish` does."""
        properties = b""
        if self.protocol == "5":
            head = packed.head(document.content_type)
            properties = packed.publish(head, expiry=document.expiry, correlation=document.correlation)
        await self._send(document.topic, document.payload, properties, retain=document.retain and self._connection.retains)

    async def request(self) -> Request:
        """Wait for the next command from outside. Raises DisconnectedError when the link is gone."""
        return await self._connection.commands.next()

    async def listen(self) -> None:
        """Subscribe to the command topics; a broker that refuses is logged, and publishing goes on without commands."""
        topics = list(self._connection.commands.topics)
        codes = await self._connection.subscribe(topics) if topics else []
        for topic, code in zip(topics, codes, strict=False):
            if code >= 0x80:
                _log.warning("mqtt.no_commands", topic=topic, reason=words(code))

    async def _send(self, topic: str, payload: bytes, properties: bytes, *, retain: bool) -> None:
        size = packed.packet_size(topic, payload, properties)
        where = self._connection.where
        if size > self._connection.largest:
            self.counters.rejected += 1
            raise RejectedError(f"the message has {size} bytes, {where} takes at most {self._connection.largest}")
        code = await self._connection.send(topic, payload, properties, retain=retain)
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
) -> AsyncIterator[MqttSink]:
    """Open a connection, listen for commands, announce ``online`` in its order (status first), and yield the sink.

    Leaving normally sends DISCONNECT without the will: announce offline before. Leaving by an exception leaves the will to the
    broker. Raises DisconnectedError with the reason in words (RefusedError when the broker answered and said no).
    """
    encoder = Encoder(streams, prefix=type_prefix, schema=config.dataschema, per_type=config.topics == "per_type")
    connection = await _open(config, topics, will)
    try:
        sink = MqttSink(connection, encoder)
        await sink.listen()
        for document in online:
            await sink.announce(document)
        yield sink
    except BaseException:
        await connection.close(graceful=False)
        raise
    await connection.close(graceful=True)


async def _open(config: MqttConfig, topics: Topics, will: Document) -> Connection:
    if config.protocol != "auto":
        return await _dial(config, topics, will, V5 if config.protocol == "5" else V311)
    try:
        return await _dial(config, topics, will, V5)
    except OtherVersionError:
        connection = await _dial(config, topics, will, V311)
        _log.warning("mqtt.fallback", broker=config.broker, protocol="3.1.1", meaning="acknowledgements carry no reason codes")
        return connection


async def _dial(config: MqttConfig, topics: Topics, will: Document, version: MQTTProtocolVersion) -> Connection:
    """Connect once and wait for the CONNACK, all within ``connect_timeout``."""
    client = make(config, topics, will, version)
    connection = None
    try:
        async with asyncio.timeout(config.connect_timeout / 1e9):
            await dial(client, config, version)
            commands = {topics.command(name): name for name in config.commands}
            connection = Connection(client, config, version, commands)
            await connection.accepted()
            return connection
    except BaseException as error:
        if connection is not None:
            connection.abandon()
        hang_up(client)
        if isinstance(error, TimeoutError) and connection is not None:
            raise DisconnectedError(f"{connection.where} takes connections but does not answer MQTT's CONNECT") from error
        if isinstance(error, OSError | ValueError):
            raise DisconnectedError(tls.dial_trouble(error, config)) from error
        raise
