"""What a user writes about a Modbus device. Imports no Modbus library: the catalogue loads it for every agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from edge_agent.drivers.modbus import field as layout
from edge_agent.drivers.modbus.connection import ConnectionConfig
from edge_agent.drivers.modbus.excluded import span
from edge_agent.drivers.modbus.kinds import Name, Period, Whole, WordOrder
from edge_agent.drivers.modbus.plan import Limits, plan
from edge_agent.drivers.modbus.tag import ModbusTag
from edge_agent.model.instant import MS
from edge_agent.model.quantity import Duration, duration_text
from edge_agent.model.reading import Tag


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
    word_order: WordOrder = Field("ABCD", description="of values of two or four registers; a tag may say otherwise")
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
    tags: dict[Name, ModbusTag] = Field(min_length=1)

    @property
    def limits(self) -> Limits:
        """What one request may ask of the device."""
        excluded = tuple(span(text, self.address_base) for text in self.exclude)
        return Limits(self.max_registers, self.max_bits, self.max_gap, excluded)

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.unit_id == 0 and self.spoken != "tcp":
            raise ValueError("unit_id: on a serial line 0 speaks to all units at once and none answers; write the unit's own, 1 to 247")
        return self

    @model_validator(mode="after")
    def _can_be_planned(self) -> Self:
        for name, tag in self.tags.items():
            if tag.same_read_as is not None and (tag.same_read_as not in self.tags or tag.same_read_as == name):
                raise ValueError(f"tags.{name}.same_read_as: {tag.same_read_as} is no other tag of this device")
        plan(fields_of(self), self.limits)
        return self


def fields_of(config: ModbusConfig) -> tuple[layout.Field, ...]:
    """Return every tag as the device holds it, in configuration order; raises ValueError, in words for the user."""
    together = _together(config.tags)
    return tuple(_field(config, index, name, together.get(name)) for index, name in enumerate(config.tags))


def _field(config: ModbusConfig, index: int, name: str, together: str | None) -> layout.Field:
    tag = config.tags[name]
    try:
        area, address = tag.place(config.address_base)
    except ValueError as error:
        raise ValueError(f"tags.{name}: {error}") from None
    kind = tag.value_type
    size = (tag.length + 1) // 2 if tag.length is not None else layout.REGISTERS[kind]
    if address + size > 65_536:  # V1.1b3, 4.4: addresses are 16 bits
        raise ValueError(f"tags.{name}: the value ends behind the last address (65535)")
    # Each register is sent high byte first (V1.1b3, 4.2): the device's word order says nothing about values of one register, nor strings.
    order = tag.word_order or (config.word_order if size > 1 and kind != "string" else "ABCD")
    period = config.poll if tag.poll is None else tag.poll
    return layout.Field(
        index=index, name=name, area=area, address=address, size=size, type=kind, order=order, bit=tag.bit, scale=tag.scale,
        offset=tag.offset, deadband=tag.deadband, bad=tag.bad_values, period=period, together=together,
    )  # fmt: skip


def _together(tags: Mapping[str, ModbusTag]) -> dict[str, str]:
    """Return for each tag that takes part in a ``same_read_as`` the name of its group: the first member in the file."""
    group: dict[str, str] = {}
    for name, tag in tags.items():
        if (other := tag.same_read_as) is None:
            continue
        mine, theirs = group.get(name, name), group.get(other, other)
        first = min(mine, theirs, key=list(tags).index)
        group |= {member: first for member, of in group.items() if of in {mine, theirs}} | {name: first, other: first}
    return group


def tags_of(config: ModbusConfig) -> tuple[Tag, ...]:
    """Return the tags in configuration order; tags with the same ``snapshot`` come from one request."""
    snapshots = {
        field.index: f"{block.name} every {duration_text(block.period)}"
        for block in plan(fields_of(config), config.limits)
        for field in block.fields
    }
    return tuple(
        Tag(config.device, field.name, field.type, field.scale, field.offset, tag.uom, field.period, snapshots[field.index])
        for field, tag in zip(fields_of(config), config.tags.values(), strict=True)
    )


def unscaled(config: ModbusConfig) -> ModbusConfig:
    """Return the device with its tags as they are on the wire: no scale, no offset, no deadband."""
    plain = {"scale": 1.0, "offset": 0.0, "deadband": None}
    return config.model_copy(update={"tags": {name: tag.model_copy(update=plain) for name, tag in config.tags.items()}})
