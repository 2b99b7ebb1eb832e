"""Which tags of which device are shown on which topics, from the configuration."""

from __future__ import annotations

from collections import defaultdict

from edge_agent.agent.envelope import topics_of
from edge_agent.agent.values import Values
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.model.equipment import EquipmentPath


def values_of(config: AgentConfig) -> Values | None:
    """Return who mirrors the telemetry tags of all units, None where nobody asked for that."""
    mqtt, topics = config.agent.mqtt, topics_of(config)
    if mqtt.values is None:
        return None
    shown: dict[str, list[str]] = defaultdict(list)
    for unit in config.units:
        path = EquipmentPath((*(unit.path or config.agent.site), unit.unit))
        for ref in dict.fromkeys(unit.telemetry.tags if unit.telemetry is not None else ()):
            device, _, tag = ref.partition(".")
            shown[ref].append(topics.value(path, mqtt.value_level, device, tag))
    devices = {device.device: [tuple(shown.get(tag.ref, ())) for tag in drivers.tags_of(device)] for device in config.devices}
    return Values(devices, every=mqtt.values.every, expiry=mqtt.values.expiry)
