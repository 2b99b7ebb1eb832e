"""Everything that the words of some registers could be: every type in every order that a tag can have (pure).

A candidate is made by what makes a tag: the members are validated as those of a device file and decoded by the driver's own decoder. So what is shown
here is what the agent will read, and a new type or order is a candidate as soon as a tag can have it. Orders that no reply could tell apart are one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, get_args

from pydantic import ValidationError

from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.decode import Decoder
from edge_agent.drivers.modbus.field import Order, Packing, ValueType
from edge_agent.drivers.modbus.plan import Block
from edge_agent.model.reading import Value

_LONGEST: Final = 60
"""Characters of a text that is shown."""
_PATTERNS: Final = (bytes(range(0x11, 0x91)), bytes((7 * n * n + 13 * n + 5) % 256 for n in range(128)), b"\x12\x34\x56\x78" * 32)
"""Registers in which no two bytes of a value are alike: orders that read them the same are the same."""


class Candidate(NamedTuple):
    """What the words from address ``start`` on could be: the members of its tag, and its value in each read (None: it has none).

    ``high`` and ``low`` are the registers that mean most and least for a number of several, in each read; empty for all others.
    """

    type: str
    order: str
    start: int
    size: int
    members: Mapping[str, Any]
    values: tuple[Value | None, ...]
    high: tuple[int, ...] = ()
    low: tuple[int, ...] = ()


class _Shape(NamedTuple):
    type: str
    order: str
    size: int
    members: Mapping[str, Any]
    decode: Callable[[bytes], Value | None]


def candidates(first: int, reads: Sequence[bytes], starts: Sequence[int]) -> Iterator[Candidate]:
    """Yield what could stand at each address of ``starts``; ``reads`` are the data bytes of the same registers, from address ``first`` on."""
    end = first + min(map(len, reads)) // 2
    for start in starts:
        rest = min(end - start, _LONGEST // 2)
        for shape in (*_numbers(), *(_texts(rest) if rest > 0 else ())):
            if start < first or start + shape.size > end:
                continue
            at = 2 * (start - first)
            words = [raw[at : at + 2 * shape.size] for raw in reads]
            values = tuple(map(shape.decode, words))
            yield Candidate(shape.type, shape.order, start, shape.size, shape.members, values, *_ends(shape, words))


def _ends(shape: _Shape, words: Sequence[bytes]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the most and the least significant register in each read: what a flipped bit in it changes says which they are."""
    now = shape.decode(words[-1])
    if shape.size == 1 or isinstance(now, bool) or not isinstance(now, int | float):
        return (), ()
    weights = [_weight(shape, words[-1], register, now) for register in range(shape.size)]
    high, low = weights.index(max(weights)), weights.index(min(weights))
    return tuple(tuple(int.from_bytes(word[2 * end : 2 * end + 2]) for word in words) for end in (high, low))  # type: ignore[return-value]


def _weight(shape: _Shape, words: bytes, register: int, now: float) -> float:
    flipped = bytearray(words)
    flipped[2 * register] ^= 1
    other = shape.decode(bytes(flipped))
    return abs(other - now) if isinstance(other, int | float) else math.inf


@lru_cache(maxsize=1)
def _numbers() -> tuple[_Shape, ...]:
    return tuple(_distinct({"type": kind} for kind in get_args(ValueType) if kind not in {"bool", "string"}))


@lru_cache(maxsize=64)
def _texts(registers: int) -> tuple[_Shape, ...]:
    shapes = []
    for packing in get_args(Packing):
        length = registers if packing in {"low_byte", "high_byte"} else 2 * registers
        members = {"type": "string", "length": length} | ({} if packing == "high_first" else {"packing": packing})
        if (shape := _shape(members, "ABCD")) is not None:
            shapes.append(shape)
    return tuple(shapes)


def _distinct(kinds: Iterable[Mapping[str, Any]]) -> Iterator[_Shape]:
    """Yield each kind in every order that it can have and that another one does not read the same."""
    for members in kinds:
        seen = set()
        for order in get_args(Order):
            shape = _shape(members, order)
            if shape is None:
                continue
            told = tuple(repr(shape.decode(pattern[: 2 * shape.size])) for pattern in _PATTERNS)
            if told not in seen:
                seen.add(told)
                yield shape


def _shape(members: Mapping[str, Any], order: str) -> _Shape | None:
    """Return how a tag with these members is decoded; None when there can be no such tag."""
    with_order = dict(members) | ({} if order == "ABCD" else {"word_order": order})
    tag = {"register": "holding", "address": 0, **with_order}
    try:
        config = ModbusConfig.model_validate(
            {"version": 1, "device": "peek", "driver": "modbus", "host": "peek", "tags": {"it": tag}}
        )
    except ValidationError:
        return None
    field = fields_of(config)[0]
    decoder = Decoder(Block("holding", 0, field.size, field.period, (field,)))
    return _Shape(field.type, order, field.size, with_order, lambda raw: decoder.samples(raw)[0][0])
