"""Shift calendars in local time, and the crossing of a boundary."""

from __future__ import annotations

from typing import Any

import pytest
from derive_feed import at, berlin
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.events.rule import CounterFacts, Moment, Picture, StateFacts
from edge_agent.events.shift import Calendar, ShiftConfig, ShiftRule
from edge_agent.model.event import Context
from edge_agent.model.instant import NS, iso, parse

_DAY = {"day": ShiftConfig(start="06:00", end="14:00", days=("mon", "tue"))}


@pytest.mark.parametrize(
    ("instant", "shift", "starts", "ends", "seconds"),
    [
        ("2026-10-24T23:00:00Z", "N", "2026-10-24T20:00:00", "2026-10-25T05:00:00", 32400),  # the hour 02-03 comes twice
        ("2026-03-28T23:00:00Z", "N", "2026-03-28T21:00:00", "2026-03-29T04:00:00", 25200),  # the hour 02-03 is left out
        ("2026-10-25T04:59:59Z", "N", "2026-10-24T20:00:00", "2026-10-25T05:00:00", 32400),
        ("2026-10-25T05:00:00Z", "M", "2026-10-25T05:00:00", "2026-10-25T13:00:00", 28800),
        ("2026-07-01T12:00:00Z", "A", "2026-07-01T12:00:00", "2026-07-01T20:00:00", 28800),
    ],
)
def test_a_shift_lasts_from_wall_time_to_wall_time(instant: str, shift: str, starts: str, ends: str, seconds: int):
    """Boundaries are local times, so the nights of a clock change are an hour longer or shorter."""
    found = berlin().at(parse(instant))
    assert found is not None
    assert (found.shift, iso(found.starts)[:19], iso(found.ends)[:19]) == (shift, starts, ends)
    assert (found.ends - found.starts) // NS == seconds


@pytest.mark.parametrize(
    ("start", "day", "utc"),
    [
        ("02:15", "2026-10-25", "2026-10-25T00:15:00"),  # exists twice: the first (fold=0)
        ("02:15", "2026-03-29", "2026-03-29T01:00:00"),  # does not exist: the first valid instant, 03:00 CEST
        ("03:00", "2026-03-29", "2026-03-29T01:00:00"),
    ],
)
def test_a_boundary_inside_a_clock_change_has_a_rule(start: str, day: str, utc: str):
    """Ambiguous local times mean the first, missing ones the first instant after the hole."""
    calendar = Calendar({"X": ShiftConfig(start=start, end="12:00")}, "Europe/Berlin")
    found = calendar.at(parse(f"{day}T08:00:00Z"))
    assert found is not None
    assert iso(found.starts)[:19] == utc
    assert calendar.next_boundary(parse(f"{utc}Z") - 1) == parse(f"{utc}Z")


def test_between_shifts_there_is_none():
    """A plant that does not work at the weekend has no shift then, and its next boundary is Monday's."""
    calendar = Calendar(_DAY, "Europe/Berlin")
    assert calendar.at(parse("2026-10-24T10:00:00Z")) is None
    assert calendar.next_boundary(parse("2026-10-24T10:00:00Z")) == parse("2026-10-26T05:00:00Z")
    assert Calendar({}, "UTC").next_boundary(0) is None
    assert Calendar({}, "UTC").at(0) is None


def test_a_shift_may_last_a_whole_day():
    """An end that equals the start is on the next day."""
    calendar = Calendar({"all": ShiftConfig(start="06:00", end="06:00")}, "UTC")
    found = calendar.at(parse("2026-10-25T05:59:59Z"))
    assert found is not None
    assert found.ends - found.starts == 86_400 * NS


@given(st.integers(parse("2026-01-01T00:00:00Z"), parse("2027-12-31T00:00:00Z")))
def test_boundaries_and_shifts_agree(instant: int):
    """Around the clock, a shift ends exactly at the next boundary, where the next one begins."""
    calendar = berlin()
    found, boundary = calendar.at(instant), calendar.next_boundary(instant)
    assert found is not None
    assert boundary == found.ends
    following = calendar.at(boundary)
    assert following is not None
    assert following.starts == boundary
    assert found.starts <= instant < found.ends


