"""What could it be: every type in every order, ranked by what is seen on the display and by how it moves."""

from __future__ import annotations

import math
import struct
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.drivers.modbus.candidates import candidates
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.field import Order, ValueType
from edge_agent.drivers.modbus.plausible import Ranked, expected, rank

AT = 100


def words(code: str, value: float, order: str = "ABCD") -> bytes:
    """Return a value as a device with this order sends it."""
    data = struct.pack(f">{code}", value)
    pairs = [data[n : n + 2] for n in range(0, len(data), 2)]
    pairs = pairs[::-1] if order in {"CDAB", "DCBA"} else pairs
    return b"".join(pair[::-1] if order in {"BADC", "DCBA"} else pair for pair in pairs)


def reads(code: str, values: list[float], order: str = "ABCD", behind: str = "0007 0102") -> list[bytes]:
    """Return several reads of a value and of what lies behind it."""
    return [words(code, value, order) + bytes.fromhex(behind) for value in values]


def ranked(data: list[bytes], expect: str | None = None, *, first: int = AT, at: int = AT) -> list[Ranked]:
    """Rank everything that starts in the data."""
    starts = range(first, first + len(data[0]) // 2)
    return rank(candidates(first, data, starts), at, expected(expect, 0.02) if expect is not None else None)


def told(one: Ranked) -> tuple[str, str, int, float]:
    """Return what a tag would say."""
    return one.candidate.type, one.candidate.order, one.candidate.start, one.scale


WARM = [21.5, 21.53, 21.48]
TABLE = {
    "temperature, float": (reads("f", WARM), "21.5", ("float32", "ABCD", AT, 1)),
    "temperature, float, words swapped": (reads("f", WARM, "CDAB"), "21.5", ("float32", "CDAB", AT, 1)),
    "temperature, float, bytes swapped": (reads("f", WARM, "BADC"), "21.5", ("float32", "BADC", AT, 1)),
    "temperature, float, both swapped": (reads("f", WARM, "DCBA"), "21.5", ("float32", "DCBA", AT, 1)),
    "nothing expected, float, words swapped": (reads("f", WARM, "CDAB"), None, ("float32", "CDAB", AT, 1)),
    "nothing expected, float, both swapped": (reads("f", WARM, "DCBA"), None, ("float32", "DCBA", AT, 1)),
    "a read of a round value alone": (reads("f", [21.5], "CDAB"), "21.5", ("float32", "CDAB", AT, 1)),
    "tenths": (reads("H", [215, 216, 215]), "21.5", ("uint16", "ABCD", AT, 0.1)),
    "tenths, with a decimal comma": (reads("H", [215, 216, 215]), "21,5", ("uint16", "ABCD", AT, 0.1)),
    "tenths below zero": (reads("h", [-123, -124, -125]), "-12.4", ("int16", "ABCD", AT, 0.1)),
    "tenths below zero, nothing expected": (reads("h", [-123, -124, -125]), None, ("int16", "ABCD", AT, 1)),
    "hundredths in two registers": (reads("i", [123456, 123470, 123490], "CDAB"), "1234.7", ("uint32", "CDAB", AT, 0.01)),
    "watts shown as kilowatts": (reads("f", [12345, 12360, 12290], "CDAB"), "12.3", ("float32", "CDAB", AT, 0.001)),
    "a double": (reads("d", WARM, "CDAB", ""), "21.5", ("float64", "CDAB", AT, 1)),
    "a double, nothing expected": (reads("d", WARM, "ABCD", ""), None, ("float64", "ABCD", AT, 1)),
    "a counter over the edge of a word": (reads("I", [131056, 131066, 131077]), None, ("uint32", "ABCD", AT, 1)),
    "the same, words swapped": (reads("I", [131056, 131066, 131077], "CDAB"), None, ("uint32", "CDAB", AT, 1)),
    "a text": ([b"PUMP-1\0\0"] * 2, None, ("string", "ABCD", AT, 1)),
    "a text that is expected": ([b"UPPM1-\0\0"], "pump-1", ("string", "ABCD", AT, 1)),
    "BCD": (reads("H", [0x1234, 0x1235, 0x1237]), "1237", ("bcd16", "ABCD", AT, 1)),
    "a double whose halves are swapped": (
        [bytes(words("d", value))[4:] + words("d", value)[:4] for value in WARM],
        "21.5",
        ("float64", "EFGHABCD", AT, 1),
    ),
    "three bytes": (reads("I", [80000, 80002, 80005]), "80002", ("uint32", "ABCD", AT, 1)),
    "nothing at all": ([bytes(8)] * 3, None, ("uint16", "ABCD", AT, 1)),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_right_one_wins(case: str) -> None:
    """Three reads, or the value on the display, are enough for what vendors do."""
    data, expect, right = TABLE[case]
    assert told(ranked(data, expect)[0]) == right


def test_a_temperature_with_swapped_words_is_far_ahead() -> None:
    """With the display's value no other type or order at any of the registers comes near."""
    best, second, *_ = ranked(reads("f", WARM, "CDAB"), "21.5")
    assert best.matches
    assert best.points > second.points + 3


def test_one_register_too_far_is_found() -> None:
    """A list that counts from 1 leads to the register behind: the value that starts before wins over its own half."""
    data = reads("f", WARM, "CDAB")
    best, half, *_ = ranked(data, "21.5", first=AT - 1, at=AT)
    assert (told(best), told(half)) == (("float32", "CDAB", AT - 1, 1), ("float32", "ABCD", AT, 1))
    assert best.points > half.points + 3, "the low word of the half never moves"


def test_wild_jumps_and_growth_are_judged() -> None:
    """A value that jumps loses to the same value standing still, one that only grows wins over it."""
    still, wild, grows = (
        next(one for one in ranked(reads("H", values, behind="")) if one.candidate.type == "uint16")
        for values in ([500, 500, 500], [500, 20, 40000], [500, 501, 502])
    )
    assert grows.points > still.points > wild.points
    assert "jumps between 20 and 40000" in wild.why
    assert "only grows, 500 to 502" in grows.why


def test_what_has_no_value_is_no_candidate() -> None:
    """NaN, and text that is no text, are left out."""
    found = ranked([bytes.fromhex("7fc0 0000")])
    assert ("float32", "ABCD") not in {told(one)[:2] for one in found}
    assert "string" not in {told(one)[0] for one in found}
    once = ranked([bytes.fromhex("7fc0 0000"), *reads("f", WARM, behind="")], "21.5")
    assert ("float32", "ABCD") not in {told(one)[:2] for one in once}, "not even when it has one in other reads"


def test_every_type_and_order_of_a_tag_is_tried() -> None:
    """What a tag of a device file can be is a candidate: a new type needs nothing here. Orders that read the same are one."""
    found = {(one.type, one.order) for one in candidates(0, [bytes(range(1, 41))], [0])}
    for kind in set(get_args(ValueType)) - {"bool"}:
        more = {"length": 4} if kind == "string" else {}
        tag = {"register": "holding", "address": 0, "type": kind} | more
        try:
            ModbusConfig.model_validate({"version": 1, "device": "d", "driver": "modbus", "host": "h", "tags": {"t": tag}})
        except ValidationError:
            continue
        assert kind in {each for each, _ in found}
    assert {order for kind, order in found if kind == "float32"} == {"ABCD", "CDAB", "BADC", "DCBA"}
    assert {order for kind, order in found if kind == "uint16"} == {"ABCD", "BADC"}
    assert {order for _, order in found} <= set(get_args(Order))


@pytest.mark.parametrize(
    ("data", "packing"),
    [(b"PUMP-1\0\0", None), (b"UPPM1-\0\0", "low_first"), (b"\0P\0U\0M\0P", "low_byte"), (b"P\0U\0M\0P\0", "high_byte")],
)
def test_a_text_is_found_in_each_placement(data: bytes, packing: str | None) -> None:
    """Two characters in a register, or one in either byte of it: with the text that is expected each is found."""
    best = ranked([data], "pump")[0]
    assert (best.candidate.type, best.candidate.members.get("packing"), best.matches) == ("string", packing, True)


def test_what_is_typed_as_expected() -> None:
    """A number has the half of its last digit as room; what is no finite number is a text."""
    assert expected("21.50", 0.0)[:2] == (21.5, pytest.approx(0.005))
    assert expected("300", 0.0)[:2] == (300.0, 0.5)
    assert expected("PUMP", 0.0).value == "PUMP"
    assert expected("inf", 0.0).value == "inf"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("f", "float32"), ("i", "int32"), ("d", "float64"), ("h", "int16")]),
    st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    st.floats(min_value=10, max_value=30000, width=32),
    st.binary(min_size=4, max_size=4),
)
def test_the_truth_is_among_the_first(kind: tuple[str, str], order: str, value: float, behind: bytes) -> None:
    """Whatever the type, the order, the value and the neighbours: the value that is expected is found, and its tag is among the first five."""
    code, name = kind
    whole = code in "hi"
    values = [math.floor(value) + n for n in range(3)] if whole else [value, value * 1.001, value * 0.9995]
    data = [words(code, each, order) + behind + bytes(2) for each in values]
    found = ranked(data, f"{values[-1]:.6g}")
    assert found[0].matches
    truth = [struct.unpack(f">{code}", struct.pack(f">{code}", each))[0] for each in values]
    assert any(one.candidate.start == AT and list(one.candidate.values) == truth and one.scale == 1 for one in found[:5]), (
        f"{name} {order}: {[told(one) for one in found[:5]]}"
    )
