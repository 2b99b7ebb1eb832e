"""Alarms as sets: raise, clear, slots that move, absences, restarts, chatter."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import Bench, at, reading, seconds, tags_of

from edge_agent.events.alarm import AlarmConfig, build
from edge_agent.events.rule import Moment, Picture, StateFacts
from edge_agent.model.reading import Quality, TagStatus

PARTS = ("id", "trigger", "value", "text")
SLOTS = [{part: f"plc.a{i}_{part}" for part in PARTS} for i in range(3)]
TAGS = tags_of(*(ref for slot in SLOTS for ref in slot.values()), "heater.high", "plc.high")
EMPTY = {"id": 0, "trigger": False, "value": 0, "text": ""}


def slots(**more: Any) -> Bench:
    """Return a bench with three empty slots, read once."""
    line = unread(**more)
    fill(line, 0)
    return line


def unread(**more: Any) -> Bench:
    """Return a bench with three slots that were never read."""
    config = AlarmConfig.model_validate({"slots": SLOTS, "severity": 800, "class": "mechanical", **more})
    return Bench(build(config, unit="filler", name="machine", tags=TAGS))


def fill(line: Bench, t: float, *alarms: tuple[int, int, str], agent: float | None = None) -> list[Any]:
    """Show these alarms in the first slots and empty ones behind them, in one scan."""
    values: dict[str, Any] = {}
    for i, slot in enumerate(SLOTS):
        one = dict(zip(("id", "value", "text"), alarms[i], strict=True)) | {"trigger": True} if i < len(alarms) else EMPTY
        values |= {slot[part]: one[part] for part in PARTS}
    return line.say(t, values, agent=agent)


def bit(**more: Any) -> Bench:
    """Return a bench with one alarm bit that is down."""
    config = AlarmConfig.model_validate(
        {"bit": "heater.high", "severity": 500, "class": "process", "text": "Glue heater too hot", **more}
    )
    line = Bench(build(config, unit="filler", name="heater_high", tags=TAGS))
    line.say(0, {"heater.high": False})
    return line


def test_a_bit_rises_and_falls() -> None:
    """The demo line's heater: 500 to 515, the id is the entry's name."""
    line = bit()
    (raised,) = line.say(500, {"heater.high": True})
    assert raised.type == "alarm.raised"
    assert raised.data == {
        "alarm_id": "heater_high",
        "instance_id": f"filler/heater_high/{at(500)}",
        "severity": 500,
        "class": "process",
        "text": "Glue heater too hot",
        "value": None,
        "first_out": True,
    }
    assert set(line.picture.alarms) == {raised.data["instance_id"]}
    (cleared,) = line.say(515, {"heater.high": False})
    assert (cleared.type, cleared.data["active_s"], cleared.data["instance_id"]) == (
        "alarm.cleared",
        15.0,
        raised.data["instance_id"],
    )
    assert cleared.causation == raised.causation == raised.data["instance_id"]
    assert line.picture.alarms == {}


def test_an_id_is_set_before_its_trigger() -> None:
    """The slot is filled first; the alarm rises with the trigger."""
    line = slots()
    assert line.say(523.7, {"plc.a0_id": 2101, "plc.a0_value": 3, "plc.a0_text": "Capper torque fault"}) == []
    (raised,) = line.say(523.8, {"plc.a0_trigger": True})
    assert (raised.data["alarm_id"], raised.data["value"], raised.data["text"]) == ("2101", 3, "Capper torque fault")
    assert (seconds(raised.time), raised.data["severity"], raised.data["class"]) == (523.8, 800, "mechanical")


def test_a_trigger_without_an_id_is_nothing() -> None:
    """Id 0 is an empty slot."""
    line = slots()
    assert line.say(1, {"plc.a0_trigger": True}) == []


def test_slots_that_move_up_clear_only_what_has_gone() -> None:
    """PackML's list closes ranks: 2205 moves into the first slot and stays what it is."""
    line = slots()
    fill(line, 10, (2101, 1, "A"))
    fill(line, 11, (2101, 1, "A"), (2205, 2, "B"))
    (cleared,) = fill(line, 20, (2205, 2, "B"))
    assert (cleared.type, cleared.data["alarm_id"], cleared.data["active_s"]) == ("alarm.cleared", "2101", 10.0)
    assert [alarm["alarm_id"] for alarm in line.picture.alarms.values()] == ["2205"]


