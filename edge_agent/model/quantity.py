"""Quantities as users write them: ``500ms``, ``10s``, ``3/s``; durations are integer nanoseconds inside."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)$")
_RATE = re.compile(r"^(\d+(?:\.\d+)?)\s*/\s*(s|min|h)$")


def duration(text: object) -> int:
    """Return the nanoseconds of ``500ms``, ``10s``, ``2min``, ``1h`` or ``7d``; an int is nanoseconds already."""
    if type(text) is int and not isinstance(text, bool) and text >= 1000:
        return text  # a default given in code
    if isinstance(text, str) and (match := _DURATION.match(text.strip())):
        return round(float(match[1]) * _UNITS[match[2]])
    raise ValueError(f"{text!r} is not a duration; write a number with its unit: 500ms, 10s, 2min, 1h or 7d")


def rate(text: object) -> float:
    """Return the units per second of ``3/s``, ``120/min`` or ``0.5/h``; a float is per second already."""
    if type(text) is float:
        return text
    if isinstance(text, str) and (match := _RATE.match(text.strip())):
        return float(match[1]) * 1e9 / _UNITS[match[2]]
    raise ValueError(f"{text!r} is not a rate; write a number per unit of time: 3/s, 120/min or 7200/h")


def duration_text(ns: int) -> str:
    """Return ``ns`` the way a user writes it, in the largest unit that divides it."""
    for unit in ("d", "h", "min", "s", "ms"):
        if ns and ns % _UNITS[unit] == 0:
            return f"{ns // _UNITS[unit]}{unit}"
    return f"{ns / 1e6:g}ms"


Duration = Annotated[
    int,
    BeforeValidator(duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "examples": ["500ms", "10s", "2min"]}),
]
"""Nanoseconds, written with a unit."""

Rate = Annotated[
    float,
    BeforeValidator(rate),
    PlainSerializer(lambda per_second: f"{per_second:g}/s", return_type=str),
    WithJsonSchema({"type": "string", "pattern": _RATE.pattern, "examples": ["3/s", "120/min"]}),
]
"""Units per second, written per second, minute or hour."""
