"""From a validated configuration to the objects of one agent, wired but not running."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from edge_agent.agent.announce import Announcer
from edge_agent.agent.clock import WallClock
from edge_agent.agent.collect import Collector, Deliver
from edge_agent.agent.discipline import Discipline
from edge_agent.agent.envelope import agent_stream, checkpointed, streams_of, topics_of
from edge_agent.agent.faults import AgentFault
from edge_agent.agent.forward import Delivered, Forwarder
from edge_agent.agent.hold import Hold
from edge_agent.agent.journal import Journal
from edge_agent.agent.latest import Latest
from edge_agent.agent.mes import MesContext
from edge_agent.agent.succeed import Origin
from edge_agent.agent.unit import Unit
from edge_agent.agent.values import Values
from edge_agent.agent.valuetopics import values_of
from edge_agent.agent.vitals import Vitals
from edge_agent.agent.wiring import (
    Endpoint,
    Folding,
    folding_of,
    lines_of,
    listeners_of,
    loads_of,
    opener,
    readers_of,
    route_effects,
    set_thresholds,
    wired,
)
from edge_agent.agent.worker.places import Places
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events import catalog as events
from edge_agent.events.derive import OUTSIDE_WAIT, SETTLE, Fold
from edge_agent.events.shift import Calendar
from edge_agent.events.snapshot import meta_document
from edge_agent.model.equipment import EquipmentPath
from edge_agent.ports import Buffer, DeviceWiring, PlantClock
from edge_agent.publish.topics import StreamInfo, Topics

OUTPUT = "mqtt"
"""The name of the output whose delivery decides what may be evicted."""


_UNDER_WAY = 200_000_000
"""Machine ns that a reading may be under way: in scaled time a boundary waits for it that many times longer."""


@dataclass
class Parts:
    """Everything the supervisor runs; ``collectors[i]`` uses ``endpoints[i]``. A reload exchanges some of it in place.

    ``cautions`` are the configuration's; ``unapplied`` is why what stands in the files now does not run, None while it does.
    """

    buffer: Buffer
    journal: Journal
    units: Sequence[Unit]
    collectors: Sequence[Collector]
    endpoints: Sequence[Endpoint]
    folding: Folding
    forwarder: Forwarder
    delivered: Delivered
    announcer: Announcer
    topics: Topics
    hold: Hold
    streams: dict[str, StreamInfo]
    mes: MesContext
    values: Values | None
    vitals: Vitals
    tags: dict[str, int]
    cfg: str
    cautions: tuple[str, ...]
    places: Places
    unapplied: AgentFault | None = None
    latest: Latest | None = None


def build(config: AgentConfig, buffer: Buffer, clock: PlantClock) -> Parts:
    """Wire one agent; opens nothing."""
    settings = config.agent
    prefix, cfg = settings.events.type_prefix, config.fingerprint
    topics = topics_of(config)
    journal = Journal(agent_stream(settings.agent), buffer, clock, prefix=prefix, cfg=cfg, devices=endpoints_of(config))
    units = [Unit(name, fold, buffer, clock, prefix=prefix, cfg=cfg) for name, fold in folds_of(config, clock).items()]
    journal.trust = Discipline() if isinstance(clock, WallClock) else None  # the demo's clock is its own reference
    for unit in units:
        unit.trust, unit.made = journal.trust, journal.made
    hold = Hold()
    values = values_of(config)
    latest = _latest(config, clock)
    folding = folding_of(config, units)
    readers, wiring = readers_of(config, folding, journal, hold, values, latest), wired(config)
    collectors = [collector_of(line, readers, clock) for line in lines_of(config)]
    places = Places(settings.workers)
    places.assign(loads_of(config))
    endpoints = [endpoint_of(line, config, clock, wiring, folding, places) for line in lines_of(config)]
    route_effects(units, collectors)
    set_thresholds(config, collectors)
    announcer = Announcer(buffer, clock, topics, places_of(config, units), collectors, uuid4().hex)
    announcer.meta = metas_of(config)
    vitals = Vitals(settings.buffer.path, certificates_of(config))
    presence = announcer.presence
    presence.vitals, presence.cfg, presence.trust, presence.raised = vitals, cfg, journal.trust, journal.raised
    delivered = Delivered()
    parts = Parts(
        buffer=buffer,
        journal=journal,
        units=units,
        collectors=collectors,
        endpoints=endpoints,
        folding=folding,
        forwarder=Forwarder(buffer, OUTPUT, delivered, drain_rate=settings.mqtt.drain_rate),
        delivered=delivered,
        announcer=announcer,
        topics=topics,
        hold=hold,
        streams=streams_of(config),
        mes=mes_of(config, units, collectors, clock, journal),
        values=values,
        cfg=cfg,
        cautions=config.cautions,
        places=places,
        latest=latest,
        vitals=vitals,
        tags=tags_in(config, {}),
    )
    presence.unapplied = lambda: parts.unapplied
    return parts


def _latest(config: AgentConfig, clock: PlantClock) -> Latest | None:
    """Return what holds the newest samples, where somebody may look at them."""
    if config.agent.web is None:
        return None
    return Latest({device.device: drivers.tags_of(device) for device in config.devices}, clock.now())


def endpoints_of(config: AgentConfig) -> dict[str, tuple[str, str]]:
    """Return driver and endpoint of each device, by its name."""
    return {device.device: (device.driver, drivers.endpoint(device)) for device in config.devices}


def collector_of(line: Sequence[drivers.DeviceConfig], readers: Mapping[str, Sequence[Deliver]], clock: PlantClock) -> Collector:
    """Return who collects from the devices of one connection."""
    names = [device.device for device in line]
    return Collector(names, {name: readers[name] for name in names}, clock)


def endpoint_of(
    line: Sequence[drivers.DeviceConfig],
    config: AgentConfig,
    clock: PlantClock,
    wiring: Mapping[str, DeviceWiring],
    folding: Folding,
    places: Places,
) -> Endpoint:
    """Return one connection, in the worker that has a place for it."""
    names = tuple(device.device for device in line)
    return Endpoint(", ".join(names), opener(line, clock, wiring, config.identity, folding, places.of(names)))


def places_of(config: AgentConfig, units: Sequence[Unit]) -> dict[EquipmentPath, Unit]:
    """Return ``units``, in the order of the configuration, by their place in the plant."""
    paths = [EquipmentPath((*(unit.path or config.agent.site), unit.unit)) for unit in config.units]
    return dict(zip(paths, units, strict=True))


def metas_of(config: AgentConfig) -> Callable[[Unit], bytes]:
    """Return what makes the ``_meta`` document of a unit."""
    metas, cfg = {unit.unit: unit for unit in config.units}, config.fingerprint
    tags = {tag.ref: tag for device in config.devices for tag in drivers.tags_of(device)}
    return lambda unit: meta_document(metas[unit.name], tags=tags, cfg=cfg)


def mes_of(
    config: AgentConfig, units: Sequence[Unit], collectors: Sequence[Collector], clock: PlantClock, journal: Journal
) -> MesContext:
    """Return who hears what the MES says of the units."""
    sources = [(unit, events.topics_of(each)) for unit, each in zip(units, config.units, strict=True)]
    mes = MesContext(sources, listeners_of(config, collectors), clock)
    mes.tell = journal.write
    return mes


def tags_in(config: AgentConfig, known: Mapping[str, int]) -> dict[str, int]:
    """Return how many tags each device has; of those in ``known`` that is said."""
    return {
        device.device: known[device.device] if device.device in known else len(drivers.tags_of(device)) for device in config.devices
    }


def certificates_of(config: AgentConfig) -> dict[str, Path]:
    """Return the files of all certificates that the agent uses or trusts, by what they are for."""
    found: dict[str, Path] = {}
    outputs = {OUTPUT: config.agent.mqtt, **config.agent.outputs}
    for name, output in outputs.items():
        if output.tls is not None:
            files = {name: output.tls.cert, f"{name} ca": output.tls.ca}
            found |= {which: file for which, file in files.items() if isinstance(file, Path)}
    for device in config.devices:
        found |= drivers.certificates(device, config.identity)
    return found


def origin_of(config: AgentConfig, buffer: SqliteBuffer, clock: PlantClock) -> Origin:
    """Return who decides whether the store is the one that the broker knows."""
    prefix, cfg = config.agent.events.type_prefix, config.fingerprint
    return Origin(buffer, clock, topics_of(config), checkpointed(config), prefix=prefix, cfg=cfg)


def folds_of(config: AgentConfig, clock: PlantClock) -> dict[str, Fold]:
    """Return the fold of each unit by its name, in the order of the configuration."""
    settings, cfg = config.agent, config.fingerprint
    calendar = Calendar(settings.shifts, settings.time_zone) if settings.shifts else None
    settle = max(SETTLE, round(_UNDER_WAY * clock.speed))
    outside = max(OUTSIDE_WAIT, round(OUTSIDE_WAIT * clock.speed))
    by_device = {device.device: drivers.tags_of(device) for device in config.devices}
    prefix = settings.events.type_prefix
    return {
        unit.unit: events.fold_of(
            unit, devices=by_device, calendar=calendar, prefix=prefix, cfg=cfg, settle=settle, outside=outside
        )
        for unit in config.units
    }