def test_a_slot_that_changes_its_alarm_at_once_is_a_clear_and_a_rise() -> None:
    """The trigger never fell, but the id is another one."""
    line = slots()
    fill(line, 10, (2101, 1, "A"))
    events = fill(line, 20, (2300, 1, "C"))
    assert [(event.type, event.data["alarm_id"], seconds(event.time)) for event in events] == [
        ("alarm.cleared", "2101", 20.0),
        ("alarm.raised", "2300", 20.0),
    ]


def test_the_value_is_part_of_the_key() -> None:
    """One id with two values is two alarms, with two instances even in one scan."""
    line = slots()
    events = fill(line, 10, (2101, 1, "A"), (2101, 2, "A"))
    assert len({event.data["instance_id"] for event in events}) == 2
    (cleared,) = fill(line, 12, (2101, 2, "A"))
    assert cleared.data["value"] == 1


def test_the_first_full_read_is_the_baseline() -> None:
    """Active at first sight: in the picture, no event; its clearing is told without a duration that nobody knows."""
    line = unread()
    assert fill(line, 0, (2101, 1, "A")) == []
    assert [alarm["alarm_id"] for alarm in line.picture.alarms.values()] == ["2101"]
    (cleared,) = fill(line, 20)
    assert (cleared.type, cleared.data["active_s"]) == ("alarm.cleared", None)


def test_a_baseline_that_comes_in_pieces_is_not_a_row_of_events() -> None:
    """Every tag has its own stamp: nothing is compared before all have been read, a bad one or a lost tag included."""
    line = unread()
    values = {slot[part]: EMPTY[part] for slot in SLOTS for part in PARTS} | {"plc.a0_id": 2101, "plc.a0_trigger": True}
    for i, (ref, value) in enumerate(values.items()):
        if ref == "plc.a2_text":
            line.note(TagStatus("plc", at(i), "a2_text", ok=False))
        else:
            line.say(i, {ref: value}, quality=Quality.BAD if ref == "plc.a1_text" else Quality.GOOD)
    assert line.events == []
    assert len(line.picture.alarms) == 1


# -- absences ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", [True, False])
def test_sets_are_compared_after_an_absence(agent: bool) -> None:
    """What is gone and what is new carry the interval; what stayed is silent."""
    line = slots()
    fill(line, 10, (2101, 1, "A"), (2205, 2, "B"))
    if agent:
        line.agent_down(20, 40)
    else:
        line.down(25, 20)
        line.up(40)
    events = fill(line, 35, (2205, 2, "B"), (2300, 1, "C"), agent=40)
    assert [(event.type, event.data["alarm_id"]) for event in events] == [("alarm.cleared", "2101"), ("alarm.raised", "2300")]
    assert all(event.interval == (at(20), at(35)) for event in events)
    assert all(event.interval is None for event in fill(line, 50))


def test_nothing_is_compared_before_everything_was_read_again() -> None:
    """Half a picture after an outage would clear what is still active."""
    line = slots()
    fill(line, 10, (2101, 1, "A"), (2205, 2, "B"))
    line.down(25, 20)
    line.up(40)
    assert line.say(41, {"plc.a0_id": 2205, "plc.a0_value": 2, "plc.a1_id": 0}) == []
    assert len(fill(line, 42, (2205, 2, "B"))) == 1


def test_a_restart_of_the_device_ends_what_was_active() -> None:
    """Closed with an uncertain end; what is active afterwards rises anew."""
    line = slots()
    line.up(0, boot=7)
    fill(line, 5)
    fill(line, 10, (2101, 1, "A"))
    line.down(1003, 1000)
    (cleared,) = line.up(1020, boot=8)
    assert (cleared.type, cleared.quality, cleared.interval) == ("alarm.cleared", Quality.UNCERTAIN, (at(1000), at(1020)))
    (raised,) = fill(line, 1021, (2101, 1, "A"))
    assert raised.data["instance_id"] != cleared.data["instance_id"]


def test_a_bad_sample_clears_nothing() -> None:
    """Bad quality says nothing about an alarm."""
    line = bit()
    line.say(1, {"heater.high": True})
    assert line.say(2, {"heater.high": False}, quality=Quality.BAD) == []
    assert len(line.picture.alarms) == 1


# -- first out, chatter ------------------------------------------------------------------------------------------------------


