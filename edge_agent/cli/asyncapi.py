"""``edge-agent schema asyncapi``: what one configuration publishes and hears, as an AsyncAPI 3.0 document."""

from __future__ import annotations

from typing import Any

from edge_agent import __version__
from edge_agent.agent.envelope import checkpointed, streams_of, topics_of
from edge_agent.config.schema import AgentConfig
from edge_agent.events import catalog
from edge_agent.events.schemas import COMMON, schemas
from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.instant import NS
from edge_agent.publish.address import Broker
from edge_agent.publish.topics import Topics
from edge_agent.status import presence

_BINDING = "0.2.0"
_HERE = "#/components/schemas"
_UNITS = {"event": ("_event", False), "telemetry": ("_telemetry", False), "state": ("_state", True), "meta": ("_meta", True)}
_OWN = "agent_"
_MARK = {
    "type": "object",
    "required": ["epoch", "seq"],
    "properties": {"epoch": {"type": "string"}, "seq": {"type": "integer", "minimum": 0}},
}
_VALUE = {
    "type": "object",
    "required": ["timestamp_ms", "value"],
    "properties": {"timestamp_ms": {"type": "integer"}, "value": {}},
    "additionalProperties": False,
}


def document(config: AgentConfig) -> dict[str, Any]:
    """Return the document of ``config``: a channel for each thing a unit publishes, with the unit as parameter, and those of the agent."""
    settings, topics = config.agent, topics_of(config)
    paths = [EquipmentPath((*(unit.path or settings.site), unit.unit)) for unit in config.units]
    bases = sorted({topics.unit(path).rpartition("/")[0] for path in paths})
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for number, base in enumerate(bases):
        units = [name for prefix, _, name in (topics.unit(path).rpartition("/") for path in paths) if prefix == base]
        for name, (usual, retain) in _UNITS.items():
            tail, parameters = _event(config) if name == "event" else (usual, {})
            parameters = {"unit": {"description": "the work unit", "enum": units}} | parameters
            _add(channels, operations, f"{name}{number or ''}", f"{base}/{{unit}}/{tail}", "send", retain, parameters)
    if settings.mqtt.values is not None:
        _values(channels, operations, config, settings.mqtt.values.expiry // NS)
    _own(channels, operations, config, topics)
    _heard(channels, operations, config, topics)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"edge-agent {settings.agent}", "version": __version__},
        "defaultContentType": "application/json",
        "servers": _servers(config),
        "channels": channels,
        "operations": operations,
        "components": {"messages": _messages(settings.mqtt.format == "flat"), "schemas": _schemas()},
    }


def _event(config: AgentConfig) -> tuple[str, dict[str, Any]]:
    """Return the last levels of an event's topic, and their parameters."""
    level = config.agent.mqtt.event_level
    if config.agent.mqtt.topics == "per_stream":
        return level, {}
    return f"{level}/{{family}}/{{name}}", {
        "family": {"description": "first word of the type"},
        "name": {"description": "the rest of it"},
    }


def _own(channels: dict[str, Any], operations: dict[str, Any], config: AgentConfig, topics: Topics) -> None:
    """Add what the agent says of itself: its own events, whether it is there, and how far each stream is."""
    tail, parameters = _event(config)
    _add(channels, operations, f"{_OWN}event", f"{topics.base}/{tail}", "send", False, parameters)
    _add(channels, operations, "status", topics.status, "send", True, {})
    stream = {"stream": _streams([topics.checkpoint(name) for name in checkpointed(config)])}
    _add(channels, operations, "checkpoint", f"{topics.base}/checkpoint/{{stream}}", "send", True, stream)


def _heard(channels: dict[str, Any], operations: dict[str, Any], config: AgentConfig, topics: Topics) -> None:
    """Add what the agent listens to: commands, the consumer's marks, and what the MES says of the units."""
    if config.agent.mqtt.commands:
        command = {"command": {"description": "what is asked", "enum": list(config.agent.mqtt.commands)}}
        _add(channels, operations, "command", f"{topics.base}/cmd/{{command}}", "receive", False, command)
    if config.agent.buffer.confirm:
        stream = {"stream": _streams([topics.confirmed(name) for name in streams_of(config)])}
        _add(channels, operations, "confirmed", f"{topics.base}/confirmed/{{stream}}", "receive", True, stream)
    told = dict.fromkeys(source.mqtt for unit in config.units for _, source in catalog.topics_of(unit).sources)
    for number, topic in enumerate(told):
        _add(channels, operations, f"context{number or ''}", topic, "receive", True, {})


