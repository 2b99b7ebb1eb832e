"""From a validated configuration to the objects of one agent, wired but not running."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from edge_agent.agent.announce import Announcer
from edge_agent.agent.clock import WallClock
from edge_agent.agent.collect import Collector, Deliver
from edge_agent.agent.discipline import Discipline
from edge_agent.agent.envelope import agent_stream, checkpointed, streams_of, topics_of
from edge_agent.agent.forward import Delivered, Forwarder
from edge_agent.agent.hold import Hold
from edge_agent.agent.journal import Journal
from edge_agent.agent.mes import MesContext
from edge_agent.agent.succeed import Origin
from edge_agent.agent.threshold import Read, Threshold
from edge_agent.agent.unit import Unit
from edge_agent.agent.values import Values
from edge_agent.agent.valuetopics import values_of
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events import catalog as events
from edge_agent.events.derive import OUTSIDE_WAIT, SETTLE
from edge_agent.events.shift import Calendar
from edge_agent.events.snapshot import meta_document
from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.reading import Mark, Tag
from edge_agent.ports import Buffer, DeviceWiring, Driver, Identity, PlantClock
from edge_agent.publish.topics import StreamInfo, Topics

OUTPUT = "mqtt"
"""The name of the output whose delivery decides what may be evicted."""


_UNDER_WAY = 200_000_000
"""Machine ns that a reading may be under way: in scaled time a boundary waits for it that many times longer."""


@dataclass(frozen=True)
class Endpoint:
    """One connection: its name for people, and how to open it."""

    name: str
    open: Callable[[], AbstractAsyncContextManager[Driver]]


@dataclass(frozen=True)
class Parts:
    """Everything the supervisor runs; ``collectors[i]`` uses ``endpoints[i]``."""

    buffer: Buffer
    journal: Journal
    units: Sequence[Unit]
    collectors: Sequence[Collector]
    endpoints: Sequence[Endpoint]
    forwarder: Forwarder
    delivered: Delivered
    announcer: Announcer
    topics: Topics
    hold: Hold
    streams: dict[str, StreamInfo]
    mes: MesContext
    values: Values | None


def build(config: AgentConfig, buffer: Buffer, clock: PlantClock) -> Parts:
    """Wire one agent; opens nothing."""
    settings = config.agent
    prefix, cfg = settings.events.type_prefix, config.fingerprint
    topics = topics_of(config)
    names = {device.device: (device.driver, drivers.endpoint(device)) for device in config.devices}
    journal = Journal(agent_stream(settings.agent), buffer, clock, prefix=prefix, cfg=cfg, devices=names)
    units = _units(config, buffer, clock, prefix, cfg)
    journal.trust = Discipline() if isinstance(clock, WallClock) else None  # the demo's clock is its own reference
    for unit in units:
        unit.trust = journal.trust
    hold = Hold()
    values = values_of(config)
    collectors, endpoints = _collectors(config, units, journal, clock, hold, values)
    _route_effects(units, collectors)
    _thresholds(config, collectors)
    paths = [EquipmentPath((*(unit.path or settings.site), unit.unit)) for unit in config.units]
    announcer = Announcer(buffer, clock, topics, dict(zip(paths, units, strict=True)), collectors, uuid4().hex)
    metas = {unit.unit: unit for unit in config.units}
    tags = _tags(config)
    announcer.meta = lambda unit: meta_document(metas[unit.name], tags=tags, cfg=cfg)
    delivered = Delivered()
    return Parts(
        buffer=buffer,
        journal=journal,
        units=units,
        collectors=collectors,
        endpoints=endpoints,
        forwarder=Forwarder(buffer, OUTPUT, delivered, drain_rate=settings.mqtt.drain_rate),
        delivered=delivered,
        announcer=announcer,
        topics=topics,
        hold=hold,
        streams=streams_of(config),
        mes=_mes(config, units, collectors, clock, journal),
        values=values,
    )


def _mes(
    config: AgentConfig, units: Sequence[Unit], collectors: Sequence[Collector], clock: PlantClock, journal: Journal
) -> MesContext:
    """Return who hears what the MES says of the units."""
    readers = {
        unit.unit: [one for one in collectors if one.devices.keys() & {ref.partition(".")[0] for ref in events.inputs(unit)}]
        for unit in config.units
    }
    mes = MesContext([(unit, events.topics_of(each)) for unit, each in zip(units, config.units, strict=True)], readers, clock)
    mes.tell = journal.write
    return mes


def origin_of(config: AgentConfig, buffer: SqliteBuffer, clock: PlantClock) -> Origin:
    """Return who decides whether the store is the one that the broker knows."""
    prefix, cfg = config.agent.events.type_prefix, config.fingerprint
    return Origin(buffer, clock, topics_of(config), checkpointed(config), prefix=prefix, cfg=cfg)


def _tags(config: AgentConfig) -> dict[str, Tag]:
    return {tag.ref: tag for device in config.devices for tag in drivers.tags_of(device)}


def _units(config: AgentConfig, buffer: Buffer, clock: PlantClock, prefix: str, cfg: str) -> list[Unit]:
    settings = config.agent
    calendar = Calendar(settings.shifts, settings.time_zone) if settings.shifts else None
    settle = max(SETTLE, round(_UNDER_WAY * clock.speed))
    outside = max(OUTSIDE_WAIT, round(OUTSIDE_WAIT * clock.speed))
    by_device = {device.device: drivers.tags_of(device) for device in config.devices}
    return [
        Unit(
            unit.unit,
            events.fold_of(unit, devices=by_device, calendar=calendar, prefix=prefix, cfg=cfg, settle=settle, outside=outside),
            buffer,
            clock,
            prefix=prefix,
            cfg=cfg,
        )
        for unit in config.units
    ]


def _collectors(
    config: AgentConfig, units: Sequence[Unit], journal: Journal, clock: PlantClock, hold: Hold, values: Values | None
) -> tuple[list[Collector], list[Endpoint]]:
    readers: dict[str, list[Deliver]] = defaultdict(list)
    wiring: dict[str, DeviceWiring] = {}
    folding: dict[str, list[Unit]] = defaultdict(list)
    for unit_config, unit in zip(config.units, units, strict=True):
        for device in {ref.partition(".")[0] for ref in events.inputs(unit_config)}:
            readers[device].append(hold.door(unit.deliver))
            folding[device].append(unit)
        for device, wanted in events.wiring_of(unit_config).items():
            wiring[device] = wiring.get(device, DeviceWiring()).also(wanted)
    groups: dict[Hashable, list[drivers.DeviceConfig]] = defaultdict(list)
    for device_config in config.devices:
        readers[device_config.device].append(hold.door(journal.deliver))
        if values is not None and device_config.device in values.devices:
            readers[device_config.device].append(values.deliver)
        groups[drivers.link(device_config)].append(device_config)
    collectors, endpoints = [], []
    for devices in groups.values():
        names = [device.device for device in devices]
        collectors.append(Collector(names, {name: readers[name] for name in names}, clock))
        endpoints.append(
            Endpoint(
                ", ".join(names),
                _opener(devices, clock, {name: wiring.get(name, DeviceWiring()) for name in names}, config.identity, folding),
            )
        )
    return collectors, endpoints


def _opener(
    devices: Sequence[drivers.DeviceConfig],
    clock: PlantClock,
    wiring: dict[str, DeviceWiring],
    identity: Identity,
    folding: Mapping[str, Sequence[Unit]],
) -> Callable[[], AbstractAsyncContextManager[Driver]]:
    """Return how to connect; each time from where the units that read a device have it by then."""
    return lambda: drivers.connect(
        devices, clock, {name: _from_here(wired, name, folding.get(name, ())) for name, wired in wiring.items()}, identity
    )


def _from_here(wired: DeviceWiring, device: str, units: Sequence[Unit]) -> DeviceWiring:
    """Return ``wired`` with how far each unit has the device; one that is set aside or does not know takes everything anew."""
    folding = [unit for unit in units if unit.quarantined is None]

    def stored() -> tuple[Mark, ...]:
        return _all_of([unit.stored(device) for unit in folding if unit.quarantined is None])

    marks = _all_of([unit.reached(device) for unit in folding])
    return msgspec.structs.replace(wired, marks=marks, returns=bool(folding), stored=stored)


def _all_of(marks: Sequence[Mark | None]) -> tuple[Mark, ...]:
    """Return the marks where everybody has one, else none."""
    known = tuple(mark for mark in marks if mark is not None)
    return known if len(known) == len(marks) else ()


def _thresholds(config: AgentConfig, collectors: Sequence[Collector]) -> None:
    """Have the counters of a unit read before a change of its context, which a device of another endpoint names, goes on to it."""
    owner = {name: collector for collector in collectors for name in collector.devices}
    indexes = {(device.device, tag.name): index for device in config.devices for index, tag in enumerate(drivers.tags_of(device))}
    named: dict[str, dict[int, list[Read]]] = defaultdict(dict)
    for unit in config.units:
        counting = {owner[one.tag.partition(".")[0]] for one in unit.counters.values() if one.tag.partition(".")[0] in owner}
        for device, wired in events.wiring_of(unit).items():
            elsewhere = [collector.read_now for collector in counting if collector is not owner.get(device)]
            for name in wired.boundary if elsewhere else ():
                if (device, name) in indexes:
                    named[device].setdefault(indexes[device, name], []).extend(elsewhere)
    if named:
        threshold = Threshold(named)
        for device in named:
            owner[device].threshold = threshold.cross


def _route_effects(units: Sequence[Unit], collectors: Sequence[Collector]) -> None:
    """Give every unit the way to the device whose handshake tag it acknowledges."""
    by_device = {name: collector for collector in collectors for name in collector.devices}
    for unit in units:
        unit.effect = lambda effect: by_device[effect.tag.partition(".")[0]].acknowledge(effect)
