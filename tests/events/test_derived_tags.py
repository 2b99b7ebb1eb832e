"""Derived tags by expression: what is allowed, what bad inputs give, and that two counters are never subtracted across reads."""

from __future__ import annotations

from typing import Any

import pytest
from derive_feed import at, tick
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.events.catalog import UnitConfig, fold_of, inputs, rules_of, wiring_of
from edge_agent.events.derive import Fold, UnitState
from edge_agent.events.expression import Expression, UnusableError
from edge_agent.model.errors import ConfigError
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Batch, Boot, DeviceDown, DeviceUp, Gap, Notice, Quality, Snapshot, Tag
from edge_agent.ports import Trigger

TAGS = (Tag("plc", "a"), Tag("plc", "b"), Tag("plc", "speed"))
TOTAL = {"tag": "plc.a", "role": "total", "wraps": "uint32", "max_rate": "100/s"}
SCRAP = {"tag": "plc.b", "role": "scrap", "wraps": "uint32", "max_rate": "100/s"}


def unit(**written: Any) -> UnitConfig:
    """Return a unit with derived tags."""
    return UnitConfig.model_validate({"version": 1, "unit": "press", **written})


class Line:
    """A unit on its real fold; every step goes through the stored form of the state."""

    def __init__(self, config: UnitConfig) -> None:
        self.fold: Fold = fold_of(config, devices={"plc": TAGS})
        self.state: UnitState = self.fold.start({})[0]

    def put(
        self,
        t: float,
        values: dict[str, Any],
        *,
        bad: str = "",
        uncertain: str = "",
        group: str = "",
        notices: tuple[Notice, ...] = (),
    ) -> list[ProductionEvent]:
        """Fold one batch (and a restart before it); return set point events and counts."""
        names = [tag.name for tag in TAGS]
        tags = [names.index(name) for name in values]
        quality = [2 if name == bad else 1 if name == uncertain else 0 for name in values]
        some = (Snapshot(group, 0, len(tags)),) if group else ()
        batch = Batch(
            "plc", at(t), tags, list(values.values()), quality, [at(t)] * len(tags), [0] * len(tags), snapshots=some, before=notices
        )
        turn = self.fold.fold(self.state, [batch])
        stored, self.state = self.fold.stored(turn.state), turn.state
        again, dropped = self.fold.start(stored)
        assert dropped == ()
        assert again.rules == self.state.rules
        return [event for event in turn.events if event.type in {"setpoint.changed", "production.count", "collection.gap"}]


WATCHED = {
    "derived": {"bar": {"expr": "pa / 100000", "tags": {"pa": "plc.a"}, "uom": "BAR"}},
    "setpoints": {"p": {"tag": "plc.bar"}},
}


def news(events: list[ProductionEvent]) -> list[Any]:
    """Return the new values of set points."""
    return [event.data["new"] for event in events if event.type == "setpoint.changed"]


def test_a_derived_tag_is_a_tag_to_every_rule() -> None:
    """A set point in bar from a register in pascal, with the unit it is given."""
    line = Line(unit(**WATCHED))
    line.put(0, {"a": 200000})
    (event,) = line.put(1, {"a": 250000})
    assert (event.data["old"], event.data["new"], event.data["uom"]) == (2.0, 2.5, "BAR")
    assert event.time == at(1)


def test_a_bad_input_and_a_division_by_zero_give_a_bad_sample_and_no_exception() -> None:
    """Bad samples change nothing; the next good one does."""
    line = Line(unit(derived={"r": {"expr": "a / b", "tags": {"a": "plc.a", "b": "plc.b"}}}, setpoints={"r": {"tag": "plc.r"}}))
    line.put(0, {"a": 8, "b": 2})
    assert news(line.put(1, {"a": 9}, bad="a")) == []
    assert news(line.put(2, {"a": 8, "b": 0})) == []
    assert news(line.put(3, {"a": "no number", "b": 2})) == []
    assert news(line.put(4, {"a": 6, "b": 2})) == [3.0]


def test_the_worst_input_is_the_quality_of_the_result() -> None:
    """An uncertain input makes what is calculated from it uncertain."""
    line = Line(unit(derived={"d": {"expr": "a + b", "tags": {"a": "plc.a", "b": "plc.b"}}}, setpoints={"d": {"tag": "plc.d"}}))
    line.put(0, {"a": 1, "b": 2})
    (event,) = line.put(1, {"a": 2, "b": 2}, uncertain="b")
    assert (event.data["new"], event.quality) == (4, Quality.UNCERTAIN)


