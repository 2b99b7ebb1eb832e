"""Areas that must not be read, as people write them."""

import pytest
from modbus_plc import device
from pydantic import ValidationError

from edge_agent.drivers.modbus.config import fields_of
from edge_agent.drivers.modbus.excluded import Span, span
from edge_agent.drivers.modbus.plan import plan


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("holding 100-119", 0, Span("holding", 100, 120)),
        ("holding 100 - 119", 1, Span("holding", 99, 119)),
        ("coil 7", 0, Span("coil", 7, 8)),
        ("40101-40120", 1, Span("holding", 100, 120)),
        (30008, 0, Span("input", 7, 8)),
    ],
)
def test_areas_as_people_write_them(text: object, base: int, expected: Span) -> None:
    """Plain numbers count from address_base like those of the tags, printed ones from 1 always."""
    assert span(text, base) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100-119", "is no area; write for example holding 100-119"),
        ("holding 119-100", "ends before it begins"),
        ("40101-30120", "in one register area"),
        ("holding 0-9", "address 0 is before the first one, because address_base is 1"),
        ("holding 70000", "is behind the last one"),
    ],
)
def test_what_is_no_area_is_said(text: str, words: str) -> None:
    """What cannot be an area is refused with what to write instead."""
    with pytest.raises(ValidationError, match=words):
        device(502, exclude=[text], address_base=1, tags={"a": {"ref": 40001}})


def test_an_excluded_area_is_planned_around() -> None:
    """Whatever max_gap permits, no request goes over an excluded address; a tag inside one is a mistake."""
    tags = {"a": {"register": "holding", "address": 90}, "b": {"register": "holding", "address": 120}}
    around = device(502, exclude=["holding 100-119"], max_gap=124, tags=tags)
    assert [block.name for block in plan(fields_of(around), around.limits)] == ["holding 90-90", "holding 120-120"]
    with pytest.raises(ValidationError, match="b: it lies in holding 120-120, which exclude says must not be read; remove the tag"):
        device(502, exclude=["holding 120"], tags=tags)
