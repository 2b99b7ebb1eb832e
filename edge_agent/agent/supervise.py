"""Runs the agent: opens downstream first, stops upstream first, and lets nothing that was accepted fall between.

Start: buffer, units (their stored state), agent.started, publisher, links. Stop: drivers take a last poll and close, units fold what waits and a last
tick, agent.stopped, the forwarder drains for ``grace``, status offline.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from functools import partial
from typing import Any

import structlog

from edge_agent.agent.backoff import delays
from edge_agent.agent.build import OUTPUT, Parts, build, origin_of
from edge_agent.agent.confirm import Watermarks
from edge_agent.agent.forward import drained
from edge_agent.agent.housekeeping import housekeeping
from edge_agent.agent.link import Link, keep_open
from edge_agent.agent.look import keep_envelope, local_api
from edge_agent.agent.notify import notify
from edge_agent.agent.outputs import Outputs
from edge_agent.agent.requests import requests
from edge_agent.agent.succeed import Origin
from edge_agent.agent.unit import Unit
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.config.schema import AgentConfig
from edge_agent.events.schemas import versions
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.ports import PlantClock, Sink
from edge_agent.publish import mqtt
from edge_agent.publish.listening import NOTHING
from edge_agent.publish.memory import Memory

GRACE = 10.0
"""Machine seconds that undelivered records get at shutdown."""

_DEVICE_LONGEST = 0.5
"""Longest machine seconds between two tries at a device: it stands on the same line, and every second without it is a second unseen."""

_CLOSE = 5.0


class Agent:
    """One running agent."""

    def __init__(self, config: AgentConfig, clock: PlantClock) -> None:
        """Prepare to run ``config`` in ``clock``'s time; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._random = random.Random()  # noqa: S311 - jitter
        self._out = Link(", ".join(broker.url for broker in config.agent.mqtt.brokers), "mqtt")
        self.uplink = Memory(config.agent.mqtt)
        self._links = [self._out]
        self._outputs = Outputs(config, clock, self._links)
        self._finish = asyncio.Event()
        self._watermarks: Watermarks | None = None
        self._awake = asyncio.Event()
        self._since = 0
        self._told: Damage | None = None
        self._log = structlog.get_logger()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then shut down in order. Raises ConfigError where another agent has the store or a newer one wrote it.

        A disk that does not let the store be opened keeps nobody from collecting: readings wait in memory until it does.
        """
        async with open_buffer(self._config.agent.buffer, prefix=self._config.agent.events.type_prefix) as buffer:
            parts, origin = build(self._config, buffer, self._clock), origin_of(self._config, buffer, self._clock)
            if (settings := self._config.agent.buffer).confirm:
                within, again = settings.confirm_within / 1e9, parts.forwarder.start_over
                self._watermarks = Watermarks(buffer, OUTPUT, parts.topics, parts.streams, within=within, sent_again=again)
            self._since = self._clock.now()
            async with (
                local_api(self._config, parts, buffer, self._clock, self._links),
                self._publishing(parts, origin, buffer) as out,
            ):
                if buffer.readable and await self._wake(parts, origin, buffer):
                    self._awake.set()
                else:
                    parts.hold.close()
                word = "running" if self._awake.is_set() else "collecting into memory: the store cannot be opened"
                notify("READY=1", f"STATUS={word}")
                self._log.info("agent.started", agent=self._config.agent.agent, epoch=buffer.epoch, units=len(parts.units))
                outputs = self._outputs.work(parts, buffer, self._awake)
                await self._supervise(parts, stop, out, [("store", self._watch_store(parts, origin, buffer)), *outputs])
        self._log.info("agent.stopped")

    @contextlib.asynccontextmanager
    async def _publishing(self, parts: Parts, origin: Origin, buffer: SqliteBuffer) -> AsyncIterator[asyncio.Task[None]]:
        """Run the publisher: the broker is asked before the units open, and nothing is sent before they are."""
        out = asyncio.create_task(self._publish(parts, origin, buffer), name="publisher")
        try:
            yield out
        finally:
            out.cancel()
            await asyncio.wait([out])

    async def _wake(self, parts: Parts, origin: Origin, buffer: SqliteBuffer) -> bool:
        """The store is open: units go on from their stored state. Returns False when it could not be read after all."""
        try:
            await keep_envelope(self._config, parts, buffer, self._clock)
            await origin.first_look()
            for unit in parts.units:
                await unit.open(self._since if parts.hold.closed else None)
            await parts.journal.started(self._since, anew=origin.begun)
        except StorageError as error:
            self._log.error("store.not_readable", reason=str(error))
            return False
        if (damage := buffer.damage) is not None:
            await parts.journal.store_damaged(damage, buffer.declare)
        self._told = damage
        origin.units_open.set()
        return True

    async def _watch_store(self, parts: Parts, origin: Origin, buffer: SqliteBuffer) -> None:
        """Go on where a store opens late, and declare the damage of one that is found while it runs."""
        if not self._awake.is_set():
            await buffer.opened()
            while not await self._wake(parts, origin, buffer):  # noqa: ASYNC110 - a disk rings no bell when it is in order again
                await asyncio.sleep(1.0)
            kept, dropped = parts.hold.waiting, parts.hold.dropped
            await parts.journal.store_opened(self._since, kept, dropped)
            await parts.hold.release(self._awake.set)
        while True:
            await asyncio.sleep(1.0)
            if (damage := buffer.damage) is not None and damage is not self._told:
                await parts.journal.store_damaged(damage, buffer.declare)
                self._told = damage

    async def _run_unit(self, unit: Unit) -> None:
        await self._awake.wait()
        await unit.run()

    async def _supervise(
        self, parts: Parts, stop: asyncio.Event, out: asyncio.Task[None], work: list[tuple[str, Coroutine[Any, Any, None]]]
    ) -> None:
        units = [asyncio.create_task(self._run_unit(unit), name=f"unit {unit.name}") for unit in parts.units]
        links = [asyncio.create_task(self._link(parts, index), name=f"link {index}") for index in range(len(parts.collectors))]
        others = [asyncio.create_task(each, name=name) for name, each in (*work, *housekeeping(parts, self._clock, self._awake))]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        everything = [*units, *links, out, *others, stopping]
        try:
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a part that ends by itself is a bug: its error ends the agent, systemd starts it anew
            notify("STOPPING=1")
            await self._stop(parts, units, links, out)
        finally:
            for task in everything:
                task.cancel()
            await asyncio.wait(everything)

    async def _stop(
        self, parts: Parts, units: list[asyncio.Task[None]], links: list[asyncio.Task[None]], out: asyncio.Task[None]
    ) -> None:
        for collector in parts.collectors:
            collector.stop()
        open_links = [task for task, collector in zip(links, parts.collectors, strict=True) if collector.connected]
        if open_links:
            await asyncio.wait(open_links, timeout=_CLOSE)
        for task in links:
            task.cancel()
        await asyncio.wait(links) if links else None
        if self._awake.is_set():
            for unit in parts.units:
                unit.stop()
            if units:
                await asyncio.wait(units)
            for unit in parts.units:
                await unit.close()
            await parts.journal.stopped()
        await self._outputs.stop()
        if self._out.up:
            await drained(parts.buffer, GRACE)
            self._finish.set()
            await asyncio.wait([out], timeout=_CLOSE)

    # -- links ---------------------------------------------------------------------------------------------------

    async def _link(self, parts: Parts, index: int) -> None:
        collector, endpoint = parts.collectors[index], parts.endpoints[index]
        link = Link(endpoint.name, "device")
        self._links.append(link)
        await keep_open(link, endpoint.open, collector.run, collector.lost, self._device_delays)

    async def _publish(self, parts: Parts, origin: Origin, buffer: SqliteBuffer) -> None:
        settings = self._config.agent

        async def lost(_: DisconnectedError) -> None:
            origin.no_broker()  # records stay in the buffer; the link has told the log

        def open_() -> contextlib.AbstractAsyncContextManager[Sink]:
            return mqtt.connect(
                settings.mqtt,
                topics=parts.topics,
                streams=parts.streams,
                will=parts.announcer.will(),
                type_prefix=settings.events.type_prefix,
                memory=self.uplink,
                listening=parts.mes.listen(NOTHING if self._watermarks is None else self._watermarks.listen()),
                versions=versions(),
            )

        await keep_open(self._out, open_, partial(self._use, parts, origin, buffer), lost, self._delays)

    async def _use(self, parts: Parts, origin: Origin, buffer: SqliteBuffer, sink: Sink) -> None:
        """Send over a connection for as long as it lasts; nothing before the store is known to be the one that the broker knows."""
        if not buffer.readable:
            await _first_of(parts.announcer.out_of_order(sink, buffer.opened), self._finish.wait())
            if self._finish.is_set():
                await parts.announcer.send(sink, parts.announcer.status("offline"))
                return
        await origin.ask(sink)
        await origin.units_open.wait()
        parts.announcer.go_on(origin.runs, origin.resumes)
        await parts.announcer.birth(sink)
        finish = asyncio.create_task(self._finish.wait())
        beside = [] if self._watermarks is None else [self._watermarks.run()]
        beside += [] if parts.values is None else [parts.values.run(sink)]
        await _first_of(
            parts.forwarder.run(sink), parts.announcer.run(sink), requests(parts, buffer, sink), parts.mes.run(), finish, *beside
        )
        await parts.announcer.farewell(sink)

    def _device_delays(self) -> Iterator[float]:
        return delays(self._random, longest=_DEVICE_LONGEST)

    def _delays(self) -> Iterator[float]:
        return delays(self._random)


async def _first_of(*work: Awaitable[Any]) -> None:
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
