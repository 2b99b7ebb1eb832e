"""What a CloudEvent says beyond its record, kept in the store: so that its events can be read when neither agent nor configuration is left.

It also remembers streams whose unit has gone from the configuration while records of it still waited.
"""

from __future__ import annotations

import msgspec

from edge_agent.config.schema import AgentConfig
from edge_agent.events.schemas import versions
from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.errors import ConfigError
from edge_agent.model.stream import Checkpoint
from edge_agent.ports import Buffer
from edge_agent.publish.cloudevents import Encoder
from edge_agent.publish.topics import StreamInfo, Topics

_OWNER = "_envelope"
_SETTINGS = "settings"
_STREAM = "stream "


class Settings(msgspec.Struct, frozen=True):
    """What is the same for all streams: the agent's name and topics, type prefix, template of the schema, one topic per type or not."""

    agent: str
    root: str
    site: tuple[str, ...]
    prefix: str
    schema: str
    per_type: bool
    flat: bool = False
    event: str = "_event"


class Envelope(msgspec.Struct, frozen=True):
    """Settings and streams by their name in the buffer."""

    settings: Settings
    streams: dict[str, StreamInfo]

    def encoder(self) -> Encoder:
        """Return what turns records into the messages that the agent would send."""
        settings = self.settings
        return Encoder(
            self.streams,
            prefix=settings.prefix,
            schema=settings.schema,
            per_type=settings.per_type,
            flat=settings.flat,
            event=settings.event,
            versions=versions(),
        )


def topics_of(config: AgentConfig) -> Topics:
    """Return the topics of a configuration's agent."""
    return Topics(config.agent.mqtt.root, tuple(config.agent.site), config.agent.agent)


def checkpointed(config: AgentConfig) -> list[str]:
    """Return the streams that have a checkpoint: the units', and last the agent's own."""
    return [*(unit.unit for unit in config.units), agent_stream(config.agent.agent)]


def streams_of(config: AgentConfig) -> dict[str, StreamInfo]:
    """Return the streams of a configuration: the agent's own, and two for each unit."""
    agent = config.agent
    topics = topics_of(config)
    streams = [topics.agent_stream(agent_stream(agent.agent))]
    for unit in config.units:
        path = EquipmentPath((*(unit.path or agent.site), unit.unit))
        streams += [topics.unit_stream(unit.unit, path), topics.telemetry_stream(unit.unit, path)]
    return {stream.name: stream for stream in streams}


def agent_stream(agent: str) -> str:
    """Return the name of the agent's own stream in the buffer."""
    return f"_agent/{agent}"


def configured(config: AgentConfig) -> Envelope:
    """Return the envelope of a configuration."""
    agent, mqtt = config.agent, config.agent.mqtt
    settings = Settings(
        agent.agent,
        mqtt.root,
        tuple(agent.site),
        agent.events.type_prefix,
        mqtt.dataschema,
        mqtt.topics == "per_type",
        mqtt.format == "flat",
        mqtt.event_level,
    )
    return Envelope(settings, streams_of(config))


async def stored(buffer: Buffer) -> Envelope | None:
    """Return what the store remembers, None when it was written before this was kept. Raises StorageError."""
    states, _ = await buffer.states(_OWNER)
    if _SETTINGS not in states:
        return None
    streams = {
        name.removeprefix(_STREAM): msgspec.json.decode(value, type=StreamInfo)
        for name, value in states.items()
        if name.startswith(_STREAM)
    }
    return Envelope(msgspec.json.decode(states[_SETTINGS], type=Settings), streams)


async def keep(buffer: Buffer, envelope: Envelope, now: int) -> Envelope:
    """Write what is new of ``envelope`` (at ``now``, UTC ns) and return it with the streams of before.

    Raises StorageError, and ConfigError for the store of a gateway with another name: what waits in it, and its numbers, belong to that name.
    """
    before = await stored(buffer)
    if before is not None:
        _same_gateway(before.settings, envelope.settings)
    known = {} if before is None else before.streams
    changed = {f"{_STREAM}{name}": msgspec.json.encode(info) for name, info in envelope.streams.items() if known.get(name) != info}
    if before is None or before.settings != envelope.settings:
        changed[_SETTINGS] = msgspec.json.encode(envelope.settings)
    if changed:
        await buffer.append([], Checkpoint(_OWNER, changed, now))
    return Envelope(envelope.settings, {**known, **envelope.streams})


def _same_gateway(before: Settings, now: Settings) -> None:
    """Site and agent make the ``source`` of every event: under a new one, delivered events would count again and numbers begin with a hole."""
    if (before.site, before.agent) == (now.site, now.agent):
        return
    old, new = ("/".join((*settings.site, settings.agent)) for settings in (before, now))
    raise ConfigError(
        f"the store is that of gateway {old}, and agent.yaml now names this gateway {new}: its events and numbers belong to the old name\n"
        f"  -> put agent: and site: back as they were, or give {new} a store of its own (buffer.path); what waits in the old one is sent by\n"
        "     edge-agent buffer export --store OLD --publish BROKER"
    )
