"""Raw values by which a device says 'no value', as people write them (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_agent.drivers.modbus.field import FLOATS, ValueType


def raw_values(kind: ValueType, values: Iterable[float]) -> tuple[float, ...]:
    """Return ``values`` as a register of the type reads; raises ValueError, in words for the user, for one that it can never hold.

    Of a signed number the bit pattern may be given: manuals print 0x8000 or 65535 for what an int16 reads as -32768 or -1.
    """
    if kind in FLOATS:
        return tuple(float(value) for value in values)
    low, high = reach(kind)
    span = high - low + 1
    raws = []
    for value in values:
        if not (math.isfinite(value) and value == int(value)):
            raise ValueError(f"bad_values: a raw {kind} is a whole number {low} to {high}, never {value}")
        raw = int(value)
        if low < 0 and high < raw < span:
            raw -= span
        if not low <= raw <= high:
            raise ValueError(f"bad_values: a raw {kind} is a whole number {low} to {high}, never {value}")
        raws.append(raw)
    return tuple(raws)


def reach(kind: ValueType) -> tuple[int, int]:
    """Return the least and the greatest value of a whole number of this type."""
    if kind.startswith("bcd"):
        return 0, 10 ** (int(kind[3:]) // 4) - 1
    bits = int(kind.removeprefix("u").removeprefix("int"))
    return (0, (1 << bits) - 1) if kind.startswith("u") else (-(1 << bits - 1), (1 << bits - 1) - 1)
