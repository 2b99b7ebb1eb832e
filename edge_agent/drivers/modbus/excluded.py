"""Areas of a device that no request may touch: registers that clear themselves when read, that start something, that hang the device (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from edge_agent.drivers.modbus.address import place
from edge_agent.drivers.modbus.field import Area

_AREA = re.compile(r"^(holding|input|coil|discrete)\s+(\d+)(?:\s*-\s*(\d+))?$")
_REF = re.compile(r"^(\d{5,6})(?:\s*-\s*(\d{5,6}))?$")


class Span(NamedTuple):
    """Addresses of one area from ``start`` up to, and without, ``end``; both count from 0."""

    area: Area
    start: int
    end: int

    @property
    def name(self) -> str:
        """The span as people write it: ``holding 100-119``, counted from 0."""
        return f"{self.area} {self.start}-{self.end - 1}"

    def meets(self, area: Area, start: int, end: int) -> bool:
        """Whether any address of ``area`` from ``start`` up to ``end`` lies inside."""
        return self.area == area and start < self.end and self.start < end


def span(text: object, base: int) -> Span:
    """Return what ``holding 100-119`` (counted from ``base``) or ``40101-40120`` (as vendors print it) means; raises ValueError with the remedy."""
    if type(text) is int:
        text = str(text)
    if isinstance(text, str) and (match := _REF.match(text.strip())):
        first = place(None, None, match[1], base)
        last = place(None, None, match[2] or match[1], base)
    elif isinstance(text, str) and (match := _AREA.match(text.strip())):
        first = place(match[1], int(match[2]), None, base)  # type: ignore[arg-type]  # the pattern lets nothing but areas through
        last = place(match[1], int(match[3] or match[2]), None, base)  # type: ignore[arg-type]
    else:
        raise ValueError(
            f"exclude: {text!r} is no area; write for example holding 100-119, input 7, or 40101-40120 as vendors print it"
        )
    if last.area != first.area or last.address < first.address:
        raise ValueError(f"exclude: {text} ends before it begins; write the lower address first, in one register area")
    return Span(first.area, first.address, last.address + 1)


def inside(spans: Iterable[Span], area: Area, start: int, end: int) -> Span | None:
    """Return one of ``spans`` that has an address of ``area`` from ``start`` up to ``end``, None when there is none."""
    return next((each for each in spans if each.meets(area, start, end)), None)
