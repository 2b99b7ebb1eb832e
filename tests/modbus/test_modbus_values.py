"""What registers mean: types, orders and packings against published vectors and an encoder of its own; scales, sentinels, clamps, names.

Sources of the vectors: IEEE 754-2019 (binary16); Siemens SITRANS F Modbus RTU A5E00753974, table B-12; Basler DECS-250 9440300990, 28-9; Phoenix Contact
EMpro 109357_en, 11.6; Honeywell HC900 Communications User Guide, 3.2; Xentara Modbus driver manual, data formats; libmodbus, modbus_get_float_*;
GE EPM 9650/9800, types F46 to F49; Rockwell PowerMonitor 500 1420-UM001 (least significant word first); SunSpec, points with sf.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.drivers.modbus.config import ModbusConfig, fields_of, scalings, tags_of, unscaled
from edge_agent.drivers.modbus.decode import Decoder
from edge_agent.drivers.modbus.plan import Block, Limits, one_block, plan
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.events.registers import find_register
from edge_agent.model.reading import Batch, Quality

GOOD, UNCERTAIN, BAD = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD
Sample = tuple[Any, Quality, str | None]


def device(tags: dict[str, dict[str, Any]], **more: Any) -> ModbusConfig:
    """Validate a device; the registers of its tags are holding ones."""
    tags = {name: {"register": "holding", **tag} for name, tag in tags.items()}
    return ModbusConfig.model_validate({"version": 1, "device": "d", "driver": "modbus", "host": "h", "tags": tags, **more})


def decode(raw: str | bytes, tags: dict[str, dict[str, Any]], **more: Any) -> dict[str, Sample]:
    """Decode the registers from 0 on, as the planner reads them in one block."""
    data = raw if isinstance(raw, bytes) else bytes.fromhex(raw)
    config = device(tags, **more)
    (block,) = plan(fields_of(config), config.limits)
    samples = Decoder(block).samples(data[2 * block.address : 2 * (block.address + block.count)])
    return {field.name: sample for field, sample in zip(block.fields, samples, strict=True)}


def one(raw: str | bytes, **tag: Any) -> Sample:
    """Decode one tag at register 0."""
    return decode(raw, {"t": {"address": 0, **tag}})["t"]


@pytest.mark.parametrize(
    ("raw", "tag", "expected"),
    [
        # Siemens SITRANS F, table B-12, and its example of an absolute mass flow
        ("42C8 0000", {"type": "float32"}, 100.0),
        ("BF80 0000", {"type": "float32"}, -1.0),
        ("425D 47AE", {"type": "float32"}, struct.unpack(">f", struct.pack(">f", 55.32))[0]),
        # Basler DECS-250: 95,800 in both formats, low-order word first
        ("1C00 47BB", {"type": "float32", "word_order": "CDAB"}, 95800.0),
        ("7638 0001", {"type": "uint32", "word_order": "little"}, 95800),
        # Phoenix Contact EMpro
        ("5678 1234", {"type": "uint32", "word_order": "word_swap"}, 305419896),
        # Honeywell HC900: 12345678h big endian and byte swapped
        ("1234 5678", {"type": "uint32", "word_order": "big"}, 0x12345678),
        ("3412 7856", {"type": "uint32", "word_order": "byte_swap"}, 0x12345678),
        # libmodbus, 123456.0 in its four orders
        ("47F1 2000", {"type": "float32", "word_order": "ABCD"}, 123456.0),
        ("0020 F147", {"type": "float32", "word_order": "dcba"}, 123456.0),
        ("F147 0020", {"type": "float32", "word_order": "BADC"}, 123456.0),
        ("2000 47F1", {"type": "float32", "word_order": "CDAB"}, 123456.0),
        # Xentara: numbers of 64 bits, beyond 2^53 and exact
        ("1122 10F4 7DE9 8115", {"type": "uint64"}, 1234567890123456789),
        ("EEDD EF0B 8216 7EEB", {"type": "int64"}, -1234567890123456789),
        ("8115 7DE9 10F4 1122", {"type": "uint64", "word_order": "GHEFCDAB"}, 1234567890123456789),  # as the PowerMonitor 500 sends
        ("075B CD15", {"type": "int32"}, 123456789),
        # IEEE 754 binary16: one and a half, the largest, the smallest
        ("3E00", {"type": "float16"}, 1.5),
        ("7BFF", {"type": "float16"}, 65504.0),
        ("0001", {"type": "float16"}, 2.0**-24),
        # GE EPM: 8-bit numbers in the high and the low byte
        ("80FE", {"type": "int8", "byte": "high"}, -128),
        ("80FE", {"type": "uint8", "byte": "high"}, 128),
        ("80FE", {"type": "int8"}, -2),
        ("80FE", {"type": "uint8", "byte": "low"}, 254),
        ("FE80", {"type": "uint8", "word_order": "BA"}, 254),
        # packed digits
        ("1234", {"type": "bcd16"}, 1234),
        ("0012 3456", {"type": "bcd32"}, 123456),
        ("3456 0012", {"type": "bcd32", "word_order": "CDAB"}, 123456),
        ("9007 1992 5474 0993", {"type": "bcd64"}, 9007199254740993),  # 2^53 + 1
        ("AA00 0102", {"type": "uint24"}, 0x000102),
        ("00FF FFFE", {"type": "int24"}, -2),
        ("0000 1234 5678", {"type": "uint48"}, 0x12345678),
        ("5678 1234 FFFF", {"type": "int48", "word_order": "EFCDAB"}, 0x12345678 - (1 << 32)),
        ("0102 0304 0506 0708", {"type": "uint64", "word_order": "ABCDEFGH"}, 0x0102030405060708),
        ("0506 0708 0102 0304", {"type": "uint64", "word_order": "EFGHABCD"}, 0x0102030405060708),
        ("0304 0102 0708 0506", {"type": "uint64", "word_order": "CDABGHEF"}, 0x0102030405060708),
        ("0201 0403 0605 0807", {"type": "uint64", "word_order": "BADCFEHG"}, 0x0102030405060708),
        ("0807 0605 0403 0201", {"type": "uint64", "word_order": "HGFEDCBA"}, 0x0102030405060708),
    ],
)  # fmt: skip
def test_published_vectors(raw: str, tag: dict[str, Any], expected: object) -> None:
    """Each published example gives its value, with its exact Python type."""
    value, quality, detail = one(raw, **tag)
    assert (value, type(value), quality, detail) == (expected, type(expected), GOOD, None)


ORDERS_32 = {"ABCD": "ABCD", "CDAB": "CDAB", "BADC": "BADC", "DCBA": "DCBA", "EFGHABCD": "ABCD", "CDABGHEF": "CDAB"}
ORDERS_64 = ["ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "EFGHABCD", "CDABGHEF", "FEHGBADC", "DCBAHGFE"]
PACKED = {"bcd16": 4, "bcd32": 8, "bcd64": 16}
BITS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (16, 24, 32, 48, 64)}


def laid(canonical: bytes, order: str) -> bytes:
    """Lay the bytes of a value, most significant first, as the letters of an order of just that length say."""
    return bytes(canonical["ABCDEFGH".index(letter)] for letter in order)


def order_of(size: int, order: str) -> str:
    """Return an order of four or eight letters as the letters of a value of ``size`` registers."""
    if size == 4:
        return {"ABCD": "ABCDEFGH", "CDAB": "GHEFCDAB", "BADC": "BADCFEHG", "DCBA": "HGFEDCBA"}.get(order, order)
    if size == 3:
        return {"ABCD": "ABCDEF", "CDAB": "EFCDAB", "BADC": "BADCFE", "DCBA": "FEDCBA"}[order]
    if size == 1:
        return "BA" if order in {"BADC", "DCBA"} else "AB"
    return ORDERS_32[order]


@given(st.data())
def test_whole_numbers_survive_the_way(data: st.DataObject) -> None:
    """Whatever a device writes, in every length, sign and order, is read back exactly."""
    kind = data.draw(st.sampled_from(sorted(BITS)))
    bits, signed = BITS[kind], kind.startswith("int")
    size = (bits + 15) // 16
    orders = {1: ["ABCD", "BADC"], 2: list(ORDERS_32), 3: ["ABCD", "CDAB", "BADC", "DCBA"], 4: ORDERS_64}[size]
    order = data.draw(st.sampled_from(orders))
    value = data.draw(st.integers(-(1 << bits - 1) if signed else 0, (1 << bits - 1) - 1 if signed else (1 << bits) - 1))
    canonical = value.to_bytes(bits // 8, "big", signed=signed).rjust(2 * size, b"\x5a")
    assert one(laid(canonical, order_of(size, order)), type=kind, word_order=order) == (value, GOOD, None)


@given(
    st.sampled_from([("float16", "e"), ("float32", "f"), ("float64", "d")]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.data(),
)
def test_floats_survive_the_way(kind: tuple[str, str], number: float, data: st.DataObject) -> None:
    """A float is read as the device's own precision holds it, in every order."""
    try:
        canonical = struct.pack(f">{kind[1]}", number)
    except OverflowError:
        canonical = struct.pack(f">{kind[1]}", 1.5)
    size = len(canonical) // 2
    order = data.draw(st.sampled_from({1: ["ABCD", "BADC"], 2: list(ORDERS_32), 4: ORDERS_64}[size]))
    expected = struct.unpack(f">{kind[1]}", canonical)[0]
    value, quality, _ = one(laid(canonical, order_of(size, order)), type=kind[0], word_order=order)
    assert (struct.pack(">d", value), quality) == (struct.pack(">d", expected), GOOD)


