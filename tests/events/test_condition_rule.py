"""Conditions that a device tells one by one: raised, cleared, acknowledged, shelved, and what an outage hides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import Bench, at, plain, reading, seconds, tags_of

from edge_agent.events import account as room
from edge_agent.events.alarm import AlarmConfig, build
from edge_agent.events.rule import Moment
from edge_agent.model.condition import CONDITION, Condition, Refresh
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Boot, DeviceDown, Gap, Quality, Tag, TagStatus

REF = "plc.alarms"
TAGS = {**tags_of("plc.speed"), REF: Tag("plc", "alarms", CONDITION)}
KEY = "nsu=urn:plc;s=Filler.High"


def bench(*, baseline: bool = True, **more: Any) -> Bench:
    """Return a bench whose source was asked once and told nothing, unless it has no baseline."""
    config = AlarmConfig.model_validate({"conditions": REF, "class": "process", **more})
    line = Bench(build(config, unit="filler", name="device", tags=TAGS))
    line.restarts = True  # every state goes through its stored form between two moments
    if baseline:
        refresh(line, 0)
    return line


def condition(t: float | None, key: str = KEY, **more: Any) -> Condition:
    """Return a condition that changed at ``t``; it is active and became so then, unless told otherwise."""
    fields = {"active": True, "severity": 700, "source": "Filler", "name": "High", "message": "too high", "acked": False} | more
    time = None if t is None else at(t)
    since = fields.pop("since", t)
    return Condition(key, time=time, since=None if since is None else at(since), **fields)


def say(line: Bench, t: float, value: Any, *, agent: float | None = None, quality: Quality = Quality.GOOD) -> list[ProductionEvent]:
    """Fold one sample of the source that reached the agent 10 ms after ``t``, or at ``agent``."""
    one = reading(REF, value, t, quality=quality, agent=agent)
    return line.step(Moment(one.at.best, line.unit, {REF: one}))


def refresh(line: Bench, t: float, *told: Condition, end: Refresh | None = None) -> list[ProductionEvent]:
    """Fold a whole refresh at ``t``."""
    events = say(line, t, Refresh("begun"))
    for one in told:
        events += say(line, t, one)
    return events + say(line, t, end or Refresh("done"))


def brief(events: list[ProductionEvent]) -> list[tuple[str, str, float]]:
    """Return type, alarm and time of events."""
    return [(event.type.removeprefix("alarm."), event.data["alarm_id"].rpartition(".")[2], seconds(event.time)) for event in events]


def test_an_alarm_rises_and_falls() -> None:
    """A condition that becomes active is raised with what the device says of it, and cleared with how long it was up."""
    line = bench()
    said = condition(
        10, kind="safety", event_type="i=2915", source_node="nsu=urn:plc;s=Filler", shelved="none", suppressed=False, good=False
    )
    (raised,) = say(line, 10, said)
    instance = f"filler/{KEY}/{at(10)}"
    assert (raised.type, seconds(raised.time), raised.causation, raised.interval) == ("alarm.raised", 10.0, instance, None)
    assert raised.data == {
        "alarm_id": KEY, "instance_id": instance, "severity": 700, "class": "safety", "text": "too high", "value": None,
        "first_out": True, "condition": "High", "source": "Filler", "source_node": "nsu=urn:plc;s=Filler", "event_type": "i=2915",
        "good": False,
    }  # fmt: skip
    assert set(line.picture.alarms) == {instance}
    (cleared,) = say(line, 15, said._replace(active=False, time=at(15), since=at(15)))
    assert (cleared.type, cleared.data["active_s"], cleared.data["instance_id"]) == ("alarm.cleared", 5.0, instance)
    assert (cleared.derivation, cleared.quality, line.picture.alarms) == ("observed", Quality.GOOD, {})


def test_the_entry_gives_what_the_device_does_not_say() -> None:
    """Class from the entry, text from the condition's name, time from the sample; nothing that was not said is invented."""
    line = bench()
    (raised,) = say(line, 10, Condition("k", active=True, severity=5, name="High"))
    assert (raised.data["class"], raised.data["text"], raised.data["severity"], seconds(raised.time)) == (
        "process",
        "High",
        5,
        10.0,
    )
    assert not {"source", "source_node", "shelved", "suppressed", "good"} & set(raised.data)


