"""What a user writes about the broker. Imports no MQTT library: ``edge-agent check`` loads it for every agent."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.model.instant import MS, NS
from edge_agent.model.quantity import Duration, Rate
from edge_agent.publish.reach import BrokerConfig, ProxyConfig, ReachConfig, TlsConfig

__all__ = ["BrokerConfig", "Command", "MqttConfig", "ProxyConfig", "TlsConfig"]

Command = Literal["resend", "rebirth", "snapshot"]


class ValuesConfig(BaseModel):
    """``values:``: the newest value of every telemetry tag, retained on a topic of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Duration = Field(NS, ge=100 * MS, description="a tag's value is sent at most this often, and only when it has changed")
    expiry: Duration = Field(
        300 * NS,
        ge=10 * NS,
        description="a value that is not told again goes after this time; one that still holds is told again three times in it",
    )

    @model_validator(mode="after")
    def _told_again_in_time(self) -> ValuesConfig:
        if self.expiry < 6 * self.every:
            raise ValueError("a value would expire before it is told again; write an expiry of at least six times every")
        return self


class MqttConfig(ReachConfig):
    """The broker that receives the events, and how the agent speaks to it."""

    profile: Literal["cloudevents", "umh"] = Field(
        "cloudevents", description="umh: topics of the United Manufacturing Hub, root umh and events under _production_v1"
    )
    format: Literal["cloudevents", "flat"] = Field(
        "cloudevents", description="flat: no envelope; id, time, seq, type and epoch stand beside the members of data"
    )
    root: str = Field("edge", max_length=128, description="first level or levels of every topic")
    topics: Literal["per_stream", "per_type"] = Field(
        "per_stream", description="one topic for all events of a unit, or one per type"
    )
    dataschema: str = Field(
        "urn:edge-agent:schema:{name}:{version}", description="CloudEvents dataschema; {name} and {version} are filled in"
    )
    commands: tuple[Command, ...] = Field(
        ("resend", "rebirth", "snapshot"), description="what may be asked for over MQTT; [] for nothing"
    )

    values: ValuesConfig | None = Field(
        None,
        description="{} for the newest value of every telemetry tag on a topic of its own; profile umh has it unless null is written",
    )

    window: int = Field(20, ge=1, le=1000, strict=True, description="messages sent and not yet acknowledged")
    drain_rate: Rate | None = Field(
        None, description="records per second of a backlog, events and telemetry each; default: as fast as the broker takes them"
    )
    reject_after: int = Field(
        3, ge=1, le=100, strict=True, description="how often a broker must call one message invalid before it is set aside"
    )

    @model_validator(mode="before")
    @classmethod
    def _parts_of_profile(cls, given: Any) -> Any:
        return {"root": "umh", "values": {}, **given} if isinstance(given, dict) and given.get("profile") == "umh" else given

    @property
    def event_level(self) -> str:
        """The level of a topic that events stand under."""
        return "_production_v1" if self.profile == "umh" else "_event"

    @property
    def value_level(self) -> str:
        """The level of a topic that values stand under."""
        return "_raw" if self.profile == "umh" else "_value"

    @field_validator("drain_rate")
    @classmethod
    def _drains_at_all(cls, rate: float | None) -> float | None:
        if rate is not None and rate < 1:
            raise ValueError("less than one record per second would never catch up; write at least 1/s")
        return rate

    @field_validator("root")
    @classmethod
    def _root_is_a_topic(cls, root: str) -> str:
        if not all(root.split("/")):
            raise ValueError(f"{root!r} has an empty level; write levels with one / between them, like edge or site/edge")
        if root.startswith("$") or not root.isprintable() or any(character in root for character in "+#"):
            raise ValueError(
                f"{root!r} is no topic: + and # are wildcards and a leading $ belongs to the broker; choose other names"
            )
        return root

    @field_validator("dataschema")
    @classmethod
    def _schema_can_be_filled(cls, template: str) -> str:
        try:
            filled = template.format(name="production.count", version="1.0")
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"{template!r}: only {{name}} and {{version}} can be filled in") from None
        if not urlsplit(filled).scheme or not filled.isprintable() or " " in filled:
            raise ValueError(f"{template!r} is no absolute URI; write urn:... or https://... with {{name}} and {{version}}")
        return template
