"""Parts of values, what a user may write about them, and the profiles of servers: tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.drivers.opcua.config import OpcUaConfig, tags_of
from edge_agent.drivers.opcua.convert import Converter
from edge_agent.drivers.opcua.pick import Complaint, Field, Misfit, Pick, Span, parse_fields, parse_spans, pick, span_text
from edge_agent.drivers.opcua.prepare import is_cut
from edge_agent.drivers.opcua.profile import profile_for, profiles
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.tagconfig import OpcUaTag
from edge_agent.drivers.opcua.variant import DecodeError, Structure
from edge_agent.model.reading import Tag

INT, ARRAY, MATRIX, STRUCTURE, BYTES = 6, 0x86, 0xC6, 22, 15


def opened(body: bytes) -> dict[str, tuple[int, object]]:
    """Decode a structure of one byte: a number, and an inner structure with an array."""
    if len(body) != 1:
        raise DecodeError("one byte")
    inner = {"X": (INT, body[0] + 1), "List": (ARRAY, (1, 2, 3))}
    return {"N": (3, body[0]), "In": (STRUCTURE, inner), "Ins": (0x80 | STRUCTURE, (inner, {"X": (INT, 9)})), "Opt": (0, None)}


@pytest.mark.parametrize(
    ("text", "spans"),
    [("3", (Span(3, 3),)), ("2:5", (Span(2, 5),)), ("0:1,4", (Span(0, 1), Span(4, 4)))],
)
def test_ranges_are_read_and_written_as_the_standard_has_them(text: str, spans: tuple[Span, ...]) -> None:
    """NumericRange of OPC 10000-4, 7.27."""
    assert parse_spans(text) == spans
    assert span_text(spans) == text


@pytest.mark.parametrize("text", ["", "a", "5:2", "2:2", "-1", "1:", "1,,2", "99999999999"])
def test_what_is_no_range(text: str) -> None:
    """Each is refused with the remedy."""
    with pytest.raises(ValueError, match="range"):
        parse_spans(text)


def test_fields_are_read() -> None:
    """Names with dots between, elements in brackets, & before a character that is part of a name."""
    assert parse_fields("Motors[2].Speed") == (Field("Motors", (Span(2, 2),)), Field("Speed", ()))
    assert parse_fields("a&.b&[c.M[1,2]") == (Field("a.b[c", ()), Field("M", (Span(1, 1), Span(2, 2))))
    for wrong in ("", ".", "a..b", "a[", "a[x]", "a[1]b", "[1]", "a."):
        with pytest.raises(ValueError, match="no field"):
            parse_fields(wrong)


@pytest.mark.parametrize(
    ("wanted", "kind", "value", "expected"),
    [
        (Pick(parse_spans("1"), single=True), ARRAY, (7, 8), (INT, 8)),
        (Pick(parse_spans("1:5")), ARRAY, (7, 8, 9), (ARRAY, (8, 9))),
        (Pick(parse_spans("1,0"), single=True), MATRIX, ((1, 2), (3, 4)), (INT, 3)),
        (Pick(parse_spans("0:1,1")), MATRIX, ((1, 2), (3, 4)), (MATRIX, ((2,), (4,)))),
        (Pick(parse_spans("1"), single=True), BYTES, b"\x05\x06", (3, 6)),
        (Pick(parse_spans("1"), single=True), 0, None, (0, None)),
        (Pick(fields=parse_fields("N")), STRUCTURE, Structure("i=1", b"\x07"), (3, 7)),
        (Pick(fields=parse_fields("In.X")), STRUCTURE, Structure("i=1", b"\x07"), (INT, 8)),
        (Pick(fields=parse_fields("In.List[2]")), STRUCTURE, Structure("i=1", b"\x07"), (INT, 3)),
        (Pick(fields=parse_fields("Ins[1].X")), STRUCTURE, Structure("i=1", b"\x07"), (INT, 9)),
        (Pick(fields=parse_fields("Opt")), STRUCTURE, Structure("i=1", b"\x07"), (0, None)),
        (Pick(parse_spans("0"), True, parse_fields("N")), 0x80 | STRUCTURE, (Structure("i=1", b"\x07"),), (3, 7)),
    ],
)
def test_parts_are_picked(wanted: Pick, kind: int, value: object, expected: tuple[int, object]) -> None:
    """Elements, then fields, with the encoding byte of what is left; nothing stays nothing."""
    assert pick(wanted, kind, value, {"i=1": opened}, cut=False) == expected


@pytest.mark.parametrize(
    ("wanted", "kind", "value", "why"),
    [
        (Pick(parse_spans("2"), single=True), ARRAY, (7, 8), "element 2 is outside: the array has 2 elements"),
        (Pick(parse_spans("0"), single=True), INT, 7, "the value is no array"),
        (Pick(parse_spans("0"), single=True), MATRIX, ((1, 2), (3, 4)), "more dimensions than the index"),
        (Pick(parse_spans("0,0"), single=True), ARRAY, (7, 8), "0,0 has more dimensions than the array"),
        (Pick(fields=parse_fields("Ins.X")), STRUCTURE, Structure("i=1", b"\x07"), "Ins is an array: give its element"),
        (Pick(fields=parse_fields("N.X")), STRUCTURE, Structure("i=1", b"\x07"), "N is no structure"),
        (Pick(fields=parse_fields("In")), STRUCTURE, Structure("i=1", b"\x07"), "name one of its fields: X, List"),
    ],
)
def test_what_cannot_be_picked_says_why(wanted: Pick, kind: int, value: object, why: str) -> None:
    """There is no value then, and a complaint in its place, which becomes a bad row."""
    left, complaint = pick(wanted, kind, value, {"i=1": opened}, cut=False)
    assert left == 0
    assert isinstance(complaint, Complaint)
    assert not isinstance(complaint, Misfit)
    assert why in complaint
    rows = Columns()
    rows.append(0, kind=left, value=complaint)
    batch = Converter("plc", [Tag("plc", "a", "int32")], str).batch(rows, 1, 1)
    assert (batch.values, batch.quality, batch.details) == ([None], [2], {0: str(complaint)})


@pytest.mark.parametrize("value", [Structure("i=2", b"\x07"), Structure("i=1", b"12"), Structure("i=1", None)])
def test_a_structure_that_does_not_fit_asks_for_its_type(value: Structure) -> None:
    """An unknown encoding, and a body that is not the definition's, are another kind of complaint: types have to be read anew."""
    assert isinstance(pick(Pick(fields=parse_fields("N")), STRUCTURE, value, {"i=1": opened}, cut=False)[1], Misfit)


