"""Opens a connection of an edge node to the broker whose turn it is, with a new bdSeq each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish import endings, tls
from edge_agent.publish.address import Broker
from edge_agent.publish.client import V5, V311, hang_up
from edge_agent.publish.dial import beside
from edge_agent.publish.names import Names
from edge_agent.publish.order import Order
from edge_agent.publish.reasons import OtherVersionError
from edge_agent.publish.route import Wire, open_wire
from edge_agent.publish.sparkplug.config import SparkplugConfig
from edge_agent.publish.sparkplug.feed import Feed
from edge_agent.publish.sparkplug.link import EdgeEngine, Link, greet, make
from edge_agent.publish.sparkplug.names import Node
from edge_agent.publish.sparkplug.node import EdgeNode, HostAwayError, death


class Ways:
    """What outlives a connection: whose turn it is, and what names meant."""

    def __init__(self, config: SparkplugConfig) -> None:
        """Begin with the first broker of the list."""
        self.order = Order(len(config.brokers))
        self.names = Names()


@asynccontextmanager
async def connect(
    config: SparkplugConfig, node: Node, feed: Feed, ways: Ways, next_bdseq: Callable[[], Awaitable[int]]
) -> AsyncIterator[EdgeNode]:
    """Connect, wait for the primary host if there is one, and yield the node, which has said nothing yet.

    ``next_bdseq`` is asked right before each CONNECT and has the number on disk when it returns. Leaving normally says farewell; leaving by an exception
    leaves the NDEATH to the broker. Raises DisconnectedError.
    """
    clock = asyncio.get_running_loop().time
    place = ways.order.next(clock())
    broker, several = config.brokers[place], len(config.brokers) > 1
    try:
        link, bdseq = await _open(broker, config, node, feed, ways, next_bdseq)
    except DisconnectedError as error:
        if ways.order.failed(place, clock(), slow=error.slow):
            error.slow = False
        raise
    goodbye = False
    try:
        speaker = EdgeNode(
            link, node, feed, bdseq=bdseq, report=config.report / 1e9, host=config.primary_host, aliases=config.aliases
        )
        await speaker.open(config.connect_timeout / 1e9 if several else None)
        yield speaker
        await speaker.farewell()
        goodbye = True
    except HostAwayError as error:
        goodbye = True
        ways.order.failed(place, clock(), slow=False)
        error.retry_after = 0.1 if several else None
        raise
    finally:
        await link.close(goodbye=goodbye)


async def _open(
    broker: Broker, config: SparkplugConfig, node: Node, feed: Feed, ways: Ways, next_bdseq: Callable[[], Awaitable[int]]
) -> tuple[Link, int]:
    async def once(version: MQTTProtocolVersion) -> tuple[Link, int]:
        client = make(config, f"{node.group}-{node.name}", version)
        wire = await _reach(broker, config, ways)
        try:
            # Only now: a number that is given to a try that reaches nobody would be missing (tck-id-topics-nbirth-bdseq-increment).
            bdseq = await next_bdseq()
        except BaseException:
            wire.close()
            raise
        return await _greet(client, wire, broker, config, version, (node.topic("NDEATH"), death(bdseq, feed.now()))), bdseq

    if config.protocol != "auto":
        return await once(V5 if config.protocol == "5" else V311)
    try:
        return await once(V5)
    except OtherVersionError:
        return await once(V311)


async def _reach(broker: Broker, config: SparkplugConfig, ways: Ways) -> Wire:
    """Return a connected socket, ready for CONNECT. Raises DisconnectedError."""
    opened: list[Wire] = []
    seconds = config.connect_timeout / 1e9

    def close() -> None:
        for wire in opened:
            wire.close()

    try:
        async with asyncio.timeout(seconds):
            await beside(lambda: opened.append(open_wire(broker, config.tls, ways.names, seconds)), close)
        return opened[0]
    except BaseException as error:
        close()
        if isinstance(error, OSError | ValueError):
            raise DisconnectedError(tls.dial_trouble(error, broker)) from error
        raise


async def _greet(
    client: EdgeEngine, wire: Wire, broker: Broker, config: SparkplugConfig, version: MQTTProtocolVersion, will: tuple[str, bytes]
) -> Link:
    """Say CONNECT and return the link when the broker has accepted it. Raises DisconnectedError."""
    link = None
    try:
        async with asyncio.timeout(config.connect_timeout / 1e9):
            await greet(client, wire, config.keepalive / 1e9, version, will)
            if client.socket() is None:
                raise endings.unanswered(broker.where, newest=version is V5)  # noqa: TRY301 - handled like any other failure here
            link = Link(client, broker, config, version)
            await link.accepted()
            return link
    except BaseException as error:
        if link is not None:
            link.abandon()
        hang_up(client)
        wire.close()
        if isinstance(error, TimeoutError) and link is not None:
            raise DisconnectedError(f"{broker.where} takes connections but does not answer MQTT's CONNECT") from error
        if isinstance(error, OSError | ValueError):
            raise DisconnectedError(tls.dial_trouble(error, broker)) from error
        raise
