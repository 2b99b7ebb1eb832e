"""The state rule: edges, outages, restarts, absences of the agent, debounce."""

from __future__ import annotations

from typing import Any

import pytest
from rulebench import Bench, at, seconds, tags_of

from edge_agent.events.state import StateConfig, build
from edge_agent.model.reading import Quality

TAGS = tags_of("plc.state", "plc.mode", "plc.starved", "plc.blocked", "plc.stop", "plc.order")


def bench(**more: Any) -> Bench:
    """Return a bench with the state of the demo line's filler."""
    config = {"tag": "plc.state", "starved": "plc.starved", "blocked": "plc.blocked", **more}
    return Bench(build(StateConfig.model_validate(config), unit="filler", tags=TAGS))


def state(bench: Bench, t: float, code: object, **more: Any) -> list[Any]:
    """Say one state."""
    return bench.say(t, {"plc.state": code, **{f"plc.{name}": value for name, value in more.items()}})


def test_the_first_sample_is_a_baseline() -> None:
    """G1: what is first seen is no change, but the picture knows it."""
    line = bench()
    assert state(line, 0, 6) == []
    assert line.picture.state is not None
    assert (line.picture.state.code, line.picture.state.category, line.picture.state.since) == (6, "running", at(0))


def test_a_transition_is_told_with_its_edge_and_duration() -> None:
    """from, to, model and the duration of the state before, from the times of the edges."""
    line = bench()
    state(line, 404, 6)
    (event,) = state(line, 524, 8)
    assert event.type == "state.changed"
    assert event.time == at(524)
    assert event.data == {
        "from": {"code": 6, "name": "Execute", "category": "running"},
        "to": {"code": 8, "name": "Aborting", "category": "stopping"},
        "model": "packml",
        "reason": None,
        "prev_duration_s": 120.0,
        "missed_intermediate": False,
    }


def test_the_same_state_again_is_nothing() -> None:
    """A poll that brings the same value stores nothing and says nothing."""
    line = bench()
    state(line, 0, 6)
    before = line.states[0]
    assert state(line, 1, 6) == []
    assert line.states[0] is before


def test_a_jump_over_states_is_marked() -> None:
    """Execute to Stopped without Stopping: told as seen, with missed_intermediate; no state is made up."""
    line = bench()
    state(line, 0, 6)
    (event,) = state(line, 5, 2)
    assert event.data["missed_intermediate"] is True


@pytest.mark.parametrize(("flags", "category"), [({"starved": True}, "starved"), ({"blocked": True}, "blocked"), ({}, "suspended")])
def test_suspended_is_told_by_the_flags(flags: dict[str, bool], category: str) -> None:
    """The flag that comes in the same moment decides which kind of Suspended it is."""
    line = bench()
    state(line, 0, 13)
    (event,) = state(line, 1, 5, **flags)
    assert event.data["to"]["category"] == category


def test_a_flag_that_comes_late_refines_and_one_that_goes_early_takes_nothing_back() -> None:
    """The picture and the next event's ``from`` know the cause, though no event repeats the state."""
    line = bench()
    state(line, 0, 13)
    state(line, 1, 5)
    assert line.say(1.2, {"plc.starved": True}) == []
    assert line.picture.state is not None
    assert line.picture.state.category == "starved"
    line.say(1.8, {"plc.starved": False})
    (event,) = state(line, 2, 14)
    assert event.data["from"]["category"] == "starved"


def test_a_bad_sample_keeps_the_state() -> None:
    """Bad quality is the gap rule's to declare; state 0 is never made of it."""
    line = bench()
    state(line, 0, 6)
    assert line.say(1, {"plc.state": 0}, quality=Quality.BAD) == []
    assert line.picture.state is not None
    assert line.picture.state.code == 6


def test_an_uncertain_sample_is_used_and_marked() -> None:
    """OPC UA severity 01: usable, q uncertain."""
    line = bench()
    state(line, 0, 6)
    (event,) = line.say(1, {"plc.state": 11}, quality=Quality.UNCERTAIN)
    assert event.quality is Quality.UNCERTAIN


def test_a_code_that_nobody_knows_is_told_raw() -> None:
    """Code 42 stays 42 with category unknown."""
    line = bench()
    state(line, 0, 6)
    (event,) = state(line, 1, 42)
    assert event.data["to"] == {"code": 42, "name": "code 42", "category": "unknown"}
    assert "continuity" not in event.data


# -- outages -----------------------------------------------------------------------------------------------------------------