@given(st.sampled_from(sorted(PACKED)), st.binary(min_size=8, max_size=8))
def test_digits_are_read_or_refused(kind: str, raw: bytes) -> None:
    """Packed digits give their number; a nibble from A to F gives no value at all, never another number."""
    raw = raw[: PACKED[kind] // 2]
    value, quality, detail = one(raw, type=kind)
    if raw.hex().isdecimal():
        assert (value, quality) == (int(raw.hex()), GOOD)
    else:
        assert (value, quality, detail) == (None, BAD, f"the device sent 0x{raw.hex().upper()}, which is no BCD number")


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=15),
    st.sampled_from(["high_first", "low_first", "low_byte", "high_byte"]),
)
def test_texts_survive_the_way(text: str, packing: str) -> None:
    """A text is read back from each of the four places where devices put characters, whatever fills the other bytes."""
    padded = text.encode().ljust(16, b"\0")
    if packing == "high_first":
        raw = padded
    elif packing == "low_first":
        raw = b"".join(padded[at : at + 2][::-1] for at in range(0, 16, 2))
    else:
        raw = b"".join(bytes((0x5A, char) if packing == "low_byte" else (char, 0x5A)) for char in padded)
    assert one(raw, type="string", length=16, packing=packing) == (text, GOOD, None)


