"""From the raw value of one slot to a sample, compiled per tag: what the device means, before anybody calculates with it (pure).

Sentinels, NaN and digits that are none are judged on the raw value, before scaling. Each step is a closure, and a tag pays only for the
steps that it has.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from edge_agent.drivers.modbus.field import FLOATS, Factor, Field
from edge_agent.drivers.modbus.scale import by_power_of_ten, scaling
from edge_agent.model.reading import Quality, Value

Sample = tuple[Value | None, Quality, str | None]
"""Value, quality and, where it is not good, why."""

Raw = Any
"""What struct gives for a slot: int, float or bytes; with a scale register a pair, its own and that one's."""

Convert = Callable[[Raw], Sample]

EXPONENTS: Final = range(-10, 11)
"""What a scale factor may be (SunSpec Device Information Model Specification, sunssf); 0x8000 (-32768) says that there is none."""

_PATTERN = {"float16": ">e", "float32": ">f"}


def conversion(field: Field) -> Convert:
    """Return the function that makes a sample of the raw value of ``field``."""
    if field.type == "bool":
        return _bool(field.bit or 0)
    if field.type == "string":
        return _string(field.encoding)
    if field.factor is not None:
        return _scaled_by(field, field.factor)
    return _number(field, _finished(field))


def not_in_request(factor: Factor) -> Convert:
    """Return the conversion of a value whose scale register was not read with it."""
    sample = (None, Quality.BAD, f"its scale register {factor.field.name} was not read with it")
    return lambda _: sample


def _bool(bit: int) -> Convert:
    yes, no = (True, Quality.GOOD, None), (False, Quality.GOOD, None)
    return lambda raw: yes if raw >> bit & 1 else no


def _string(encoding: str) -> Convert:
    """Text ends at the first NUL; trailing blanks are filling."""
    named = {"utf-8": "UTF-8", "ascii": "ASCII"}.get(encoding, encoding)

    def convert(raw: bytes) -> Sample:
        text = raw.partition(b"\0")[0].rstrip()
        try:
            return text.decode(encoding), Quality.GOOD, None
        except UnicodeDecodeError:
            return None, Quality.BAD, f"the text is not {named}: {text.hex(' ')}"

    return convert


def _number(field: Field, finish: Convert) -> Convert:
    """Return the judgement of the raw number, with ``finish`` behind it."""
    convert = finish
    if field.bad:
        convert = _unless(field, convert)
    if field.type in FLOATS:
        convert = _finite(convert)
    if field.type.startswith("bcd"):
        return _digits(2 * 2 * field.size, convert)
    if field.type in {"int24", "uint24", "int48", "uint48"}:
        return _odd(field.type.startswith("int"), convert)
    return convert


def _unless(field: Field, then: Convert) -> Convert:
    pattern = _PATTERN.get(field.type)
    # What a short float cannot hold exactly comes as its neighbour: -9999.9 is -9999.900390625 in float32.
    bad = frozenset(struct.unpack(pattern, struct.pack(pattern, value))[0] if pattern else value for value in field.bad)

    def convert(raw: Raw) -> Sample:
        if raw in bad:
            return None, Quality.BAD, f"the device sent {raw}, which bad_values says means no value"
        return then(raw)

    return convert


def _finite(then: Convert) -> Convert:
    def convert(raw: float) -> Sample:
        return then(raw) if math.isfinite(raw) else (None, Quality.BAD, f"the device sent {raw}")

    return convert


def _digits(count: int, then: Convert) -> Convert:
    """Four bits are one decimal digit; A to F are none."""

    def convert(raw: int) -> Sample:
        text = f"{raw:0{count}X}"
        return then(int(text)) if text.isdecimal() else (None, Quality.BAD, f"the device sent 0x{text}, which is no BCD number")

    return convert


def _odd(signed: bool, then: Convert) -> Convert:
    """Lengths that struct does not know come as bytes."""
    return lambda raw: then(int.from_bytes(raw, "big", signed=signed))


def _finished(field: Field) -> Convert:
    """Return the last steps: scaling, and the clamp."""
    scale, clamp = scaling(field), field.clamp
    good = Quality.GOOD
    if clamp is not None:
        return _clamped(field, scale, clamp)
    if field.scale == 1.0 and field.offset == 0.0:
        return lambda raw: (raw, good, None)
    if field.type not in FLOATS:
        return lambda raw: (scale(raw), good, None)
    return _scaled(scale)


def _scaled(scale: Callable[[Any], Any]) -> Convert:
    def convert(raw: float) -> Sample:
        value = scale(raw)
        return (value, Quality.GOOD, None) if math.isfinite(value) else (None, Quality.BAD, f"{raw} is out of range after scaling")

    return convert


def _clamped(field: Field, scale: Callable[[Any], Any], clamp: tuple[float, float]) -> Convert:
    """A value outside of its range is known to be wrong, but not by how much: Uncertain, as Uncertain_EngineeringUnitsExceeded (OPC 10000-8, 7.3.2)."""
    whole = field.type not in FLOATS and field.scale == int(field.scale) and field.offset == int(field.offset)
    low, high = (
        (int(bound) if whole and bound == math.floor(bound) else bound) if math.isfinite(bound) else bound for bound in clamp
    )

    # No value in the words: noise above the bound is no news.
    under, over = f"the value is below {low:.12g}, where clamp begins", f"the value is above {high:.12g}, where clamp ends"

    def convert(raw: Raw) -> Sample:
        value = scale(raw)
        if value < low:
            return low, Quality.UNCERTAIN, under
        if value > high:
            return high, Quality.UNCERTAIN, over
        return value, Quality.GOOD, None

    return convert


def _scaled_by(field: Field, factor: Factor) -> Convert:
    """Return the conversion of the pair (own raw value, raw scale register)."""
    judge, name = conversion(factor.field), factor.field.name
    step = _exponent(field, name) if factor.exponent else _multiplier(field, name)

    def convert(raw: Raw) -> Sample:
        by, quality, why = judge(raw[1])
        if quality is not Quality.GOOD:
            return None, Quality.BAD, f"its scale register {name} has no value: {why}"
        return step(by)(raw[0])

    return convert


def _exponent(field: Field, name: str) -> Callable[[Any], Convert]:
    known: dict[int, Convert] = {}
    for power in EXPONENTS:
        scaled = replace(field, scale=by_power_of_ten(field.scale, power), factor=None)
        known[power] = _number(scaled, _finished(scaled))

    def step(power: Any) -> Convert:
        if (convert := known.get(power)) is not None:
            return convert
        return lambda _: (None, Quality.BAD, f"its scale register {name} holds {power}, which is no exponent from -10 to 10")

    return step


def _multiplier(field: Field, name: str) -> Callable[[Any], Convert]:
    finish = _finished(replace(field, factor=None))

    def step(factor: Any) -> Convert:
        if factor == 0:
            return lambda _: (None, Quality.BAD, f"its scale register {name} holds 0, which would make every value the same")

        def multiplied(raw: Any) -> Sample:
            product = raw * factor
            if not math.isfinite(product):
                return None, Quality.BAD, f"{raw} times {factor} is out of range"
            return finish(product)

        return _number(field, multiplied)

    return step
