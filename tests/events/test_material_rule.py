"""Rows 17 and 20 of the catalogue: scrap with its reason, material lots and what went where."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import at
from unitbench import COUNTER, UnitBench, brief

from edge_agent.events.catalog import UnitConfig, rules_of
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Quality, Tag

REGISTER = {"tag": "plc.caps", "wraps": "uint16", "max_rate": "10/s"}
CONTEXT = {"order": "plc.order", "lot": "plc.lot"}
CAPS: dict[str, Any] = {"material": "CAP-28", "lot": "plc.cap_lot", "position": "cap_hopper", "consumed": REGISTER}


def filler(caps: dict[str, Any] = CAPS, **more: Any) -> UnitBench:
    """Return a unit that takes caps."""
    return UnitBench({"context": CONTEXT, "counters": {"total": COUNTER}, "materials": {"caps": caps}, **more})


def begin(line: UnitBench, **more: Any) -> None:
    """Give the line its baselines."""
    values = {"plc.order": "WO-1", "plc.lot": "L-A", "plc.cap_lot": "C-1", "plc.caps": 100, "plc.count": 50}
    assert line.say(0, {**values, **more}) == []


def test_row_20_material_consumed_names_the_lot_and_what_it_went_into() -> None:
    """The payload of the catalogue, from a register of its own."""
    line = filler()
    begin(line)
    (event,) = line.say(10, {"plc.caps": 162})
    assert (event.type, event.time, event.interval) == ("material.consumed", at(10), (at(0), at(10)))
    assert event.data == {
        "material": "CAP-28",
        "lot_new": "C-1",
        "qty": 62,
        "uom": "H87",
        "position": "cap_hopper",
        "into": {"order": "WO-1", "lot": "L-A", "serial": None},
    }


def test_row_20_what_was_consumed_before_a_lot_change_is_the_old_lots() -> None:
    """A count that comes in one moment with the new lot was made before it."""
    line = filler()
    begin(line)
    consumed, changed = line.say(10, {"plc.caps": 102, "plc.cap_lot": "C-2"})
    assert brief([consumed], "lot_new", "qty") == [("material.consumed", "C-1", 2)]
    assert changed.data == {"material": "CAP-28", "lot_old": "C-1", "lot_new": "C-2", "position": "cap_hopper"}
    assert brief(line.say(11, {"plc.caps": 103}), "lot_new") == [("material.consumed", "C-2")]


def test_row_20_so_much_for_every_part() -> None:
    """A factor on a counter of the unit; the count itself is told once, by production.count."""
    line = filler({"material": "FILM", "lot": "plc.cap_lot", "uom": "MTR", "per_part": {"counter": "total", "qty": 0.25}})
    begin(line)
    events = line.say(10, {"plc.count": 53})
    assert brief(events, "qty", "uom", "lot_new") == [("material.consumed", 0.75, "MTR", "C-1")]
    assert [count.data["delta"] for count in line.told("production.count")] == [3]


def test_row_20_consumption_at_an_order_change_belongs_to_the_order_before() -> None:
    """What is counted in the moment of the change was consumed before it."""
    line = filler()
    begin(line)
    events = line.say(10, {"plc.caps": 104, "plc.order": "WO-2"})
    assert [event.data["into"]["order"] for event in events if event.type == "material.consumed"] == ["WO-1"]


def test_row_20_a_lot_that_changed_unseen_owns_nothing_for_sure() -> None:
    """Behind a loss both lots are candidates, and neither is named."""
    line = filler()
    begin(line)
    line.down(20, 10)
    line.up(30)
    events = line.say(31, {"plc.caps": 110, "plc.cap_lot": "C-2"})
    (consumed,) = [event for event in events if event.type == "material.consumed"]
    assert consumed.data["lot_new"] is None
    assert consumed.data["spans"] == ["material_lot"]
    assert consumed.data["candidates"] == {"lot_new": ["C-1", "C-2"]}
    assert consumed.quality is Quality.UNCERTAIN
    (changed,) = [event for event in events if event.type == "material.lot_changed"]
    assert changed.interval == (at(10), at(31))


def test_row_20_an_order_that_changed_unseen_is_no_owner_either() -> None:
    """Consumption across a loss in which the order changed is booked to none, with both named."""
    line = filler()
    begin(line)
    line.down(20, 10)
    line.up(30)
    events = line.say(31, {"plc.caps": 110, "plc.order": "WO-2", "plc.lot": "L-A", "plc.cap_lot": "C-1"})
    (consumed,) = [event for event in events if event.type == "material.consumed"]
    assert (consumed.data["into"]["order"], consumed.data["spans"]) == (None, ["order"])
    assert consumed.data["candidates"] == {"order": ["WO-1", "WO-2"]}


def test_row_20_serial_and_material_come_from_tags() -> None:
    """Where the place takes many materials, and each unit has a serial."""
    line = filler({"material_tag": "plc.mat", "lot": "plc.cap_lot", "serial": "plc.serial", "per_part": {"counter": "total"}})
    begin(line, **{"plc.mat": "M-1", "plc.serial": "S1"})
    (event,) = line.say(10, {"plc.count": 51, "plc.serial": "S2"})
    assert (event.data["material"], event.data["into"]["serial"]) == ("M-1", "S2")


REJECT = {"tag": "plc.reject", "role": "scrap", "wraps": "uint16", "max_rate": "10/s"}
REASON = {"tag": "plc.reason", "table": {1: "Underfill", 2: "No cap"}}


def rejecting(**scrap: Any) -> UnitBench:
    """Return a unit with a scrap counter and a reason."""
    one = {"counter": "reject", "reason": REASON, "station": "checkweigher"} | scrap
    return UnitBench({"counters": {"reject": REJECT}, "scrap": {"weight": {k: v for k, v in one.items() if v is not None}}})


def test_row_17_scrap_recorded_has_the_reason_that_is_read_with_the_count() -> None:
    """The quantity is the counter's, and it is told beside the count, not instead of it."""
    line = rejecting()
    line.say(0, {"plc.reject": 7, "plc.reason": 0})
    (event,) = line.say(5, {"plc.reject": 8, "plc.reason": 2})
    assert event.type == "scrap.recorded"
    assert event.data == {
        "qty": 1,
        "uom": "H87",
        "reason": {"code": 2, "text": "No cap", "source": "plc.reason"},
        "station": "checkweigher",
        "serial": None,
    }
    assert [count.data["delta"] for count in line.told("production.count")] == [1]


