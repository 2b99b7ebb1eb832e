"""How `edge-agent peek` shows what it found: the words, the candidates, and lines for a device file (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from edge_agent.cli.words import many, plain, table
from edge_agent.config.tagfile import tag_line
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.connection import endpoint
from edge_agent.drivers.modbus.field import is_bits
from edge_agent.drivers.modbus.peek import Look
from edge_agent.drivers.modbus.plausible import Ranked
from edge_agent.drivers.modbus.printed import Asked, shown
from edge_agent.model.instant import iso

_MOST_COLUMNS: Final = 6
_NEAR: Final = 3.0
"""Points behind the best one within which a candidate is worth a line of its own."""


class Peeked(NamedTuple):
    """What was asked, what came, and what it could be."""

    config: ModbusConfig
    asked: Asked
    look: Look
    ranked: Sequence[Ranked]
    expect: str | None
    name: str | None
    every: float


def lines(peeked: Peeked, top: int) -> Iterator[str]:
    """Yield what people see; it begins with comments and ends with YAML, so that it can be copied whole."""
    yield from (f"# {plain(text)}" if text else "#" for text in _report(peeked, top))
    tags = list(_tags(peeked))
    if tags:
        yield "tags:"
        yield from tags


def _report(peeked: Peeked, top: int) -> Iterator[str]:
    config, look = peeked.config, peeked.look
    every = f", {peeked.every:g} s apart" if len(look.reads) > 1 else ""
    yield f"{shown(peeked.asked)} of unit {config.unit_id} at {endpoint(config)}; {many(len(look.reads), 'read')}{every}"
    if config.address_base:
        yield "the tags below are for a device with address_base: 1; the registers here are counted from 0"
    yield ""
    yield from _bits(peeked) if is_bits(peeked.asked.area) else _registers(peeked)
    if peeked.ranked:
        yield ""
        rows = [_row(number, one) for number, one in enumerate(_merged(peeked.ranked)[:top], 1)]
        yield from table(("", "type", "order", "registers", "value", "points", "why"), rows)
    hints = list(_hints(peeked))
    if hints:
        yield ""
        yield from hints


# -- what came -------------------------------------------------------------------------------------------------------


def _registers(peeked: Peeked) -> Iterator[str]:
    at, look = peeked.asked, peeked.look
    reads = [[raw[n : n + 2] for n in range(0, len(raw), 2)] for raw in look.reads[-_MOST_COLUMNS:]]
    rows = [
        (
            f"{'>' if at.address <= look.first + n < at.address + at.many else ' '} {at.area} {look.first + n}",
            *(words[n].hex() for words in reads),
            str(int.from_bytes(reads[-1][n])),
            "".join(chr(byte) if 32 <= byte < 127 else "." for byte in reads[-1][n]),
        )
        for n in range(len(reads[0]))
    ]
    yield from table(("  register", *["hex"] * len(reads), "uint16", "text"), rows)


def _bits(peeked: Peeked) -> Iterator[str]:
    at, look = peeked.asked, peeked.look
    for n in range(at.many):
        values = [raw[n // 8] >> n % 8 & 1 for raw in look.reads if n // 8 < len(raw)]
        yield f"{at.area} {look.first + n}  {' '.join(map(str, values))}"


# -- what it could be ------------------------------------------------------------------------------------------------


def _merged(ranked: Sequence[Ranked]) -> list[tuple[Ranked, tuple[str, ...]]]:
    """Return the candidates with the types that read the same: int16 and uint16 of a small number are one line."""
    merged: dict[object, tuple[Ranked, tuple[str, ...]]] = {}
    for one in ranked:
        each = one.candidate
        key = (each.start, each.size, each.order, repr(each.values), one.scale)
        first, types = merged.get(key, (one, ()))
        merged[key] = (first, (*types, each.type))
    return list(merged.values())


def _row(number: int, one: tuple[Ranked, tuple[str, ...]]) -> tuple[str, ...]:
    ranked, types = one
    each = ranked.candidate
    where = str(each.start) if each.size == 1 else f"{each.start}-{each.start + each.size - 1}"
    return (str(number), " or ".join(types), each.order, where, _value(ranked), f"{ranked.points:.1f}", "; ".join(ranked.why))


def _value(ranked: Ranked) -> str:
    value = ranked.candidate.values[-1]
    if isinstance(value, str):
        return repr(value)
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.9g}" if ranked.scale == 1 else f"{value:.9g} * {ranked.scale:g} = {value * ranked.scale:.9g}"


def _hints(peeked: Peeked) -> Iterator[str]:
    if peeked.expect is None or is_bits(peeked.asked.area):
        return
    matching = [one for one in peeked.ranked if one.matches]
    if not matching:
        yield f"{peeked.expect} is not here: is it another register, another area (--area input), another unit (--unit-id)?"
        yield "A value that moves fast, or is rounded on the display, needs --tolerance 10."
        return
    away = matching[0].candidate.start - peeked.asked.address
    if away in {-1, 1}:
        yield f"The value expected stands one register {'before' if away < 0 else 'behind'} the one asked for."
        yield (
            "This list counts from 1: with address_base: 1 its numbers can be written as printed."
            if away < 0
            else "This list counts from 0: write register: and address: with its numbers, not ref:."
        )
    elif away:
        yield f"The value expected stands at {peeked.asked.area} {matching[0].candidate.start}."


# -- lines for a device file -----------------------------------------------------------------------------------------


def _tags(peeked: Peeked) -> Iterator[str]:
    """Yield the best one as a tag, and as comments those that are nearly as likely."""
    at = peeked.asked
    if is_bits(at.area):
        for n in range(at.many):
            yield tag_line(f"{peeked.name or at.area}_{at.address + n}", _members(peeked, at.address + n, {}))
        return
    merged = [one for one, _ in _merged(peeked.ranked) if one.matches or peeked.expect is None]
    for number, one in enumerate(merged[:3]):
        if number == 0 or one.points > merged[0].points - _NEAR:
            yield yaml_line(peeked, one, usable=number == 0)


def yaml_line(peeked: Peeked, one: Ranked, *, usable: bool = True) -> str:
    """Return a candidate as a tag of a device file."""
    each = one.candidate
    members = dict(each.members)
    if isinstance(text := each.values[-1], str):
        members["length"] = len(text) + len(text) % 2 * (members["length"] == 2 * each.size)  # two in a register, or one
        members.setdefault("packing", "high_first")
        if members["packing"] == (peeked.config.packing or "high_first"):
            del members["packing"]
    elif each.size > 1 and peeked.config.word_order != "ABCD":
        members["word_order"] = each.order
    if one.scale != 1:
        members["scale"] = one.scale
    name = peeked.name or f"{peeked.asked.area}_{each.start}"
    return tag_line(name, _members(peeked, each.start, members), f"read {_value(one)}", usable=usable)


def _members(peeked: Peeked, address: int, more: dict[str, Any]) -> dict[str, Any]:
    return {"register": peeked.asked.area, "address": address + peeked.config.address_base} | more


def document(peeked: Peeked, top: int) -> dict[str, Any]:
    """Return what programs get."""
    look = peeked.look
    return {
        "endpoint": endpoint(peeked.config),
        "unit_id": peeked.config.unit_id,
        "area": peeked.asked.area,
        "address": peeked.asked.address,
        "count": peeked.asked.many,
        "first": look.first,
        "reads": [{"at": iso(at), "hex": raw.hex()} for at, raw in zip(look.times, look.reads, strict=True)],
        "expected": peeked.expect,
        "candidates": [_document(peeked, one) for one in peeked.ranked[:top]],
        "hints": list(_hints(peeked)),
    }


def _document(peeked: Peeked, one: Ranked) -> dict[str, Any]:
    each = one.candidate
    return {
        "type": each.type,
        "word_order": each.order,
        "address": each.start,
        "registers": each.size,
        "values": list(each.values),
        "scale": one.scale,
        "points": round(one.points, 2),
        "matches": one.matches,
        "why": list(one.why),
        "tag": yaml_line(peeked, one).strip(),
    }
