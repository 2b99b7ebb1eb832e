"""Where a tag lies in a device and what its bits mean: the resolved form of a tag, shared by planner and decoder (pure)."""

from __future__ import annotations

from typing import Literal

import msgspec

Area = Literal["coil", "discrete", "input", "holding"]
"""The four tables of the data model (Modbus Application Protocol V1.1b3, 4.3)."""

ValueType = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int24", "uint24", "int32", "uint32", "int48", "uint48", "int64", "uint64",
    "float16", "float32", "float64", "bcd16", "bcd32", "bcd64", "string",
]  # fmt: skip

Order = Literal["ABCD", "CDAB", "BADC", "DCBA", "EFGHABCD", "CDABGHEF", "FEHGBADC", "DCBAHGFE"]
"""Order of the bytes of a value on the wire; A is the most significant.

Four letters say it of values of any length (CDAB is GHEFCDAB for four registers, EFCDAB for three). Eight letters are the orders in which the two
halves of a 64-bit value change places; each half, and with it a value of 32 bits, then has the order of four letters that is inside.
"""

Packing = Literal["high_first", "low_first", "low_byte", "high_byte"]
"""Where the characters of a text stand: two in a register, or one in its low or high byte."""

FUNCTION: dict[Area, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""The only function codes that ever leave (V1.1b3, 6.1 to 6.4): all of them read."""

LIMIT = {"coil": 2000, "discrete": 2000, "holding": 125, "input": 125}
"""Most that one request may ask for (V1.1b3, 6.1 to 6.4)."""

REGISTERS: dict[ValueType, int] = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 1, "uint16": 1, "float16": 1, "bcd16": 1,
    "int24": 2, "uint24": 2, "int32": 2, "uint32": 2, "float32": 2, "bcd32": 2, "int48": 3, "uint48": 3,
    "int64": 4, "uint64": 4, "float64": 4, "bcd64": 4,
}  # fmt: skip
"""Registers of a value; a string has its own length."""

FLOATS: frozenset[str] = frozenset({"float16", "float32", "float64"})

PARTS: dict[Order, Order] = {"EFGHABCD": "ABCD", "CDABGHEF": "CDAB", "FEHGBADC": "BADC", "DCBAHGFE": "DCBA"}
"""The order inside each half, where the halves of a 64-bit value change places."""


def is_bits(area: Area) -> bool:
    """Whether an address of the area is one bit (coil, discrete input), not one 16-bit register."""
    return area in {"coil", "discrete"}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One tag as the device holds it. ``index`` is its place in the device's tag list; ``address`` counts from 0.

    ``size`` is in registers or bits; ``bit`` picks one bit of a register (0 = least significant), ``high`` the byte of an 8-bit number;
    ``bad`` holds raw values that mean "no value"; ``value = raw * scale + offset``, with ``factor`` also scaled by another register; a value
    outside of ``clamp`` becomes its bound; ``period`` is in plant ns; fields of one ``together`` are read in one request. ``twice``: the value
    counts only when two reads in a row bring it.
    """

    index: int
    name: str
    area: Area
    address: int
    size: int = 1
    type: ValueType = "uint16"
    order: Order = "ABCD"
    bit: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    deadband: float | None = None
    bad: tuple[float, ...] = ()
    period: int = 1_000_000_000
    together: str | None = None
    high: bool = False
    packing: Packing = "high_first"
    encoding: str = "utf-8"
    factor: Factor | None = None
    clamp: tuple[float, float] | None = None
    twice: bool = False

    @property
    def end(self) -> int:
        """The first address behind the value."""
        return self.address + self.size

    @property
    def reach(self) -> tuple[int, int]:
        """The first address, and the one behind the last, of all that the value is made of: its own registers and its scale register."""
        if self.factor is None:
            return self.address, self.end
        scale = self.factor.field
        return min(self.address, scale.address), max(self.end, scale.end)


class Factor(msgspec.Struct, frozen=True):
    """A register by which the device scales another value: a power of ten (``exponent``), or what the value is multiplied by."""

    field: Field
    exponent: bool
