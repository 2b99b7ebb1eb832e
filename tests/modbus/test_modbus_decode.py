"""Decoding: every type in every order against published vectors, scaling, sentinels, bits, overlaps; and report by exception."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.modbus.decode import Decoder, byte_order, changed, conversion
from edge_agent.drivers.modbus.field import REGISTERS, Field
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.model.reading import Batch, Quality

GOOD, BAD = Quality.GOOD, Quality.BAD


def field(kind: str = "uint16", address: int = 0, index: int = 0, **more: object) -> Field:
    """Return a field of one tag."""
    size = more.pop("size", REGISTERS.get(kind, 1))
    return Field(index=index, name=f"t{index}", area=more.pop("area", "holding"), address=address, size=size, type=kind, **more)


def decode(raw: bytes, *fields: Field, address: int = 0) -> list[tuple[object, Quality, str | None]]:
    """Decode the data bytes of a reply."""
    count = len(raw) // 2 if fields[0].area in {"holding", "input"} else 8 * len(raw)
    return Decoder(Block(fields[0].area, address, count, 1, fields)).samples(raw)


def value(raw: str, kind: str, **more: object) -> object:
    """Decode one value; the hex text is what stands on the wire."""
    (sample,) = decode(bytes.fromhex(raw), field(kind, **more))
    assert sample[1:] == (GOOD, None)
    return sample[0]


@pytest.mark.parametrize(
    ("raw", "kind", "order", "expected"),
    [
        # 123456.0 = 0x47F12000 (IEEE 754), the classic example of vendors' word order tables
        ("47F1 2000", "float32", "ABCD", 123456.0),
        ("2000 47F1", "float32", "CDAB", 123456.0),
        ("F147 0020", "float32", "BADC", 123456.0),
        ("0020 F147", "float32", "DCBA", 123456.0),
        ("0001 E240", "uint32", "ABCD", 123456),
        ("E240 0001", "uint32", "CDAB", 123456),
        ("0100 40E2", "uint32", "BADC", 123456),
        ("40E2 0100", "uint32", "DCBA", 123456),
        ("FFFE 1DC0", "int32", "ABCD", -123456),
        ("1DC0 FFFE", "int32", "CDAB", -123456),
        ("0102 0304 0506 0708", "uint64", "ABCD", 0x0102030405060708),
        ("0708 0506 0304 0102", "uint64", "CDAB", 0x0102030405060708),
        ("0201 0403 0605 0807", "uint64", "BADC", 0x0102030405060708),
        ("0807 0605 0403 0201", "uint64", "DCBA", 0x0102030405060708),
        ("FFFF FFFF FFFF FFFE", "int64", "ABCD", -2),
        ("3FF8 0000 0000 0000", "float64", "ABCD", 1.5),
        ("0000 0000 0000 3FF8", "float64", "CDAB", 1.5),
        ("FFFE", "int16", "ABCD", -2),
        ("FFFE", "uint16", "ABCD", 65534),
        ("FEFF", "uint16", "BADC", 65534),
    ],
)
def test_types_and_orders(raw: str, kind: str, order: str, expected: object) -> None:
    """Each type in each byte order gives the published value, with its exact Python type."""
    got = value(raw, kind, order=order)
    assert (got, type(got)) == (expected, type(expected))


@given(st.sampled_from(["int32", "uint32", "int64", "uint64"]), st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]), st.data())
def test_an_order_is_undone(kind: str, order: str, data: st.DataObject) -> None:
    """What a device writes in an order is read back from that order."""
    size = REGISTERS[kind]
    canonical = data.draw(st.binary(min_size=2 * size, max_size=2 * size))
    wire = bytearray(2 * size)
    for position, source in enumerate(byte_order(size, order)):
        wire[source] = canonical[position]
    assert value(wire.hex(), kind, order=order) == int.from_bytes(canonical, "big", signed=kind.startswith("int"))


@pytest.mark.parametrize(
    ("raw", "kind", "scaling", "expected"),
    [
        ("02D1", "int16", {"scale": 0.1}, 72.1),  # 721 * 0.1 is 72.10000000000001
        ("FFFF", "int16", {"scale": 0.01}, -0.01),
        ("05F5 E09B", "uint32", {"scale": 0.01}, 999998.99),
        ("0064", "uint16", {"scale": 10, "offset": 5}, 1005),
        ("0064", "uint16", {"scale": 0.5, "offset": -40.0}, 10.0),
        ("0064", "uint16", {"scale": 0.3}, 30.0),
        ("41AC 0000", "float32", {"scale": 2.0, "offset": 1.0}, 44.0),
        ("0064", "uint16", {"scale": -0.1}, -10.0),
    ],
)
def test_scaling(raw: str, kind: str, scaling: dict[str, float], expected: float) -> None:
    """Values are raw * scale + offset, integers stay integers, and 0.1 leaves no noise."""
    got = value(raw, kind, **scaling)
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("raw", "kind", "more", "words"),
    [
        ("7FFF", "int16", {"bad": (32767,), "scale": 0.1}, "the device sent 32767, which bad_values says means no value"),
        ("FFFF", "int16", {"bad": (-1,)}, "the device sent -1"),
        ("7FC0 0000", "float32", {}, "the device sent nan"),
        ("7F80 0000", "float32", {}, "the device sent inf"),
        ("FF80 0000", "float32", {"bad": (math.nan,)}, "the device sent -inf"),
        ("C61C 3F9A", "float32", {"bad": (-9999.9,)}, "the device sent -9999.9"),  # float32 cannot hold -9999.9 exactly
    ],
)
def test_sentinels_are_bad_before_scaling(raw: str, kind: str, more: dict[str, object], words: str) -> None:
    """A device's "no value" becomes bad quality without a value, and says what was sent."""
    ((got, quality, detail),) = decode(bytes.fromhex(raw), field(kind, **more))
    assert (got, quality) == (None, BAD)
    assert detail is not None
    assert detail.startswith(words[:25])


