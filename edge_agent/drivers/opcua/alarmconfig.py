"""What a user writes about the alarms and conditions of an OPC UA server (OPC 10000-9). Imports no OPC UA library."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from edge_agent.drivers.opcua.address import NodeAddress, Step, parse_node, parse_path
from edge_agent.model.entry import EntryError

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]

STANDARD_TYPES: Final = {
    "BaseEventType": 2041, "SystemEventType": 2130, "DeviceFailureEventType": 2131, "ProgressEventType": 11436,
    "ConditionType": 2782, "DialogConditionType": 2830, "AcknowledgeableConditionType": 2881, "AlarmConditionType": 2915,
    "LimitAlarmType": 2955, "ExclusiveLimitAlarmType": 9341, "NonExclusiveLimitAlarmType": 9906, "DiscreteAlarmType": 10523,
    "OffNormalAlarmType": 10637, "SystemOffNormalAlarmType": 11753, "TripAlarmType": 10751,
    "CertificateExpirationAlarmType": 13225, "DiscrepancyAlarmType": 17080,
}  # fmt: skip
"""Names of types that may be written instead of their node ids (OPC 10000-5 and 10000-9)."""


class AlarmsFrom(BaseModel):
    """One source of alarms: an object whose events are subscribed, by default the Server object, which has all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field("alarms", description="what units call it: device.name")
    source: str | None = Field(None, description="node id or browse path of the object; default: the Server object")
    severity_min: int = Field(1, ge=1, le=1000, description="least severity at which an alarm is raised")
    types: tuple[str, ...] = Field((), description="only events of these types and their subtypes: AlarmConditionType, or node ids")
    include: tuple[str, ...] = Field((), description="only sources or conditions that match one of these: Filler*, */HighLevel")
    exclude: tuple[str, ...] = Field((), description="no sources or conditions that match one of these")
    events: bool = Field(False, description="also events of types that are no conditions: raised and cleared at once")
    queue: int = Field(1000, ge=2, le=100_000, description="events that the server keeps between two publishings")

    @field_validator("source")
    @classmethod
    def _source_parses(cls, source: str | None) -> str | None:
        if source is not None:
            _address(source)
        return source

    @field_validator("types")
    @classmethod
    def _types_parse(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for one in types:
            type_address(one)
        return types

    @model_validator(mode="after")
    def _asks_for_events_by_type(self) -> Self:
        if self.events and not self.types:
            text = "events: true takes every event of the server, audit events as well; name the types that are meant"
            raise EntryError(text, "events")
        return self

    @property
    def address(self) -> NodeAddress | tuple[Step, ...] | None:
        """Where the object is; None = the Server object."""
        return None if self.source is None else _address(self.source)

    def wants(self, source: str | None, condition: str | None) -> bool:
        """Whether the patterns let a condition of this source and name through; a pattern may be of either, or of ``source/name``."""
        names = (source or "", condition or "", f"{source or ''}/{condition or ''}")
        if any(fnmatchcase(name, pattern) for pattern in self.exclude for name in names):
            return False
        return not self.include or any(fnmatchcase(name, pattern) for pattern in self.include for name in names)


def _address(source: str) -> NodeAddress | tuple[Step, ...]:
    try:
        return parse_node(source)
    except ValueError:
        return parse_path(source)


def type_address(text: str) -> NodeAddress:
    """Return the node id of an event type; raises ValueError with the remedy."""
    if text in STANDARD_TYPES:
        return NodeAddress(0, STANDARD_TYPES[text])
    try:
        return parse_node(text)
    except ValueError:
        known = ", ".join(STANDARD_TYPES)
        raise ValueError(f"{text!r} is no event type; write its node id (nsu=urn:vendor;i=1001), or one of {known}") from None