@pytest.mark.parametrize(("then", "expected"), [
    ([(11, {"acked": True, "by": "Ann", "comment": "seen"}), (12, {"active": False, "acked": True})],
     [("acknowledged", "High", 11.0), ("cleared", "High", 12.0)]),
    ([(11, {"active": False}), (12, {"active": False, "acked": True})], [("cleared", "High", 11.0), ("acknowledged", "High", 12.0)]),
    ([(11, {"active": False}), (12, {"acked": False}), (13, {"acked": True})],
     [("cleared", "High", 11.0), ("raised", "High", 12.0), ("acknowledged", "High", 13.0)]),
    ([(11, {"active": False, "acked": True}), (12, {"active": False, "acked": True}), (13, {})],
     [("cleared", "High", 11.0), ("acknowledged", "High", 11.0), ("raised", "High", 13.0)]),
    ([(11, {"acked": True, "confirmed": False}), (12, {"acked": True, "confirmed": True})],
     [("acknowledged", "High", 11.0), ("acknowledged", "High", 12.0)]),
    ([(11, {"severity": 900, "message": "far too high"}), (12, {"severity": 200})], []),
    ([(11, {"shelved": "timed"}), (12, {"shelved": "none"})], [("shelved", "High", 11.0), ("shelved", "High", 12.0)]),
    ([(11, {"suppressed": True}), (12, {}), (13, {"suppressed": False})], [("shelved", "High", 11.0), ("shelved", "High", 13.0)]),
    ([(10, {}), (10, {}), (10.5, {"acked": None})], []),
])  # fmt: skip
def test_a_life_of_an_alarm(then: list[tuple[float, dict[str, Any]]], expected: list[tuple[str, str, float]]) -> None:
    """After it rose at 10, what the device says becomes these events, and what it repeats or leaves out becomes none."""
    line = bench()
    assert brief(say(line, 10, condition(10))) == [("raised", "High", 10.0)]
    events = [event for t, more in then for event in say(line, t, condition(t, **{"since": 10} | more))]
    assert brief(events) == expected


def test_an_acknowledgement_says_who_and_why() -> None:
    """The alarm that was acknowledged is named by its instance, though it is over."""
    line = bench()
    (raised,) = say(line, 10, condition(10))
    say(line, 11, condition(11, active=False))
    (acknowledged,) = say(line, 12, condition(12, active=False, acked=True, confirmed=False, by="Ann", comment="seen"))
    assert acknowledged.data["instance_id"] == raised.data["instance_id"]
    told = {name: acknowledged.data[name] for name in ("acknowledged", "confirmed", "by", "comment")}
    assert told == {"acknowledged": True, "confirmed": False, "by": "Ann", "comment": "seen"}


def test_a_change_of_severity_is_in_the_picture() -> None:
    """An alarm that becomes worse, or less than what raises one, stays the same alarm with its new words."""
    line = bench()
    say(line, 10, condition(10))
    assert say(line, 11, condition(11, since=10, severity=300, minor=True, message="high")) == []
    (alarm,) = line.picture.alarms.values()
    assert (alarm["severity"], alarm["text"]) == (300, "high")
    (cleared,) = say(line, 12, condition(12, active=False, minor=True))
    assert cleared.data["severity"] == 300


def test_what_is_less_severe_raises_nothing_until_it_is_worse() -> None:
    """A minor condition is no alarm; when it passes the floor it is one from then on."""
    line = bench()
    assert say(line, 10, condition(10, minor=True, severity=100)) == []
    assert brief(say(line, 20, condition(20, since=10))) == [("raised", "High", 20.0)]


def test_a_branch_is_an_earlier_state_of_its_alarm() -> None:
    """An alarm that falls before somebody saw it waits as a branch: raised once, cleared once, and acknowledged when the branch is."""
    line = bench()
    branch = f"{KEY}#nsu=urn:plc;s=1"
    (raised,) = say(line, 10, condition(10))
    assert say(line, 12, condition(12, key=branch, of=KEY, since=10)) == []
    (cleared,) = say(line, 12, condition(12, active=False, acked=True))
    assert (cleared.type, line.picture.alarms) == ("alarm.cleared", {})
    (again,) = say(line, 14, condition(14))
    (acknowledged,) = say(line, 15, condition(15, key=branch, of=KEY, active=False, acked=True, by="Ann"))
    assert (acknowledged.type, acknowledged.data["by"]) == ("alarm.acknowledged", "Ann")
    assert acknowledged.data["instance_id"] == raised.data["instance_id"] != again.data["instance_id"]
    assert say(line, 16, condition(16, key=branch, of=KEY, active=False, acked=True)) == []