@pytest.mark.parametrize(
    ("shifts", "zone", "text"),
    [
        ({}, "Berlin", "no IANA time zone"),
        ({"a": ShiftConfig(start="06:00", end="14:00"), "b": ShiftConfig(start="13:59", end="22:00")}, "UTC", "a and b overlap"),
        (
            {"a": ShiftConfig(start="06:00", end="06:00"), "b": ShiftConfig(start="13:00", end="14:00", days=("sun",))},
            "UTC",
            "overlap",
        ),
    ],
)
def test_a_calendar_that_cannot_be_is_refused(shifts: dict[str, ShiftConfig], zone: str, text: str):
    """Unknown zones and overlapping shifts are told before anything runs."""
    with pytest.raises(ValueError, match=text):
        Calendar(shifts, zone)


@pytest.mark.parametrize("start", ["6:00", "24:00", "06:60", "22", ""])
def test_a_time_of_day_is_written_with_four_digits(start: str):
    """Anything else is refused with how to write it."""
    with pytest.raises(ValidationError, match=r'write it in quotes as \\"06:00\\"|write it in quotes as "06:00"'):
        ShiftConfig(start=start, end="06:00")


def _picture(total: int, scrap: int = 0) -> Picture:
    counters = {
        "total": CounterFacts("total", total, 1),
        "reject": CounterFacts("scrap", scrap, 1),
        "el": CounterFacts("energy", 9, 9),
    }
    return Picture(context=Context(order="A", shift="N"), counters=counters, state=StateFacts(9, "Aborted", "faulted", at(525)))


def _step(state: Any, t: float, picture: Picture) -> tuple[Any, Any]:
    return ShiftRule(berlin()).step(state, Moment(at(t), "unit", tick=True, picture=picture))


def test_a_boundary_tells_what_the_old_shift_made():
    """shift.changed stands exactly at the boundary, with totals since the old shift began and the state that goes on."""
    state, outcome = _step(ShiftRule(berlin()).initial(), 1, _picture(100, 7))
    assert outcome.events == ()
    assert outcome.picture["context"].shift == "N"
    same, outcome = _step(state, 599.9, _picture(940, 40))
    assert same is state
    assert outcome.events == ()
    state, outcome = _step(state, 600.7, _picture(940, 40))
    (event,) = outcome.events
    assert event.time == at(600)
    assert event.ctx == Context(order="A", shift="M")
    assert event.data == {
        "shift_id": "M",
        "from": "N",
        "starts_at": "2026-10-25T05:00:00.000000Z",
        "ends_at": "2026-10-25T13:00:00.000000Z",
        "local_date": "2026-10-25",
        "tz": "Europe/Berlin",
        "utc_offset_min": 60,
        "totals": {"total": 840, "reject": 33},
        "state": {"code": 9, "name": "Aborted", "category": "faulted"},
    }
    _, outcome = _step(state, 600 + 8 * 3600, _picture(1640, 69))
    assert outcome.events[0].data["totals"] == {"total": 700, "reject": 29}


def test_every_boundary_of_an_absence_is_told():
    """Away for a day: each shift is told at its own time; what was made meanwhile stands in the first, the rest made nothing for sure."""
    state, _ = _step(ShiftRule(berlin()).initial(), 1, _picture(0))
    _, outcome = _step(state, 86_400, _picture(50))
    assert [(event.data["from"], event.data["shift_id"]) for event in outcome.events] == [("N", "M"), ("M", "A"), ("A", "N")]
    assert [event.time for event in outcome.events] == [at(600), at(600 + 8 * 3600), at(600 + 16 * 3600)]
    assert [event.data["totals"]["total"] for event in outcome.events] == [50, 0, 0]


def test_the_end_of_the_last_shift_is_told_too():
    """Where no shift follows, the context has none from then on."""
    rule = ShiftRule(Calendar(_DAY, "Europe/Berlin"))
    monday = parse("2026-10-26T12:59:00Z")
    state, _ = rule.step(rule.initial(), Moment(monday, "unit", tick=True))
    state, outcome = rule.step(state, Moment(monday + 61 * NS, "unit", tick=True))
    assert [(event.data["from"], event.data["shift_id"], event.data["ends_at"]) for event in outcome.events] == [
        ("day", None, None)
    ]
    assert outcome.picture is not None
    assert outcome.picture["context"].shift is None
