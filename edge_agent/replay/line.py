"""What is needed to derive events offline: units, the tags of their devices, the calendar and how raw values are scaled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic import ValidationError

from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events import catalog as events
from edge_agent.events.catalog import UnitConfig
from edge_agent.events.derive import SETTLE, Fold
from edge_agent.events.mescontext import DEVICE
from edge_agent.events.shift import Calendar, ShiftConfig
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Tag, Value

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")

Scaling = Callable[[Value], Value | None]


@dataclass(frozen=True)
class Line:
    """The units of one agent and what they read from. ``scalings`` are by device in the order of its tags; left out = values are given scaled."""

    units: tuple[UnitConfig, ...]
    devices: Mapping[str, Sequence[Tag]]
    calendar: Calendar | None = None
    prefix: str = "edgeagent"
    scalings: Mapping[str, Sequence[Scaling]] = field(default_factory=dict)
    clocked: frozenset[str] = frozenset()
    """The devices that stamp their samples with a clock of their own."""

    def fold(self, unit: UnitConfig, *, settle: int = SETTLE) -> Fold:
        """Return a new fold of ``unit``, as the agent makes it. Raises ConfigError."""
        return events.fold_of(unit, devices=self.devices, calendar=self.calendar, prefix=self.prefix, settle=settle)

    def readers(self, unit: UnitConfig) -> frozenset[str]:
        """Return the devices that ``unit`` reads from, the one that stands for the MES among them where it names the context."""
        outside = {DEVICE} if events.topics_of(unit).tags else set()
        return frozenset(ref.partition(".")[0] for ref in events.inputs(unit)) | outside


def line_of(config: AgentConfig) -> Line:
    """Return the line that a configuration describes."""
    settings = config.agent
    return Line(
        units=config.units,
        devices={device.device: drivers.tags_of(device) for device in config.devices},
        calendar=Calendar(settings.shifts, settings.time_zone) if settings.shifts else None,
        prefix=settings.events.type_prefix,
        scalings={device.device: drivers.scalings(device) for device in config.devices},
        clocked=frozenset(device.device for device in config.devices if device.driver != "modbus"),
    )


def line_in(content: Mapping[str, Any]) -> Line:
    """Return the line that a recording carries in its header: ``units`` as in the files, ``devices`` with their tags, ``shifts``, ``time_zone``.

    A tag is its type alone, or a table of `Tag`'s members; devices named in ``unstamped`` have no clock. Raises ConfigError.
    """
    content = _numbered(content)
    try:
        shifts = {name: ShiftConfig.model_validate(one) for name, one in content.get("shifts", {}).items()}
        return Line(
            units=tuple(UnitConfig.model_validate({"version": 1, **unit}) for unit in content["units"]),
            devices={
                device: tuple(_tag(device, name, one) for name, one in tags.items()) for device, tags in content["devices"].items()
            },
            calendar=Calendar(shifts, content.get("time_zone", "UTC")) if shifts else None,
            clocked=frozenset(content["devices"]) - frozenset(content.get("unstamped", ())),
        )
    except (KeyError, ValueError, ValidationError, msgspec.ValidationError) as error:
        raise ConfigError(f"the configuration in the recording cannot be used: {error}") from error


def _tag(device: str, name: str, content: Any) -> Tag:
    members = content if isinstance(content, dict) else {"type": content}
    return msgspec.convert({"device": device, "name": name, **members}, Tag)


def _numbered(content: Any) -> Any:
    """Return a table with its keys as YAML has them: what looks like a whole number is one (JSON has texts only)."""
    if isinstance(content, list):
        return [_numbered(one) for one in content]
    if not isinstance(content, dict):
        return content
    return {int(key) if _WHOLE.fullmatch(str(key)) else key: _numbered(value) for key, value in content.items()}