def test_a_lost_link_is_unknown_from_the_last_good_sample() -> None:
    """Told at detection with the time of the last good sample; the same state afterwards is assumed to be unbroken."""
    line = bench()
    state(line, 404, 6)
    (lost,) = line.down(455, 450)
    assert (seconds(lost.time), lost.data["to"]) == (450.0, {"code": None, "name": "Unknown", "category": "unknown"})
    assert lost.data["prev_duration_s"] == 46.0
    assert line.up(481) == []
    (back,) = line.say(404, {"plc.state": 6}, agent=481)
    assert (seconds(back.time), back.data["continuity"], back.interval) == (481.0, "assumed", None)
    assert back.data["prev_duration_s"] == 31.0
    assert back.data["from"]["code"] is None


def test_another_state_after_an_outage_is_broken() -> None:
    """Execute, Unknown, Held: the interval says when it can have changed, the source time when it was set."""
    line = bench()
    state(line, 404, 6)
    line.down(455, 450)
    line.up(481)
    (back,) = line.say(470, {"plc.state": 11}, agent=481)
    assert (back.data["continuity"], seconds(back.time)) == ("broken", 470.0)
    assert back.interval == (at(450), at(470))
    assert back.data["missed_intermediate"] is False


def test_a_reboot_is_a_pair_through_unknown() -> None:
    """The demo line's reboot: Idle to Unknown at 1000, Unknown to Stopped at 1020, exactly these two."""
    line = bench()
    line.up(0, boot=7)
    state(line, 995, 4)
    line.down(1003, 1000)
    line.up(1021, boot=8)
    state(line, 1020, 2)
    lost, back = line.events
    assert (seconds(lost.time), lost.data["from"]["code"], lost.data["to"]["code"]) == (1000.0, 4, None)
    assert (seconds(back.time), back.data["from"]["code"], back.data["to"]["code"]) == (1020.0, None, 2)
    assert back.data["continuity"] == "broken"


def test_the_same_state_after_a_reboot_is_broken() -> None:
    """Stopped before and after a restart is not one Stopped."""
    line = bench()
    line.up(0, boot=7)
    state(line, 0, 2)
    line.down(12, 10)
    line.up(20, boot=8)
    (back,) = state(line, 20, 2)
    assert back.data["continuity"] == "broken"


def test_a_restart_behind_a_living_link_goes_through_unknown() -> None:
    """The boot counter changed without a lost link: the next sample comes from Unknown."""
    line = bench()
    line.up(0, boot=7)
    state(line, 0, 6)
    (lost,) = line.boot(30, 8)
    assert (lost.data["to"]["code"], lost.interval) == (None, (at(0), at(30)))
    (back,) = state(line, 31, 2)
    assert (back.data["to"]["code"], back.data["continuity"]) == (2, "broken")


def test_silence_after_a_restart_confirms_the_value() -> None:
    """A tag that reports by exception and says nothing for 10 s still has its value; Unknown must not last for ever."""
    line = bench()
    line.up(0, boot=7)
    state(line, 0, 6)
    line.boot(30, 8)
    assert line.tick(39) == []
    (back,) = line.tick(40)
    assert (back.data["to"]["code"], back.data["continuity"]) == (6, "broken")


def test_what_was_never_known_cannot_be_lost() -> None:
    """No Unknown before the first sample, and none from a device that never answered."""
    line = bench()
    assert line.down(5, None) == []
    assert line.down(6, 5) == []
    state(line, 10, 6)
    assert line.down(20, None) == []


def test_another_device_is_not_ours() -> None:
    """The heater's outage says nothing about the filler's state."""
    line = bench()
    state(line, 0, 6)
    assert line.down(5, 4, device="heater") == []


def test_a_second_loss_while_unknown_is_silent() -> None:
    """Unknown is told once."""
    line = bench()
    state(line, 0, 6)
    assert len(line.down(10, 9)) == 1
    assert line.down(20, 9) == []


# -- the agent away ----------------------------------------------------------------------------------------------------------


def test_the_same_state_after_an_absence_of_the_agent_is_no_event() -> None:
    """The state goes on since its first edge."""
    line = bench()
    state(line, 658, 6)
    line.agent_down(700, 720)
    assert line.say(658, {"plc.state": 6}, agent=720) == []
    (event,) = state(line, 860, 13)
    assert event.data["prev_duration_s"] == 202.0
    assert event.interval is None


def test_another_state_after_an_absence_is_one_change_with_its_interval() -> None:
    """One event, somewhere between the last time seen and now."""
    line = bench()
    state(line, 658, 6)
    line.agent_down(700, 720)
    (event,) = line.say(710, {"plc.state": 9}, agent=720)
    assert event.interval == (at(700), at(720))
    assert seconds(event.time) == 710.0
    assert event.data["from"]["code"] == 6
    assert event.data["prev_duration_s"] == 52.0


