"""Where everything is published: ISA-95 topics, pure. Every level is data and is made safe before it becomes a topic.

``{root}/v1/{enterprise}/.../{workunit}/_event`` and its siblings ``_telemetry``, ``_value``, ``_state``, ``_meta``; what belongs to the agent
itself hangs under ``{root}/v1/{site levels}/_agent/{agent}``.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.errors import ConfigError

LONGEST = 512
"""Bytes of a topic; brokers and bridges differ in what they take above it (MQTT itself allows 65,535)."""

_RESERVED = frozenset("+#/$%")


class StreamInfo(msgspec.Struct, frozen=True):
    """What the envelope needs of a stream: its buffer name, CloudEvents ``source`` and ``subject``, topic base, partition key."""

    name: str
    source: str
    subject: str
    topic: str
    partition: str


def level(text: str) -> str:
    """Return ``text`` as one topic level: ``+ # / $ %``, NUL and other control characters percent-encoded as UTF-8 bytes.

    Raises ConfigError when it is empty: missing levels are left out, never blank.
    """
    if not text:
        raise ConfigError("an equipment or agent name is empty; give it a name or leave the level out")
    return "".join(c if c.isprintable() and c not in _RESERVED else quote(c.encode(errors="replace"), safe="") for c in text)


def checked(topic: str) -> str:
    """Return ``topic`` if it is at most `LONGEST` bytes long; raises ConfigError with the remedy."""
    if (size := len(topic.encode())) > LONGEST:
        raise ConfigError(
            f"topic of {size} bytes is longer than {LONGEST}: {topic[:60]}...; shorten the equipment names or the root"
        )
    return topic


class Topics(msgspec.Struct, frozen=True):
    """The topics of one agent. ``site`` = the levels where the agent stands (enterprise, site)."""

    root: str
    site: tuple[str, ...]
    agent: str

    def unit(self, path: EquipmentPath) -> str:
        """Return the topic base of the work unit at ``path`` (all levels, the work unit last)."""
        return checked("/".join((self.root, "v1", *map(_path_level, path.levels))))

    @property
    def base(self) -> str:
        """The topic base of the agent itself."""
        return checked("/".join((self.root, "v1", *map(_path_level, self.site), "_agent", level(self.agent))))

    @property
    def status(self) -> str:
        """Where ``online`` is retained and where the will says ``offline``."""
        return checked(f"{self.base}/status")

    def checkpoint(self, stream: str) -> str:
        """Return where the retained checkpoint of ``stream`` stands."""
        return checked(f"{self.base}/checkpoint/{level(stream)}")

    def confirmed(self, stream: str) -> str:
        """Return where a consumer retains up to which number it has applied ``stream``."""
        return checked(f"{self.base}/confirmed/{level(stream)}")

    def command(self, name: str) -> str:
        """Return where the agent listens for the command ``name``."""
        return checked(f"{self.base}/cmd/{level(name)}")

    def state(self, path: EquipmentPath) -> str:
        """Return where the current picture of a work unit is retained."""
        return checked(f"{self.unit(path)}/_state")

    def value(self, path: EquipmentPath, level_: str, device: str, tag: str) -> str:
        """Return where the newest value of a tag is retained: ``_value/{device}/{tag}``; ``level_`` is ``_value`` or the profile's word for it."""
        return checked(f"{self.unit(path)}/{level_}/{_path_level(device)}/{_path_level(tag)}")

    def meta(self, path: EquipmentPath) -> str:
        """Return where the description of a work unit (its birth) is retained."""
        return checked(f"{self.unit(path)}/_meta")

    def unit_stream(self, name: str, path: EquipmentPath) -> StreamInfo:
        """Return the event stream ``name`` of the work unit at ``path``; source and stream coincide (CloudEvents ``sequence``)."""
        unit = path.levels[-1]
        return StreamInfo(name, self._source(name), str(path), self.unit(path), unit)

    def telemetry_stream(self, name: str, path: EquipmentPath) -> StreamInfo:
        """Return the telemetry stream ``<name>/telemetry`` beside the event stream ``name``, with numbers of its own."""
        return self.unit_stream(f"{name}/telemetry", path)

    def agent_stream(self, name: str) -> StreamInfo:
        """Return the agent's own stream, called ``name`` in the buffer."""
        return StreamInfo(name, self._source(name), "/".join((*self.site, self.agent)), self.base, self.agent)

    def _source(self, stream: str) -> str:
        """Return ``/enterprise/site/agent/stream`` as a URI reference (CloudEvents 1.0, ``source``)."""
        return "/" + "/".join(quote(part, safe="-._~:@!$&'()*+,;=") for part in (*self.site, self.agent, *stream.split("/")))


def _path_level(text: str) -> str:
    """Return a level of an equipment path; a leading underscore is encoded, because ``_event`` and its like are the agent's words."""
    safe = level(text)
    return f"%5F{safe[1:]}" if safe.startswith("_") else safe
