"""Structures by their definitions, against asyncua's own encoder and decoder, on generated and fuzzed bodies."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.drivers.opcua.definition import enum_definition, structure_definition
from edge_agent.drivers.opcua.layout import Layout
from edge_agent.drivers.opcua.references import browse_response
from edge_agent.drivers.opcua.units import unit
from edge_agent.drivers.opcua.variant import DecodeError, Structure

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BOUNDS = {
    "SByte": (-128, 127), "Byte": (0, 255), "Int16": (-(2**15), 2**15 - 1), "UInt16": (0, 2**16 - 1), "Int32": (-(2**31), 2**31 - 1),
    "UInt32": (0, 2**32 - 1), "Int64": (-(2**63), 2**63 - 1), "UInt64": (0, 2**64 - 1),
}  # fmt: skip
VALUES: dict[str, st.SearchStrategy[Any]] = {name: st.integers(*bounds) for name, bounds in BOUNDS.items()} | {
    "Boolean": st.booleans(), "Double": st.floats(allow_nan=False), "Float": st.floats(width=32, allow_nan=False), "String": st.text() | st.none(),
    "ByteString": st.binary() | st.none(), "Guid": st.uuids(), "StatusCode": st.integers(0, 2**32 - 1).map(ua.StatusCode),
    "DateTime": st.datetimes(datetime(1602, 1, 1), datetime(9000, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),  # noqa: DTZ001
    "LocalizedText": st.text(min_size=1).map(ua.LocalizedText), "QualifiedName": st.text().map(lambda name: ua.QualifiedName(name, 2)),
    "NodeId": st.text(min_size=1).map(lambda name: ua.NodeId(name, 3)),
}  # fmt: skip
NUMBERS = {name: ua.VariantType[name].value for name in VALUES}
BASE = {f"i={number}": number for number in range(1, 26)}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A structure: names of built-in types, or shapes, each single or as an array."""

    fields: tuple[tuple[Any, bool], ...]


FIELD_TYPES = st.sampled_from(sorted(VALUES))
SHAPES = st.recursive(
    st.lists(st.tuples(FIELD_TYPES, st.booleans()), min_size=1, max_size=6).map(lambda fields: Shape(tuple(fields))),
    lambda inner: st.lists(st.tuples(FIELD_TYPES | inner, st.booleans()), min_size=1, max_size=5).map(
        lambda fields: Shape(tuple(fields))
    ),
    max_leaves=8,
)


class Made:
    """A shape as asyncua sees it (a dataclass) and as we do (a layout from an encoded definition)."""

    def __init__(self, shape: Shape) -> None:
        annotations, kinds, described = [], dict[str, Any](BASE), []
        self.inner: list[Any] = []
        for place, (what, is_array) in enumerate(shape.fields):
            made = Made(what) if isinstance(what, Shape) else what
            self.inner.append(made)
            one = made.type if isinstance(made, Made) else getattr(ua, what)
            data_type = ua.NodeId(1000 + place, 2) if isinstance(made, Made) else ua.NodeId(NUMBERS[what])
            if isinstance(made, Made):
                kinds[f"ns=2;i={1000 + place}"] = made.layout
            annotations.append((f"f{place}", list[one] if is_array else one, dataclasses.field(default=None)))  # type: ignore[valid-type]
            described.append(ua.StructureField(Name=f"f{place}", DataType=data_type, ValueRank=1 if is_array else -1))
        self.arrays = [is_array for _, is_array in shape.fields]
        self.type = dataclasses.make_dataclass("Generated", annotations)
        definition = ua.StructureDefinition(ua.NodeId(5, 2), ua.NodeId(22), ua.StructureType.Structure, described)
        self.layout = Layout("Generated")
        self.layout.fill(structure_definition(struct_to_binary(definition)), kinds)

    def values(self) -> st.SearchStrategy[Any]:
        """Return instances of the dataclass."""
        parts = []
        for made, is_array in zip(self.inner, self.arrays, strict=True):
            one = made.values() if isinstance(made, Made) else VALUES[made]
            parts.append(st.lists(one, max_size=3) if is_array else one)
        return st.builds(self.type, *parts)


