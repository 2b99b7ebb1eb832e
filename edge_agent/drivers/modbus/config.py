"""What a user writes about a Modbus device. Imports no Modbus library: the catalogue loads it for every agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from edge_agent.drivers.modbus.bus import Bus
from edge_agent.drivers.modbus.connection import ConnectionConfig
from edge_agent.drivers.modbus.excluded import span
from edge_agent.drivers.modbus.field import Packing, ValueType
from edge_agent.drivers.modbus.kinds import BadValues, Encoding, Name, Period, TagLists, Whole, WordOrder
from edge_agent.drivers.modbus.memory import Memory
from edge_agent.drivers.modbus.plan import Limits, plan
from edge_agent.drivers.modbus.resolve import fields_of as fields_of  # noqa: PLC0414 - it belongs to the configuration for all that use it
from edge_agent.drivers.modbus.scale import scaling
from edge_agent.drivers.modbus.sentinel import raw_values
from edge_agent.drivers.modbus.tag import ModbusTag
from edge_agent.drivers.modbus.trust import Identity
from edge_agent.model.instant import MS
from edge_agent.model.quantity import Duration, duration_text
from edge_agent.model.reading import Tag, Value


class ModbusConfig(ConnectionConfig):
    """One Modbus device (or one unit behind a gateway or on a serial line): where it is, how often it is polled, its limits and its tags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    device: Name
    driver: Literal["modbus"]
    unit_id: Annotated[Whole, Field(ge=0, le=255)] = Field(
        1, description="Modbus unit (slave) address; many TCP devices want 1 or 255"
    )
    poll: Period = Field(1_000 * MS, description="poll period on a fixed grid (plant time)")
    timeout: Period = Field(1_000 * MS, description="how long one answer may take (machine time)")
    pause: Duration = Field(0, description="silence between an answer and the next request (machine time)")
    connect_pause: Duration = Field(0, description="wait after connecting before the first request (machine time)")
    word_order: WordOrder = Field("ABCD", description="of values of two, three or four registers; a tag may say otherwise")
    packing: Packing = Field("high_first", description="where the characters of strings stand; a tag may say otherwise")
    encoding: Encoding = Field("utf-8", description="code page of strings; a tag may say otherwise")
    bad_values: dict[ValueType, BadValues] = Field(
        default_factory=dict,
        description="by type, raw values by which the device says 'no value', {int16: 0x8000}; a tag may say otherwise",
    )
    address_base: Literal[0, 1] = Field(0, description="what the first register's address is called in this file")
    max_registers: Annotated[Whole, Field(ge=1, le=125)] = Field(
        125, description="most registers that the device answers in one request"
    )
    max_bits: Annotated[Whole, Field(ge=1, le=2000)] = Field(2000, description="most coils or inputs in one request")
    max_gap: Annotated[Whole, Field(ge=0, le=124)] = Field(0, description="registers that no tag names and that may be read over")
    exclude: tuple[Annotated[str, BeforeValidator(lambda text: str(text) if type(text) is int else text)], ...] = Field(
        (),
        description="addresses that are never read: holding 100-119, input 7 (counted from address_base), 40101-40120 (as printed)",
    )
    probe: Period = Field(
        10_000 * MS, description="how often a silent device is asked while others on its connection answer (machine time)"
    )
    identity: Identity | None = Field(None, description="how the right device is recognised; the values of another are never used")
    tags_from: TagLists = Field((), description="CSV file or files with more tags, one a row, relative to this file")
    tags: dict[Name, ModbusTag] = Field(default_factory=dict)
    _memory: Memory = PrivateAttr(default_factory=Memory)

    @property
    def memory(self) -> Memory:
        """What the device's refusals have taught, as long as the agent runs."""
        return self._memory

    @property
    def limits(self) -> Limits:
        """What one request may ask of the device."""
        excluded = tuple(span(text, self.address_base) for text in self.exclude)
        return Limits(self.max_registers, self.max_bits, self.max_gap, excluded, request=self.bus.request)

    @property
    def bus(self) -> Bus:
        """What a request to the device costs."""
        return Bus.of(self, self.pause)

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.unit_id == 0 and self.spoken != "tcp":
            raise ValueError(
                "unit_id: on a serial line 0 speaks to all units at once and none answers; write the unit's own, 1 to 247"
            )
        return self

    @model_validator(mode="after")
    def _can_be_planned(self) -> Self:
        if not self.tags:
            raise ValueError("the device has no tags; write them under tags, or name a CSV file with them as tags_from")
        for kind, values in self.bad_values.items():
            if kind in {"bool", "string"}:
                raise ValueError(f"bad_values.{kind}: a {kind} has none; leave it out")
            raw_values(kind, values)
        for name, tag in self.tags.items():
            if tag.same_read_as is not None and (tag.same_read_as not in self.tags or tag.same_read_as == name):
                raise ValueError(f"tags.{name}.same_read_as: {tag.same_read_as} is no other tag of this device")
        plan(fields_of(self), self.limits)
        return self

    @model_validator(mode="after")
    def _can_be_recognised(self) -> Self:
        if self.identity is not None and self.identity.register_ is not None:
            fields_of(self.model_copy(update={"tags": {"identity": self.identity.register_}}))
        if self.identity is not None and self.identity.objects and self.spoken != "tcp":
            raise ValueError("identity.objects (function 43/14) is asked over framing: tcp only; write register and equals")
        return self


def tags_of(config: ModbusConfig) -> tuple[Tag, ...]:
    """Return the tags in configuration order; tags with the same ``snapshot`` come from one request."""
    snapshots = {
        field.index: f"{block.name} every {duration_text(block.period)}"
        for block in plan(fields_of(config), config.limits)
        for field in block.fields
    }
    return tuple(
        Tag(
            config.device, field.name, field.type, field.scale, field.offset, tag.uom, field.period, snapshots[field.index],
            names=tuple(tag.names.items()), scaled_by=tag.scale_from.tag if tag.scale_from is not None else None,
        )
        for field, tag in zip(fields_of(config), config.tags.values(), strict=True)
    )  # fmt: skip


def unscaled(config: ModbusConfig) -> ModbusConfig:
    """Return the device with its tags as they are on the wire: no scale, no offset, no ratio, no deadband.

    A tag whose value is more than a function of its own register stays as it is: see `scalings`.
    """
    plain = {"scale": 1.0, "offset": 0.0, "ratio": (), "deadband": None}
    tags = {name: tag if _more(tag) else tag.model_copy(update=plain) for name, tag in config.tags.items()}
    return config.model_copy(update={"tags": tags})


def scalings(config: ModbusConfig) -> list[Callable[[Value], Value]]:
    """Return for each tag, in configuration order, what makes its value of what `unscaled` reads."""
    return [(lambda raw: raw) if _more(config.tags[field.name]) else scaling(field) for field in fields_of(config)]


def _more(tag: ModbusTag) -> bool:
    return tag.scale_from is not None or tag.clamp is not None