def _streams(topics: list[str]) -> dict[str, Any]:
    return {"description": "an event stream", "enum": [topic.rpartition("/")[2] for topic in topics]}


def _values(channels: dict[str, Any], operations: dict[str, Any], config: AgentConfig, expiry: int) -> None:
    """Add the mirrored values: a channel for each unit, for each has tags of its own."""
    topics, level = topics_of(config), config.agent.mqtt.value_level
    shown = [(unit, unit.telemetry.tags) for unit in config.units if unit.telemetry is not None and unit.telemetry.tags]
    for number, (unit, refs) in enumerate(shown):
        base = topics.unit(EquipmentPath((*(unit.path or config.agent.site), unit.unit)))
        parts = [ref.partition(".") for ref in refs]
        devices, tags = sorted({device for device, _, _ in parts}), sorted({tag for _, _, tag in parts})
        parameters = {"device": {"description": "the device", "enum": devices}, "tag": {"description": "a tag of it", "enum": tags}}
        _add(channels, operations, f"value{number or ''}", f"{base}/{level}/{{device}}/{{tag}}", "send", True, parameters)
        operations[f"send_value{number or ''}"]["bindings"]["mqtt"]["messageExpiryInterval"] = expiry


def _servers(config: AgentConfig) -> dict[str, Any]:
    mqtt, topics = config.agent.mqtt, topics_of(config)
    last_will = {"topic": topics.status, "qos": 1, "retain": True, "message": "offline"}
    binding = {"clientId": mqtt.client_id or config.agent.agent, "cleanSession": True, "lastWill": last_will}
    binding |= {"keepAlive": round(mqtt.keepalive / 1e9), "sessionExpiryInterval": 30, "bindingVersion": _BINDING}
    return {
        f"broker{place or ''}": {"host": broker.where, **_protocol(broker), "bindings": {"mqtt": binding}}
        for place, broker in enumerate(mqtt.brokers)
    }


def _protocol(broker: Broker) -> dict[str, str]:
    if broker.websocket:
        return {"protocol": broker.scheme, "pathname": broker.path, "description": "MQTT in WebSocket frames"}
    return {"protocol": "secure-mqtt" if broker.encrypted else "mqtt"}


def _add(
    channels: dict[str, Any],
    operations: dict[str, Any],
    name: str,
    address: str,
    action: str,
    retain: bool,
    parameters: dict[str, Any],
) -> None:
    kind = name.rstrip("0123456789").removeprefix(_OWN)
    message = {"$ref": f"#/components/messages/{kind}"}
    channels[name] = {"address": address, "messages": {kind: message}} | ({"parameters": parameters} if parameters else {})
    binding: dict[str, Any] = {"qos": 1, "bindingVersion": _BINDING}
    if action == "send":
        binding["retain"] = retain
        if kind == "state":
            binding["messageExpiryInterval"] = 30
    operations[f"{action}_{name}"] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{kind}"}],
        "bindings": {"mqtt": binding},
    }


def _messages(flat: bool) -> dict[str, Any]:
    event = "application/json" if flat else "application/cloudevents+json; charset=utf-8"
    open_ = {"type": "object", "additionalProperties": True}
    events = [{"$ref": f"{_HERE}/{name}"} for name in schemas() if name != COMMON]
    data = {"anyOf": events}
    shape = data if flat else {"type": "object", "required": ["id", "source", "type", "data"], "properties": {"data": data}}
    return (
        {
            "event": {"name": "event", "contentType": event, "payload": shape, "bindings": {"mqtt": {"bindingVersion": _BINDING}}},
            "telemetry": {"name": "telemetry", "contentType": event, "payload": open_},
        }
        | {
            name: {"name": name, "contentType": "application/json", "payload": open_}
            for name in ("state", "meta", "checkpoint", "command")
        }
        | {"status": {"name": "status", "contentType": "application/json", "payload": presence.schemas(_HERE)[0]}}
        | {"confirmed": {"name": "confirmed", "contentType": "application/json", "payload": _MARK}}
        | {"context": {"name": "context", "summary": "what the MES says of a unit", "payload": {}}}
        | {"value": {"name": "value", "contentType": "application/json", "payload": _VALUE}}
    )


def _schemas() -> dict[str, Any]:
    """Return the schemas of all types with their references inside this document."""
    found: dict[str, Any] = {}
    for name, schema in schemas().items():
        one = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
        if "allOf" in one:
            one["allOf"] = [{"$ref": f"{_HERE}/{COMMON}"}]
        found[name] = one
    return {**found, **presence.schemas(_HERE)[1]}
