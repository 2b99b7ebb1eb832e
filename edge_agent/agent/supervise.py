"""Runs the agent: opens downstream first, stops upstream first, and lets nothing that was accepted fall between.

Start: buffer, units (their stored state), agent.started, publisher, links. Stop: drivers take a last poll and close, units fold what waits and a last
tick, agent.stopped, the forwarder drains for ``grace``, status offline. A reload exchanges parts in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from edge_agent.agent.build import build, origin_of
from edge_agent.agent.forward import drained
from edge_agent.agent.look import keep_envelope, local_api
from edge_agent.agent.notify import notify
from edge_agent.agent.reload import Reloader
from edge_agent.agent.running import Running
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import StorageError
from edge_agent.ports import PlantClock
from edge_agent.status.report import ReloadReport

GRACE = 10.0
"""Machine seconds that undelivered records get at shutdown."""

_CLOSE = 5.0


class Agent:
    """One running agent."""

    def __init__(self, config: AgentConfig, clock: PlantClock, source: Path | None = None) -> None:
        """Prepare to run ``config``, read from ``source``, in ``clock``'s time; nothing is opened yet. Without a source nothing can be reloaded."""
        self._config = config
        self._clock = clock
        self._source = source
        self._asked = asyncio.Event()
        self._reloader: Reloader | None = None
        self._since = 0
        self._told: Damage | None = None
        self._log = structlog.get_logger()

    def reload(self) -> None:
        """Have the files of the configuration read again, as soon as the agent runs."""
        self._asked.set()

    async def reloaded(self) -> ReloadReport:
        """Have them read again by an agent that runs, and return what became of it."""
        assert self._reloader is not None  # noqa: S101 - it runs
        return await self._reloader.ask()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then shut down in order. Raises ConfigError where another agent has the store or a newer one wrote it.

        A disk that does not let the store be opened keeps nobody from collecting: readings wait in memory until it does.
        """
        async with open_buffer(self._config.agent.buffer, prefix=self._config.agent.events.type_prefix) as buffer:
            parts, origin = build(self._config, buffer, self._clock), origin_of(self._config, buffer, self._clock)
            running = Running(self._config, self._clock, buffer, parts, origin)
            reloader = self._reloader = Reloader(running, self._source, self._asked)
            self._since = self._clock.now()
            async with (
                local_api(self._config, parts, buffer, self._clock, running.links, reloader.ask),
                self._publishing(running),
            ):
                if buffer.readable and await self._wake(running):
                    running.awake.set()
                else:
                    parts.hold.close()
                word = "running" if running.awake.is_set() else "collecting into memory: the store cannot be opened"
                notify("READY=1", f"STATUS={word}")
                self._log.info("agent.started", agent=self._config.agent.agent, epoch=buffer.epoch, units=len(parts.units))
                await self._supervise(running, reloader, stop)
        self._log.info("agent.stopped")

    @contextlib.asynccontextmanager
    async def _publishing(self, running: Running) -> AsyncIterator[None]:
        """Run the publisher: the broker is asked before the units open, and nothing is sent before they are."""
        running.start_publisher()
        try:
            yield
        finally:
            await running.crew.end()

    async def _wake(self, running: Running) -> bool:
        """The store is open: units go on from their stored state. Returns False when it could not be read after all."""
        parts, origin, buffer = running.parts, running.origin, running.buffer
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

    async def _watch_store(self, running: Running) -> None:
        """Go on where a store opens late, and declare the damage of one that is found while it runs."""
        parts, buffer = running.parts, running.buffer
        if not running.awake.is_set():
            await buffer.opened()
            while not await self._wake(running):  # noqa: ASYNC110 - a disk rings no bell when it is in order again
                await asyncio.sleep(1.0)
            kept, dropped = parts.hold.waiting, parts.hold.dropped
            await parts.journal.store_opened(self._since, kept, dropped)
            await parts.hold.release(running.awake.set)
        while True:
            await asyncio.sleep(1.0)
            if (damage := buffer.damage) is not None and damage is not self._told:
                await parts.journal.store_damaged(damage, buffer.declare)
                self._told = damage

    async def _supervise(self, running: Running, reloader: Reloader, stop: asyncio.Event) -> None:
        running.start_all()
        running.crew.start("store", self._watch_store(running))
        running.crew.start("reload", reloader.run())
        stopping, ended = asyncio.create_task(stop.wait(), name="stop"), asyncio.create_task(running.crew.one_ended(), name="ended")
        try:
            await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()  # a part that ends by itself is a bug: its error ends the agent, systemd starts it anew
            notify("STOPPING=1")
            await reloader.close()
            await self._stop(running)
        finally:
            stopping.cancel()
            ended.cancel()
            await asyncio.wait((stopping, ended))
            await running.crew.end()

    async def _stop(self, running: Running) -> None:
        await running.stop_lines(running.parts.endpoints)
        if running.awake.is_set():
            await running.stop_units(running.parts.units)
            for unit in running.parts.units:
                await unit.close()
            await running.parts.journal.stopped()
        await running.outputs.stop()
        if running.publisher.link.up:
            await drained(running.buffer, GRACE)
            await running.stop_publisher(_CLOSE)
