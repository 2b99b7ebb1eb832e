"""The edge node over one connection: births, data, deaths, and what it does when it is spoken to. Specification chapter 5."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from google.protobuf.message import DecodeError

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.sparkplug.descriptor import Payload
from edge_agent.publish.sparkplug.feed import Feed, News
from edge_agent.publish.sparkplug.host import PrimaryHost
from edge_agent.publish.sparkplug.link import Heard, Link
from edge_agent.publish.sparkplug.metric import DataType, Metric, Sample, bare, birth, data, payload
from edge_agent.publish.sparkplug.names import BDSEQ, REBIRTH, Node, state_topic

_BARRIER = 2.0
"""Machine seconds between two questions whether the broker has read what was said."""

_REST = 1.0
"""Machine seconds between two births that are asked for: a host that asks without end gets no more than that."""


class HostAwayError(DisconnectedError):
    """The primary host is not there: this connection is of no use now."""

    planned = True


class EdgeNode:
    """Speaks for ``node`` over an accepted ``link``; ``bdseq`` is the number that its will carries."""

    def __init__(self, link: Link, node: Node, feed: Feed, *, bdseq: int, report: float, host: str | None, aliases: bool) -> None:
        """``report``: machine seconds over which changes are gathered; ``host``: the primary host that has to be online."""
        self.link = link
        self._node, self._feed, self._bdseq, self._report = node, feed, bdseq, report
        self._host_topic = None if host is None else state_topic(host)
        self._host = PrimaryHost()
        self._aliases: dict[str, int] | None = {} if aliases else None
        self._command = node.topic("NCMD")
        self._seq = 0
        self._born = False
        self._reborn = 0.0
        self._rebirth = False
        self._asked: tuple[int, Any] | None = None
        self._looked = 0.0
        self._log = structlog.get_logger().bind(group=node.group, node=node.name)

    async def open(self, patience: float | None) -> None:
        """Subscribe, and wait for the primary host: at most ``patience`` s, for ever where there is no other broker. Raises HostAwayError."""
        topics = [self._command, *([] if self._host_topic is None else [self._host_topic])]
        for topic, code in zip(topics, await self.link.subscribe(topics), strict=True):
            if code >= 0x80:
                raise DisconnectedError(f"{self.link.where} does not let the edge node subscribe to {topic} (0x{code:02X})")
        if self._host_topic is None:
            return
        clock = asyncio.get_running_loop().time
        since = clock()
        while not self._host.online:
            left = 3600.0 if patience is None else since + patience - clock()
            if left <= 0:
                raise HostAwayError(f"{self.link.where}: the primary host is not online there")
            for heard in await self.link.heard(left):
                self._hear(heard)

    async def run(self) -> None:
        """Tell everything, and then what changes, until cancelled. Raises DisconnectedError, HostAwayError after an NDEATH."""
        await self._births()
        while True:
            for heard in await self.link.heard(0.0 if self._gone() else self._report):
                self._hear(heard)
            if self._gone():
                await self.farewell()
                raise HostAwayError(f"{self.link.where}: the primary host went offline")
            if self._rebirth and asyncio.get_running_loop().time() - self._reborn >= _REST:
                await self._births()
            elif not self._rebirth and await self._tell_all():
                self._feed.told()
                self._barrier()

    def _gone(self) -> bool:
        """Whether the primary host has said that it is not there."""
        return self._host_topic is not None and not self._host.online

    async def farewell(self) -> None:
        """Say that the node goes (tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath)."""
        if self._born:
            self._born = False
            await self.link.ready()
            self.link.post(self._node.topic("NDEATH"), death(self._bdseq, self._feed.now()), qos=1)

    # -- speaking --------------------------------------------------------------------------------------------------

    async def _births(self) -> None:
        """Tell everything there is from number 0 on, with the same bdSeq (tck-id-operational-behavior-data-commands-rebirth-action-3)."""
        self._rebirth, self._reborn = False, asyncio.get_running_loop().time()
        devices = await self._feed.births(again=self._born)
        now = self._feed.now()
        own = [(Metric(BDSEQ, DataType.INT64), Sample(self._bdseq, now)), *self._feed.node()]
        self._name(own, "")
        metrics = birth(own, self._aliases)
        metrics.append(bare(REBIRTH, DataType.BOOLEAN, False, max(now, *(sample.time for _, sample in own))))
        self._seq = 0
        await self._send("NBIRTH", metrics)
        self._born = True
        for news in devices:
            await self._send("DBIRTH", self._birth_of(news), news.device)
        self._log.info("sparkplug.born", bdseq=self._bdseq, devices=len(devices))

    def _name(self, described: Sequence[tuple[Metric, Sample]], own: str) -> None:
        """Give every metric its number, once for the session (tck-id-payloads-alias-uniqueness)."""
        if self._aliases is not None:
            for metric, _ in described:
                self._aliases.setdefault(own + metric.name, len(self._aliases) + 1)

    def _birth_of(self, news: News) -> list[Any]:
        own = f"{news.device}/"
        self._name(news.born, own)
        return birth(news.born, self._aliases, own)

    async def _tell_all(self) -> bool:
        """Tell everything new; False when something else has to come first."""
        for news in await self._feed.news():
            if not await self._tell(news):
                return False
        return True

    async def _tell(self, news: News) -> bool:
        """Tell one thing; False when a rebirth was asked for or the host has gone: then no more data go out.

        That is tck-id-operational-behavior-data-commands-rebirth-action-1.
        """
        if news.what == "birth":
            await self._send("DBIRTH", self._birth_of(news), news.device)
        elif news.what == "death":
            await self._send("DDEATH", [], news.device)
        elif news.changes:
            await self.link.ready()
            if self.link.pending:
                for heard in await self.link.heard(0.0):
                    self._hear(heard)
                if self._rebirth or self._gone():
                    return False
            await self._send("DDATA", data(news.changes, self._aliases, f"{news.device}/"), news.device)
        return True

    async def _send(self, verb: str, metrics: Sequence[Any], device: str | None = None) -> None:
        await self.link.ready()
        # Nothing waits from here on: a number is given when its bytes leave, so that none is ever missing.
        topic, body = self._node.topic(verb, device), payload(metrics, self._feed.now(), self._seq)
        if not self.link.fits(topic, body):
            raise _too_large(f"{topic} has {len(body)} bytes, {self.link.where} takes packets of at most {self.link.largest}")
        self.link.post(topic, body)
        self._seq = (self._seq + 1) % 256

    def _barrier(self) -> None:
        """Ask, now and then, whether everything has been read: what was not is told again on the next connection."""
        if self._asked is not None and self.link.client.pongs >= self._asked[0]:
            self._feed.confirmed(self._asked[1])
            self._asked = None
        now = asyncio.get_running_loop().time()
        if self._asked is None and now - self._looked >= _BARRIER:
            self._looked = now
            self.link.client.ping()
            self._asked = (self.link.client.pings, self._feed.place())

    # -- listening -------------------------------------------------------------------------------------------------

    def _hear(self, heard: Heard) -> None:
        if heard.topic == self._host_topic:
            if self._host.said(heard.payload) == "ignored":
                self._log.info("sparkplug.state_ignored", topic=heard.topic)
        elif heard.topic == self._command and not heard.retained and self._born and _asks_rebirth(heard.payload):
            self._rebirth = True


def death(bdseq: int, time: int) -> bytes:
    """Return the payload of an NDEATH: bdSeq alone, and no number (tck-id-topics-ndeath-payload, -seq)."""
    return payload([bare(BDSEQ, DataType.INT64, bdseq, time)], time, None)


def _asks_rebirth(body: bytes) -> bool:
    """Whether a command asks for births; everything else is nobody's business: nothing is ever written to a device."""
    try:
        command = Payload.FromString(body)
    except DecodeError:
        return False
    return any(metric.name == REBIRTH and metric.boolean_value for metric in command.metrics)


def _too_large(text: str) -> DisconnectedError:
    error = DisconnectedError(f"{text}; let the broker take larger ones, or write fewer units into one agent")
    error.slow = True
    return error
