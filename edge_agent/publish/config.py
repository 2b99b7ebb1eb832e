"""What a user writes about the broker. Imports no MQTT library: ``edge-agent check`` loads it for every agent."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from edge_agent.model.quantity import Rate
from edge_agent.publish.reach import BrokerConfig, ProxyConfig, ReachConfig, TlsConfig

__all__ = ["BrokerConfig", "Command", "MqttConfig", "ProxyConfig", "TlsConfig"]

Command = Literal["resend", "rebirth", "snapshot"]


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

    window: int = Field(20, ge=1, le=1000, strict=True, description="messages sent and not yet acknowledged")
    drain_rate: Rate | None = Field(
        None, description="records per second of a backlog, events and telemetry each; default: as fast as the broker takes them"
    )
    reject_after: int = Field(
        3, ge=1, le=100, strict=True, description="how often a broker must call one message invalid before it is set aside"
    )

    @model_validator(mode="before")
    @classmethod
    def _root_of_profile(cls, given: Any) -> Any:
        return {"root": "umh", **given} if isinstance(given, dict) and given.get("profile") == "umh" else given

    @property
    def event_level(self) -> str:
        """The level of a topic that events stand under."""
        return "_production_v1" if self.profile == "umh" else "_event"

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