def test_bits_of_a_register_share_it() -> None:
    """Bits and the register itself may be read side by side; bit 0 is the least significant."""
    fields = [field("bool", 0, n, bit=bit) for n, bit in enumerate((0, 1, 2, 15))] + [field("uint16", 0, 4)]
    assert [sample[0] for sample in decode(bytes.fromhex("8002"), *fields)] == [False, True, False, True, 0x8002]


def test_overlapping_values_and_gaps() -> None:
    """A register may be part of several values, in any order of the configuration, with unnamed registers between."""
    fields = [field("uint16", 13, 0), field("uint32", 10, 1), field("uint16", 11, 2), field("uint32", 10, 3, order="CDAB")]
    assert [sample[0] for sample in decode(bytes.fromhex("00010002 AAAA 0003"), *fields, address=10)] == [3, 0x10002, 2, 0x20001]


def test_coils_come_lsb_first() -> None:
    """The example of the standard (V1.1b3, 6.1): coils 20-38 as CD 6B 05."""
    fields = [field("bool", 19 + n, n, area="coil") for n in range(19)]
    got = [sample[0] for sample in decode(bytes.fromhex("CD6B05"), *fields, address=19)]
    assert got == [bit == "1" for bit in "10110011" + "11010110" + "101"]


@pytest.mark.parametrize(
    ("raw", "order", "expected"),
    [
        (b"WO-1001\0junk", "ABCD", "WO-1001"),
        (b"OW1-00\x001", "BADC", "WO-1001"),
        (b"abc     ", "ABCD", "abc"),
        (b"\0\0", "ABCD", ""),
    ],
)
def test_strings(raw: bytes, order: str, expected: str) -> None:
    """Text ends at NUL, filling blanks go, and swapped pairs are swapped back."""
    raw += b"\0" * (len(raw) % 2)
    ((got, quality, _),) = decode(raw, field("string", size=len(raw) // 2, order=order))
    assert (got, quality) == (expected, GOOD)


def test_a_string_that_is_no_text_is_bad() -> None:
    """Bytes that are no UTF-8 are never guessed at."""
    ((got, quality, detail),) = decode(b"\xff\xfe", field("string"))
    assert (got, quality, detail) == (None, BAD, "the text is not UTF-8: ff fe")


@pytest.mark.parametrize(
    ("old", "new", "deadband", "reported"),
    [
        ((1.0, GOOD, None), (1.0, GOOD, None), None, False),
        ((1.0, GOOD, None), (1.1, GOOD, None), None, True),
        ((1.0, GOOD, None), (1.25, GOOD, None), 0.5, False),
        ((1.0, GOOD, None), (1.5, GOOD, None), 0.5, True),
        ((1.0, GOOD, None), (None, BAD, "x"), 0.5, True),
        ((None, BAD, "x"), (1.0, GOOD, None), 0.5, True),
        ((None, BAD, "x"), (None, BAD, "x"), None, False),
        ((None, BAD, "x"), (None, BAD, "y"), None, True),
        (("a", GOOD, None), ("b", GOOD, None), None, True),
    ],
)
def test_what_is_reported(old: tuple, new: tuple, deadband: float | None, reported: bool) -> None:
    """Another quality or reason always, another value unless it moved less than the deadband."""
    assert changed(old, new, deadband) is reported


def rows(batch: Batch) -> list[tuple[int, object, Quality]]:
    """Return the rows of a batch."""
    return list(zip(batch.tags, batch.values, batch.quality, strict=True))


def test_only_changes_make_rows() -> None:
    """First everything, then what changed; drift is compared with the last reported value; a failure and its end are reported once."""
    fields = (field("uint16", 0, 7, deadband=10), field("uint16", 1, 8))
    watch = Watch(Block("holding", 0, 2, 1, fields))

    def step(*words: int) -> list[tuple[int, object, Quality]]:
        batch = Batch("d", 0)
        watch.answered(struct.pack(">2H", *words), batch)
        return rows(batch)

    assert step(100, 1) == [(7, 100, GOOD), (8, 1, GOOD)]
    assert step(100, 1) == []
    assert step(106, 2) == [(8, 2, GOOD)]
    assert step(112, 2) == [(7, 112, GOOD)], "drift adds up against the reported 100"
    failed, again = Batch("d", 0), Batch("d", 0)
    watch.failed("why", failed)
    watch.failed("why", again)
    assert (rows(failed), failed.details) == ([(7, None, BAD), (8, None, BAD)], {0: "why", 1: "why"})
    assert rows(again) == []
    assert not watch.good
    assert step(112, 2) == [(7, 112, GOOD), (8, 2, GOOD)]
    watch.forget()
    assert step(112, 2) == [(7, 112, GOOD), (8, 2, GOOD)]


@given(st.sampled_from(list(REGISTERS)), st.data())
def test_no_bytes_ever_fail_to_decode(kind: str, data: st.DataObject) -> None:
    """Whatever a device sends of the right length becomes a good finite value or a bad sample, never an exception."""
    raw = data.draw(st.binary(min_size=2 * REGISTERS[kind], max_size=2 * REGISTERS[kind]))
    ((got, quality, detail),) = decode(raw, field(kind, bit=3 if kind == "bool" else None, scale=1.0 if kind == "bool" else 0.1))
    assert (got is None) == (quality is BAD) == (detail is not None)
    assert not isinstance(got, float) or math.isfinite(got)


def test_conversion_is_per_type() -> None:
    """A bool is a bool, not an int: a counter rule must be able to refuse it."""
    assert conversion(field("bool", bit=0))(1)[0] is True
