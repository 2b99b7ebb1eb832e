"""What a user writes about one value of a Modbus device, and what of it cannot be meant."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edge_agent.drivers.modbus import field as layout
from edge_agent.drivers.modbus.address import Place, place
from edge_agent.drivers.modbus.field import Area, Packing, ValueType
from edge_agent.drivers.modbus.kinds import BadValues, Bound, Encoding, Finite, Name, Period, Ratios, Whole, WordOrder
from edge_agent.drivers.modbus.sentinel import raw_values


class ScaleFrom(BaseModel):
    """The tag by which the device scales another one. Exactly one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exponent: Name | None = Field(None, description="tag with the power of ten, -10 to 10 (SunSpec: ..._SF)")
    factor: Name | None = Field(None, description="tag with the number that the value is multiplied by")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.exponent is None) == (self.factor is None):
            raise ValueError("give exactly one of exponent (a power of ten) and factor (a number to multiply by)")
        return self

    @property
    def tag(self) -> str:
        """The name of the other tag."""
        return self.exponent or self.factor or ""


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
    byte: Literal["low", "high"] | None = Field(None, description="the byte of a register that an int8 or uint8 is; default: low")
    word_order: WordOrder | None = Field(
        None,
        description="ABCD, CDAB, BADC, DCBA, big (= ABCD), little (= CDAB); 64 bits also EFGHABCD, CDABGHEF; default: the device's",
    )
    packing: Packing | None = Field(None, description="where the characters of a string stand; default: the device's")
    encoding: Encoding | None = Field(None, description="code page of a string; default: the device's")
    scale: Finite = Field(1.0, description="value = raw * scale + offset")
    offset: Finite = Field(0.0, description="added after scaling")
    scale_from: ScaleFrom | None = Field(None, description="a tag by which the device scales this one; both come from one request")
    ratio: Ratios = Field(
        (), description="ratio of current and voltage transformers, 600/5 or [600/5, 20000/100]: multiplies the value"
    )
    clamp: tuple[Bound, Bound] | None = Field(
        None, description="[low, high] in scaled units; outside the value is the bound, its quality uncertain"
    )
    names: dict[int, str] = Field(
        default_factory=dict, description="what the values of an enumeration are called; the value stays a number"
    )
    uom: str | None = Field(None, description="unit of measure (UN/CEFACT code or symbol)")
    deadband: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="smallest change reported, in scaled units"
    )
    bad_values: BadValues | None = Field(
        None,
        description="raw values (before scaling) by which the device says 'no value': 0x7FFF or [0x8000, -1]; default: the device's for this type",
    )
    poll: Period | None = Field(None, description="poll period of this tag; default: the device's")
    same_read_as: str | None = Field(None, description="another tag of this device that must come from the same request")
    read_twice: bool = Field(
        False, description="the value counts only when two reads in a row bring it; each poll asks at least twice"
    )

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
        if kind != "string" and (self.packing is not None or self.encoding is not None):
            raise ValueError(f"packing and encoding are of strings; leave them out of a {kind}")
        if kind not in {"int8", "uint8"} and self.byte is not None:
            raise ValueError(
                f"byte picks half a register, which is an int8 or uint8, not {kind}; leave out byte, or write type: uint8"
            )
        return self

    @model_validator(mode="after")
    def _text_and_bits_are_no_numbers(self) -> Self:
        kind = self.value_type
        if kind in {"bool", "string"}:
            numeric = ("scale", "offset", "deadband", "bad_values", "scale_from", "ratio", "clamp", "names")
            if given := [
                key for key in numeric if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True)
            ]:
                raise ValueError(f"a {kind} has no {', '.join(given)}; leave that out")
        if kind == "string" and self.word_order not in {None, "ABCD", "BADC"}:
            raise ValueError("a string is read register by register: ABCD, or BADC when its characters are swapped in pairs")
        if kind == "string" and self.word_order == "BADC" and self.packing not in {None, "low_first"}:
            raise ValueError(f"word_order BADC says packing low_first, and packing says {self.packing}; leave out word_order")
        return self

    @model_validator(mode="after")
    def _numbers_make_sense(self) -> Self:
        if self.scale == 0:
            raise ValueError("scale 0 makes every value the same; leave it out or give the factor")
        if self.clamp is not None and not self.clamp[0] < self.clamp[1]:
            raise ValueError("clamp: the lower bound is not below the upper one; write [low, high]")
        if self.names and (self.value_type in layout.FLOATS or self.scaled or self.clamp is not None):
            raise ValueError(
                "names are of codes, and a code is a whole number that is not scaled; leave out names, or scale, offset and the like"
            )
        if (
            self.read_twice
            and self.scale_from is None
            and (layout.is_bits(self.area) or layout.REGISTERS.get(self.value_type) == 1)
        ):
            raise ValueError(
                "read_twice guards values of several registers; this one is a single one and never torn, so leave it out"
            )
        if self.bad_values is not None:
            raw_values(self.value_type, self.bad_values)
        return self

    @property
    def scaled(self) -> bool:
        """Whether the value is another number than the device holds."""
        return self.scale != 1.0 or self.offset != 0.0 or bool(self.ratio) or self.scale_from is not None
