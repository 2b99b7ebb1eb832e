"""Plausibility: what cannot be true together is told, and taken back when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import Bench, seconds, tags_of

from edge_agent.events import counter, state, suspect
from edge_agent.events.counter import CounterConfig
from edge_agent.events.state import StateConfig
from edge_agent.events.suspect import SuspectConfig
from edge_agent.model.reading import Quality

TAGS = tags_of("plc.state", "plc.count", "plc.beat")
STATE = StateConfig(tag="plc.state")
COUNTER = CounterConfig.model_validate({"tag": "plc.count", "role": "total", "wraps": "uint16", "max_rate": "3/s", "back_tol": 5})


def line(**config: Any) -> Bench:
    """Return a bench with a PackML state and one rule of plausibility."""
    made = SuspectConfig.model_validate(config)
    rules = suspect.build(made, unit="filler", name="x", tags=TAGS, counters={"total": "plc.count"}, states=("plc.state",))
    return Bench(
        [*state.build(STATE, unit="filler", tags=TAGS), *counter.build(COUNTER, unit="filler", name="total", tags=TAGS), *rules]
    )


def told(bench: Bench) -> list[tuple[float, str]]:
    """Return what was suspect and when."""
    return [(seconds(event.time), event.data["action"]) for event in bench.told("signal.suspect")]


def test_a_counter_that_stands_while_the_machine_runs_is_suspect() -> None:
    """Execute for a minute without a part: raised once, cleared with the next part."""
    bench = line(frozen="total", after="60s")
    bench.say(0, {"plc.state": 6, "plc.count": 100})
    bench.say(5, {"plc.count": 101})
    for t in (30, 65, 66, 90):
        bench.tick(t)
    assert told(bench) == [(66.0, "raised")]
    bench.say(95, {"plc.count": 102})
    assert told(bench) == [(66.0, "raised"), (95.0, "cleared")]
    raised, cleared = bench.told("signal.suspect")
    assert (raised.data["rule"], raised.data["tags"]) == ("frozen.x", ["plc.count", "plc.state"])
    assert raised.causation == cleared.causation


@pytest.mark.parametrize("code", [11, 2, 5, 4])
def test_a_counter_that_stands_with_its_machine_is_not(code: int) -> None:
    """Held, stopped, starved or idle: nothing is made, and nothing is odd about it."""
    bench = line(frozen="total", after="60s")
    bench.say(0, {"plc.state": 6, "plc.count": 100})
    bench.say(50, {"plc.state": code})
    bench.tick(200)
    bench.say(201, {"plc.state": 6})
    bench.tick(250)
    assert told(bench) == []


def test_a_stop_takes_the_doubt_about_a_standing_counter_away() -> None:
    """What stands in a stop is plausible again."""
    bench = line(frozen="total", after="60s")
    bench.say(0, {"plc.state": 6, "plc.count": 100})
    bench.tick(61)
    bench.say(70, {"plc.state": 11})
    assert told(bench) == [(61.0, "raised"), (70.0, "cleared")]


def test_a_counter_that_moves_in_a_stop_is_suspect_after_the_run_out() -> None:
    """Parts that leave just after the stop are none of it; three steps later on are."""
    bench = line(moving="total", after="60s", parts=3)
    bench.say(0, {"plc.state": 6, "plc.count": 100})
    bench.say(10, {"plc.state": 2})
    for t, count in ((11, 101), (12, 102), (14, 103), (20, 104), (21, 105)):
        bench.say(t, {"plc.count": count})
    assert told(bench) == []
    bench.say(22, {"plc.count": 106})
    assert told(bench) == [(22.0, "raised")]
    bench.tick(81)
    assert told(bench) == [(22.0, "raised")]
    bench.tick(83)
    assert told(bench) == [(22.0, "raised"), (83.0, "cleared")]


@pytest.mark.parametrize(
    ("counts", "raised"),
    [
        ((100, 103), True),
        ((100, 102), False),
        ((100, 102, 103), True),
        ((65534, 1), True),
        ((65534, 65535, 0), False),
        ((100, 99), False),
    ],
)
@pytest.mark.parametrize("restarts", [False, True])
def test_parts_are_added_up_whatever_the_steps(counts: tuple[int, ...], raised: bool, restarts: bool) -> None:
    """Three parts in one look are three parts, over a wrap as well; what is pulled back is none."""
    bench = line(moving="total", parts=3)
    bench.restarts = restarts
    bench.say(0, {"plc.state": 2, "plc.count": counts[0]})
    for place, count in enumerate(counts[1:]):
        bench.say(20 + place, {"plc.count": count})
    assert [action for _, action in told(bench)] == ["raised"] * raised


def test_a_machine_that_runs_again_clears_a_moving_counter() -> None:
    """Then it may move."""
    bench = line(moving="total", parts=1)
    bench.say(0, {"plc.state": 2, "plc.count": 100})
    bench.say(10, {"plc.count": 101})
    bench.say(12, {"plc.state": 6})
    assert told(bench) == [(10.0, "raised"), (12.0, "cleared")]


def test_a_heartbeat_that_stands_in_good_quality_is_suspect() -> None:
    """The server answers, and the program behind it has stopped."""
    bench = line(heartbeat="plc.beat", after="10s")
    for t in range(5):
        bench.say(t, {"plc.beat": t})
    bench.tick(13)
    bench.tick(15)
    bench.say(16, {"plc.beat": 4})
    bench.say(17, {"plc.beat": 5})
    assert told(bench) == [(15.0, "raised"), (17.0, "cleared")]


def test_a_heartbeat_of_a_lost_device_or_of_bad_quality_says_nothing() -> None:
    """A loss is told as what it is; behind it waiting begins anew."""
    bench = line(heartbeat="plc.beat", after="10s")
    bench.say(0, {"plc.beat": 1})
    bench.say(3, {"plc.beat": 1}, quality=Quality.BAD)
    bench.tick(30)
    bench.say(31, {"plc.beat": 1})
    bench.tick(40)
    assert told(bench) == []
    bench.down(41, 40)
    bench.tick(80)
    bench.up(100)
    bench.say(100, {"plc.beat": 1})
    bench.tick(109)
    assert told(bench) == []
    bench.tick(111)
    assert told(bench) == [(111.0, "raised")]


def test_an_hour_between_two_clocks_raises_no_doubt() -> None:
    """A PLC that is an hour behind: waiting is measured by the agent's clock alone."""
    bench = line(heartbeat="plc.beat", after="10s")
    for t in range(20):
        bench.say(t - 3600, {"plc.beat": t}, agent=t)
        bench.tick(t + 0.5)
    assert told(bench) == []