def test_inputs_that_come_alone_are_joined_with_the_last_of_the_others() -> None:
    """Subscribed tags arrive when they change."""
    line = Line(unit(derived={"d": {"expr": "a + b", "tags": {"a": "plc.a", "b": "plc.b"}}}, setpoints={"d": {"tag": "plc.d"}}))
    assert news(line.put(0, {"a": 1})) == []
    assert news(line.put(1, {"b": 2})) == []
    assert news(line.put(2, {"a": 5})) == [7]


def test_what_is_behind_a_loss_is_not_calculated_with() -> None:
    """After an outage all inputs have to be seen again."""
    line = Line(unit(derived={"d": {"expr": "a + b", "tags": {"a": "plc.a", "b": "plc.b"}}}, setpoints={"d": {"tag": "plc.d"}}))
    line.put(0, {"a": 1, "b": 2})
    line.put(5, {}, notices=(DeviceDown("plc", at(5), at(1), "cut"),))
    assert news(line.put(10, {"a": 9}, notices=(DeviceUp("plc", at(10)), Boot("plc", at(10), 1)))) == []
    assert news(line.put(11, {"b": 3})) == [12]


def test_a_counter_on_a_derived_tag_is_broken_by_the_losses_of_its_inputs() -> None:
    """What is said of an input by its name is said of the derived tag."""
    doubled = {"tag": "plc.twice", "role": "total", "wraps": "never", "max_rate": "100/s"}
    line = Line(unit(derived={"twice": {"expr": "2 * a", "tags": {"a": "plc.a"}}}, counters={"total": doubled}))
    line.put(0, {"a": 10})
    line.put(1, {}, notices=(Gap("plc", "sampling_overrun", at(0.5), at(1), ("a",)),))
    counts = [event for event in line.put(2, {"a": 13}) if event.type == "production.count"]
    assert [(event.data["delta"], event.derivation) for event in counts] == [(6, "recovered")]


GOOD = {"good": {"expr": "total - scrap", "same_read_as": "total"}}


def test_counters_are_subtracted_inside_one_read_only() -> None:
    """The difference of a poll and another one is nobody's; the group is read when the first of them changes."""
    config = unit(counters={"total": TOTAL, "scrap": SCRAP}, derived=GOOD, setpoints={"good": {"tag": "plc.good"}})
    assert wiring_of(config)["plc"].triggers == (Trigger("press/derived.good", "a", ("a", "b")),)
    line = Line(config)
    line.put(0, {"a": 10, "b": 2}, group="press/derived.good")
    assert news(line.put(1, {"a": 12, "b": 2})) == []
    assert news(line.put(2, {"a": 13, "b": 3}, group="press/derived.good")) == [10]


def test_counters_of_different_reads_are_refused() -> None:
    """With the remedy."""
    config = unit(counters={"total": TOTAL, "scrap": SCRAP}, derived={"good": {"expr": "total - scrap"}})
    with pytest.raises(ConfigError, match="are subtracted or compared; add same_read_as: scrap"):
        rules_of(config, tags={tag.ref: tag for tag in TAGS})


APART = [
    "scrap * (0 - 1) + total",
    "total + scrap * -1",
    "-1 * scrap + total",
    "total + (0 - scrap)",
    "total + scrap / -1",
    "max(total, scrap)",
    "total if scrap else 0",
    "total > scrap",
    "total / scrap",
    "total * scrap",
    "total + 5 // scrap",
    "total + scrap % 3",
    "-(total + scrap)",
    "total + (not scrap)",
]
TOGETHER = ["total + scrap", "2 * total + scrap * 0.5", "(total + scrap) / 2", "+total + (scrap + 1)", "total - total", "total - 5"]


@pytest.mark.parametrize(("text", "refused"), [*((text, True) for text in APART), *((text, False) for text in TOGETHER)])
def test_two_counters_of_different_reads_may_only_be_added_up(text: str, refused: bool) -> None:
    """However a difference is written: what is no sum with positive factors wants one read of both, and has it with same_read_as."""
    counters = {"total": TOTAL, "scrap": SCRAP}
    rules_of(unit(counters=counters, derived={"x": {"expr": text, "same_read_as": "total"}}), tags={tag.ref: tag for tag in TAGS})
    alone = unit(counters=counters, derived={"x": {"expr": text}})
    if not refused:
        assert rules_of(alone, tags={tag.ref: tag for tag in TAGS})
        return
    with pytest.raises(ConfigError, match="add same_read_as: scrap"):
        rules_of(alone, tags={tag.ref: tag for tag in TAGS})


