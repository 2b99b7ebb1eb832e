"""Records a running line: the drivers of a configuration, as the agent runs them, into a file instead of units. Never writes to a device.

Values are recorded as they are on the wire. No tag may be acknowledged, so handshake records stay for whoever acknowledges them. The recording ends
after a time, at a size, or when somebody asks; its last line is the tick that closes intervals.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from edge_agent import __version__
from edge_agent.agent.backoff import delays
from edge_agent.agent.collect import Collector
from edge_agent.agent.link import Link, keep_open
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.drivers.catalog import DeviceConfig
from edge_agent.events.catalog import wiring_of
from edge_agent.events.derive import Tick
from edge_agent.model.instant import NS, iso
from edge_agent.model.reading import Batch
from edge_agent.ports import DeviceWiring, Driver, PlantClock, Trigger
from edge_agent.replay.line import line_of
from edge_agent.replay.recording import FORMAT, Header, Writer

_CLOSE = 5.0
"""Machine seconds that drivers get for one last poll and to close."""

_LONGEST = 0.5
"""Longest machine seconds between two tries at a device, as the agent has it."""


def header_of(config: AgentConfig, clock: PlantClock) -> Header:
    """Return the first line of a recording of this configuration."""
    devices = {device.device: tuple(tag.name for tag in drivers.tags_of(device)) for device in config.devices}
    return Header(FORMAT, devices, agent=config.agent.agent, version=__version__, cfg=config.fingerprint, started=iso(clock.now()))


class Recorder:
    """Attaches to every device of a configuration and writes what they say. ``rows`` counts samples; ``up`` says which devices answer."""

    def __init__(self, config: AgentConfig, writer: Writer, clock: PlantClock, limit: int) -> None:
        """Stop after about ``limit`` bytes of the file before compression."""
        self._config, self._writer, self._clock, self._limit = config, writer, clock, limit
        self.rows = 0
        self.full = asyncio.Event()
        self.collectors, self._openers = self._attached()

    @property
    def up(self) -> dict[str, bool]:
        """Whether each device answers."""
        return {name: bool(state.up) for collector in self.collectors for name, state in collector.devices.items()}

    async def run(self, seconds: float, stop: asyncio.Event) -> None:
        """Record for ``seconds`` of machine time, until ``stop`` is set, or until the file is full."""
        links = [
            asyncio.create_task(keep_open(Link(", ".join(each.devices), "device"), open_, each.run, each.lost, _pauses))
            for each, open_ in zip(self.collectors, self._openers, strict=True)
        ]
        ticking = asyncio.create_task(self._tick())
        ends = [asyncio.create_task(event.wait()) for event in (stop, self.full)]
        try:
            done, _ = await asyncio.wait([*ends, *links, ticking], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a link or the clock that ends by itself is an error, and ends the recording with it
            await self._close(links)
        finally:
            for task in (*links, *ends, ticking):
                task.cancel()
            await asyncio.wait([*links, *ends, ticking])
        self._writer.put(Tick(self._clock.now(), final=True))

    async def _close(self, links: Sequence[asyncio.Task[None]]) -> None:
        for collector in self.collectors:
            collector.stop()
        opened = [link for link, collector in zip(links, self.collectors, strict=True) if collector.connected]
        if opened:
            await asyncio.wait(opened, timeout=_CLOSE)

    async def _tick(self) -> None:
        """Write a tick at each whole second and each boundary of a unit, and have the polled tags read at those, as the agent does."""
        line = line_of(self._config)
        boundaries = [line.fold(unit).next_boundary for unit in line.units]
        while True:
            now = self._clock.now()
            declared = [found for boundary in boundaries if (found := boundary(now)) is not None]
            for collector in self.collectors if declared else ():
                collector.poll_at(min(declared))
            following = min([now // NS * NS + NS, *declared])
            await self._clock.sleep_until(following)
            self._writer.put(Tick(following))

    async def _deliver(self, batch: Batch) -> None:
        if self.full.is_set():
            return
        self._writer.put(batch)
        self.rows += len(batch)
        if self._writer.bytes >= self._limit:
            self.full.set()

    def _attached(self) -> tuple[list[Collector], list[Callable[[], AbstractAsyncContextManager[Driver]]]]:
        triggers: dict[str, tuple[Trigger, ...]] = {}
        for unit in self._config.units:
            for device, wired in wiring_of(unit).items():
                triggers[device] = triggers.get(device, ()) + wired.triggers
        groups: dict[Hashable, list[DeviceConfig]] = {}
        for config in self._config.devices:
            groups.setdefault(drivers.link(config), []).append(drivers.unscaled(config))
        collectors, openers = [], []
        for group in groups.values():
            names = [config.device for config in group]
            wiring = {name: DeviceWiring(triggers.get(name, ())) for name in names}
            collectors.append(Collector(names, {name: [self._deliver] for name in names}, self._clock))
            openers.append(self._opener(group, wiring))
        return collectors, openers

    def _opener(
        self, group: Sequence[DeviceConfig], wiring: dict[str, DeviceWiring]
    ) -> Callable[[], AbstractAsyncContextManager[Driver]]:
        return lambda: drivers.connect(group, self._clock, wiring, self._config.identity)


def _pauses() -> Iterator[float]:
    return delays(random.Random(), longest=_LONGEST)  # noqa: S311 - jitter