def test_a_restart_after_every_moment_changes_nothing() -> None:
    """What is suspect survives in its stored form."""
    bench = line(frozen="total", after="60s")
    bench.restarts = True
    bench.say(0, {"plc.state": 6, "plc.count": 100})
    bench.tick(61)
    bench.tick(62)
    bench.say(63, {"plc.count": 101})
    assert told(bench) == [(61.0, "raised"), (63.0, "cleared")]


@pytest.mark.parametrize("config", [{}, {"frozen": "total", "heartbeat": "plc.beat"}])
def test_a_rule_has_one_form(config: dict[str, Any]) -> None:
    """Mistakes are told in words."""
    with pytest.raises(ValidationError, match="write one of them"):
        SuspectConfig.model_validate(config)


@pytest.mark.parametrize(
    ("config", "states", "words"),
    [
        ({"frozen": "tootal"}, ("plc.state",), "there is no counter 'tootal'"),
        ({"moving": "total"}, (), "there is no state to compare it with"),
        ({"heartbeat": "plc.baet"}, (), "no device has a tag 'plc.baet'; did you mean 'plc.beat'"),
    ],
)
def test_names_are_checked_when_the_rule_is_built(config: dict[str, Any], states: tuple[str, ...], words: str) -> None:
    """A rule about nothing is refused with what is there."""
    made = SuspectConfig.model_validate(config)
    with pytest.raises(ValueError, match=words):
        suspect.build(made, unit="filler", name="x", tags=TAGS, counters={"total": "plc.count"}, states=states)