def plain(value: object) -> object:
    """Return what the layout makes of a value of asyncua."""
    match value:
        case list() | tuple():
            return tuple(plain(one) for one in value)
        case datetime():
            return (value - EPOCH) // timedelta(microseconds=1) * 1000
        case uuid.UUID():
            return str(value)
        case ua.StatusCode():
            return value.value
        case ua.LocalizedText():
            return value.Text
        case ua.QualifiedName():
            return value.Name
        case ua.NodeId():
            return value.to_string()
        case float():
            return value.hex() if value == value else "nan"  # noqa: PLR0124
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def bare(decoded: object) -> object:
    """Return a decoded structure without its encoding bytes."""
    if isinstance(decoded, dict):
        return {name: bare(value) for name, (_, value) in decoded.items()}
    if isinstance(decoded, tuple):
        return tuple(bare(one) for one in decoded)
    return plain(decoded)


@given(SHAPES, st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_generated_structures_decode_as_asyncua_decodes_them(shape: Shape, data: st.DataObject) -> None:
    """Whatever the fields, whatever the values, nested or in arrays: the compiled decoder gives what went in."""
    made = Made(shape)
    value = data.draw(made.values())
    assert bare(made.layout(struct_to_binary(value))) == plain(value)


@given(SHAPES, st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_truncated_or_longer_structures_are_refused(shape: Shape, data: st.DataObject) -> None:
    """A body that ends early or goes on is another type's, and nothing of it is used."""
    made = Made(shape)
    body = struct_to_binary(data.draw(made.values()))
    with pytest.raises(DecodeError):
        made.layout(body[: data.draw(st.integers(0, len(body) - 1))])
    with pytest.raises(DecodeError):
        made.layout(body + b"\0")


@given(SHAPES, st.data())
@settings(max_examples=200, deadline=3000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_damaged_structures_decode_alike_or_are_refused(shape: Shape, data: st.DataObject) -> None:
    """With flipped bytes the decoder refuses, or agrees with asyncua where that understands the whole body."""
    made = Made(shape)
    body = bytearray(struct_to_binary(data.draw(made.values())))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
    try:
        ours = made.layout(bytes(body))
    except DecodeError:
        return
    buffer = Buffer(bytes(body))
    try:
        theirs = struct_from_binary(made.type, buffer)
    except Exception:  # noqa: BLE001 - asyncua knows fewer encodings; it only judges what it understands
        return
    if len(buffer) == 0 and comparable(theirs):
        assert bare(ours) == plain(theirs)


def comparable(value: object) -> bool:
    """Whether asyncua keeps everything of a value: not of dates it cannot hold, texts it cannot decode, node ids it writes otherwise."""
    if dataclasses.is_dataclass(value) and type(value).__name__ == "Generated":
        return all(comparable(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, list):
        return all(comparable(one) for one in value)
    return value is None or isinstance(value, int | float | bool)


@given(st.binary(max_size=120))
@settings(max_examples=300, deadline=2000)
def test_noise_as_a_definition_is_refused(body: bytes) -> None:
    """Random bytes in place of a definition or of a value raise what the type book expects, quickly."""
    import struct

    layout = Made(Shape((("Int32", True), ("String", False)))).layout
    for decode in (structure_definition, enum_definition, layout, lambda noise: browse_response(noise, "i=530"), unit):
        try:
            decode(body)
        except (DecodeError, struct.error, IndexError):
            continue


def layout_of(kind: int, fields: list[tuple[str, int, int, bool]]) -> Layout:
    """Return a layout; fields are name, built-in type, rank and optional."""
    described = [ua.StructureField(Name=n, DataType=ua.NodeId(t), ValueRank=r, IsOptional=o) for n, t, r, o in fields]
    layout = Layout("T")
    definition = ua.StructureDefinition(ua.NodeId(5, 2), ua.NodeId(22), ua.StructureType(kind), described)
    layout.fill(structure_definition(struct_to_binary(definition)), BASE)
    return layout


def test_optional_fields_are_there_by_their_bit() -> None:
    """The mask counts optional fields only; one that is not there has no value (OPC 10000-6, 5.2.6)."""
    layout = layout_of(1, [("a", 6, -1, False), ("b", 6, -1, True), ("c", 3, -1, True)])
    assert layout(b"\x02\0\0\0" + b"\x05\0\0\0" + b"\x09") == {"a": (6, 5), "b": (0, None), "c": (3, 9)}
    assert layout(b"\x00\0\0\0" + b"\x05\0\0\0") == {"a": (6, 5), "b": (0, None), "c": (0, None)}


def test_a_union_has_one_branch() -> None:
    """The switch counts from 1; 0 is no branch, and one beyond the last is refused (OPC 10000-6, 5.2.7)."""
    layout = layout_of(2, [("a", 6, -1, False), ("b", 3, -1, False)])
    assert layout(b"\x02\0\0\0\x09") == {"a": (0, None), "b": (3, 9)}
    assert layout(b"\0\0\0\0") == {"a": (0, None), "b": (0, None)}
    with pytest.raises(DecodeError, match="branch 3"):
        layout(b"\x03\0\0\0\x09")


def test_subtyped_fields_are_variants_or_extension_objects() -> None:
    """A field that allows subtypes carries its type with it (OPC 10000-6, 5.2.6)."""
    described = [("n", 24, -1, True), ("s", 22, -1, True), ("i", 6, -1, False)]
    body = b"\x04\x07\x00" + b"\x01\x02\x09\x00\x01\x01\0\0\0\x2a" + b"\x05\0\0\0"
    assert layout_of(3, described)(body) == {"n": (4, 7), "s": (22, Structure("ns=2;i=9", b"\x2a")), "i": (6, 5)}


def test_a_matrix_has_its_dimensions_first() -> None:
    """A field of two dimensions is dimensions and then values (OPC 10000-6, 5.2.5); too few values are refused."""
    layout = layout_of(0, [("m", 3, 2, False)])
    assert layout(b"\x02\0\0\0\x02\0\0\0\x03\0\0\0" + bytes(range(6))) == {"m": (0xC3, ((0, 1, 2), (3, 4, 5)))}
    with pytest.raises(DecodeError):
        layout(b"\x02\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f" + bytes(range(6)))


def test_a_type_that_contains_itself_ends() -> None:
    """A list of its own kind decodes, and endless nesting is refused before the stack is full."""
    described = [ua.StructureField(Name="next", DataType=ua.NodeId(9, 2), ValueRank=1)]
    definition = ua.StructureDefinition(ua.NodeId(5, 2), ua.NodeId(22), ua.StructureType.Structure, described)
    layout = Layout("List")
    layout.fill(structure_definition(struct_to_binary(definition)), {**BASE, "ns=2;i=9": layout})
    assert bare(layout(b"\x01\0\0\0" * 2 + b"\0\0\0\0")) == {"next": ({"next": ({"next": ()},)},)}
    with pytest.raises(DecodeError, match="nested"):
        layout(b"\x01\0\0\0" * 5000 + b"\0\0\0\0")


def test_names_of_enumerations() -> None:
    """The programmatic name stands for the value; the shown text where there is none."""
    fields = [
        ua.EnumField(Value=0, DisplayName=ua.LocalizedText("aus"), Name="Off"),
        ua.EnumField(Value=-7, DisplayName=ua.LocalizedText("left"), Name=""),
    ]
    assert enum_definition(struct_to_binary(ua.EnumDefinition(fields))) == {0: "Off", -7: "left"}


def test_types_full_of_nothing_cost_nothing() -> None:
    """A structure of structures of structures that are empty is refused at the first one, not after 2^40 of them."""
    kinds: dict[str, Any] = dict(BASE)
    empty = ua.StructureDefinition(ua.NodeId(5, 2), ua.NodeId(22), ua.StructureType.Structure, [])
    last = Layout("T0")
    last.fill(structure_definition(struct_to_binary(empty)), kinds)
    for level in range(40):
        kinds[f"ns=2;i={level}"] = last
        fields = [ua.StructureField(Name=name, DataType=ua.NodeId(level, 2), ValueRank=-1) for name in "ab"]
        last = Layout(f"T{level + 1}")
        last.fill(
            structure_definition(
                struct_to_binary(ua.StructureDefinition(ua.NodeId(5, 2), ua.NodeId(22), ua.StructureType.Structure, fields))
            ),
            kinds,
        )
    with pytest.raises(DecodeError, match="empty inside"):
        last(b"")
