"""What runs of an agent and can be stopped and started by itself: links, units, outputs, the publisher, each under its name in the crew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

import structlog

from edge_agent.agent.backoff import delays
from edge_agent.agent.build import OUTPUT, Parts
from edge_agent.agent.collect import Collector
from edge_agent.agent.confirm import Watermarks
from edge_agent.agent.crew import Crew, over
from edge_agent.agent.housekeeping import calendar, housekeeping
from edge_agent.agent.link import Link, keep_open
from edge_agent.agent.outputs import Outputs
from edge_agent.agent.publisher import Publisher
from edge_agent.agent.succeed import Origin
from edge_agent.agent.unit import Unit
from edge_agent.agent.wiring import Endpoint
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.ports import PlantClock
from edge_agent.publish.memory import Memory

_DEVICE_LONGEST = 0.5
"""Longest machine seconds between two tries at a device: it stands on the same line, and every second without it is a second unseen."""

_CLOSE = 5.0
_CALENDAR = "calendar"
_PUBLISHER = "publisher"


class Running:
    """The running agent: ``parts`` of ``config`` over an open ``buffer``; ``awake`` is set once the units are open."""

    def __init__(self, config: AgentConfig, clock: PlantClock, buffer: SqliteBuffer, parts: Parts, origin: Origin) -> None:
        """Prepare; nothing runs yet."""
        self.config, self.clock, self.buffer, self.parts, self.origin = config, clock, buffer, parts, origin
        self.crew = Crew()
        self.awake = asyncio.Event()
        self.links: list[Link] = []
        self._random = random.Random()  # noqa: S311 - jitter
        self._ways: dict[str, Link] = {}
        self._workers: set[str] = set()
        self.watermarks: Watermarks | None = None
        if (settings := config.agent.buffer).confirm:
            within, again = settings.confirm_within / 1e9, parts.forwarder.start_over
            self.watermarks = Watermarks(buffer, OUTPUT, parts.topics, parts.streams, within=within, sent_again=again)
        self.publisher = self._publisher()
        self.outputs = Outputs(config, clock, self.links)
        self._log = structlog.get_logger()

    def start_all(self) -> None:
        """Begin with units, links, outputs and what is done by the way."""
        for unit in self.parts.units:
            self.start_unit(unit)
        self.start_workers()
        for collector, endpoint in zip(self.parts.collectors, self.parts.endpoints, strict=True):
            self.start_line(collector, endpoint)
        self.start_outputs()
        for name, work in housekeeping(self.parts, self.clock, self.awake):
            self.crew.start(name, work)

    # -- units ---------------------------------------------------------------------------------------------------

    def start_unit(self, unit: Unit) -> None:
        """Let a unit turn as soon as all are open."""
        self.crew.start(f"unit {unit.name}", self._run_unit(unit))

    async def stop_units(self, units: Sequence[Unit]) -> None:
        """Return when the turns that ``units`` are in have ended; what waits in their inboxes is left there."""
        for unit in units:
            unit.stop()
        tasks = self.crew.releases(f"unit {unit.name}" for unit in units)
        if tasks:
            await asyncio.gather(*tasks)

    async def _run_unit(self, unit: Unit) -> None:
        await self.awake.wait()
        await unit.run()

    # -- links ---------------------------------------------------------------------------------------------------

    def start_line(self, collector: Collector, endpoint: Endpoint, *, late: bool = False) -> None:
        """Keep one connection open. ``late``: in an agent that runs already, which goes on without a connection that cannot be made."""
        self.crew.start(f"link {endpoint.name}", self._link(collector, endpoint, late=late))

    async def stop_lines(self, endpoints: Sequence[Endpoint]) -> None:
        """Let each of these connections take a last poll and close."""
        collectors = [self.parts.collectors[self.parts.endpoints.index(each)] for each in endpoints]
        for collector in collectors:
            collector.stop()
        tasks = self.crew.releases(f"link {each.name}" for each in endpoints)
        open_ = [task for task, collector in zip(tasks, collectors, strict=True) if collector.connected]
        if open_:
            await asyncio.wait(open_, timeout=_CLOSE)
        await over(tasks)
        for endpoint in endpoints:
            if (link := self._ways.pop(endpoint.name, None)) is not None:
                self.links.remove(link)

    async def _link(self, collector: Collector, endpoint: Endpoint, *, late: bool) -> None:
        link = self._ways[endpoint.name] = Link(endpoint.name, "device")
        self.links.append(link)
        try:
            await keep_open(
                link, endpoint.open, collector.run, collector.lost, lambda: delays(self._random, longest=_DEVICE_LONGEST)
            )
        except ConfigError as error:
            if not late:
                raise
            link.went_down(str(error))
            await collector.lost(DisconnectedError(str(error)))
            await asyncio.Event().wait()  # until the next reload: what runs beside it is worth more

    # -- workers -------------------------------------------------------------------------------------------------

    def start_workers(self) -> None:
        """Begin with the workers that are new."""
        for worker in self.parts.places.workers:
            if (name := f"worker {worker.name}") not in self._workers:
                self._workers.add(name)
                self.crew.start(name, worker.run())

    async def end_workers(self) -> None:
        """Let the workers end that have no connection any more."""
        idle = self._workers - {f"worker {worker.name}" for worker in self.parts.places.workers}
        self._workers -= idle
        await self.crew.dismiss(*sorted(idle))

    # -- outwards ------------------------------------------------------------------------------------------------

    def start_outputs(self) -> None:
        """Begin with the further outputs, and with what hands the drivers the calendar's instants."""
        for name, work in self.outputs.work(self.parts, self.buffer, self.awake):
            self.crew.start(name, work)

    async def renew_outputs(self) -> None:
        """Let the further outputs say goodbye, and begin anew with the present units."""
        names = [f"output {name}" for name in self.config.agent.outputs]
        await self.outputs.stop()
        await self.crew.dismiss(*names)
        self.outputs.withdraw(self.links)
        self.outputs = Outputs(self.config, self.clock, self.links)
        self.start_outputs()

    async def renew_calendar(self) -> None:
        """Hand the drivers the instants of the present units."""
        await self.crew.dismiss(_CALENDAR)
        self.crew.start(_CALENDAR, calendar(self.parts, self.clock))

    def start_publisher(self) -> None:
        """Begin to speak to the broker."""
        self.crew.start(_PUBLISHER, self.publisher.run())

    async def stop_publisher(self, seconds: float = _CLOSE) -> None:
        """Say goodbye to the broker where there is one; what it has not acknowledged within ``seconds`` waits for the next connection."""
        self.publisher.finish()
        tasks = self.crew.releases((_PUBLISHER,))
        if tasks and self.publisher.link.up:
            await asyncio.wait(tasks, timeout=seconds)
        await over(tasks)
        self.links.remove(self.publisher.link)

    async def renew_publisher(self) -> None:
        """Speak to the broker of the present configuration over a new connection."""
        await self.stop_publisher()
        self.publisher = self._publisher()
        self.start_publisher()

    def _publisher(self) -> Publisher:
        mqtt = self.config.agent.mqtt
        link = Link(", ".join(broker.url for broker in mqtt.brokers), "mqtt")
        self.links.insert(0, link)
        return Publisher(
            self.config,
            self.parts,
            self.origin,
            self.buffer,
            link,
            Memory(mqtt),
            self.watermarks,
            self._delays,
        )

    def _delays(self) -> Iterator[float]:
        return delays(self._random)