def test_an_absence_that_seems_to_begin_before_the_last_edge_takes_no_time_back() -> None:
    """The PLC's clock is ahead of the agent's: the interval begins with the edge, and no duration is negative."""
    line = bench()
    state(line, 710, 6)
    line.agent_down(700, 720)
    (event,) = line.say(705, {"plc.state": 9}, agent=720)
    assert event.interval == (at(710), at(720))
    assert event.data["prev_duration_s"] == 10.0


def test_a_device_that_is_gone_when_the_agent_comes_back_is_unknown() -> None:
    """It never answered in this session, but the state of the session before is no longer known."""
    line = bench()
    state(line, 658, 6)
    line.agent_down(700, 720)
    (lost,) = line.down(725, None)
    assert (seconds(lost.time), lost.data["to"]["code"]) == (700.0, None)


def test_a_restart_of_the_plc_during_an_absence_of_the_agent_is_seen() -> None:
    """Both were away: the state goes through Unknown from the last time seen on."""
    line = bench()
    line.up(0, boot=7)
    state(line, 658, 6)
    line.agent_down(700, 720)
    (lost,) = line.up(721, boot=8)
    assert seconds(lost.time) == 700.0
    (back,) = state(line, 721, 2)
    assert back.data["continuity"] == "broken"


# -- debounce, clocks --------------------------------------------------------------------------------------------------------


def test_a_flicker_shorter_than_the_debounce_is_no_event() -> None:
    """6 to 5 and back within 80 ms, debounce 200 ms."""
    line = bench(debounce="200ms")
    state(line, 0, 6)
    state(line, 10, 5)
    state(line, 10.08, 6)
    line.tick(11)
    assert line.events == []


def test_a_flicker_longer_than_the_debounce_is_two_events() -> None:
    """6 to 5 and back after 400 ms: both edges keep their own time, also when they arrive together."""
    line = bench(debounce="200ms")
    state(line, 0, 6)
    line.say(10, {"plc.state": 5}, agent=11)
    line.say(10.4, {"plc.state": 6}, agent=11)
    line.tick(12)
    assert [(seconds(event.time), event.data["to"]["code"]) for event in line.events] == [(10.0, 5), (10.4, 6)]
    assert [event.data["prev_duration_s"] for event in line.events] == [10.0, 0.4]


def test_a_debounced_change_is_told_by_the_tick() -> None:
    """No further sample comes by exception: time alone confirms it, with the first edge's time."""
    line = bench(debounce="200ms")
    state(line, 0, 6)
    state(line, 10, 5)
    (event,) = line.tick(11)
    assert seconds(event.time) == 10.0


def test_a_change_that_goes_on_within_the_debounce_keeps_the_first_edge() -> None:
    """6, 13, 5 within 100 ms: one change to where it ended, since when it began."""
    line = bench(debounce="200ms")
    state(line, 0, 6)
    state(line, 10, 13)
    state(line, 10.1, 5)
    (event,) = line.tick(11)
    assert (event.data["to"]["code"], seconds(event.time)) == (5, 10.0)


def test_a_clock_that_is_set_back_gives_no_negative_duration() -> None:
    """The PLC's clock jumps back an hour: its new time is the edge's, and the agent's clock tells how long the state was."""
    line = bench()
    state(line, 4000, 6)
    (event,) = line.say(500, {"plc.state": 11}, agent=4100)
    assert seconds(event.time) == 500.0
    assert event.data["prev_duration_s"] == pytest.approx(100.0, abs=0.02)


# -- configuration -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["tag", "mode", "starved", "blocked"])
def test_an_unknown_tag_is_refused_by_name(place: str) -> None:
    """The text names the place, the reference and what was probably meant."""
    config = {"tag": "plc.state", place: "plc.stat"}
    with pytest.raises(
        ValueError, match=rf"unit filler, state\.{place}: no device has a tag 'plc\.stat'; did you mean 'plc\.state'\?"
    ):
        build(StateConfig.model_validate(config), unit="filler", tags=TAGS)


def test_the_demo_lines_state_is_understood() -> None:
    """The YAML of the demo line, with its reason and durations."""
    config = StateConfig.model_validate(
        {
            "tag": "plc.state",
            "model": "packml",
            "mode": "plc.mode",
            "reason": {"tag": "plc.stop", "wait": "2s"},
            "micro_stop": "10s",
        }
    )
    mode, rule = build(config, unit="filler", tags=TAGS)
    assert (mode.name, rule.name, config.micro_stop) == ("mode", "state", 10_000_000_000)
