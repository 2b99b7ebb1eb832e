"""The further outputs of an agent: each on a connection of its own, beside the one that has custody of the events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from edge_agent.agent.backoff import delays
from edge_agent.agent.build import Parts
from edge_agent.agent.link import Link, keep_open
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.ports import ArchiveBuffer, PlantClock
from edge_agent.publish.sparkplug.config import SparkplugConfig
from edge_agent.publish.sparkplug.names import Node, identifier

if TYPE_CHECKING:
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
        from edge_agent.agent.speak import feed_of, way_of  # noqa: PLC0415 - Protocol Buffers are for those that have such an output

        await awake.wait()
        feed = feed_of(name, config, self._config, parts, buffer, self._clock)
        with suppress(StorageError):  # told by the buffer; the backlog of before is not told then
            await feed.load()
        link, jitter, opening = self._links[name], Random(), way_of(config, node_of(self._config, config), feed)  # noqa: S311 - jitter

        async def lost(_: DisconnectedError) -> None:
            await feed.keep()

        def pauses() -> Iterator[float]:
            return delays(jitter)

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
