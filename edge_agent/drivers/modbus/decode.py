"""From the bytes of one reply to samples, compiled per block (pure).

A block's values are unpacked by one `struct.Struct` call: big-endian, with pad bytes over what no tag names. Where a word order is not
the wire's own, or values overlap, the bytes are first gathered in the order of the values (one C call). Bits of one register
share its slot. Device sentinels and NaN are judged on the raw value, before scaling.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from edge_agent.drivers.modbus.field import Field, Order, ValueType, is_bits
from edge_agent.drivers.modbus.plan import Block
from edge_agent.model.reading import Quality, Value

Sample = tuple[Value | None, Quality, str | None]
"""Value, quality and, where it is not good, why."""

Raw = Any
"""What struct gives for a slot: int, float or bytes."""

_CODE: dict[ValueType, str] = {
    "bool": "H", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip


def byte_order(size: int, order: Order) -> tuple[int, ...]:
    """Return the wire positions of the bytes of a value of ``size`` registers, most significant first."""
    words = range(size) if order in {"ABCD", "BADC"} else range(size - 1, -1, -1)
    swapped = order in {"BADC", "DCBA"}
    return tuple(2 * word + byte for word in words for byte in ((1, 0) if swapped else (0, 1)))


class Decoder:
    """Decodes the data bytes of one block's reply. ``columns`` holds for each field of the block its slot and its conversion."""

    def __init__(self, block: Block) -> None:
        """Compile; ``block`` is as the planner made it."""
        self.unpack: Callable[[bytes], tuple[Raw, ...]]
        if is_bits(block.area):
            self.unpack, slots = _bits(block)
        else:
            self.unpack, slots = _registers(block)
        self.columns = tuple((slot, conversion(field)) for slot, field in zip(slots, block.fields, strict=True))

    def samples(self, raw: bytes) -> list[Sample]:
        """Return one sample for each field of the block, in its order."""
        slots = self.unpack(raw)
        return [convert(slots[slot]) for slot, convert in self.columns]


def _bits(block: Block) -> tuple[Callable[[bytes], tuple[Raw, ...]], list[int]]:
    """Coils come eight in a byte, the first in the least significant bit (V1.1b3, 6.1)."""
    places = [divmod(field.address - block.address, 8) for field in block.fields]
    return (lambda raw: tuple([raw[byte] >> bit & 1 for byte, bit in places])), list(range(len(places)))


def _registers(block: Block) -> tuple[Callable[[bytes], tuple[Raw, ...]], list[int]]:
    keys = [(2 * (field.address - block.address), _code(field), byte_order(field.size, field.order)) for field in block.fields]
    slots = sorted(set(keys))
    numbers = [slots.index(key) for key in keys]
    packed, at, plain = ">", 0, True
    for offset, code, order in slots:
        if offset < at or order != tuple(range(len(order))):
            plain = False
            break
        packed += f"{offset - at}x{code}"
        at = offset + len(order)
    if plain:
        return struct.Struct(f"{packed}{2 * block.count - at}x").unpack, numbers
    unpack = struct.Struct(">" + "".join(code for _, code, _ in slots)).unpack
    gather = itemgetter(*(offset + byte for offset, _, order in slots for byte in order))  # at least two bytes: gives a tuple
    return (lambda raw: unpack(bytes(gather(raw)))), numbers


def _code(field: Field) -> str:
    return f"{2 * field.size}s" if field.type == "string" else _CODE[field.type]


def conversion(field: Field) -> Callable[[Raw], Sample]:
    """Return the function that makes a sample of the raw value of ``field``."""
    if field.type == "bool":
        return _bool(field.bit or 0)
    if field.type == "string":
        return _string
    return _number(field)


def _bool(bit: int) -> Callable[[Raw], Sample]:
    yes, no = (True, Quality.GOOD, None), (False, Quality.GOOD, None)
    return lambda raw: yes if raw >> bit & 1 else no


def _string(raw: bytes) -> Sample:
    """Text ends at the first NUL; trailing blanks are filling."""
    text = raw.partition(b"\0")[0].rstrip()
    try:
        return text.decode(), Quality.GOOD, None
    except UnicodeDecodeError:
        return None, Quality.BAD, f"the text is not UTF-8: {text.hex(' ')}"


def _number(field: Field) -> Callable[[Raw], Sample]:
    scale = scaling(field)
    floating = field.type in {"float32", "float64"}
    bad = frozenset(struct.unpack(">f", struct.pack(">f", value))[0] if field.type == "float32" else value for value in field.bad)

    def convert(raw: Raw) -> Sample:
        if floating and not math.isfinite(raw):
            return None, Quality.BAD, f"the device sent {raw}"
        if raw in bad:
            return None, Quality.BAD, f"the device sent {raw}, which bad_values says means no value"
        return scale(raw), Quality.GOOD, None

    return convert


def scaling(field: Field) -> Callable[[Raw], Value]:
    """Return raw -> raw * scale + offset, as an integer where all three are, and without the noise of 0.1 where it divides."""
    scale, offset = field.scale, field.offset
    integral = field.type not in {"float32", "float64"}
    if integral and scale == int(scale) and offset == int(offset):
        factor, base = int(scale), int(offset)
        return (lambda raw: raw) if (factor, base) == (1, 0) else (lambda raw: raw * factor + base)
    if scale == 1.0 and offset == 0.0:
        return lambda raw: raw
    divisor = round(1 / scale)
    if integral and abs(divisor) > 1 and 1 / divisor == scale:
        return lambda raw: raw / divisor + offset  # 721 * 0.1 is 72.10000000000001, 721 / 10 is 72.1
    return lambda raw: raw * scale + offset


def changed(old: Sample, new: Sample, deadband: float | None) -> bool:
    """Whether ``new`` must be reported after ``old``: another quality or reason always, another value unless it moved less than the deadband."""
    if old == new:
        return False
    was, now = old[0], new[0]
    if deadband is None or not isinstance(was, int | float) or not isinstance(now, int | float):
        return True  # a sample without value is bad, so this is also every change of quality
    return abs(now - was) >= deadband
