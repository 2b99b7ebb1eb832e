"""Which of many candidates is it? Points for each, from what is known about values in plants (pure).

The points are bits of evidence, as far as that can be said: how unlikely words that mean something else would look so. A float whose
exponent is that of a plant's value has three of them, a number that uses few of its bits up to four; whether the value is the one that somebody sees on the
device's display has twelve. Several reads tell what one cannot: a number put together from the wrong words jumps when the right one moves a little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from edge_agent.drivers.modbus.candidates import Candidate

_TYPE: Final = {
    "float32": 0.5, "uint16": 0.5, "int16": 0.4, "uint32": 0.3, "int32": 0.2, "float64": 0.2, "string": 0.5, "uint64": -0.5, "int64": -0.6,
}  # fmt: skip
"""What vendors use; types that are not here are rarer."""
_ODD_TYPE: Final = -1.2
_ORDER: Final = {"ABCD": 0.0, "CDAB": -0.2, "DCBA": -0.7, "BADC": -0.8}
_ODD_ORDER: Final = -1.0
_MATCH: Final = 12.0
_MISS: Final = -6.0
_POWERS: Final = range(-4, 5)
_SANE: Final = (1e-3, 1e6)
_POSSIBLE: Final = (1e-6, 1e9)
_NEVER: Final = -math.inf


class Expected(NamedTuple):
    """What somebody sees on the display: a number with the half of its last digit, or a text; ``share`` is how far off the number may be."""

    value: float | str
    half: float = 0.0
    share: float = 0.02


class Ranked(NamedTuple):
    """A candidate with its points, the factor that makes the expected value of it (1: none), and why, in words."""

    candidate: Candidate
    points: float
    scale: float
    matches: bool
    why: tuple[str, ...]


def expected(text: str, share: float) -> Expected:
    """Return what a user typed as expected: ``21.5``, or ``21,5``, is 21.45 to 21.55 at least; what is no number is a text."""
    number = text.replace(",", ".") if text.count(",") == 1 and "." not in text else text  # displays in half of the world say 21,5
    try:
        value = float(number)
    except ValueError:
        return Expected(text, share=share)
    if not math.isfinite(value):
        return Expected(text, share=share)
    digits = number.lower().partition("e")[0].partition(".")[2]
    return Expected(value, 0.5 * 10.0 ** -len(digits), share)


def rank(found: Iterable[Candidate], asked: int, expect: Expected | None) -> list[Ranked]:
    """Return the candidates that could be, best first; ``asked`` is the address that somebody named. Equal ones keep their order."""
    judged = [_judge(one, asked, expect) for one in found]
    return sorted((one for one in judged if one.points > _NEVER), key=lambda one: -one.points)


def _judge(one: Candidate, asked: int, expect: Expected | None) -> Ranked:
    known = [value for value in one.values if value is not None]
    if len(known) < len(one.values):
        return Ranked(one, _NEVER, 1.0, matches=False, why=())
    points = (
        _TYPE.get(one.type, _ODD_TYPE)
        + _ORDER.get(one.order, _ODD_ORDER)
        - ("packing" in one.members)
        - abs(one.start - asked)
        - (one.start < asked)
    )
    texts = [value for value in known if isinstance(value, str)]
    if texts:
        own, matches, why = _text(texts, expect)
        return Ranked(one, points + own, 1.0, matches, why)
    numbers = [float(value) for value in known if isinstance(value, int | float)]
    own, why_drift = _drift(numbers, whole=_whole(one))
    points += own + _magnitude(one, numbers) + (_carried(one) if own > 0 else 0.0)
    if expect is None:
        return Ranked(one, points, 1.0, matches=False, why=why_drift)
    matched, power = _closest(numbers, expect, whole=_whole(one))
    why = (_told(power),) if matched > _MISS else ()
    return Ranked(one, points + matched, 10.0**power, matched > _MISS, (*why, *why_drift))


def _whole(one: Candidate) -> bool:
    return all(isinstance(value, int) for value in one.values)


def _told(power: int) -> str:
    return "as expected" if power == 0 else f"as expected with scale {10.0**power:g}"


# -- one value -------------------------------------------------------------------------------------------------------


def _magnitude(one: Candidate, numbers: Sequence[float]) -> float:
    """Return how unlikely other bits would give a value of this size."""
    most = max(map(abs, numbers))
    if most == 0:
        return 0.5 - 0.3 * one.size  # registers that hold nothing: the fewer, the better
    if _whole(one):
        bits = 16 * one.size
        few = min(4.0, 8 * (bits - max(1, int(most).bit_length())) / bits)
        return few - 0.5 * (min(numbers) < 0) - 0.2 * one.size
    low = min(abs(number) for number in numbers if number)
    if _SANE[0] <= low and most < _SANE[1]:
        return (4.0 if one.size > 2 else 3.0) + _round(numbers)
    return 0.0 if _POSSIBLE[0] <= low and most < _POSSIBLE[1] else -5.0


def _round(numbers: Sequence[float]) -> float:
    """Floats of few decimal digits are what devices compute with integers inside; chance has no such numbers."""
    return 2.0 if all(float(f"{number:.4g}") == float(f"{number:.7g}") for number in numbers) else 0.0


def _text(texts: Sequence[str], expect: Expected | None) -> tuple[float, bool, tuple[str, ...]]:
    text = texts[-1]
    if expect is not None and isinstance(expect.value, str):
        matches = expect.value.casefold() in text.casefold()
        return (_MATCH, True, ("as expected",)) if matches else (_MISS, False, ())
    if len(text) < 3 or not (text.isascii() and text.isprintable()):
        return _NEVER, False, ()
    letters = sum(char.isalnum() or char in " -_./" for char in text)
    if letters < 0.8 * len(text):
        return -3.0, False, ()
    return min(9.0, 1.5 * len(text)) + (_MISS if expect is not None else 0), False, ("readable text",)


# -- the expected value, and several reads -----------------------------------------------------------------------------


def _closest(numbers: Sequence[float], expect: Expected, *, whole: bool) -> tuple[float, int]:
    """Return the points for being the expected value, and the power of ten by which it is."""
    if isinstance(expect.value, str):
        return _MISS, 0
    room = max(expect.half, expect.share * abs(expect.value))
    best = (_MISS, 0)
    for power in _POWERS:
        off = min(abs(number * 10.0**power - expect.value) for number in numbers)
        if off > room * (1 + 1e-9) or (expect.value == 0 and power):
            continue
        cost = abs(power) * (1.0 if whole and power < 0 else 1.5)
        points = _MATCH - cost - 2 * off / room + (off <= expect.half * (1 + 1e-9))
        best = max(best, (points, power))
    return best


def _drift(numbers: Sequence[float], *, whole: bool) -> tuple[float, tuple[str, ...]]:
    """Return the points for how the value moved from read to read; one that never moved says nothing."""
    steps = [after - before for before, after in pairwise(numbers)]
    if not any(steps):
        return 0.0, ("did not move",) if steps else ()
    size = max(1.0, *map(abs, numbers))
    jump = max(map(abs, steps)) / size
    if jump > 0.5 and not (whole and max(map(abs, steps)) <= 10):
        return -5.0, (f"jumps between {min(numbers):.6g} and {max(numbers):.6g}",)
    if whole and min(steps) >= 0:
        return 2.5, (f"only grows, {min(numbers):.10g} to {max(numbers):.10g}",)
    if jump <= 0.05:
        return 2.0, (f"moves a little, {min(numbers):.6g} to {max(numbers):.6g}",)
    return 0.5, (f"moves, {min(numbers):.6g} to {max(numbers):.6g}",)


def _carried(one: Candidate) -> float:
    """Return the points for how the ends of a number that moves a little moved: the low one must, and when it jumps the number is whole."""
    if not one.low or len(set(one.values)) == 1:
        return 0.0
    if len(set(one.low)) == 1:
        return -3.0 if len(set(one.high)) > 1 and one.low[0] else 0.0  # a float of few digits has zeros there
    return 2.0 if max(one.low) - min(one.low) > max(one.low) // 2 and max(one.low) > 255 else 0.0
