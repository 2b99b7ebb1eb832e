"""What is different between two configurations, in the parts that an agent can exchange while it runs. Pure.

A part is compared by everything that gives it its meaning: a unit with the tags of its devices and the calendar, a connection with its devices and
what the units ask of them. Two parts with one digest behave alike, so the one that runs stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from edge_agent.agent.wiring import lines_of, wired
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events import catalog as events
from edge_agent.model.condition import CONDITION
from edge_agent.ports import DeviceWiring

_LIVE = frozenset({"version", "devices", "units", "shifts", "time_zone"})
"""Members of agent.yaml that may change: they are compared where they are used."""

_STANDING = frozenset({"root", "profile", "topics", "format", "dataschema"})
"""Members of ``mqtt`` that decide where records stand and how they look: what waits in the store was made for them."""


class Changes(NamedTuple):
    """Names, in the order of the configuration they stand in."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    same: tuple[str, ...] = ()

    @property
    def some(self) -> bool:
        """Whether anything is different."""
        return bool(self.added or self.removed or self.changed)


class Difference(NamedTuple):
    """``standing`` are settings that cannot change while the agent runs; with one of them nothing else counts.

    ``lines`` are the connections that stay, each by the names of its devices; ``broker``: the connection to the broker has to be made anew.
    """

    standing: tuple[str, ...]
    units: Changes
    devices: Changes
    lines: frozenset[tuple[str, ...]]
    broker: bool

    @property
    def some(self) -> bool:
        """Whether anything is different."""
        return bool(self.standing or self.units.some or self.devices.some or self.broker)

    def words(self) -> list[str]:
        """Return what is different, in words."""
        kinds = (("device", self.devices), ("unit", self.units))
        told = [
            f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)} {what}"
            for kind, changes in kinds
            for what, names in (("changed", changes.changed), ("new", changes.added), ("removed", changes.removed))
            if names
        ]
        return [*told, *(["connection to the broker made anew"] if self.broker else [])]


def difference(old: AgentConfig, new: AgentConfig) -> Difference:
    """Compare the configuration that runs with another one."""
    units = _compare(_units(old), _units(new))
    fresh = _to_be_read_anew(new, {*units.added, *units.changed})
    before = _lines(old)
    lines = frozenset(names for names, digest in _lines(new).items() if before.get(names) == digest and fresh.isdisjoint(names))
    devices = _devices(old, new, {name for names in lines for name in names})
    return Difference(_standing(old, new), units, devices, lines, _broker(old, new, units, devices))


def unit_changes(difference: Difference, unit: str) -> str:
    """Return in words why ``unit`` is another one than before."""
    if unit in difference.units.removed:
        return "the unit is not configured any more"
    return "the unit, tags of its devices or the calendar are configured otherwise"


def _compare(old: Mapping[str, str], new: Mapping[str, str]) -> Changes:
    return Changes(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and new[name] != old[name]),
        tuple(name for name in new if new[name] == old.get(name)),
    )


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _units(config: AgentConfig) -> dict[str, str]:
    tags = {device.device: msgspec.json.encode(drivers.tags_of(device)) for device in config.devices}
    agent = config.agent
    calendar = (agent.time_zone, {name: shift.model_dump_json() for name, shift in agent.shifts.items()}) if agent.shifts else None
    return {
        unit.unit: _digest(unit.model_dump_json(), [(name, tags.get(name)) for name in _read_by(unit)], calendar)
        for unit in config.units
    }


def _read_by(unit: events.UnitConfig) -> Sequence[str]:
    return sorted({ref.partition(".")[0] for ref in events.inputs(unit)})


def _lines(config: AgentConfig) -> dict[tuple[str, ...], str]:
    asked = wired(config)
    return {
        tuple(device.device for device in line): _digest(
            [(device.model_dump_json(), _asked(asked.get(device.device, DeviceWiring()))) for device in line]
        )
        for line in lines_of(config)
    }


def _asked(wiring: DeviceWiring) -> object:
    """Return what makes a connection read otherwise; ``counted`` does so only beside a ``boundary``."""
    boundary = sorted(wiring.boundary)
    triggers = sorted(wiring.triggers, key=lambda trigger: trigger.name)
    return [repr(each) for each in triggers], sorted(wiring.acknowledge), boundary, sorted(wiring.counted) if boundary else ()


def _to_be_read_anew(config: AgentConfig, units: set[str]) -> set[str]:
    """Return the devices that tell what ``units`` want only behind a connect: alarms that stand, records that wait for their acknowledgement."""
    alarms = {device.device for device in config.devices for tag in drivers.tags_of(device) if tag.type == CONDITION}
    found: set[str] = set()
    for unit in config.units:
        if unit.unit in units:
            found |= alarms.intersection(_read_by(unit))
            found |= {name for name, asked in events.wiring_of(unit).items() if asked.triggers}
    return found


def _devices(old: AgentConfig, new: AgentConfig, kept: set[str]) -> Changes:
    """Compare devices; one that is the same on a connection that is not has changed, too: it is connected to anew."""
    before, now = [device.device for device in old.devices], [device.device for device in new.devices]
    return Changes(
        tuple(name for name in now if name not in before),
        tuple(name for name in before if name not in now),
        tuple(name for name in now if name in before and name not in kept),
        tuple(name for name in now if name in kept),
    )


def _standing(old: AgentConfig, new: AgentConfig) -> tuple[str, ...]:
    found: list[str] = []
    before, now = _settings(old), _settings(new)
    for name in before:
        if before[name] == now[name]:
            continue
        if name in {"mqtt", "buffer"}:
            members = before[name].keys() & (_STANDING if name == "mqtt" else before[name].keys())
            found += sorted(f"{name}.{member}" for member in members if before[name][member] != now[name][member])
        else:
            found.append(name)
    return tuple(found)


def _settings(config: AgentConfig) -> dict[str, Any]:
    return config.agent.model_dump(exclude=set(_LIVE))


def _broker(old: AgentConfig, new: AgentConfig, units: Changes, devices: Changes) -> bool:
    """Tell whether the broker has to be spoken to anew: by other settings, or because another set of topics is heard or mirrored."""
    mirrored = new.agent.mqtt.values is not None and (units.some or devices.some)
    restarted = {*units.added, *units.removed, *units.changed}
    heard = any(
        unit.unit in restarted and events.topics_of(unit).sources for unit in (*old.units, *new.units)
    )  # what is retained for a unit comes with the subscription
    return mirrored or heard or old.agent.mqtt != new.agent.mqtt
