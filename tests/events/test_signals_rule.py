"""States made from signals: bits by priority, a count that moves, a threshold."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import Bench, seconds, tags_of

from edge_agent.events import downtime, state
from edge_agent.events.state import StateConfig
from edge_agent.events.when import When
from edge_agent.model.reading import Quality

TAGS = tags_of("plc.fault", "plc.run", "plc.count", "plc.current", "plc.word", "plc.mode", "meter.amps")
BITS = {"bits": [{"when": "plc.fault", "is": "faulted"}, {"when": "plc.run", "is": "running"}], "else": "idle"}


def line(**config: Any) -> Bench:
    """Return a bench with the state and downtime rules of ``config``."""
    made = StateConfig.model_validate(config)
    return Bench([*state.build(made, unit="filler", tags=TAGS), *downtime.build(None, made, unit="filler", tags=TAGS)])


def changes(bench: Bench) -> list[tuple[float, str, str]]:
    """Return the transitions told so far."""
    return [(seconds(e.time), e.data["from"]["name"], e.data["to"]["name"]) for e in bench.told("state.changed")]


@pytest.mark.parametrize(("fault", "run", "expected"), [(1, 1, "faulted"), (1, 0, "faulted"), (0, 1, "running"), (0, 0, "idle")])
def test_the_first_bit_that_holds_is_the_state(fault: int, run: int, expected: str) -> None:
    """Priority is the order of the lines; when none holds it is what `else` says."""
    bench = line(**BITS)
    bench.say(0, {"plc.fault": bool(fault), "plc.run": bool(run)})
    assert bench.picture.state is not None
    assert (bench.picture.state.category, bench.picture.state.model) == (expected, "custom")


def test_bits_make_transitions_and_downtimes_like_a_state_tag() -> None:
    """A fault bit above a run bit: one change each way, a downtime in between with its cause."""
    bench = line(**BITS)
    bench.say(0, {"plc.fault": False, "plc.run": True})
    bench.say(10, {"plc.fault": True})
    bench.say(12, {"plc.run": False})
    bench.say(40, {"plc.fault": False, "plc.run": True})
    assert changes(bench) == [(10.0, "running", "faulted"), (40.0, "faulted", "running")]
    (ended,) = bench.told("downtime.ended")
    assert (ended.data["category"], ended.data["duration_s"], ended.data["micro"]) == ("faulted", 30.0, False)


def test_a_bit_that_was_never_read_decides_nothing_below_it() -> None:
    """While the fault bit is unknown, a run bit is no proof of running; a fault is a fault, whatever runs."""
    bench = line(**BITS)
    bench.say(0, {"plc.run": True})
    assert bench.picture.state is None
    bench.say(1, {"plc.fault": True})
    assert bench.picture.state is not None
    assert bench.picture.state.category == "faulted"


def test_a_bad_bit_keeps_the_state() -> None:
    """A bad sample is no false."""
    bench = line(**BITS)
    bench.say(0, {"plc.fault": False, "plc.run": True})
    assert bench.say(5, {"plc.run": False}, quality=Quality.BAD) == []
    assert bench.picture.state is not None
    assert bench.picture.state.category == "running"


def test_a_lost_link_forgets_the_bits() -> None:
    """Behind a loss the state is known again only when the bits that decide it were read again."""
    bench = line(**BITS)
    bench.say(0, {"plc.fault": False, "plc.run": True})
    bench.down(30, 25)
    bench.up(60)
    assert bench.say(60, {"plc.run": True}) == []
    (back,) = bench.say(60.1, {"plc.fault": False})
    assert changes(bench) == [(25.0, "running", "Unknown"), (60.1, "Unknown", "running")]
    assert back.data["continuity"] == "assumed"


def test_every_state_of_signals_survives_a_restart_after_each_moment() -> None:
    """The stored form holds the signals, too: the same events with a restart before every step."""
    told = []
    for restarts in (False, True):
        bench = line(**BITS)
        bench.restarts = restarts
        bench.say(0, {"plc.fault": False, "plc.run": True})
        bench.say(1, {"plc.fault": True})
        bench.say(2, {"plc.fault": False})
        bench.say(3, {"plc.run": False})
        told.append(changes(bench))
    assert told[0] == told[1] == [(1.0, "running", "faulted"), (2.0, "faulted", "running"), (3.0, "running", "idle")]


def test_bits_may_name_the_states_of_a_model() -> None:
    """With a model the lines give its codes or names, and everybody gets the standard's words."""
    bench = line(
        bits=[{"when": {"tag": "plc.word", "bit": 3}, "is": 8}, {"when": "plc.run", "is": "operating"}],
        model="weihenstephan",
        **{"else": 1},
    )
    bench.say(0, {"plc.word": 0b1000, "plc.run": True})
    assert bench.picture.state is not None
    assert (bench.picture.state.name, bench.picture.state.category, bench.picture.state.model) == (
        "Lack",
        "starved",
        "weihenstephan",
    )


