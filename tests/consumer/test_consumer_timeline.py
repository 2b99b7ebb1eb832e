"""A unit's states as segments without holes, and the OEE that comes of them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from consumer_bench import SUBJECT, T0, feed, payload, piece
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consumer import charts, oee, timeline
from edge_agent.consumer.report import Window
from edge_agent.consumer.store import Store
from edge_agent.consumer.timeline import Seen, segments

S = 1_000_000
RUN, STOP, LOST = ("running", "Execute"), ("stopped", "Stopped"), ("unknown", "Unknown")


def seen(at: float, state: tuple[str, str], continuity: str | None = None, origin: str = "change") -> Seen:
    """Return a change at ``at`` s."""
    return Seen(round(at * S), *state, continuity, origin)


def short(rows: list[Seen], begin: float = 0, end: float = 10) -> list[tuple[float, str, bool]]:
    """Return (seconds, category, bridged) of each segment."""
    return [(one.seconds, one.category, one.bridged) for one in segments(rows, round(begin * S), round(end * S))]


ROWS: list[tuple[str, list[Seen], list[tuple[float, str, bool]]]] = [
    ("nothing is known", [], [(10, "unknown", False)]),
    ("known from the middle", [seen(4, RUN)], [(4, "unknown", False), (6, "running", False)]),
    ("known from before", [seen(-5, RUN), seen(4, STOP)], [(4, "running", False), (6, "stopped", False)]),
    ("what comes after does not count", [seen(-5, RUN), seen(12, STOP)], [(10, "running", False)]),
    ("bridged when assumed", [seen(-1, RUN), seen(3, LOST), seen(5, RUN, "assumed")],
     [(3, "running", False), (2, "running", True), (5, "running", False)]),
    ("bridged when proven", [seen(-1, RUN), seen(3, LOST), seen(5, RUN, "proven")],
     [(3, "running", False), (2, "running", True), (5, "running", False)]),
    ("not bridged when broken", [seen(-1, RUN), seen(3, LOST), seen(5, RUN, "broken")],
     [(3, "running", False), (2, "unknown", False), (5, "running", False)]),
    ("not bridged to another state", [seen(-1, RUN), seen(3, LOST), seen(5, STOP, "assumed")],
     [(3, "running", False), (2, "unknown", False), (5, "stopped", False)]),
    ("still lost", [seen(-1, RUN), seen(3, LOST)], [(3, "running", False), (7, "unknown", False)]),
    ("a snapshot tells the first state", [seen(-1, RUN, origin="snapshot"), seen(2, STOP)], [(2, "running", False), (8, "stopped", False)]),
    ("a later snapshot tells nothing new", [seen(-1, STOP), seen(2, RUN, origin="snapshot")], [(10, "stopped", False)]),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_states_become_segments(rows: list[Seen], expected: list[tuple[float, str, bool]]) -> None:
    """What was not seen is unknown, unless the agent says that nothing speaks against it."""
    assert short(rows) == expected


@given(
    st.lists(
        st.tuples(st.integers(-5, 15), st.sampled_from([RUN, STOP, LOST]), st.sampled_from([None, "assumed", "broken"])),
        max_size=12,
    )
)
def test_segments_fill_the_window_and_nothing_else(changes: list[tuple[int, tuple[str, str], str | None]]) -> None:
    """Whatever was seen, the segments join up from begin to end."""
    rows = [seen(at, state, continuity) for at, state, continuity in sorted(changes, key=lambda one: one[0])]
    found = segments(rows, 0, 10 * S)
    assert found[0].begin == 0
    assert found[-1].end == 10 * S
    assert all(one.end == two.begin for one, two in pairwise(found))
    assert sum(one.seconds for one in found) == 10


def test_spans_are_cut_to_a_window() -> None:
    """Only the parts inside count."""
    assert timeline.within([(0, 4), (5, 6), (8, 20)], 3, 9) == [(3, 4), (5, 6), (8, 9)]


def state(seq: int, t: float, to: tuple[str, str], **more: object) -> bytes:
    """Return a state change."""
    target = {"code": 1, "name": to[1], "category": to[0]}
    return payload(seq, "state.changed", t=t, to=target, **{"from": target}, **more)


def test_pauses_and_maintenance_are_nobodys_time(store: Store) -> None:
    """PBT is the order's time without its pause; what runs in maintenance or outside the order is no production time."""
    maintenance = {"from": {"code": 1, "name": "Production"}, "to": {"code": 2, "name": "Maintenance"}}
    production = {"from": maintenance["to"], "to": maintenance["from"]}
    order = {"order": "WO-1", "product": "4711"}
    feed(
        store,
        state(1, 0, RUN),
        payload(2, "order.started", t=10, state="Running", **order),
        piece(3, 40, 40, t=20),
        payload(4, "order.paused", t=30, state="Interrupted", **order),
        payload(5, "order.resumed", t=50, state="Running", **order),
        payload(6, "mode.changed", t=60, **maintenance),
        payload(7, "mode.changed", t=70, **production),
        payload(8, "order.completed", t=110, state="Ended", **order),
        state(9, 120, STOP),
    )
    unit = oee.unit_of(store.database, "filler")
    assert unit.subject == SUBJECT
    figures = oee.order(store.database, unit, "WO-1", pri=1.0)
    assert (figures.pbt_s, figures.apt_s) == (80.0, 70.0)
    assert (figures.availability, figures.effectiveness, figures.quality) == (0.875, 40 / 70, 1.0)
    window = oee.window(store.database, unit, T0 // 1000, T0 // 1000 + 120 * S, pri=1.0)
    assert (window.pbt_s, window.apt_s, window.produced) == (80.0, 70.0, 40.0)


def test_the_design_speed_that_the_machine_tells_is_the_ideal(store: Store) -> None:
    """125 a minute is 0.48 s a part, where master data say nothing."""
    feed(store, state(1, 0, RUN), payload(2, "speed.changed", t=1, design=125.0, actual=120.0, uom="MIN"))
    unit = oee.unit_of(store.database, None)
    assert oee.ideal(store.database, unit, "4711", T0 // 1000 + 9 * S) == 0.48
    assert oee.ideal(store.database, unit, "4711", T0 // 1000) is None


def test_without_production_there_is_no_oee(store: Store) -> None:
    """Nothing is divided by nothing: a factor that cannot be had is None, not 0 and not 1."""
    feed(store, state(1, 0, STOP), payload(2, "order.started", t=0, order="WO-1", state="Running"), state(3, 9, RUN))
    unit = oee.unit_of(store.database, None)
    figures = oee.order(store.database, unit, "WO-1", pri=1.0)
    assert (figures.availability, figures.effectiveness, figures.quality, figures.oee) == (0.0, None, None, None)


@pytest.mark.parametrize("minutes", [3.0, 8.64, 9.1, 33.0, 60.0, 100.5, 480.0, 485.0, 540.0, 1437.0])
def test_the_marks_of_the_axis_have_room(minutes: float) -> None:
    """The last mark stands wholly left of its end, the first wholly right of its beginning: between them and the next one lie a mark and a half."""
    begin = T0 // 1000
    marks = re.findall(r"left:([\d.]+)%", charts.axis(Window("w", begin, begin + round(minutes * 60 * S), "Europe/Berlin")))
    assert (marks[0], marks[-1]) == ("0.000", "100.000")
    assert all(100 / 9 <= float(mark) <= 100 * 8 / 9 for mark in marks[1:-1])