def test_branches_come_and_go_with_the_account() -> None:
    """A branch of an alarm that nobody knows is nothing; one that is not told any more is forgotten, without an event."""
    line = bench()
    assert say(line, 9, condition(9, key="k#1", of="k")) == []
    say(line, 10, condition(10))
    say(line, 12, condition(12, key=f"{KEY}#1", of=KEY, since=10))
    assert refresh(line, 20, condition(10)) == []
    assert say(line, 21, condition(21, key=f"{KEY}#1", of=KEY, active=False, acked=True)) == []
    assert len(line.picture.alarms) == 1


def test_the_first_account_is_the_baseline() -> None:
    """What is active when the device is first asked was not seen to rise: it is in the picture, and its end has no length."""
    line = bench(baseline=False)
    assert refresh(line, 5, condition(1)) == []
    assert [seconds(int(name.rpartition("/")[2])) for name in line.picture.alarms] == [1.0]
    (cleared,) = say(line, 6, condition(6, active=False))
    assert cleared.data["active_s"] is None


def test_an_outage_hides_what_it_can_and_no_more() -> None:
    """Behind an outage: what goes on is silent, what rose says when, what fell lies between, what fell and rose again is two."""
    line = bench()
    for name in ("Stays", "Fell", "Again", "Acked"):
        say(line, 10, condition(10, key=f"k.{name}"))
    line.down(31, last_good=20)
    line.up(40)
    events = refresh(
        line, 41, condition(10, key="k.Stays"), condition(30, key="k.New"), condition(25, key="k.Again"),
        condition(28, key="k.Acked", since=10, acked=True), condition(12, key="k.Odd"),
    )  # fmt: skip
    found = {(event.type.removeprefix("alarm."), event.data["alarm_id"]): event for event in events}
    assert set(found) == {
        ("raised", "k.New"), ("cleared", "k.Again"), ("raised", "k.Again"), ("acknowledged", "k.Acked"), ("raised", "k.Odd"),
        ("cleared", "k.Fell"),
    }  # fmt: skip
    assert (seconds(found["raised", "k.New"].time), found["raised", "k.New"].interval) == (30.0, None)
    fell = found["cleared", "k.Fell"]
    assert (fell.interval, fell.derivation, fell.quality) == ((at(20), at(41.01)), "recovered", Quality.GOOD)
    assert (found["cleared", "k.Again"].interval, found["cleared", "k.Again"].derivation) == ((at(20), at(25)), "recovered")
    # It says that it rose before the outage, when it was watched: so it lies, and only the outage is known.
    assert (found["raised", "k.Odd"].interval, seconds(found["raised", "k.Odd"].time)) == ((at(20), at(41.01)), 20.0)
    assert {alarm["alarm_id"] for alarm in line.picture.alarms.values()} == {"k.Stays", "k.New", "k.Again", "k.Acked", "k.Odd"}


@pytest.mark.parametrize("loss", [
    DeviceDown("plc", at(31), at(20), "cut"),
    Gap("plc", "queue_overflow", at(20), at(31), ("alarms",)), Gap("plc", "comm_loss", at(20), at(31)),
    TagStatus("plc", at(20), "alarms", False, "BadNodeIdUnknown"),
])  # fmt: skip
def test_every_loss_of_the_source_is_an_absence(loss: Any) -> None:
    """A lost device, a gap of the source or of everything, and a source that is gone: what is not told again ended since then."""
    line = bench()
    say(line, 10, condition(10))
    line.step(Moment(at(31), line.unit, notices=(loss,)))
    (cleared,) = refresh(line, 41)
    assert (cleared.type, cleared.interval) == ("alarm.cleared", (at(20), at(41.01)))


