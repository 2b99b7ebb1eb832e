"""The further outputs of an agent: each on a connection of its own, beside the one that has custody of the events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from edge_agent.agent.backoff import delays
from edge_agent.agent.build import Parts
from edge_agent.agent.edgenode import NodeFeed
from edge_agent.agent.link import Link, keep_open
from edge_agent.agent.mirror import UnitMirror
from edge_agent.agent.unit import Unit
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events.catalog import UnitConfig, inputs
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.model.reading import Tag
from edge_agent.ports import ArchiveBuffer, PlantClock
from edge_agent.publish.sparkplug.config import SparkplugConfig
from edge_agent.publish.sparkplug.connect import Ways, connect
from edge_agent.publish.sparkplug.mapping import Register, Shape
from edge_agent.publish.sparkplug.names import Node, identifier
from edge_agent.publish.sparkplug.node import EdgeNode

_FAREWELL = 3.0  # s


class Outputs:
    """Runs the outputs that ``config`` names; ``links`` grows by theirs, for the status."""

    def __init__(self, config: AgentConfig, clock: PlantClock, links: list[Link]) -> None:
        """Prepare; nothing is opened yet."""
        self._config, self._clock = config, clock
        self._finish = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._links = {name: Link(_where(one), f"sparkplug {name}") for name, one in config.agent.outputs.items()}
        links += self._links.values()

    def work(self, parts: Parts, buffer: ArchiveBuffer, awake: asyncio.Event) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return one coroutine for each output; they begin when the units are ``awake`` and end only by cancellation."""
        return [(f"output {name}", self._run(name, one, parts, buffer, awake)) for name, one in self._config.agent.outputs.items()]

    async def stop(self) -> None:
        """Let every output say farewell, within three seconds of machine time."""
        self._finish.set()
        if self._running:
            await asyncio.wait(self._running, timeout=_FAREWELL + 1.0)

    def withdraw(self, links: list[Link]) -> None:
        """Take the links of outputs that have stopped out of the status."""
        for link in self._links.values():
            links.remove(link)

    async def _run(self, name: str, config: SparkplugConfig, parts: Parts, buffer: ArchiveBuffer, awake: asyncio.Event) -> None:
        await awake.wait()
        mirrors = _mirrors(self._config, parts)
        feed = NodeFeed(buffer, self._clock, mirrors, owner=f"_output/{name}", cfg=self._config.fingerprint, backlog=config.backlog)
        with suppress(StorageError):  # told by the buffer; the backlog of before is not told then
            await feed.load()
        ways, node, jitter = Ways(config), node_of(self._config, config), Random()  # noqa: S311 - jitter
        link = self._links[name]

        async def lost(_: DisconnectedError) -> None:
            await feed.keep()

        def pauses() -> Iterator[float]:
            return delays(jitter)

        opening = partial(connect, config, node, feed, ways, feed.next_bdseq)
        speaking = asyncio.create_task(keep_open(link, opening, self._use, lost, pauses))
        finishing = asyncio.create_task(self._finish.wait())
        self._running.add(speaking)
        try:
            await asyncio.wait((speaking, finishing), return_when=asyncio.FIRST_COMPLETED)
            if not speaking.done() and link.up:
                await asyncio.wait((speaking,), timeout=_FAREWELL)
        finally:
            for task in (speaking, finishing):
                task.cancel()
            await asyncio.wait((speaking, finishing))
        if not speaking.cancelled():
            speaking.result()  # a bug ends the agent, systemd starts it anew
        await feed.keep()
        await asyncio.Event().wait()  # the end of an output is not the end of the agent

    async def _use(self, node: EdgeNode) -> None:
        """Speak until it is time to say farewell. Raises DisconnectedError."""
        speaking, finishing = asyncio.create_task(node.run()), asyncio.create_task(self._finish.wait())
        try:
            await asyncio.wait((speaking, finishing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (speaking, finishing):
                task.cancel()
            await asyncio.wait((speaking, finishing))
        if not speaking.cancelled():
            speaking.result()


def node_of(config: AgentConfig, output: SparkplugConfig) -> Node:
    """Return the edge node: by default the agent in the group of its site."""
    return Node(output.group or identifier("_".join(config.agent.site)), output.node or identifier(config.agent.agent))


def _where(config: SparkplugConfig) -> str:
    return ", ".join(broker.url for broker in config.brokers)


def _mirrors(config: AgentConfig, parts: Parts) -> Sequence[UnitMirror]:
    tags = {tag.ref: tag for device in config.devices for tag in drivers.tags_of(device)}
    states = {name: state for collector in parts.collectors for name, state in collector.devices.items()}
    return [
        _mirror(each, unit, tags, lambda device: bool(states[device].up), config.agent.events.type_prefix)
        for each, unit in zip(config.units, parts.units, strict=True)
    ]


def _mirror(config: UnitConfig, unit: Unit, tags: dict[str, Tag], up: Any, prefix: str) -> UnitMirror:
    counters, meters, names = {}, {}, {}
    for name, counter in config.counters.items():
        tag = tags[counter.tag]
        counters[name] = Register(counter.uom, tag.scale, tag.device)
    for meter in config.energy.values():
        tag = tags[meter.tag]
        names[meter.label] = meter.label
        meters[meter.label] = Register(meter.uom or tag.uom or "KWH", tag.scale, tag.device)
    devices = {ref.partition(".")[0] for ref in inputs(config)}
    return UnitMirror(unit, Shape(counters, meters), devices, up, names, prefix)
