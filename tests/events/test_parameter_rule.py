"""Rows 10, 21, 26 and 27 of the catalogue: speeds, recipes and set points, tools and limits, what people enter."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from rulebench import at
from unitbench import UnitBench, brief

from edge_agent.events.catalog import UnitConfig
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Quality, Tag


def test_row_21_recipe_changed_names_old_and_new_and_moves_the_context() -> None:
    """The first recipe is a baseline; the next one is told and stamped into what follows."""
    line = UnitBench({"recipe": {"tag": "plc.recipe", "by": "plc.user"}})
    assert line.say(0, {"plc.recipe": "MILK-1", "plc.user": "anna"}) == []
    assert line.picture.context.recipe == "MILK-1"
    (event,) = line.say(10, {"plc.recipe": "MILK-2\0\0"})
    assert (event.type, event.time) == ("recipe.changed", at(10))
    assert event.data == {"name": "recipe", "old": "MILK-1", "new": "MILK-2", "uom": None, "by": "anna"}
    assert line.picture.context.recipe == "MILK-2"


def test_row_21_setpoint_changed_keeps_to_its_dead_band() -> None:
    """A set point that drifts is told when it has left the dead band around what was told last."""
    line = UnitBench({"setpoints": {"temp": {"tag": "plc.sp", "deadband": 0.5}}}, plc_sp=Tag("plc", "sp", uom="CEL"))
    line.say(0, {"plc.sp": 70.0})
    assert line.say(1, {"plc.sp": 70.3}) == []
    assert line.say(2, {"plc.sp": 70.5}) == []
    (event,) = line.say(3, {"plc.sp": 70.6})
    assert event.data == {"name": "temp", "old": 70.0, "new": 70.6, "uom": "CEL", "by": None}


def test_row_21_a_change_behind_a_loss_carries_its_interval() -> None:
    """Nobody saw when the set point changed: the event says between which instants."""
    line = UnitBench({"setpoints": {"temp": {"tag": "plc.sp"}}})
    line.say(0, {"plc.sp": 70})
    line.down(20, 10)
    line.up(30)
    (event,) = line.say(31, {"plc.sp": 71})
    assert event.interval == (at(10), at(31))


def test_row_21_bad_samples_and_no_numbers_say_nothing() -> None:
    """A bad sample is no change, and neither is a number that is none."""
    line = UnitBench({"setpoints": {"temp": {"tag": "plc.sp"}}})
    line.say(0, {"plc.sp": 70.0})
    assert line.say(1, {"plc.sp": 0.0}, quality=Quality.BAD) == []
    assert line.say(2, {"plc.sp": float("nan")}) == []
    assert line.say(3, {"plc.sp": 70.0}) == []


SPEED = {"actual": "plc.actual", "setpoint": "plc.set", "design": 120, "uom": "/min", "deadband": 5}


def test_row_10_speed_changed_tells_all_three() -> None:
    """One event for everything that changed in one moment, with the speed it was built for."""
    line = UnitBench({"speed": SPEED})
    assert line.say(0, {"plc.actual": 100.0, "plc.set": 100.0}) == []
    assert line.say(1, {"plc.actual": 104.0}) == []
    (event,) = line.say(2, {"plc.actual": 106.0, "plc.set": 110.0})
    assert event.type == "speed.changed"
    assert event.data == {"setpoint": 110.0, "actual": 106.0, "design": 120, "uom": "/min"}


def test_row_10_a_stop_is_told_inside_the_dead_band() -> None:
    """Standing still is another thing than crawling."""
    line = UnitBench({"speed": SPEED})
    line.say(0, {"plc.actual": 3.0, "plc.set": 100.0})
    assert brief(line.say(1, {"plc.actual": 0.0}), "actual") == [("speed.changed", 0.0)]
    assert brief(line.say(2, {"plc.actual": 1.0}), "actual") == [("speed.changed", 1.0)]


TOOL = {"tools": {"die": {"tool": "plc.tool", "life": "plc.life", "limit": 1000}}}


def test_row_26_counter_limit_is_told_once_and_armed_again_by_the_next_tool() -> None:
    """The limit is told when it is reached, not while it is passed."""
    line = UnitBench(TOOL)
    assert line.say(0, {"plc.tool": "T7", "plc.life": 998}) == []
    (event,) = line.say(1, {"plc.life": 1001})
    assert event.type == "counter.limit"
    assert event.data == {"place": "die", "tool_id": "T7", "life_used": 1001, "limit": 1000, "uom": "H87"}
    assert line.say(2, {"plc.life": 1002}) == []
    (changed,) = line.say(3, {"plc.tool": "T8", "plc.life": 0})
    assert changed.data == {"place": "die", "tool_id": "T8", "tool_old": "T7", "life_used": 1002, "limit": 1000, "uom": "H87"}
    assert brief(line.say(4, {"plc.life": 1000}), "tool_id") == [("counter.limit", "T8")]


def test_row_26_a_tool_found_worn_is_a_baseline() -> None:
    """Nothing is invented: nobody saw it reach its limit."""
    line = UnitBench(TOOL)
    assert line.say(0, {"plc.tool": "T7", "plc.life": 2000}) == []
    assert line.say(1, {"plc.life": 2001}) == []


def test_row_27_operator_input_tells_what_was_entered_and_by_whom() -> None:
    """An entry is told, its removal is not; the same one again after empty is a new entry."""
    line = UnitBench({"inputs": {"scan": {"tag": "plc.scan", "user": "plc.badge"}}})
    assert line.say(0, {"plc.scan": "", "plc.badge": "B-12"}) == []
    (event,) = line.say(1, {"plc.scan": "4711"})
    assert event.data == {"kind": "scan", "value": "4711", "user": "B-12", "guarantee": "best_effort"}
    assert line.say(2, {"plc.scan": ""}) == []
    assert brief(line.say(3, {"plc.scan": "4711"}), "value") == [("operator.input", "4711")]


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ({"speed": {"actual": "plc.v"}}, "deadband: 5"),
        ({"speed": {"design": 3}}, "no tag to watch"),
        ({"tools": {"die": {}}}, "name tool or life"),
        ({"tools": {"die": {"tool": "plc.t", "limit": 3}}}, "life: device.tag"),
    ],
)
def test_what_cannot_be_derived_is_refused_with_a_remedy(written: dict[str, object], remedy: str) -> None:
    """The configuration says what is missing."""
    with pytest.raises(ValidationError, match=remedy):
        UnitConfig.model_validate({"version": 1, "unit": "press", **written})


def test_an_unknown_tag_is_named_with_its_place() -> None:
    """Every new part tells its unknown tags as all others do."""
    from edge_agent.events.catalog import rules_of

    config = UnitConfig.model_validate({"version": 1, "unit": "press", "setpoints": {"temp": {"tag": "plc.pc"}}})
    with pytest.raises(ConfigError, match=r"unit press: no device has a tag 'plc.pc'; did you mean 'plc.sp'"):
        rules_of(config, tags={"plc.sp": Tag("plc", "sp")})