# -- derived -----------------------------------------------------------------------------------------------------------------


def counted(**more: Any) -> Bench:
    """Return a bench whose state comes from a count that must move within 30 s."""
    return line(derive={"counts": "plc.count", "within": "30s"}, **more)


def test_running_is_derived_from_a_count_that_moves() -> None:
    """It runs from the first part seen and has stopped with its last one, which is known 30 s later."""
    bench = counted()
    bench.say(0, {"plc.count": 100})
    assert bench.picture.state is None
    bench.say(2, {"plc.count": 101})
    for t in range(4, 20, 2):
        bench.say(t, {"plc.count": 100 + t // 2})
    bench.tick(47)
    assert changes(bench) == []
    bench.tick(48.1)
    assert changes(bench) == [(18.0, "running", "stopped")]
    bench.say(100, {"plc.count": 110})
    assert changes(bench)[1:] == [(100.0, "stopped", "running")]
    (ended,) = bench.told("downtime.ended")
    assert (ended.data["duration_s"], bench.told("state.changed")[0].data["model"]) == (82.0, "derived")


def test_a_count_that_moved_while_nobody_looked_proves_no_running_now() -> None:
    """What was made during an absence of the agent says nothing of this instant; the next part does."""
    bench = counted()
    bench.say(0, {"plc.count": 100})
    bench.say(2, {"plc.count": 101})
    bench.agent_down(10, 60)
    bench.say(60, {"plc.count": 140})
    assert changes(bench) == []
    bench.tick(91)
    assert changes(bench) == [(60.0, "running", "stopped")]


def test_running_is_derived_from_a_threshold() -> None:
    """A motor's current above 2.5 A is running."""
    bench = line(derive={"when": {"tag": "meter.amps", "above": 2.5}}, **{"else": "idle"})
    bench.say(0, {"meter.amps": 0.4})
    bench.say(1, {"meter.amps": 2.5})
    bench.say(2, {"meter.amps": 2.6})
    bench.say(9, {"meter.amps": 0.1})
    assert changes(bench) == [(2.0, "idle", "running"), (9.0, "running", "idle")]


# -- conditions ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "value", "answer"),
    [
        ({}, True, True), ({}, 0, False), ({}, 7, True), ({}, "on", None), ({}, None, None), ({}, b"x", None),
        ({"not": True}, False, True), ({"not": True}, None, None),
        ({"bit": 0}, 5, True), ({"bit": 1}, 5, False), ({"bit": 15}, -32768, True), ({"bit": 0}, 1.0, None),
        ({"above": 2}, 2.0, False), ({"above": 2}, 2.1, True), ({"below": 2}, 1, True), ({"above": 1, "below": 3}, 2, True),
        ({"above": 1, "below": 3}, 3, False), ({"above": 1}, float("nan"), None), ({"above": 1}, "2", None),
        ({"equals": 3}, 3.0, True), ({"equals": "Auto"}, "AUTO", True), ({"equals": 3}, 4, False), ({"equals": True}, 1, True),
    ],
)  # fmt: skip
def test_a_condition_answers_or_says_that_it_cannot(asked: dict[str, Any], value: Any, answer: bool | None) -> None:
    """What cannot be compared is no false."""
    assert When.model_validate({"tag": "plc.x", **asked}).holds(value) is answer


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "a tag, or bits, or derive"),
        ({"tag": "plc.run", **BITS}, "a tag, or bits, or derive"),
        ({"bits": BITS["bits"]}, "add else: idle"),
        ({"tag": "plc.run", "else": "idle"}, "else belongs to bits"),
        ({"derive": {}}, "from counts or from when"),
        (
            {"bits": [{"when": {"tag": "plc.run", "bit": 1, "equals": 3}, "is": "running"}], "else": "idle"},
            "cannot be asked together",
        ),
    ],
)
def test_a_state_has_one_source(config: dict[str, Any], words: str) -> None:
    """Mistakes are told in words."""
    with pytest.raises(ValidationError, match=words):
        StateConfig.model_validate(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"bits": [{"when": "plc.run", "is": "runing"}], "else": "idle"}, "'runing' is no state"),
        (
            {"bits": [{"when": "plc.run", "is": "running"}, {"when": "meter.amps", "is": "idle"}], "else": "idle"},
            "those of one device",
        ),
        ({"bits": [{"when": "plc.rum", "is": "running"}], "else": "idle"}, "no device has a tag 'plc.rum'"),
    ],
)
def test_signals_are_checked_when_the_rule_is_built(config: dict[str, Any], words: str) -> None:
    """Names that nobody knows, and signals whose loss would not be one loss, are refused."""
    with pytest.raises(ValueError, match=words):
        line(**config)
