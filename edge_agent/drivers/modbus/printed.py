"""Which registers somebody means who types what a vendor's table prints: 40011, 4x0011, holding 10, HR10, %MW10, 0x000A (pure).

Vendors print the number on the wire (from 0), the number of the register (from 1), or a reference with the area in its first digit (from 1, see
`address`); IEC 61131-3 names as Schneider writes them (%MW10) count from 0. A plain number says neither, so its area and its first number are given beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from edge_agent.drivers.modbus.address import Place, place
from edge_agent.drivers.modbus.field import LIMIT, Area, is_bits

_AREA: Final[dict[str, Area]] = {
    "holding": "holding", "hr": "holding", "h": "holding", "mw": "holding",
    "input": "input", "ir": "input", "iw": "input",
    "discrete": "discrete", "di": "discrete", "ix": "discrete",
    "coil": "coil", "co": "coil", "mx": "coil",
}  # fmt: skip
_PRINTED: Final = re.compile(r"%?([a-z]*)[ :/_-]*(0x[0-9a-f]+|[0-9]+)")
_CROSSED: Final = re.compile(r"([0134])x([0-9]{4,5})")
_DEFAULT: Final = 4
"""Registers of the widest number."""


class Asked(NamedTuple):
    """The registers somebody wants to see; ``address`` counts from 0, ``many`` is how many, ``counted`` whether somebody said so."""

    area: Area
    address: int
    many: int
    counted: bool = False


def asked(words: Sequence[str], area: Area | None, base: int) -> Asked:
    """Return what REGISTER [COUNT] means; ``area`` and ``base`` are of a plain number. Raises ValueError with the remedy."""
    parts = " ".join(words).lower().split()
    if len(parts) > 1 and parts[0] in _AREA:
        parts = [f"{parts[0]} {parts[1]}", *parts[2:]]
    if not 1 <= len(parts) <= 2:
        raise ValueError("write a register and how many: 40011 4, or holding 10 4")
    at = printed(parts[0], area, base)
    count = parts[1] if len(parts) == 2 else str(_DEFAULT)
    most = LIMIT[at.area]
    if not (count.isascii() and count.isdigit()) or not 1 <= int(count) <= most:
        raise ValueError(f"{count} is no count; write 1 to {most}")
    return Asked(at.area, at.address, min(int(count), 65_536 - at.address), len(parts) == 2)


def printed(text: str, area: Area | None, base: int) -> Place:
    """Return where a printed address lies; ``area`` and ``base`` are of a plain number. Raises ValueError with the remedy."""
    if crossed := _CROSSED.fullmatch(text):
        return place(area, None, "".join(crossed.groups()), base)
    match = _PRINTED.fullmatch(text)
    if match is None or (match[1] and match[1] not in _AREA):
        raise ValueError(f"{text!r} is no register; write what the vendor prints: 40011, holding 10, 4x0011, %MW10, 0x000A")
    name, number = match.groups()
    if name:
        named = _AREA[name]
        if area not in {None, named}:
            raise ValueError(f"{text} is a {named} address, but --area says {area}; leave one of them out")
        return place(named, int(number, 0 if number.startswith("0x") else 10), None, 0 if text.startswith("%") else base)
    if number.startswith("0x"):
        return place(area or "holding", int(number, 16), None, 0)
    if area is None and len(number) in {5, 6} and number[0] in "0134":
        return place(None, None, number, base)
    return place(area or "holding", int(number), None, base)


def shown(at: Asked) -> str:
    """Return the registers as people write them, and as a vendor's reference where there is one."""
    digit = {"coil": "0", "discrete": "1", "input": "3", "holding": "4"}[at.area]
    number = at.address + 1
    reference = f"{digit}{number:04d}" if number < 10_000 else f"{digit}{number:05d}"
    noun = "bit" if is_bits(at.area) else "register"
    return f"{at.area} {at.address} (printed {reference}), {at.many} {noun}{'s' * (at.many != 1)}"