@pytest.mark.parametrize(
    ("derived", "more", "problem"),
    [
        ({"x": {"expr": "a + 1"}}, {}, r"'a' stands for no tag; add it, as in tags: \{a: device.tag\}"),
        ({"x": {"expr": "1 + 1"}}, {}, "has no tag in it"),
        ({"x": {"expr": "a", "tags": {"a": "plc.c"}}}, {}, r"no device has a tag 'plc.c'"),
        ({"x": {"expr": "a + b", "tags": {"a": "plc.a", "b": "meter.b"}}}, {}, "tags of meter and plc"),
        ({"b": {"expr": "a", "tags": {"a": "plc.a"}}}, {}, "plc has a tag of that name itself"),
        ({"x": {"expr": "a", "tags": {"a": "plc.a"}}}, {"telemetry": {"tags": ["plc.x"]}}, "cannot be sampled"),
        ({"x y": {"expr": "a", "tags": {"a": "plc.a"}}}, {}, "call it x_y"),
        ({"x": {"expr": "a", "tags": {"a": "plc.a"}}, "y": {"expr": "x", "tags": {"x": "plc.x"}}}, {}, "is derived itself"),
        ({"x": {"expr": "a", "tags": {"a": "plc.a"}, "same_read_as": "b"}}, {}, "does not stand in the expression"),
    ],
)
def test_what_stands_for_nothing_is_refused(derived: dict[str, Any], more: dict[str, Any], problem: str) -> None:
    """Every problem has its place and its remedy."""
    known = {tag.ref: tag for tag in (*TAGS, Tag("meter", "b"))}
    with pytest.raises(ConfigError, match=problem):
        rules_of(unit(derived=derived, **more), tags=known)


def test_a_unit_asks_its_devices_for_the_inputs_only() -> None:
    """No device is asked for a tag that it does not have."""
    assert inputs(unit(**WATCHED)) == {"plc.a"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a ** 9", r"\*\* .powers grow"),
        ("a << 9", "<< is not allowed"),
        ("a.b", "an attribute"),
        ("a[0]", "a subscript"),
        ("f'{a}'", "an f-string"),
        ("open(a)", r"open\(...\) is not allowed"),
        ("a.__class__()", "is not allowed"),
        ("(lambda: a)()", "is not allowed"),
        ("[a]", "List is not allowed"),
        ("max(*a)", "Starred is not allowed"),
        ("round(a, ndigits=2)", "is not allowed"),
        ("a if b", "is no expression"),
        ("a; b", "is no expression"),
        ("None", "write a number"),
        ("1j", "write a number"),
        ("a" * 501, "501 characters; 500 are allowed"),
        ("-" * 400 + "a", "nested too deeply"),
        ("(" * 300 + "a" + ")" * 150, "is no expression"),
    ],
)
def test_what_is_not_of_the_language_is_refused_when_it_is_read(text: str, problem: str) -> None:
    """Nothing is reached, and nothing runs for long."""
    with pytest.raises(ValidationError, match=problem):
        unit(derived={"x": {"expr": text, "tags": {"a": "plc.a", "b": "plc.b"}}})


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("total - scrap", {"total": 10, "scrap": 3}, 7),
        ("a % 8 // 2", {"a": 23}, 3),
        ("min(a, 5) + max(a, b) - abs(-b)", {"a": 9, "b": 2}, 12),
        ("a > 3 and not b", {"a": 4, "b": False}, True),
        ("1 < a <= 3", {"a": 3}, True),
        ("'auto' if m == 'A' else 'hand'", {"m": "A"}, "auto"),
        ("round(a * 1.5)", {"a": 3}, 4),
        ("a - b", {"a": 2**63, "b": 1}, 2**63 - 1),
    ],
)
def test_what_expressions_say(text: str, values: dict[str, Any], result: Any) -> None:
    """Whole numbers stay exact."""
    assert Expression(text).value(values) == result


@pytest.mark.parametrize(
    ("text", "a"), [("a / 0", 1), ("a * 3", "x"), ("a + 'x'", "x"), ("a * 1e308 * 10", 9.0), ("-a", "x"), ("a < 3", "x")]
)
def test_values_that_give_no_result_are_unusable(text: str, a: Any) -> None:
    """One kind of error, which becomes bad quality."""
    with pytest.raises(UnusableError):
        Expression(text).value({"a": a})


def _expression(text: str) -> Expression | None:
    try:
        return Expression(text)
    except ValueError:
        return None


@given(st.text(alphabet="ab01 +-*/%()<>=!.,'[]{}:_&|^~\\\n", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    """No text gives another error than the two that are told, whatever the values are."""
    expression = _expression(text)
    if expression is None:
        return
    for value in (0, -1.5, "x", True, 2**64, float("inf")):
        try:
            expression.value(dict.fromkeys(expression.names, value))
        except UnusableError:
            continue


def test_a_tick_makes_no_sample() -> None:
    """Time that passes is no reading."""
    line = Line(unit(**WATCHED))
    line.put(0, {"a": 200000})
    assert line.fold.fold(line.state, [tick(5)]).events == ()
