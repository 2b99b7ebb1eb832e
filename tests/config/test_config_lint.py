"""What the linter lets pass, and the rule that it asks for: the other halves of tests/config/bad."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.config.lint import shift_findings, unit_findings, writable_findings
from edge_agent.events.catalog import UnitConfig
from edge_agent.events.shift import Calendar, ShiftConfig
from edge_agent.model.instant import MS, parse
from edge_agent.model.reading import Tag

EDGE = {"pattern": "edge", "event": "scrap.recorded", "trigger": "plc.drop", "fields": {"reason": "plc.why"}}
SEQ = {
    "pattern": "seq_ack",
    "seq": "plc.seq",
    "seq_end": "plc.end",
    "ack": "plc.ack",
    "fields": {"value": "plc.v"},
    "characteristic": "x",
}


def unit(**content: Any) -> UnitConfig:
    """Return a unit."""
    return UnitConfig.model_validate({"version": 1, "unit": "u", **content})


@pytest.mark.parametrize(
    ("period", "pulse", "fine"), [(100, "200ms", True), (101, "200ms", False), (500, "1s", True), (500, None, True)]
)
def test_a_pulse_must_be_looked_at_twice(period: int, pulse: str | None, fine: bool) -> None:
    """Half the pulse is often enough, longer is refused; a pulse that nobody declared cannot be judged."""
    record = EDGE if pulse is None else {**EDGE, "min_pulse": pulse}
    found = list(unit_findings(unit(records={"drop": record}), {"plc.drop": Tag("plc", "drop", "bool", period=period * MS)}))
    assert (not found) is fine


def test_counters_of_one_request_may_be_compared() -> None:
    """The same request is fine, and so is a subscription, which is not known to be two."""
    register = {"role": "total", "wraps": "uint16", "max_rate": "3/s"}
    counters = {"a": {"tag": "plc.a", **register}, "b": {"tag": "plc.b", **register, "same_read_as": "a"}}
    for mine, theirs, fine in (("one", "one", True), (None, None, True), ("one", "two", False)):
        tags = {"plc.a": Tag("plc", "a", snapshot=mine), "plc.b": Tag("plc", "b", snapshot=theirs)}
        assert (not list(unit_findings(unit(counters=counters), tags))) is fine


def test_an_acknowledgement_may_be_written_and_nothing_else() -> None:
    """The tag of a record is fine; a device that no unit reads is left alone, for its units may come later."""
    tags = [Tag("plc", "ack", acknowledge=True), Tag("plc", "count", acknowledge=True), Tag("new", "x", acknowledge=True)]
    found = [tag.ref for tag, _, _ in writable_findings([unit(records={"r": SEQ})], tags)]
    assert found == ["plc.count"]


@pytest.mark.parametrize(
    ("shift", "zone", "found"),
    [
        ({"start": "22:00", "end": "06:00"}, "Europe/Berlin", []),
        ({"start": "22:00", "end": "02:30"}, "Europe/Berlin", ["end"]),
        ({"start": "02:00", "end": "10:00"}, "Europe/Berlin", ["start"]),
        ({"start": "03:00", "end": "11:00"}, "Europe/Berlin", []),
        ({"start": "02:30", "end": "10:00", "dst": "first"}, "Europe/Berlin", []),
        ({"start": "02:30", "end": "10:00", "days": ["mon", "tue", "wed", "thu", "fri"]}, "Europe/Berlin", []),
        ({"start": "20:00", "end": "02:30", "days": ["sat"]}, "Europe/Berlin", ["end"]),
        ({"start": "01:30", "end": "10:00"}, "America/New_York", ["start"]),
        ({"start": "02:30", "end": "10:00"}, "UTC", []),
    ],
)
def test_a_boundary_in_the_hour_that_comes_twice_needs_a_rule(shift: dict[str, Any], zone: str, found: list[str]) -> None:
    """Only boundaries that can fall on such a day and hour are refused, and none that says which is meant."""
    shifts = {"X": ShiftConfig.model_validate(shift)}
    assert [path[-1] for path, _, _ in shift_findings(shifts, zone)] == found


@pytest.mark.parametrize(
    ("dst", "instant"), [("first", "2026-10-25T00:30:00Z"), (None, "2026-10-25T00:30:00Z"), ("second", "2026-10-25T01:30:00Z")]
)
def test_the_rule_decides_which_of_two_hours_is_meant(dst: str | None, instant: str) -> None:
    """02:30 in Berlin on the last Sunday of October comes at 00:30Z and at 01:30Z."""
    calendar = Calendar({"X": ShiftConfig.model_validate({"start": "02:30", "end": "10:30", "dst": dst})}, "Europe/Berlin")
    assert calendar.next_boundary(parse("2026-10-24T23:00:00Z")) == parse(instant)
    spring = calendar.next_boundary(parse("2026-03-29T00:30:00Z"))
    assert spring == parse("2026-03-29T01:00:00Z"), "02:30 does not exist: the first instant after the hole"


@pytest.mark.parametrize(
    ("kind", "bit", "fine"),
    [
        ("uint16", 15, True), ("uint16", 16, False), ("int16", 15, True), ("int16", 16, False), ("uint8", 8, False), ("int8", 7, True),
        ("uint32", 31, True), ("int32", 32, False), ("uint64", 63, True), ("int64", 63, True), ("bool", 0, False), ("float32", 0, False),
        ("float64", 63, False), ("bcd16", 40, True), (None, 63, True), ("string", 1, True),
    ],
)  # fmt: skip
def test_a_bit_has_to_be_one_of_its_word(kind: str | None, bit: int, fine: bool) -> None:
    """In every condition, derived ones too; a type that says nothing of bits, and a tag that nobody knows, are left alone."""
    tags = {"plc.w": Tag("plc", "w", kind)}
    when = {"tag": "plc.w", "bit": bit}
    for state, path in (
        ({"bits": [{"when": when, "is": "running"}], "else": "stopped"}, ("bits", 0)),
        ({"derive": {"when": when}}, ("derive",)),
    ):
        found = [path for path, _, _ in unit_findings(unit(state=state), tags)]
        assert found == ([] if fine else [("state", *path, "when", "bit")])
        assert not list(unit_findings(unit(state=state), {}))


@pytest.mark.parametrize(
    ("kind", "width", "fine"),
    [("uint16", 16, True), ("uint16", 32, False), ("uint8", 16, False), ("uint64", 64, True), ("bool", 8, False)],
)
def test_words_of_alarms_are_as_wide_as_their_tags(kind: str, width: int, fine: bool) -> None:
    """Else bits of the later words have other numbers than the table's."""
    found = list(unit_findings(unit(alarms={"a": {"words": ["plc.w"], "width": width}}), {"plc.w": Tag("plc", "w", kind)}))
    assert [path for path, _, _ in found] == ([] if fine else [("alarms", "a", "words", 0)])