def test_only_the_first_alarm_of_a_stop_is_first_out() -> None:
    """Two in one scan: one is the first; a later one is not."""
    line = slots()
    first = fill(line, 10, (2101, 1, "A"), (2205, 2, "B"))
    later = fill(line, 11, (2101, 1, "A"), (2205, 2, "B"), (2300, 1, "C"))
    assert [event.data["first_out"] for event in (*first, *later)] == [True, False, False]


@pytest.mark.parametrize(
    ("category", "down", "first"),
    [("running", None, True), ("idle", None, False), ("faulted", at(99), True), ("faulted", at(5), False)],
)
def test_an_old_warning_does_not_hide_the_first_alarm(category: str, down: int | None, first: bool) -> None:
    """What rose long before the stop is not of it; while the machine runs, the stop begins with the alarm."""
    line = slots()
    fill(line, 2, (1, 0, "warning"))
    facts = StateFacts(9, "x", category, at(0))
    line.picture = Picture(state=facts, downtime=None if down is None else f"filler/downtime/{down}", alarms=line.picture.alarms)
    (raised,) = fill(line, 100, (1, 0, "warning"), (2101, 1, "A"))
    assert raised.data["first_out"] is first


def flutter(line: Bench, t: float, times: int) -> list[Any]:
    """Let the bit rise and fall once a second."""
    events: list[Any] = []
    for i in range(times):
        events += line.say(t + i, {"heater.high": True}) + line.say(t + i + 0.5, {"heater.high": False})
    return events


def test_a_chattering_alarm_is_told_once() -> None:
    """After 3 rises in a minute one more is told as chattering, then nothing until it has been calm for a minute."""
    line = bit(chatter="3/min")
    events = flutter(line, 10, 8)
    assert [event.type for event in events] == ["alarm.raised", "alarm.cleared"] * 3 + ["alarm.raised"]
    assert events[-1].data["chattering"] is True
    assert len(line.picture.alarms) == 1
    assert line.tick(60) == []
    (cleared,) = line.tick(78)
    assert (cleared.data["chattering"], cleared.data["rises"], seconds(cleared.time)) == (True, 5, 17.5)
    assert line.picture.alarms == {}
    (raised,) = line.say(200, {"heater.high": True})
    assert "chattering" not in raised.data


def test_a_chattering_alarm_that_stays_up_is_an_ordinary_one_again() -> None:
    """Calm for a minute while up: the next fall clears it."""
    line = bit(chatter="3/min")
    flutter(line, 10, 4)
    line.say(20, {"heater.high": True})
    line.tick(81)
    (cleared,) = line.say(90, {"heater.high": False})
    assert cleared.type == "alarm.cleared"


# -- configuration -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"bit": "plc.high", "slots": SLOTS}, "either slots"),
        ({}, "either slots"),
        ({"slots": SLOTS, "id": "7"}, "ids of slots come from the machine"),
        ({"bit": "plc.high", "severity": 0}, "severity"),
        ({"bit": "plc.high", "severty": 1}, "severty"),
    ],
)
def test_a_wrong_entry_is_refused(config: dict[str, Any], text: str) -> None:
    """Both forms, none, an id beside slots, a severity outside 1 to 1000, a misspelt key."""
    with pytest.raises(ValidationError, match=text):
        AlarmConfig.model_validate(config)


def test_an_unknown_tag_is_refused_by_name() -> None:
    """The text names the slot and the reference."""
    with pytest.raises(
        ValueError, match=r"alarms\.machine\.slots\[0\]\.trigger: no device has a tag 'plc\.a0_tigger'; did you mean"
    ):
        build(
            AlarmConfig.model_validate({"slots": [{"id": "plc.a0_id", "trigger": "plc.a0_tigger"}]}),
            unit="filler",
            name="machine",
            tags=TAGS,
        )


def test_slots_of_two_devices_are_refused() -> None:
    """A restart of one of them would end the other's alarms."""
    with pytest.raises(ValueError, match="slots of heater and plc"):
        build(
            AlarmConfig.model_validate({"slots": [{"id": "plc.a0_id", "trigger": "heater.high"}]}),
            unit="filler",
            name="m",
            tags=TAGS,
        )


def test_nothing_is_stored_when_nothing_happens() -> None:
    """An equal sample and a tick give back the same memory."""
    line = slots()
    before = line.states[0]
    fill(line, 5)
    line.tick(6)
    line.step(Moment(at(7), "filler", {"plc.a0_id": reading("plc.a0_id", 0, 7)}))
    assert line.states[0] is before
