"""What a user writes about a Modbus device. Imports no Modbus library: the catalogue loads it for every agent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from edge_agent.drivers.modbus import field as layout
from edge_agent.drivers.modbus.address import Place, place
from edge_agent.drivers.modbus.field import Area, Order, ValueType
from edge_agent.drivers.modbus.plan import Limits, plan
from edge_agent.model.quantity import Duration, duration_text
from edge_agent.model.reading import Tag

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]

_MS = 1_000_000
_FLOOR = 10 * _MS
_ALIAS = {"big": "ABCD", "little": "CDAB"}
_INTEGERS = {
    "int16": (16, True),
    "uint16": (16, False),
    "int32": (32, True),
    "uint32": (32, False),
    "int64": (64, True),
    "uint64": (64, False),
}


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number is expected, not yes/no")  # noqa: TRY004 - pydantic shows ValueErrors
    return value


def _not_tiny(interval: int) -> int:
    if interval < _FLOOR:
        raise ValueError("the shortest interval is 10ms")
    return interval


Whole = Annotated[int, BeforeValidator(_whole)]
Period = Annotated[Duration, AfterValidator(_not_tiny)]
WordOrder = Annotated[Order, BeforeValidator(lambda text: _ALIAS.get(text, text) if isinstance(text, str) else text)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ModbusTag(BaseModel):
    """One value of the device: where it lies, what its bits mean, when it is reported."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    register_: Area | None = Field(
        None, alias="register", description="holding, input (16 bit each), coil or discrete (one bit each)"
    )
    address: Annotated[Whole, Field(ge=0, le=65_536)] | None = Field(
        None, description="the number on the wire, counted from address_base; a printed 40011 is a ref"
    )
    ref: Annotated[str, BeforeValidator(lambda ref: str(ref) if type(ref) is int else ref)] | None = Field(
        None, description="the address as vendors print it: 40011, 400011, 30005, 10001, '00001'; counts from 1 always"
    )
    type: ValueType | None = Field(None, description="default: bool for coils, discrete inputs and bits, else uint16")
    length: Annotated[Whole, Field(ge=1, le=250)] | None = Field(None, description="characters of a string, two in a register")
    bit: Annotated[Whole, Field(ge=0, le=15)] | None = Field(None, description="one bit of a register, 0 = least significant")
    word_order: WordOrder | None = Field(None, description="ABCD, CDAB, BADC, DCBA, big (= ABCD), little (= CDAB)")
    scale: Finite = Field(1.0, description="value = raw * scale + offset")
    offset: Finite = Field(0.0, description="added after scaling")
    uom: str | None = Field(None, description="unit of measure (UN/CEFACT code or symbol)")
    deadband: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="smallest change reported, in scaled units"
    )
    bad_values: tuple[int | float, ...] = Field((), description="raw values (before scaling) by which the device says 'no value'")
    poll: Period | None = Field(None, description="poll period of this tag; default: the device's")
    same_read_as: str | None = Field(None, description="another tag of this device that must come from the same request")

    @property
    def value_type(self) -> ValueType:
        """The type with its default filled in."""
        if self.type is not None:
            return self.type
        return "bool" if self.bit is not None or layout.is_bits(self.area) else "uint16"

    @property
    def area(self) -> Area:
        """The register area, from ``register`` or the first digit of ``ref``."""
        return self.place(min(self.address or 0, 1)).area  # any base that this address can have

    def place(self, base: int) -> Place:
        """Return area and address from 0; raises ValueError when the tag does not say where it is."""
        return place(self.register_, self.address, self.ref, base)

    @model_validator(mode="after")
    def _is_one_value(self) -> Self:
        area = self.area
        kind = self.value_type
        if layout.is_bits(area) and (kind != "bool" or self.bit is not None):
            raise ValueError(f"a {area} is one bit; leave out type and bit, or use register: holding or input")
        if self.bit is not None and kind != "bool":
            raise ValueError(f"bit picks one bit of a register, which is a bool, not {kind}; leave out type or bit")
        if not layout.is_bits(area) and kind == "bool" and self.bit is None:
            raise ValueError("a bool in a register needs the number of its bit; add bit: 0 (least significant) to 15")
        if (kind == "string") != (self.length is not None):
            raise ValueError("length belongs to a string and every string needs one; write type: string, length: 20 (characters)")
        if kind in {"bool", "string"} and (self.scale != 1.0 or self.offset != 0.0 or self.deadband is not None or self.bad_values):
            raise ValueError(f"a {kind} has no scale, offset, deadband or bad_values; leave them out")
        if kind == "string" and self.word_order not in {None, "ABCD", "BADC"}:
            raise ValueError("a string is read register by register: ABCD, or BADC when its characters are swapped in pairs")
        return self

    @model_validator(mode="after")
    def _numbers_make_sense(self) -> Self:
        if self.scale == 0:
            raise ValueError("scale 0 makes every value the same; leave it out or give the factor")
        if self.value_type in _INTEGERS:
            bits, signed = _INTEGERS[self.value_type]
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            for bad in self.bad_values:
                if not (math.isfinite(bad) and bad == int(bad) and low <= bad <= high):
                    hint = f"; as {self.value_type} it reads {int(bad) - (1 << bits)}" if signed and high < bad < 1 << bits else ""
                    raise ValueError(f"bad_values: a raw {self.value_type} is a whole number {low} to {high}, never {bad}{hint}")
        return self


class ModbusConfig(BaseModel):
    """One Modbus TCP device (or one unit behind a gateway): where it is, how often it is polled, its limits and its tags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    device: Name
    driver: Literal["modbus"]
    host: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, pattern=r"^[^\s/]+$")] = Field(
        description="name or IP address"
    )
    port: Annotated[Whole, Field(ge=1, le=65_535)] = 502
    unit_id: Annotated[Whole, Field(ge=0, le=255)] = Field(
        1, description="Modbus unit (slave) address; many TCP devices want 1 or 255"
    )
    poll: Period = Field(1_000 * _MS, description="poll period on a fixed grid (plant time)")
    timeout: Period = Field(1_000 * _MS, description="how long one answer may take (machine time)")
    pause: Duration = Field(0, description="silence between an answer and the next request (machine time)")
    connect_pause: Duration = Field(0, description="wait after connecting before the first request (machine time)")
    word_order: WordOrder = Field("ABCD", description="of values of two or four registers; a tag may say otherwise")
    address_base: Literal[0, 1] = Field(0, description="what the first register's address is called in this file")
    max_registers: Annotated[Whole, Field(ge=1, le=125)] = Field(
        125, description="most registers that the device answers in one request"
    )
    max_bits: Annotated[Whole, Field(ge=1, le=2000)] = Field(2000, description="most coils or inputs in one request")
    max_gap: Annotated[Whole, Field(ge=0, le=124)] = Field(0, description="registers that no tag names and that may be read over")
    tags: dict[Name, ModbusTag] = Field(min_length=1)

    @property
    def limits(self) -> Limits:
        """What one request may ask of the device."""
        return Limits(self.max_registers, self.max_bits, self.max_gap)

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


def endpoint(config: ModbusConfig) -> str:
    """Return what devices that share one connection have in common."""
    return f"modbus-tcp://{config.host.lower()}:{config.port}"


def unscaled(config: ModbusConfig) -> ModbusConfig:
    """Return the device with its tags as they are on the wire: no scale, no offset, no deadband."""
    plain = {"scale": 1.0, "offset": 0.0, "deadband": None}
    return config.model_copy(update={"tags": {name: tag.model_copy(update=plain) for name, tag in config.tags.items()}})