@given(st.integers(1, 6), st.integers(0, 7), st.integers(0, 7))
def test_a_cut_array_and_a_whole_one_give_the_same(size: int, first: int, more: int) -> None:
    """What is cut here, and what a server cuts by the standard and is taken as it is, are the same elements; a whole array never passes for a part."""
    whole = tuple(range(100, 100 + size))
    spans = (Span(first, first + more),)
    single = more == 0
    part = whole[first : first + more + 1]
    assert not is_cut(spans, whole, whole)
    if is_cut(spans, whole, part):
        here = pick(Pick(spans, single), ARRAY, whole, {}, cut=False)
        assert pick(Pick(spans, single), ARRAY, part, {}, cut=True) == here
    else:
        assert not part or part == whole


def tag(**members: Any) -> str:
    """Return what a user is told about a tag, "" when nothing."""
    try:
        OpcUaTag.model_validate({"node": "s=A", **members})
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"index": 3}, ""),
        ({"index": "1,4"}, ""),
        ({"range": "2:5"}, ""),
        ({"field": "A.B", "index": 1}, ""),
        ({"index": "1:2"}, "write it as range"),
        ({"index": -1}, "greater than or equal to 0"),
        ({"index": 1, "range": "2:5"}, "one of index (one element) and range"),
        ({"range": "2:5", "type": "int32"}, "leave out type"),
        ({"range": "2:5", "scale": 2}, "is not scaled"),
        ({"field": "A", "deadband": 1}, "no deadband for a field"),
        ({"field": "A..B"}, "no field"),
        ({"index": 1, "acknowledge": True, "type": "int32"}, "variable of its own"),
    ],
)
def test_what_a_user_may_write(members: dict[str, Any], told: str) -> None:
    """Parts that make sense are taken, the others refused with the remedy."""
    said = tag(**members)
    assert (told in said) if told else not said


def test_names_reach_the_model() -> None:
    """The names of an enumeration are an attribute of the tag."""
    config = {"version": 1, "device": "p", "driver": "opcua", "url": "opc.tcp://h", "allow_insecure": True, "namespace": "urn:x"}
    tags = {"a": {"node": "s=A", "names": {0: "Off", 2: "Auto"}}}
    assert tags_of(OpcUaConfig.model_validate(config | {"tags": tags}))[0].names == ((0, "Off"), (2, "Auto"))
    with pytest.raises(ValidationError, match="no known profile"):
        OpcUaConfig.model_validate(config | {"tags": tags, "profile": "s7"})
    one = OpcUaConfig.model_validate(config | {"tags": tags, "tags_from": {"browse": "Line1/**"}})
    assert one.tags_from[0].browse == "Line1/**"
    with pytest.raises(ValidationError, match="edge-agent browse --add FILE"):
        OpcUaConfig.model_validate(config | {"tags_from": {"browse": "Line1/**"}})
    with pytest.raises(ValidationError, match="no pattern"):
        OpcUaConfig.model_validate(config | {"tags": tags, "tags_from": {"browse": "a//b"}})


@pytest.mark.parametrize(
    ("product", "manufacturer", "name"),
    [
        ("SIMATIC S7-1500", "Siemens AG", "s7-1500"),
        ("CPU 1516-3 PN/DP", "SIEMENS AG", "s7-1500"),
        ("S7-1200", "Siemens", "s7-1200"),
        ("CPU 1215C DC/DC/DC", "Siemens AG", "s7-1200"),
        ("KEPServerEX", "Kepware", "kepware"),
        ("TwinCAT OPC UA Server", "Beckhoff Automation GmbH", "beckhoff"),
        ("CODESYS OPC UA Server", "3S - Smart Software Solutions GmbH", "codesys"),
        ("Ignition OPC UA Server", "Inductive Automation", "ignition"),
        ("SimulationServer", "Prosys OPC Ltd", "prosys"),
        ("S7-1500", "somebody else", "generic"),
        ("Siemens", "Ignition", "generic"),
        (None, None, "generic"),
        (("S7-1500",), 5, "generic"),
    ],
)
def test_a_profile_is_chosen_by_what_a_server_says_it_is(product: object, manufacturer: object, name: str) -> None:
    """Product and manufacturer must both fit; what a server says wrongly, or not at all, is a server like any other."""
    assert profile_for(product, manufacturer)[0] == name
    assert profile_for(product, manufacturer, "kepware")[0] == "kepware"


def test_profiles_are_complete() -> None:
    """Each has sizes that a request can have, and all but the generic one a way to be chosen."""
    assert set(profiles()) == {"generic", "s7-1200", "s7-1500", "kepware", "beckhoff", "codesys", "ignition", "prosys"}
    for name, profile in profiles().items():
        assert all(1 <= size <= 1000 for size in (profile.browse, profile.read, profile.monitor, profile.translate))
        assert bool(profile.product and profile.manufacturer) == (name != "generic")
