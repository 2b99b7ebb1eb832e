"""Addresses as users and vendors write them: area and number, or a reference such as 40011 (pure).

A vendor's reference carries the area in its first digit and counts from 1: 40011 is holding register 10 on the wire (Modbus
Application Protocol V1.1b3, 4.4, and the tables that vendors print).
"""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.drivers.modbus.field import Area

_DIGIT: dict[str, Area] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}


class Place(NamedTuple):
    """An area and an address counted from 0, as it stands on the wire."""

    area: Area
    address: int


def place(area: Area | None, address: int | None, ref: str | None, base: int) -> Place:
    """Return where a tag lies, from either ``area`` and ``address`` (counted from ``base``) or ``ref``; raises ValueError with the remedy."""
    if ref is not None and address is not None:
        raise ValueError("both address and ref are given; leave out one of them")
    if ref is not None:
        return _referred(ref, area)
    if address is None:
        raise ValueError("the address is missing; write for example register: holding, address: 10, or ref: 40011")
    if area is None:
        raise ValueError("register is missing; add register: holding (or input, coil, discrete)")
    if address < base:
        raise ValueError(f"address {address} is before the first one, because address_base is {base}")
    if address - base > 65_535:
        raise ValueError(
            f"address {address} is behind the last one ({65_535 + base}); is it a vendor's reference? then write ref: {address}"
        )
    return Place(area, address - base)


def _referred(ref: str, area: Area | None) -> Place:
    if not (ref.isascii() and ref.isdigit()) or len(ref) not in {5, 6} or ref[0] not in _DIGIT:
        raise ValueError(
            f"ref {ref} is not a vendor's address; it has 5 or 6 digits and begins with 4 (holding), 3 (input), 1 (discrete) or 0 (coil, in "
            f"quotes: '00001'); for a plain number write register and address"
        )
    named, number = _DIGIT[ref[0]], int(ref[1:])
    if not 1 <= number <= 65_536:
        raise ValueError(f"ref {ref} counts from 1 to 65536 after its first digit")
    if area not in {None, named}:
        raise ValueError(f"ref {ref} is a {named} address, but register says {area}; leave register out")
    return Place(named, number - 1)