@pytest.mark.parametrize(
    ("more", "raw", "expected"),
    [
        ({"encoding": "cp1252"}, b"M\xfchle", ("Mühle", GOOD, None)),
        ({"encoding": "ascii"}, b"M\xfchle", (None, BAD, "the text is not ASCII: 4d fc 68 6c 65")),
        ({}, "Mühl".encode(), ("Mühl", GOOD, None)),
    ],
)
def test_code_pages(more: dict[str, Any], raw: bytes, expected: Sample) -> None:
    """A device's code page may be named; what does not belong to it is no text."""
    assert one(raw.ljust(8, b"\0"), type="string", length=8, **more) == expected


def test_tags_inherit_from_the_device() -> None:
    """Order, packing, code page and sentinels of the device hold for its tags, as far as they concern their type and the tag says nothing."""
    tags = {
        "f": {"address": 0, "type": "float32"},
        "q": {"address": 2, "type": "uint64"},
        "s": {"address": 6, "type": "string", "length": 2},
        "i": {"address": 8, "type": "int16"},
        "own": {"address": 9, "type": "int16", "bad_values": []},
    }
    got = decode(
        "2000 47F1  0304 0102 0708 0506  0041 00E9  8000 8000", tags,
        word_order="CDABGHEF", packing="low_byte", encoding="latin-1", bad_values={"int16": 0x8000},
    )  # fmt: skip
    assert [got[name][0] for name in tags] == [123456.0, 0x0102030405060708, "Aé", None, -32768]
    assert got["i"][1:] == (BAD, "the device sent -32768, which bad_values says means no value")


