"""One look at the running agent: what the local API says of devices, units, links, delivery and buffer."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

from edge_agent import __version__
from edge_agent.agent.build import OUTPUT, Parts
from edge_agent.agent.departures import Departures
from edge_agent.agent.desk import BufferDesk
from edge_agent.agent.envelope import Envelope, configured, keep
from edge_agent.agent.figures import Figures
from edge_agent.agent.forward import Delivered
from edge_agent.agent.link import Link
from edge_agent.agent.pageview import PageView, page_served
from edge_agent.agent.troubles import of_agent, of_devices, of_files
from edge_agent.buffer import failpoint
from edge_agent.config.schema import AgentConfig
from edge_agent.model.instant import iso, parse
from edge_agent.ports import ArchiveBuffer, PlantClock
from edge_agent.status.app import Reload, application, metrics_route
from edge_agent.status.otelexport import exporting
from edge_agent.status.place import socket_of
from edge_agent.status.report import BufferReport, DeliveryReport, DeviceReport, LinkReport, Status
from edge_agent.status.server import serving

_SILENT = 30.0
"""Seconds without an acknowledgement, while something waits, after which a broker that takes connections is a problem."""


class Look:
    """Makes the status of one agent whenever it is asked."""

    def __init__(
        self,
        parts: Parts,
        desk: BufferDesk,
        clock: PlantClock,
        links: Sequence[Link],
        *,
        agent: str,
    ) -> None:
        """Describe ``parts``, which a reload changes, as it does ``links``."""
        self._parts, self._desk, self._clock, self._links = parts, desk, clock, links
        self._agent = agent
        self._session, self._started = uuid4().hex, clock.now()
        self._began = time.monotonic()

    async def status(self) -> Status:
        """Return the agent as it is now. Raises StorageError when the store cannot even be asked."""
        buffer = await self._desk.buffer()
        devices = self._devices()
        units = {unit.name: f"quarantined: {unit.quarantined}" if unit.quarantined else "ok" for unit in self._parts.units}
        links = [LinkReport(link.name, link.kind, link.up, link.error or None, link.tries) for link in self._links]
        problems = _problems(devices, units, links, buffer)
        silent = _unheard(links, buffer, self._clock.now(), self._parts.delivered.last_acknowledged or self._began)
        problems += silent
        states = {name: state for collector in self._parts.collectors for name, state in collector.devices.items()}
        return Status(
            health="critical" if not buffer.healthy else "degraded" if problems else "ok",
            problems=problems,
            agent=self._agent,
            version=__version__,
            session=self._session,
            process=os.getpid(),
            time=iso(self._clock.now()),
            started=iso(self._started),
            cfg=self._parts.cfg,
            devices=devices,
            units=units,
            links=links,
            delivery=_delivery(self._parts.delivered),
            buffer=buffer,
            warnings=[*self._parts.cautions, *self._faults(), *self._unapplied()],
            faults=[
                *of_agent(units, links, buffer, silent),
                *of_files(self._parts.unapplied),
                *of_devices(states, self._parts.journal.raised()),
            ],
            workers=self._parts.places.reports(),
        )

    def _unapplied(self) -> list[str]:
        fault = self._parts.unapplied
        return [] if fault is None else [f"the files of the configuration are not what runs: {fault.text}"]

    def _faults(self) -> list[str]:
        states = [(name, state) for collector in self._parts.collectors for name, state in collector.devices.items()]
        return [f"device {name}: {text}" for name, state in states for text in state.faults.values()]

    def _devices(self) -> dict[str, DeviceReport]:
        names = self._parts.journal.devices
        return {
            name: DeviceReport(
                *names[name],
                state.up,
                state.ready,
                None if state.last_good is None else iso(state.last_good),
                state.error or None,
                state.fault or None,
            )
            for collector in self._parts.collectors
            for name, state in collector.devices.items()
        }


async def keep_envelope(config: AgentConfig, parts: Parts, buffer: ArchiveBuffer, clock: PlantClock) -> None:
    """Write what the store needs to tell its events without us; streams that it knew before can be published again. Raises StorageError."""
    envelope = await keep(buffer, configured(config), clock.now())
    parts.streams.update(envelope.streams)


def local_api(
    config: AgentConfig, parts: Parts, buffer: ArchiveBuffer, clock: PlantClock, links: Sequence[Link], reload: Reload
) -> AbstractAsyncContextManager[None]:
    """Return what serves the local API of a wired agent while it is entered; it answers while the store cannot be opened, too.

    ``reload`` is what POST /api/reload asks for.
    """
    name, path = config.agent.agent, config.agent.buffer.path
    envelope = Envelope(configured(config).settings, parts.streams)
    desk = BufferDesk(buffer, OUTPUT, path, envelope, parts.forwarder.start_over)
    look = Look(parts, desk, clock, links, agent=name)
    departures = Departures(parts.delivered, envelope, clock)
    figures = Figures(parts, look.status, links, prefix=config.agent.events.type_prefix, speed=clock.speed)
    app = application(look.status, desk, verbs=True, tail=departures.lines, reload=reload, metrics=figures.families)
    view = None if parts.latest is None else PageView(parts, parts.latest, look.status, departures, clock)
    page = page_served(config.agent.web, view, [metrics_route(figures.families)])
    export = exporting(config.agent.otel, figures.families, name, __version__)
    return _served(serving(app, socket_of(name, path)), page, export, departures)


@asynccontextmanager
async def _served(
    server: AbstractAsyncContextManager[None],
    page: AbstractAsyncContextManager[None],
    export: AbstractAsyncContextManager[None],
    departures: Departures,
) -> AsyncIterator[None]:
    """Serve and export; whoever listens is let go first, else the servers would wait for them."""
    async with server, page, export:
        try:
            yield
        finally:
            departures.close()


def _problems(
    devices: Mapping[str, DeviceReport], units: Mapping[str, str], links: Sequence[LinkReport], buffer: BufferReport
) -> list[str]:
    """Return in words what is wrong."""
    found = [] if buffer.healthy else [f"buffer: {buffer.detail}"]
    if (warning := failpoint.warning()) is not None:
        found.append(warning)
    if buffer.full:
        found.append(
            f"buffer: full; {buffer.dropped:,} undelivered records were dropped since the start, declared by collection.gap "
            "(buffer.max_bytes, buffer.min_free)"
        )
    found += [f"unit {name}: {state}" for name, state in units.items() if state != "ok"]
    found += [f"{link.name}: {link.error or 'not connected yet'}" for link in links if link.kind == "mqtt" and not link.up]
    for name, device in devices.items():
        if not device.up or not device.ready:
            found.append(f"device {name}: {device.error or 'no reading yet'}")
    return found


def _unheard(links: Sequence[LinkReport], buffer: BufferReport, now: int, since: float) -> list[str]:
    """Say which connection is up and confirms nothing, ``since`` (s, monotonic), though records wait for as long; ``now`` is plant time.

    Each such connection ends at `ack_timeout` and comes up again at once: no look at the link alone would show it.
    """
    silent = time.monotonic() - since
    if silent < _SILENT or buffer.oldest is None or now - parse(buffer.oldest) < _SILENT * 1e9:
        return []
    waiting = buffer.waiting_events + buffer.waiting_telemetry
    return [
        f"{link.name}: connected, but nothing was acknowledged for {silent:.0f} s; {waiting:,} records wait"
        for link in links
        if link.kind == "mqtt" and link.up
    ]


def _delivery(delivered: Delivered) -> DeliveryReport:
    waits = sorted(delivered.waits)
    last = delivered.last_acknowledged
    return DeliveryReport(
        sent=delivered.sent,
        rejected=delivered.rejected,
        last_acknowledged_age=None if last is None else round(time.monotonic() - last, 3),
        wait_p50=round(waits[len(waits) // 2] * 1e3, 3) if waits else None,
        wait_p95=round(waits[len(waits) * 95 // 100] * 1e3, 3) if waits else None,
    )