@pytest.mark.parametrize("other", [
    DeviceDown("oven", at(31), at(20), "cut"), Gap("plc", "queue_overflow", at(20), at(31), ("speed",)),
    TagStatus("plc", at(20), "speed", False, "gone"), TagStatus("plc", at(20), "alarms", True),
])  # fmt: skip
def test_losses_of_others_are_none(other: Any) -> None:
    """Another device, another tag, or a source that is found say nothing about these alarms."""
    line = bench()
    say(line, 10, condition(10))
    line.step(Moment(at(31), line.unit, notices=(other,)))
    (cleared,) = refresh(line, 41)
    assert cleared.interval == (at(10.01), at(41.01)), "it was heard of last when it rose"


def test_a_bad_sample_begins_an_absence() -> None:
    """A source without a value is not watched from then on."""
    line = bench()
    say(line, 10, condition(10))
    assert say(line, 30, None, quality=Quality.BAD) == []
    (cleared,) = refresh(line, 41)
    assert cleared.interval == (at(30.01), at(41.01))


def test_the_agent_was_away() -> None:
    """Behind a restart of the agent the same holds, from its stored state."""
    line = bench()
    say(line, 10, condition(10))
    line.agent_down(20, 35)
    assert brief(refresh(line, 41, condition(10), condition(33, key="k.New"))) == [("raised", "New", 33.0)]


def test_a_second_loss_before_the_account_is_the_same_loss() -> None:
    """Cut again before everything was told: the outage began with the first cut."""
    line = bench()
    say(line, 10, condition(10))
    line.down(31, last_good=20)
    line.up(40)
    say(line, 41, Refresh("begun"))
    line.down(45, last_good=41)
    (cleared,) = refresh(line, 50)
    assert cleared.interval == (at(20), at(50.01))


def test_a_device_that_cannot_tell_ends_what_was_active() -> None:
    """Where no account is to be had behind an outage, what was active is over for all that is known: uncertain; and without an outage goes on."""
    line = bench()
    say(line, 10, condition(10))
    assert refresh(line, 15, end=Refresh("unknown", "BadMethodInvalid")) == []
    line.down(31, last_good=20)
    (cleared,) = refresh(line, 41, end=Refresh("unknown", "BadMethodInvalid"))
    assert (cleared.quality, cleared.interval) == (Quality.UNCERTAIN, (at(20), at(41.01)))
    assert brief(say(line, 50, condition(50))) == [("raised", "High", 50.0)]


def test_a_restart_of_the_device_ends_its_alarms() -> None:
    """Another boot counter: everything ended somewhere since it was last seen, and rises anew."""
    line = bench()
    line.boot(1, 7)
    say(line, 10, condition(10))
    line.down(31, last_good=20)
    (cleared,) = line.note(Boot("plc", at(40), 8))
    assert (cleared.type, cleared.quality, cleared.interval) == ("alarm.cleared", Quality.UNCERTAIN, (at(20), at(40)))
    assert brief(refresh(line, 41, condition(39))) == [("raised", "High", 39.0)]


def test_events_without_a_condition_are_alarms_of_no_length() -> None:
    """A momentary event is raised and cleared at once, and leaves nothing behind; a minor one is none."""
    line = bench()
    events = say(line, 10, condition(10, key="i=2131|i=2253", momentary=True))
    assert [event.type for event in events] == ["alarm.raised", "alarm.cleared"]
    assert (events[1].data["active_s"], events[1].data["momentary"], line.picture.alarms) == (0.0, True, {})
    assert say(line, 11, condition(11, key="i=2131|i=2253", momentary=True, minor=True)) == []


def test_an_alarm_that_chatters_is_told_once() -> None:
    """More rises than the limit in a minute: one alarm that chatters, which is over when it has been quiet for a minute."""
    line = bench(chatter="2/min")
    told = [
        event
        for t in range(10, 40, 2)
        for up in (True, False)
        for event in say(line, t + (not up), condition(t + (not up), active=up))
    ]
    assert [event.type for event in told] == ["alarm.raised", "alarm.cleared"] * 2 + ["alarm.raised"]
    assert told[-1].data["chattering"] is True
    (cleared,) = line.tick(100)
    assert (cleared.data["rises"], seconds(cleared.time)) == (13, 39.0)


def test_only_conditions_of_the_named_sources_are_meant() -> None:
    """A device of two units: each takes the conditions of its own sources, and no unit those that have none."""
    line = bench(sources=["Filler*", "Capper"])
    for place, source in enumerate(("Filler1", "Packer", "Capper", None)):
        say(line, 10, condition(10, key=f"k.{place}", source=source))
    assert {alarm["alarm_id"] for alarm in line.picture.alarms.values()} == {"k.0", "k.2"}