# -- scales ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "tag", "expected"),
    [
        ("04D2", {"scale": 0.1, "ratio": "600/5"}, 14808),
        ("04D2", {"ratio": ["600/5", "20000/100"]}, 1234 * 24000),
        ("0007", {"ratio": "100/3"}, 700 / 3),
        ("0007", {"scale": 0.01, "ratio": 30}, 2.1),  # 7 * 0.3 is 2.0999999999999996
        ("0007", {"scale": 2, "offset": 1, "ratio": "10"}, 150),
        ("FFFF FFFF FFFF FFFF", {"type": "uint64", "scale": 10}, 10 * ((1 << 64) - 1)),
    ],
)
def test_ratios_multiply_exactly(raw: str, tag: dict[str, Any], expected: float) -> None:
    """Transformer ratios multiply the scaled value; whole numbers stay whole, and no binary noise is left."""
    value, quality, _ = one(raw, **tag)
    assert (value, type(value), quality) == (expected, type(expected), GOOD)


@given(st.integers(-32768, 32767), st.integers(1, 999), st.sampled_from([1, 10, 100, 1000]))
def test_decimal_scales_are_exact(raw: int, numerator: int, denominator: int) -> None:
    """A scale with few decimals gives the float nearest to the true product."""
    value = one(raw.to_bytes(2, "big", signed=True), type="int16", scale=numerator / denominator)[0]
    assert value == float(Fraction(raw * numerator, denominator))


SUNSPEC = {
    "w": {"address": 0, "type": "int16", "scale_from": {"exponent": "sf"}, "bad_values": 0x8000},
    "sf": {"address": 3, "type": "int16"},
}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0CEC 0000 0000 FFFF", (330.8, GOOD, None)),  # 3308 * 10^-1
        ("0CEC 0000 0000 0000", (3308, GOOD, None)),
        ("0CEC 0000 0000 0002", (330800, GOOD, None)),
        ("0CEC 0000 0000 FFF6", (3308e-10, GOOD, None)),
        ("8000 0000 0000 FFFF", (None, BAD, "the device sent -32768, which bad_values says means no value")),
        ("0CEC 0000 0000 8000", (None, BAD, "its scale register sf holds -32768, which is no exponent from -10 to 10")),
        ("0CEC 0000 0000 000B", (None, BAD, "its scale register sf holds 11, which is no exponent from -10 to 10")),
    ],
)
def test_a_scale_factor_as_sunspec_has_it(raw: str, expected: Sample) -> None:
    """The power of ten comes from another register; one that is not implemented, or impossible, makes bad quality."""
    got = decode(raw, SUNSPEC)["w"]
    assert (got, type(got[0])) == (expected, type(expected[0]))


@pytest.mark.parametrize(
    ("factor", "raw", "expected"),
    [
        ({}, "0064 0003", (300, GOOD, None)),
        ({"scale": 0.1}, "0064 0005", (50.0, GOOD, None)),
        ({}, "0064 0000", (None, BAD, "its scale register k holds 0, which would make every value the same")),
        (
            {"bad_values": 0xFFFF},
            "0064 FFFF",
            (None, BAD, "its scale register k has no value: the device sent 65535, which bad_values says means no value"),
        ),
    ],
)
def test_a_multiplier_register(factor: dict[str, Any], raw: str, expected: Sample) -> None:
    """A register may hold what another is multiplied by; a bad one makes bad quality."""
    tags = {"t": {"address": 0, "scale_from": {"factor": "k"}}, "k": {"address": 1, **factor}}
    assert decode(raw, tags)["t"] == expected


def test_a_float_multiplier_that_is_no_number() -> None:
    """A multiplier that is NaN, or too large, makes bad quality."""
    tags = {"t": {"address": 0, "type": "float64", "scale_from": {"factor": "k"}}, "k": {"address": 4, "type": "float64"}}
    huge = struct.pack(">d", 1e300)
    assert decode(huge + huge, tags)["t"] == (None, BAD, "1e+300 times 1e+300 is out of range")
    assert decode(huge + struct.pack(">d", math.nan), tags)["t"][1:] == (
        BAD,
        "its scale register k has no value: the device sent nan",
    )


