"""Exchanges what is different between two configurations in an agent that runs; everything else goes on as if nothing had happened.

Stopped are, in the order of a stop of the whole agent, connections that end (last poll, close) and units that end (what waits, a last tick). Nothing
that is delivered meanwhile is lost: it waits in the inboxes of the units that follow, behind what their devices had shown by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from edge_agent.agent.build import certificates_of, collector_of, endpoint_of, endpoints_of, mes_of, places_of, tags_in
from edge_agent.agent.collect import Collector
from edge_agent.agent.difference import Difference, unit_changes
from edge_agent.agent.envelope import checkpointed
from edge_agent.agent.journal import config_changed
from edge_agent.agent.look import keep_envelope
from edge_agent.agent.running import Running
from edge_agent.agent.unit import Unit
from edge_agent.agent.valuetopics import values_of
from edge_agent.agent.wiring import Endpoint, folding_of, lines_of, loads_of, readers_of, route_effects, set_thresholds, wired
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events.derive import Fold
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.model.reading import Batch

_RETRY = 0.5


class Exchange:
    """One way from the configuration that runs to ``config``; ``folds`` are those of all its units."""

    def __init__(
        self,
        running: Running,
        config: AgentConfig,
        difference: Difference,
        folds: Mapping[str, Fold],
        meta: Callable[[Unit], bytes],
    ) -> None:
        """Prepare; nothing is changed yet. ``meta`` makes the ``_meta`` documents."""
        self._meta = meta
        self._running, self._config, self._difference, self._folds = running, config, difference, folds
        self._parts = running.parts
        self._old = {unit.name: unit for unit in self._parts.units}
        self._new: dict[str, Unit] = {}
        self._units: list[Unit] = []
        self._images: dict[str, list[Batch]] = {}
        self._lines: list[tuple[Collector, Endpoint]] = []
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Exchange. Raises StorageError before anything has changed; then the old configuration goes on."""
        await keep_envelope(self._config, self._parts, self._running.buffer, self._running.clock)
        await self._end_lines()
        fresh = self._rewire()
        for _ in range(2):
            await asyncio.sleep(0)  # deliveries that had begun by then join the inboxes of before in their first step
        await self._end_units()
        before, self._parts.cfg = self._parts.cfg, self._config.fingerprint
        self._swap()
        await self._parts.journal.write(
            config_changed(self._running.clock.now(), before, self._parts.cfg, "; ".join(self._difference.words()))
        )
        await self._begin_units(before)
        self._describe()
        self._running.start_workers()
        for collector, endpoint in fresh:
            self._running.start_line(collector, endpoint, late=True)
        await self._renew_outside()

    # -- what ends -----------------------------------------------------------------------------------------------

    async def _end_lines(self) -> None:
        """Take the last poll of connections that end, and tell everybody who still reads their devices that they are away."""
        parts, journal = self._parts, self._parts.journal
        lines = zip(parts.collectors, parts.endpoints, strict=True)
        ending = [line for line in lines if tuple(line[0].devices) not in self._difference.lines]
        names = [name for collector, _ in ending for name in collector.devices]
        await self._running.stop_lines([endpoint for _, endpoint in ending])
        journal.leaving = frozenset(names)
        for collector, _ in ending:
            await collector.lost(DisconnectedError("its configuration has changed"))
        journal.leaving = frozenset()
        await journal.forget(names, gone=self._difference.devices.removed)

    async def _end_units(self) -> None:
        """Let the units that are exchanged or removed fold what they have and a last tick."""
        ending = [self._old[name] for name in (*self._difference.units.changed, *self._difference.units.removed)]
        await self._running.stop_units(ending)
        for unit in ending:
            await unit.give_way(self._new.get(unit.name))
        for name in self._difference.units.removed:
            now, cfg = self._running.clock.now(), self._config.fingerprint
            await self._old[name].tell(config_changed(now, self._parts.cfg, cfg, unit_changes(self._difference, name)))

    # -- between: no delivery can begin while these run ----------------------------------------------------------

    def _rewire(self) -> list[tuple[Collector, Endpoint]]:
        """From now on everything that is delivered goes to the units of the new configuration; returns the connections to be made."""
        config, parts, clock = self._config, self._parts, self._running.clock
        self._make_units()
        folding = folding_of(config, self._units)
        parts.folding.clear()
        parts.folding.update(folding)
        if self._difference.broker:
            parts.values = values_of(config)
        if parts.latest is not None:
            parts.latest.follow({device.device: drivers.tags_of(device) for device in config.devices})
        readers = readers_of(config, folding, parts.journal, parts.hold, parts.values, parts.latest)
        known = {name: collector for collector in parts.collectors for name in collector.devices}
        kept = {tuple(line[0].devices): line for line in zip(parts.collectors, parts.endpoints, strict=True)}
        fresh, wiring = [], wired(config)
        parts.places.assign(loads_of(config), self._difference.lines)
        for devices in lines_of(config):
            names = tuple(device.device for device in devices)
            if names in self._difference.lines:
                line = kept[names]
                self._show(line[0], names)
                line[0].rewire({name: readers[name] for name in names})
            else:
                line = (
                    collector_of(devices, readers, clock),
                    endpoint_of(devices, config, clock, wiring, parts.folding, parts.places),
                )
                for name in known.keys() & names:
                    line[0].succeed(known[name].devices[name], name)
                fresh.append(line)
            self._lines.append(line)
        return fresh

    def _make_units(self) -> None:
        config, parts, cfg = self._config, self._parts, self._config.fingerprint
        prefix, same = config.agent.events.type_prefix, self._difference.units.same
        for name, fold in self._folds.items():
            if name in same:
                self._old[name].renew(fold, cfg)
            else:
                unit = Unit(name, fold, self._running.buffer, self._running.clock, prefix=prefix, cfg=cfg)
                unit.trust, unit.made, self._new[name] = parts.journal.trust, parts.journal.made, unit
        self._units = [self._new.get(name) or self._old[name] for name in self._folds]

    def _show(self, collector: Collector, names: tuple[str, ...]) -> None:
        """Keep for the new units what their devices have shown up to now."""
        now = self._running.clock.now()
        for name in names:
            shown = collector.present(name, now)
            for unit in self._parts.folding.get(name, ()) if shown is not None else ():
                if unit.name in self._new and shown is not None:
                    self._images.setdefault(unit.name, []).append(shown)

    def _swap(self) -> None:
        """Who looks sees the parts of the new configuration."""
        config, parts = self._config, self._parts
        parts.units = self._units
        parts.collectors, parts.endpoints = [one for one, _ in self._lines], [one for _, one in self._lines]
        parts.cautions = config.cautions
        parts.tags = tags_in(config, {name: parts.tags[name] for name in self._difference.devices.same if name in parts.tags})
        parts.journal.renew(parts.cfg, endpoints_of(config))
        route_effects(parts.units, parts.collectors)
        set_thresholds(config, parts.collectors)
        self._running.config = config

    # -- what begins ---------------------------------------------------------------------------------------------

    async def _begin_units(self, before: str) -> None:
        for name, unit in self._new.items():
            await self._open(unit, self._images.get(name, []))
            if name in self._difference.units.changed:
                now = self._running.clock.now()
                await unit.tell(config_changed(now, before, self._parts.cfg, unit_changes(self._difference, name)))
            unit.changed.set()
            self._running.start_unit(unit)

    async def _open(self, unit: Unit, image: list[Batch]) -> None:
        """Open a unit as soon as the store can be read: what is delivered meanwhile waits."""
        while True:
            try:
                return await unit.open(image=image)
            except StorageError as error:
                self._log.error("store.not_readable", reason=str(error))
                await asyncio.sleep(_RETRY)

    def _describe(self) -> None:
        """Announce, judge and hear what belongs to the new configuration."""
        config, parts, running = self._config, self._parts, self._running
        parts.announcer.renew(places_of(config, parts.units), parts.collectors, self._meta)
        parts.announcer.presence.cfg = parts.cfg
        parts.vitals.renew(certificates_of(config))
        running.origin.watch(parts.topics, checkpointed(config), parts.cfg)
        parts.forwarder.drain_rate = config.agent.mqtt.drain_rate
        mes = mes_of(config, parts.units, parts.collectors, running.clock, parts.journal)
        if self._difference.broker:
            parts.mes = mes
        else:
            parts.mes.renew(mes)
        if running.watermarks is not None:
            running.watermarks.listen()  # the streams that are there by now

    async def _renew_outside(self) -> None:
        """Begin anew with what is made for a set of units, and let workers go that nobody needs any more."""
        await self._running.renew_calendar()
        if self._difference.units.some or self._difference.devices.some:
            await self._running.renew_outputs()
        if self._difference.broker:
            await self._running.renew_publisher()
        await self._running.end_workers()
