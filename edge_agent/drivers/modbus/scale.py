"""From raw numbers to values: factor, offset and transformer ratios, without the noise of binary fractions (pure)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from operator import mul

from edge_agent.drivers.modbus.field import FLOATS, Field
from edge_agent.model.reading import Value

_FINEST = 10**6
"""A factor that is a fraction with at most this denominator is meant to be that fraction: 0.1 is a tenth, 6.6666666666666667 is 20/3."""


def scaling(field: Field) -> Callable[[Value], Value]:
    """Return raw -> raw * scale + offset, as an integer where all three are (exact beyond 2^53), and without the noise of 0.1 where it divides.

    The scale register of a `Factor` is not part of it.
    """
    if field.type in {"bool", "string"}:
        return lambda raw: raw
    return _numbers(field.scale, field.offset, integral=field.type not in FLOATS)  # type: ignore[return-value]  # numbers are values


def _numbers(scale: float, offset: float, *, integral: bool) -> Callable[[float], float]:
    if integral and scale == int(scale) and offset == int(offset):
        factor, base = int(scale), int(offset)
        return (lambda raw: raw) if (factor, base) == (1, 0) else (lambda raw: raw * factor + base)
    if scale == 1.0 and offset == 0.0:
        return lambda raw: raw
    exact = Fraction(scale).limit_denominator(_FINEST)
    if integral and exact.denominator > 1 and exact.numerator / exact.denominator == scale:
        numerator, divisor = exact.numerator, exact.denominator
        if abs(numerator) == 1:
            divisor *= numerator
            return lambda raw: raw / divisor + offset  # 721 * 0.1 is 72.10000000000001, 721 / 10 is 72.1
        return lambda raw: raw * numerator / divisor + offset
    return lambda raw: raw * scale + offset


def ratio_of(text: str) -> Fraction:
    """Return the ratio ``600/5`` or ``120`` exactly; raises ValueError with the remedy."""
    upper, slash, lower = text.partition("/")
    try:
        ratio = Fraction(upper.strip()) / (Fraction(lower.strip()) if slash else 1)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if ratio <= 0:
        raise ValueError(
            f"{text} is no ratio of a transformer; write primary/secondary as on its plate, 600/5 or 20000/100, or a factor"
        )
    return ratio


def with_ratios(number: float, ratios: tuple[str, ...]) -> float:
    """Return ``number``, as a decimal fraction, times all ``ratios``."""
    return number if not ratios else float(reduce(mul, map(ratio_of, ratios), Fraction(repr(number))))


def by_power_of_ten(number: float, exponent: int) -> float:
    """Return ``number``, as a decimal fraction, times 10^exponent."""
    return float(Fraction(repr(number)) * Fraction(10) ** exponent)
