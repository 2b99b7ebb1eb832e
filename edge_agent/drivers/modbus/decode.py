"""From the bytes of one reply to samples, compiled per block (pure).

A block's values are unpacked by one `struct.Struct` call: big-endian, with pad bytes over what no tag names. Where a word order is not
the wire's own, or values overlap, the bytes are first gathered in the order of the values (one C call). Bits of one register
share its slot. A value with a scale register has a slot of two: its own and that register's, so that a change of either is seen.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from edge_agent.drivers.modbus.convert import Convert, Raw, Sample, conversion, not_in_request
from edge_agent.drivers.modbus.field import PARTS, Field, Order, ValueType, is_bits
from edge_agent.drivers.modbus.plan import Block

__all__ = ["Decoder", "Raw", "Sample", "byte_order", "changed", "conversion"]

_CODE: dict[ValueType, str] = {
    "bool": "H", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int24": "3s", "uint24": "3s", "int32": "i", "uint32": "I",
    "int48": "6s", "uint48": "6s", "int64": "q", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
    "bcd16": "H", "bcd32": "I", "bcd64": "Q",
}  # fmt: skip

Unpack = Callable[[bytes], tuple[Raw, ...]]


class _Slot(NamedTuple):
    """Where the bytes of a value stand: from ``at`` in the reply, in the given order, the most significant first."""

    at: int
    code: str
    order: tuple[int, ...]


def byte_order(size: int, order: Order) -> tuple[int, ...]:
    """Return the wire positions of the bytes of a value of ``size`` registers, most significant first."""
    if order in PARTS:
        if size == 4:
            return tuple(order.index(letter) for letter in "ABCDEFGH")
        order = PARTS[order]
    words = range(size) if order in {"ABCD", "BADC"} else range(size - 1, -1, -1)
    swapped = order in {"BADC", "DCBA"}
    return tuple(2 * word + byte for word in words for byte in ((1, 0) if swapped else (0, 1)))


class Decoder:
    """Decodes the data bytes of one block's reply. ``columns`` holds for each field of the block its slot and its conversion."""

    def __init__(self, block: Block) -> None:
        """Compile; ``block`` is as the planner made it."""
        self.unpack: Unpack
        if is_bits(block.area):
            self.unpack, slots = _bits(block)
            converts = [conversion(field) for field in block.fields]
        else:
            self.unpack, slots, converts = _registers(block)
        self.columns = tuple(zip(slots, converts, strict=True))

    def samples(self, raw: bytes) -> list[Sample]:
        """Return one sample for each field of the block, in its order."""
        slots = self.unpack(raw)
        return [convert(slots[slot]) for slot, convert in self.columns]


def _bits(block: Block) -> tuple[Unpack, list[int]]:
    """Coils come eight in a byte, the first in the least significant bit (V1.1b3, 6.1)."""
    places = [divmod(field.address - block.address, 8) for field in block.fields]
    return (lambda raw: tuple([raw[byte] >> bit & 1 for byte, bit in places])), list(range(len(places)))


def _registers(block: Block) -> tuple[Unpack, list[int], list[Convert]]:
    own = [_slot(block, field) for field in block.fields]
    by = {
        place: _slot(block, field.factor.field)
        for place, field in enumerate(block.fields)
        if field.factor is not None and _inside(block, field.factor.field)
    }
    unpack, numbers = _compiled(block, [*own, *by.values()])
    slots, scales = numbers[: len(own)], dict(zip(by, numbers[len(own) :], strict=True))
    if scales:
        pairs = [(slots[place], scale) for place, scale in scales.items()]
        first = max(numbers) + 1
        unpack = _paired(unpack, pairs)
        for number, place in enumerate(scales):
            slots[place] = first + number
    converts = [
        conversion(field) if field.factor is None or place in scales else not_in_request(field.factor)
        for place, field in enumerate(block.fields)
    ]
    return unpack, slots, converts


def _paired(unpack: Unpack, pairs: Sequence[tuple[int, int]]) -> Unpack:
    def paired(raw: bytes) -> tuple[Raw, ...]:
        slots = unpack(raw)
        return (*slots, *[(slots[value], slots[scale]) for value, scale in pairs])

    return paired


def _inside(block: Block, field: Field) -> bool:
    return field.area == block.area and block.address <= field.address and field.end <= block.address + block.count


def _compiled(block: Block, wanted: Sequence[_Slot]) -> tuple[Unpack, list[int]]:
    """Return the function from a reply to the slots, and for each wanted one its number."""
    slots = sorted(set(wanted))
    number = {slot: place for place, slot in enumerate(slots)}
    numbers = [number[slot] for slot in wanted]
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
    places = [offset + byte for offset, _, order in slots for byte in order]
    if len(places) == 1:  # itemgetter gives no tuple for one; one byte overlaps nothing, so only its order can have been unusual
        return (lambda raw: unpack(raw[places[0] : places[0] + 1])), numbers
    gather = itemgetter(*places)
    return (lambda raw: unpack(bytes(gather(raw)))), numbers


def _slot(block: Block, field: Field) -> _Slot:
    order, code = _positions(field), _CODE.get(field.type)
    first = min(order) if order == tuple(range(min(order), max(order) + 1)) else 0
    return _Slot(
        2 * (field.address - block.address) + first, code or f"{len(order)}s", tuple(position - first for position in order)
    )


def _positions(field: Field) -> tuple[int, ...]:
    """Return where the bytes of a value stand in its registers, the most significant first."""
    if field.type == "string":
        if field.packing in {"low_byte", "high_byte"}:
            return tuple(range(int(field.packing == "low_byte"), 2 * field.size, 2))
        swapped = field.packing == "low_first" or field.order == "BADC"
        return byte_order(field.size, "BADC" if swapped else "ABCD")
    order = byte_order(field.size, field.order)
    if field.type in {"int8", "uint8"}:
        return (order[0 if field.high else 1],)
    if field.type in {"int24", "uint24"}:
        return order[1:]
    return order


def changed(old: Sample, new: Sample, deadband: float | None) -> bool:
    """Whether ``new`` must be reported after ``old``: another quality or reason always, another value unless it moved less than the deadband."""
    if old == new:
        return False
    if deadband is None:
        return True
    was, now = old[0], new[0]
    if old[1] is not new[1] or not isinstance(was, int | float) or not isinstance(now, int | float):
        return True
    return abs(now - was) >= deadband
