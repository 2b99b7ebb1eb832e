"""Who hears which device, which devices share a connection, and what is asked of each: from a configuration and the units that run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache

import msgspec

from edge_agent.agent.collect import Collector, Deliver
from edge_agent.agent.hold import Hold
from edge_agent.agent.journal import Journal
from edge_agent.agent.latest import Latest
from edge_agent.agent.threshold import Read, Threshold
from edge_agent.agent.unit import Unit
from edge_agent.agent.values import Values
from edge_agent.agent.worker.process import Worker
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events import catalog as events
from edge_agent.model.reading import Mark
from edge_agent.ports import DeviceWiring, Driver, Identity, PlantClock

Folding = dict[str, list[Unit]]
"""The units that fold each device, by its name; changed in place when units are exchanged, so that an open connection knows the present ones."""


@dataclass(frozen=True)
class Endpoint:
    """One connection: its name for people, and how to open it."""

    name: str
    open: Callable[[], AbstractAsyncContextManager[Driver]]


def lines_of(config: AgentConfig) -> list[list[drivers.DeviceConfig]]:
    """Return the devices by connection, in the order of the configuration."""
    lines: dict[Hashable, list[drivers.DeviceConfig]] = defaultdict(list)
    for device in config.devices:
        lines[drivers.link(device)].append(device)
    return list(lines.values())


def loads_of(config: AgentConfig) -> dict[tuple[str, ...], int]:
    """Return how many tags each connection has, by the names of its devices."""
    return {
        tuple(device.device for device in line): sum(len(drivers.tags_of(device)) for device in line) for line in lines_of(config)
    }


def wired(config: AgentConfig) -> dict[str, DeviceWiring]:
    """Return what all units together ask of each device beyond its tags."""
    wiring: dict[str, DeviceWiring] = {}
    for unit in config.units:
        for device, wanted in events.wiring_of(unit).items():
            wiring[device] = wiring.get(device, DeviceWiring()).also(wanted)
    return wiring


def folding_of(config: AgentConfig, units: Sequence[Unit]) -> Folding:
    """Return which of ``units``, in the order of the configuration, read each device."""
    folding: Folding = defaultdict(list)
    for unit_config, unit in zip(config.units, units, strict=True):
        for device in {ref.partition(".")[0] for ref in events.inputs(unit_config)}:
            folding[device].append(unit)
    return folding


def readers_of(
    config: AgentConfig, folding: Folding, journal: Journal, hold: Hold, values: Values | None, latest: Latest | None
) -> dict[str, list[Deliver]]:
    """Return for each device everybody who must commit before a batch is accepted."""
    readers: dict[str, list[Deliver]] = {}
    for device in (each.device for each in config.devices):
        heard = [hold.door(unit.deliver) for unit in folding.get(device, ())]
        heard.append(hold.door(journal.deliver))
        if values is not None and device in values.devices:
            heard.append(values.deliver)
        if latest is not None:
            heard.append(latest.deliver)
        readers[device] = heard
    return readers


def opener(
    devices: Sequence[drivers.DeviceConfig],
    clock: PlantClock,
    wiring: Mapping[str, DeviceWiring],
    identity: Identity,
    folding: Folding,
    worker: Worker | None = None,
) -> Callable[[], AbstractAsyncContextManager[Driver]]:
    """Return how to connect, here or in a worker; each time from where the units that read a device have it by then."""
    asked = {device.device: wiring.get(device.device, DeviceWiring()) for device in devices}

    def open_() -> AbstractAsyncContextManager[Driver]:
        here = {name: _from_here(wanted, name, folding) for name, wanted in asked.items()}
        return drivers.connect(devices, clock, here, identity) if worker is None else worker.connect(devices, here, identity)

    return open_


def _from_here(wanted: DeviceWiring, device: str, folding: Folding) -> DeviceWiring:
    """Return ``wanted`` with how far each unit has the device; one that is set aside or does not know takes everything anew."""

    def present() -> list[Unit]:
        return [unit for unit in folding.get(device, ()) if unit.quarantined is None]

    def stored() -> tuple[Mark, ...]:
        return _all_of([unit.stored(device) for unit in present()])

    marks = _all_of([unit.reached(device) for unit in present()])
    return msgspec.structs.replace(wanted, marks=marks, returns=bool(present()), stored=stored)


def _all_of(marks: Sequence[Mark | None]) -> tuple[Mark, ...]:
    """Return the marks where everybody has one, else none."""
    known = tuple(mark for mark in marks if mark is not None)
    return known if len(known) == len(marks) else ()


def set_thresholds(config: AgentConfig, collectors: Sequence[Collector]) -> None:
    """Have the counters of a unit read before a change of its context, which a device of another endpoint names, goes on to it."""
    owner = {name: collector for collector in collectors for name in collector.devices}
    for collector in collectors:
        collector.threshold = None
    devices = {device.device: device for device in config.devices}

    @cache
    def indexes(device: str) -> dict[str, int]:
        return {tag.name: index for index, tag in enumerate(drivers.tags_of(devices[device]))}

    named: dict[str, dict[int, list[Read]]] = defaultdict(dict)
    for unit in config.units:
        counting = {owner[one.tag.partition(".")[0]] for one in unit.counters.values() if one.tag.partition(".")[0] in owner}
        for device, asked in events.wiring_of(unit).items():
            elsewhere = [collector.read_now for collector in counting if collector is not owner.get(device)]
            for name in asked.boundary if elsewhere else ():
                if device in devices and name in indexes(device):
                    named[device].setdefault(indexes(device)[name], []).extend(elsewhere)
    if named:
        threshold = Threshold(named)
        for device in named:
            owner[device].threshold = threshold.cross


def route_effects(units: Sequence[Unit], collectors: Sequence[Collector]) -> None:
    """Give every unit the way to the device whose handshake tag it acknowledges."""
    by_device = {name: collector for collector in collectors for name in collector.devices}
    for unit in units:
        unit.effect = lambda effect: by_device[effect.tag.partition(".")[0]].acknowledge(effect)


def listeners_of(config: AgentConfig, collectors: Sequence[Collector]) -> dict[str, list[Collector]]:
    """Return for each unit the collectors that read its devices."""
    return {
        unit.unit: [one for one in collectors if one.devices.keys() & {ref.partition(".")[0] for ref in events.inputs(unit)}]
        for unit in config.units
    }
