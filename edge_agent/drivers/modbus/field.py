"""Where a tag lies in a device and what its bits mean: the resolved form of a tag, shared by planner and decoder (pure)."""

from __future__ import annotations

from typing import Literal

import msgspec

Area = Literal["coil", "discrete", "input", "holding"]
"""The four tables of the data model (Modbus Application Protocol V1.1b3, 4.3)."""

ValueType = Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "string"]

Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
"""Order of the bytes of a value on the wire; A is the most significant. 64-bit values likewise (CDAB = GHEFCDAB)."""

FUNCTION: dict[Area, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""The only function codes that ever leave (V1.1b3, 6.1 to 6.4): all of them read."""

LIMIT = {"coil": 2000, "discrete": 2000, "holding": 125, "input": 125}
"""Most that one request may ask for (V1.1b3, 6.1 to 6.4)."""

REGISTERS: dict[ValueType, int] = {
    "bool": 1, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip
"""Registers of a value; a string has its own length."""


def is_bits(area: Area) -> bool:
    """Whether an address of the area is one bit (coil, discrete input), not one 16-bit register."""
    return area in {"coil", "discrete"}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One tag as the device holds it. ``index`` is its place in the device's tag list; ``address`` counts from 0.

    ``size`` is in registers or bits; ``bit`` picks one bit of a register (0 = least significant); ``bad`` holds raw values that
    mean "no value"; ``value = raw * scale + offset``; ``period`` is in plant ns; fields of one ``together`` are read in one request.
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

    @property
    def end(self) -> int:
        """The first address behind the value."""
        return self.address + self.size
