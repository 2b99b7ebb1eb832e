"""What a user writes about one value of a Modbus device, and what of it cannot be meant."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edge_agent.drivers.modbus import field as layout
from edge_agent.drivers.modbus.address import Place, place
from edge_agent.drivers.modbus.field import Area, ValueType
from edge_agent.drivers.modbus.kinds import Finite, Period, Whole, WordOrder

_INTEGERS = {
    "int16": (16, True),
    "uint16": (16, False),
    "int32": (32, True),
    "uint32": (32, False),
    "int64": (64, True),
    "uint64": (64, False),
}


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
