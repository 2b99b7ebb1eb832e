"""The sum of every room's configuration: what `load` returns and the agent is built from."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from edge_agent.buffer.config import BufferConfig
from edge_agent.config.words import did_you_mean
from edge_agent.drivers.catalog import DeviceConfig, cautions
from edge_agent.events.catalog import UnitConfig
from edge_agent.events.shift import ShiftConfig
from edge_agent.ports import Identity
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.sparkplug.config import SparkplugConfig
from edge_agent.status.config import WebConfig
from edge_agent.status.otelconfig import OtelConfig


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"'{name}' is not a time zone; {did_you_mean(name, available_timezones())}") from error
    return name


OutputName = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
"""The name of a further output: what is remembered for it stands under it in the store."""


class EventsConfig(BaseModel):
    """How events are named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type_prefix: str = Field(
        default="edgeagent", pattern=r"^[a-z0-9]+(\.[a-z0-9]+)*$", description="first part of every event type"
    )


class AgentFile(BaseModel):
    """``agent.yaml``: the agent itself, the broker, the buffer and the calendar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    agent: Annotated[
        str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$", description="id of this gateway, unique in the plant")
    ]
    include: str | list[str] = Field(
        default_factory=list,
        description="folders whose devices, units and agent.yaml count as if they stood here, counted from this file's folder",
    )
    variables: dict[str, str | int | float] = Field(
        default_factory=dict, description="what ${NAME} stands for in all files of this agent; goes before the environment"
    )
    site: list[str] = Field(min_length=1, description="enterprise and site: where the agent's own topics stand")
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(default="UTC", description="IANA zone of shift times")
    mqtt: MqttConfig
    outputs: dict[OutputName, SparkplugConfig] = Field(
        default_factory=dict,
        description="further outputs by name, each on a connection of its own; the events' custody stays with mqtt",
    )
    buffer: BufferConfig
    pki: Path | None = Field(
        default=None,
        description="folder of the agent's certificate and key, and of the servers it trusts; default: pki beside the buffer's folder",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=16,
        strict=True,
        description="child processes that the connections to devices are spread over; 0: the agent reads by itself",
    )
    web: WebConfig | None = Field(default=None, description="{} for the status page on this machine; without it no port is opened")
    otel: OtelConfig | None = Field(
        default=None, description="where the agent's metrics are sent by OpenTelemetry; without it nothing is"
    )
    events: EventsConfig = EventsConfig()
    shifts: dict[str, ShiftConfig] = Field(default_factory=dict)
    devices: list[DeviceConfig] = Field(default_factory=list, description="devices, when they have no files of their own")
    units: list[UnitConfig] = Field(default_factory=list, description="work units, when they have no files of their own")

    @field_validator("outputs", mode="before")
    @classmethod
    def _events_leave_once(cls, outputs: Any) -> Any:
        """Refuse a second way out for the events: deletion waits for one receiver, and what another one missed could not be declared to it."""
        for name, output in outputs.items() if isinstance(outputs, dict) else ():
            if isinstance(output, dict) and output.get("profile") in {"cloudevents", "umh", "flat"}:
                raise ValueError(
                    f"{name}: {output['profile']} is no profile of a further output; events go to the one broker under mqtt:, which decides "
                    "when they may be deleted. Write profile: sparkplug, or let that broker hand the events on (a bridge)"
                )
        return outputs


class AgentConfig(BaseModel):
    """Everything, validated: one agent with its devices and work units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: AgentFile
    devices: tuple[DeviceConfig, ...]
    units: tuple[UnitConfig, ...]
    directory: Path
    file: Path | None = None
    included: tuple[Path, ...] = ()

    @property
    def identity(self) -> Identity:
        """Who the agent is to its devices."""
        pki = self.agent.pki or self.agent.buffer.path.absolute().parent / "pki"
        return Identity(self.agent.agent, pki.absolute(), self.file or self.directory)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is allowed and risky, one sentence each: told at the start, by ``check`` and in the status."""
        ways = [way.caution for way in (self.agent.web, self.agent.otel) if way is not None]
        return (*(each for device in self.devices for each in cautions(device)), *(each for each in ways if each is not None))

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits over what gives readings and events their meaning; stands in every event as ``cfg``."""
        text = "".join(part.model_dump_json() for part in (*self.devices, *self.units))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