def test_values_that_are_none_of_these_say_nothing() -> None:
    """A number, a text or nothing at the source is passed over."""
    line = bench()
    for value in (1, "x", None):
        assert say(line, 10, value) == []
    assert line.picture.alarms == {}


def test_times_may_be_missing_or_absurd() -> None:
    """Without times the sample's own counts; an end before its beginning has no negative length."""
    line = bench()
    (raised,) = say(line, 10, condition(None, since=None))
    assert seconds(raised.time) == 10.0
    (cleared,) = say(line, 12, condition(2, active=False))
    assert (cleared.time, cleared.data["active_s"]) == (raised.time, 0.0)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound what is over and waits for somebody goes first; then alarms are not told, and that is one declared gap until the next account."""
    monkeypatch.setattr(room, "MOST", 3)
    line = bench()
    for place in range(3):
        say(line, 10, condition(10, key=f"k.{place}"))
    say(line, 11, condition(11, key="k.0", active=False))
    assert brief(say(line, 12, condition(12, key="k.3"))) == [("raised", "3", 12.0)]
    (gap,) = say(line, 13, condition(13, key="k.4"))
    assert (gap.type, gap.data["reason"], gap.data["tags"]) == ("collection.gap", "queue_overflow", [REF])
    assert say(line, 14, condition(14, key="k.5")) == []
    standing = [condition(10, key="k.1"), condition(12, key="k.3")]
    events = refresh(line, 20, *standing, condition(10, key="k.2", active=False), condition(14, key="k.5"))
    assert [(event.type, event.data["alarm_id"]) for event in events] == [("alarm.cleared", "k.2"), ("alarm.raised", "k.5")]
    assert [event.type for event in say(line, 21, condition(21, key="k.6"))] == ["collection.gap"], "a new account, a new gap"


def test_nothing_new_changes_nothing() -> None:
    """What other devices and time do leaves the state object as it is, so that nothing is stored."""
    line = bench()
    line.restarts = False
    say(line, 10, condition(10))
    (state,) = line.states
    line.tick(11)
    line.note(DeviceDown("oven", at(12), at(11), "cut"))
    assert line.states[0] is state


def test_a_repeated_account_is_silent() -> None:
    """A refresh that tells what is known makes no event, and leaves no trace of its number behind in the events."""
    line = bench()
    say(line, 10, condition(10))
    before = plain(line.told("alarm.raised")[0])
    for t in (20, 21, 22):
        assert refresh(line, t, condition(10)) == []
    assert plain(line.told("alarm.raised")[0]) == before
    assert len(line.picture.alarms) == 1


@pytest.mark.parametrize(("entry", "words"), [
    ({"conditions": REF, "bit": "plc.speed"}, "write one of them"), ({"conditions": REF, "id": "x"}, "leave id and text out"),
    ({"conditions": REF, "text": "x"}, "leave id and text out"), ({"bit": "plc.speed", "sources": ["x"]}, "chooses among conditions"),
])  # fmt: skip
def test_an_entry_has_one_form(entry: dict[str, Any], words: str) -> None:
    """An entry that means two things is refused with what to leave out."""
    with pytest.raises(ValidationError, match=words):
        AlarmConfig.model_validate(entry)


@pytest.mark.parametrize(
    ("ref", "words"), [("plc.alarm", "did you mean 'plc.alarms'"), ("plc.speed", "is a variable and no alarm source")]
)
def test_an_entry_names_an_alarm_source(ref: str, words: str) -> None:
    """A name that is none, or a variable, is refused with the unit, the place and the remedy."""
    with pytest.raises(ValueError, match=r"unit filler, alarms\.device\.conditions") as refused:
        build(AlarmConfig.model_validate({"conditions": ref}), unit="filler", name="device", tags=TAGS)
    assert words in str(refused.value)


def test_the_length_of_an_alarm_is_in_seconds() -> None:
    """How long an alarm was up is told in seconds, from the device's own times."""
    line = bench()
    say(line, 10, condition(10))
    (cleared,) = say(line, 10.25, condition(10.25, active=False))
    assert cleared.data["active_s"] == 0.25 == (cleared.time - at(10)) / NS