def test_row_17_scrap_without_a_reason_is_only_counted() -> None:
    """Known reason only: the count says that there was scrap."""
    line = rejecting()
    line.say(0, {"plc.reject": 7, "plc.reason": 0})
    assert line.say(5, {"plc.reject": 8}) == []
    assert len(line.told("production.count")) == 1


def test_row_17_a_code_that_no_table_knows_is_told_as_it_is() -> None:
    """Never a guess: the raw number, without a text."""
    line = rejecting()
    line.say(0, {"plc.reject": 7, "plc.reason": 0})
    (event,) = line.say(5, {"plc.reject": 8, "plc.reason": 99})
    assert event.data["reason"] == {"code": 99, "text": None, "source": "plc.reason"}


def test_row_17_one_reason_for_several_parts_is_uncertain() -> None:
    """The code that stands there is the last part's."""
    line = rejecting()
    line.say(0, {"plc.reject": 7, "plc.reason": 0})
    (event,) = line.say(5, {"plc.reject": 10, "plc.reason": 1})
    assert (event.data["qty"], event.quality) == (3, Quality.UNCERTAIN)


def test_row_17_a_bad_reason_is_no_reason() -> None:
    """A code that could not be read is not the one before it."""
    line = rejecting()
    line.say(0, {"plc.reject": 7, "plc.reason": 1})
    line.say(4, {"plc.reason": 1}, quality=Quality.BAD)
    assert line.say(5, {"plc.reject": 8}) == []


def test_row_17_a_register_of_its_own_for_one_reason() -> None:
    """Machines with one reject counter per reason; it makes no production.count."""
    register = {"tag": "plc.low", "wraps": "uint16", "max_rate": "10/s"}
    line = rejecting(counter=None, count=register, reason={"code": 12, "text": "Underfill"})
    line.say(0, {"plc.low": 65535})
    (event,) = line.say(5, {"plc.low": 1})
    assert (event.data["qty"], event.data["reason"]) == (2, {"code": 12, "text": "Underfill", "source": "config"})
    assert event.quality is Quality.GOOD
    assert line.told("production.count") == []


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ({"materials": {"caps": {}}}, "there is nothing to tell"),
        ({"materials": {"caps": {**CAPS, "per_part": {"counter": "total"}}}}, "counts twice"),
        ({"materials": {"caps": {**CAPS, "material_tag": "plc.m"}}}, "both name the material"),
        ({"scrap": {"weight": {"reason": REASON}}}, "the quantity comes either"),
        ({"scrap": {"weight": {"counter": "reject", "reason": {}}}}, "a reason is either"),
    ],
)
def test_what_says_nothing_or_twice_is_refused(written: dict[str, Any], remedy: str) -> None:
    """The configuration says what is missing."""
    with pytest.raises(ValidationError, match=remedy):
        UnitConfig.model_validate({"version": 1, "unit": "press", **written})


def test_a_counter_that_the_unit_does_not_have_is_named() -> None:
    """What hears a counter must find it."""
    caps = {"lot": "plc.l", "per_part": {"counter": "totl"}}
    config = UnitConfig.model_validate({"version": 1, "unit": "press", "counters": {"total": COUNTER}, "materials": {"caps": caps}})
    with pytest.raises(ConfigError, match="the unit has no counter 'totl'; it has total"):
        rules_of(config, tags={"plc.l": Tag("plc", "l"), "plc.count": Tag("plc", "count")})