def test_a_value_and_its_scale_come_from_one_request() -> None:
    """The planner never parts them, whatever lies between; a group that is read by itself takes the scale register along."""
    tags = {"w": {"address": 0, "scale_from": {"exponent": "sf"}}, "other": {"address": 1}, "sf": {"address": 50, "type": "int16"}}
    config = device(tags)
    fields = fields_of(config)
    assert next(block for block in plan(fields, config.limits) if fields[0] in block.fields).fields[-1] == fields[2]
    block = one_block([fields[0]], Limits())
    assert (block.name, [field.name for field in block.fields]) == ("holding 0-50", ["w"])
    raw = bytearray(102)
    raw[0:2], raw[100:102] = b"\x00\x07", b"\x00\x01"
    assert Decoder(block).samples(bytes(raw)) == [(70, GOOD, None)]


def test_a_scale_that_was_not_read_makes_no_value() -> None:
    """A request without the scale register gives no value, never an unscaled one."""
    field = fields_of(device(SUNSPEC))[0]
    ((value, quality, detail),) = Decoder(Block("holding", 0, 1, 1, (field,))).samples(b"\x0c\xec")
    assert (value, quality, detail) == (None, BAD, "its scale register sf was not read with it")


def test_a_new_scale_is_a_new_value() -> None:
    """A change of the scale register alone is reported; the same bytes are not."""
    config = device(SUNSPEC)
    (block,) = plan(fields_of(config), Limits(gap=9))
    watch = Watch(block)
    told = []
    for raw in ("0001 0000 0000 0000", "0001 0000 0000 0000", "0001 0000 0000 0001"):
        batch = Batch("d", 0)
        watch.answered(bytes.fromhex(raw), batch)
        told.append(list(zip(batch.tags, batch.values, strict=True)))
    assert told == [[(0, 1), (1, 0)], [], [(0, 10), (1, 1)]]


@pytest.mark.parametrize(
    ("raw", "tag", "expected"),
    [
        ("0064", {"clamp": [0, 100]}, (100, GOOD, None)),
        ("0065", {"clamp": [0, 100]}, (100, UNCERTAIN, "the value is above 100, where clamp ends")),
        ("FFFF", {"type": "int16", "scale": 0.1, "clamp": [0, float("inf")]}, (0.0, UNCERTAIN, "the value is below 0, where clamp begins")),
        ("7FFF", {"type": "int16", "clamp": [0, 100], "bad_values": 0x7FFF}, (None, BAD, "the device sent 32767, which bad_values says means no value")),
    ],
)  # fmt: skip
def test_a_clamp_gives_the_bound_and_doubt(raw: str, tag: dict[str, Any], expected: Sample) -> None:
    """Outside of its range a value is the bound, of uncertain quality; a sentinel is no value, however clamped."""
    assert one(raw, **tag) == expected


def test_a_clamped_value_becomes_good_again() -> None:
    """The change of quality is reported although the value moved less than its deadband."""
    (block,) = plan(fields_of(device({"t": {"address": 0, "clamp": [0, 100], "deadband": 50}})), Limits())
    watch, told = Watch(block), []
    for word in (101, 105, 100):
        batch = Batch("d", 0)
        watch.answered(word.to_bytes(2, "big"), batch)
        told.append(list(zip(batch.values, batch.quality, strict=True)))
    assert told == [[(100, UNCERTAIN)], [], [(100, GOOD)]]


def test_out_of_range_after_scaling() -> None:
    """A float that scaling makes infinite has no value."""
    assert one(struct.pack(">d", 1e308), type="float64", scale=10) == (None, BAD, "1e+308 is out of range after scaling")


def test_names_leave_the_number() -> None:
    """An enumeration names its numbers for people; the value stays the number, also one that has no name."""
    tag = {"address": 0, "names": {0: "off", 1: "on"}}
    assert tags_of(device({"t": tag}))[0].names == ((0, "off"), (1, "on"))
    assert decode("0007", {"t": tag})["t"] == (7, GOOD, None)


