"""The connection to the broker that has custody of the events: what is sent over it, and in which order it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from edge_agent.agent.build import Parts
from edge_agent.agent.confirm import Watermarks
from edge_agent.agent.link import Link, keep_open
from edge_agent.agent.requests import requests
from edge_agent.agent.succeed import Origin
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.config.schema import AgentConfig
from edge_agent.events.schemas import versions
from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Sink
from edge_agent.publish import mqtt
from edge_agent.publish.listening import NOTHING
from edge_agent.publish.memory import Memory


class Publisher:
    """Keeps one connection open and uses it, from its first `run` until `finish`."""

    def __init__(
        self,
        config: AgentConfig,
        parts: Parts,
        origin: Origin,
        buffer: SqliteBuffer,
        link: Link,
        memory: Memory,
        watermarks: Watermarks | None,
        delays: Callable[[], Iterator[float]],
    ) -> None:
        """Speak to the broker of ``config``; ``memory`` is what is known of it from connection to connection."""
        self._config, self._parts, self._origin, self._buffer = config, parts, origin, buffer
        self.link, self._memory, self._watermarks, self._delays = link, memory, watermarks, delays
        self._finish = asyncio.Event()

    def finish(self) -> None:
        """Let `run` say goodbye and return."""
        self._finish.set()

    async def run(self) -> None:
        """Connect, send, and connect again until `finish`."""
        parts, settings = self._parts, self._config.agent

        async def lost(_: DisconnectedError) -> None:
            self._origin.no_broker()  # records stay in the buffer; the link has told the log

        def open_() -> contextlib.AbstractAsyncContextManager[Sink]:
            return mqtt.connect(
                settings.mqtt,
                topics=parts.topics,
                streams=parts.streams,
                will=parts.announcer.will(),
                type_prefix=settings.events.type_prefix,
                memory=self._memory,
                listening=parts.mes.listen(NOTHING if self._watermarks is None else self._watermarks.listen()),
                versions=versions(),
            )

        await keep_open(self.link, open_, self._use, lost, self._delays)

    async def _use(self, sink: Sink) -> None:
        """Send over a connection for as long as it lasts; nothing before the store is known to be the one that the broker knows."""
        parts = self._parts
        if not self._buffer.readable:
            await first_of(parts.announcer.out_of_order(sink, self._buffer.opened), self._finish.wait())
            if self._finish.is_set():
                await parts.announcer.tell(sink, parts.announcer.status("offline"))
                return
        await self._origin.ask(sink)
        await self._origin.units_open.wait()
        parts.announcer.go_on(self._origin.runs, self._origin.resumes)
        await parts.announcer.birth(sink)
        finish = asyncio.create_task(self._finish.wait())
        beside = [] if self._watermarks is None else [self._watermarks.run()]
        beside += [] if parts.values is None else [parts.values.run(sink)]
        await first_of(
            parts.forwarder.run(sink),
            parts.announcer.run(sink),
            requests(parts, self._buffer, sink),
            parts.mes.run(),
            finish,
            *beside,
        )
        await parts.announcer.farewell(sink)


async def first_of(*work: Awaitable[Any]) -> None:
    """Run all until the first ends; cancel the others, then raise what ended it if it was an error."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