def test_read_shows_true_values() -> None:
    """What is read without scaling and scaled afterwards is what the agent itself decodes, also where another register scales."""
    config = device({**SUNSPEC, "u": {"address": 1, "scale": 0.1, "ratio": "600/5"}, "v": {"address": 2, "clamp": [0, 5]}})
    raw = bytes.fromhex("0CEC 000A 0009 FFFF")

    def values(of: ModbusConfig) -> list[Any]:
        (block,) = plan(fields_of(of), of.limits)
        return [sample[0] for sample in Decoder(block).samples(raw)]

    shown = [scale(value) for scale, value in zip(scalings(config), values(unscaled(config)), strict=True)]
    assert shown == values(config) == [330.8, -1, 120, 5]


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ({"type": "uint16", "byte": "high"}, "byte picks half a register"),
        ({"packing": "low_byte"}, "packing and encoding are of strings"),
        ({"type": "string", "length": 4, "ratio": "600/5"}, "a string has no ratio; leave that out"),
        ({"bit": 1, "names": {0: "off"}}, "a bool has no names"),
        ({"scale": 0.1, "names": {0: "off"}}, "names are of codes"),
        ({"ratio": "5/0"}, "5/0 is no ratio of a transformer; write primary/secondary"),
        ({"ratio": "-600/5"}, "is no ratio"),
        ({"clamp": [5, 5]}, "the lower bound is not below the upper one"),
        ({"clamp": [0, float("nan")]}, "a bound must be a number"),
        ({"type": "bcd16", "bad_values": 10000}, "a raw bcd16 is a whole number 0 to 9999"),
        ({"read_twice": True}, "this one is a single one and never torn"),
        ({"scale_from": {}}, "give exactly one of exponent"),
        ({"scale_from": {"exponent": "nobody"}}, "tags.t.scale_from: nobody is no other tag"),
        ({"scale_from": {"exponent": "f"}}, "the exponent f must be a whole number without scale; write factor: f"),
        ({"scale_from": {"factor": "text"}}, "text must be a number as the device sends it"),
        ({"scale_from": {"exponent": "far"}}, "one request would need"),
        ({"scale_from": {"exponent": "slow"}}, "different poll periods; give both the same"),
        ({"type": "uint48", "word_order": "EFGHABCD"}, "word_order EFGHABCD is of 64 bits and says nothing about 48"),
        ({"type": "string", "length": 200, "packing": "low_byte"}, "one request would need 200 registers"),
    ],
)
def test_mistakes_are_explained(tag: dict[str, Any], words: str) -> None:
    """Each mistake is refused with its cause and remedy."""
    others = {
        "f": {"address": 200, "type": "float32"}, "text": {"address": 210, "type": "string", "length": 2},
        "far": {"address": 9000, "type": "int16"}, "slow": {"address": 1, "type": "int16", "poll": "9s"},
    }  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        device({"t": {"address": 0, **tag}, **others})
    assert words in str(caught.value).replace("\n", " ")


@pytest.mark.parametrize(
    ("tag", "wraps", "words"),
    [
        ({"type": "float16"}, "never", "is float16, which loses whole numbers above 2,048"),
        ({"type": "float32"}, "never", "is float32, which loses whole numbers above 16,777,216"),
        ({"type": "bcd16"}, "uint16", "never reaches 65,535"),
        ({"scale_from": {"exponent": "sf"}}, "uint16", "is scaled by sf anew in each sample"),
        ({"type": "bcd32"}, "digits:8", None),
        ({"type": "uint48"}, "modulus:281474976710656", None),
    ],
)
def test_what_can_count(tag: dict[str, Any], wraps: str, words: str | None) -> None:
    """A counter is refused on a register that cannot count exactly, or not the way it wraps."""
    tags = {known.ref: known for known in tags_of(device({"t": {"address": 0, **tag}, "sf": {"address": 9, "type": "int16"}}))}
    if words is None:
        assert find_register("d.t", tags, wraps, "counters.total").name == "t"
    else:
        with pytest.raises(ValueError, match=words):
            find_register("d.t", tags, wraps, "counters.total")
