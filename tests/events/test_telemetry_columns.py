"""Telemetry stays in columns from the batch to the payload."""

from __future__ import annotations

import json
from typing import Any

from derive_feed import METER, PLC, T0, at, batch, run, tick
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.events.derive import Fold
from edge_agent.events.telemetry import TelemetryConfig
from edge_agent.model.instant import NS, parse
from edge_agent.model.reading import Batch, Snapshot
from edge_agent.model.stream import Entry

_CONFIG = TelemetryConfig(tags=("meter.power", "plc.speed"))


def _fold() -> Fold:
    return Fold("unit", [], {"plc": PLC, "meter": METER}, telemetry=_CONFIG, prefix="acme", cfg="abc")


def _entries(fold: Fold, *turns: list[Any]) -> list[Entry]:
    state, _ = fold.start({})
    entries: list[Entry] = []
    for inputs in turns:
        turn = fold.fold(state, inputs)
        state = turn.state
        entries += turn.telemetry
        assert not turn.events
        assert not turn.changed
    return entries


def _rows(entry: Entry) -> list[tuple[str, float, Any, int]]:
    data = json.loads(entry.body)
    names, columns, start = [tag["tag"] for tag in data["tags"]], data["columns"], parse(data["t0"])
    rows = zip(columns["tag"], columns["dt_us"], columns["value"], columns["q"], strict=True)
    return [(names[tag], (start + offset * 1000 - T0) / NS, value, quality) for tag, offset, value, quality in rows]


def test_samples_are_gathered_and_flushed_by_plant_time():
    """One message per period, with tags once and rows after, of the configured tags only."""
    entries = _entries(
        _fold(),
        [batch(1.2, ("speed", 120.0, 1.1), ("count", 7, 1.15), ("speed", 121.0, 1.2))],
        [batch(1.6, ("power", 12000.0, 0), device="meter", stamped=False)],
        [tick(2)],
        [batch(2.3, ("speed", 122.0, 2.3))],
        [tick(3)],
    )
    (first,) = entries
    assert (first.stream, first.kind, first.type, first.samples, first.time) == (
        "unit/telemetry",
        "T",
        "acme.process.value.v1",
        4,
        at(2.3),
    )
    assert _rows(first) == [
        ("plc.speed", 1.1, 120.0, 0),
        ("plc.speed", 1.2, 121.0, 0),
        ("meter.power", 1.6, 12000.0, 0),
        ("plc.speed", 2.3, 122.0, 0),
    ]
    data = json.loads(first.body)
    assert data["tags"] == [{"tag": "meter.power", "uom": None}, {"tag": "plc.speed", "uom": None}]
    assert (data["q"], data["cfg"]) == ("good", "abc")


def test_a_bad_sample_has_no_value():
    """Bad samples, NaN and infinities carry null and quality 2; the message says that not all is good."""
    rows = [("speed", 3276.7, 1), ("speed", float("nan"), 1.1), ("speed", float("inf"), 1.2), ("speed", 5.0, 1.3)]
    sent = batch(2, *rows)
    sent.quality[0], sent.quality[3] = 2, 1
    (entry,) = _entries(_fold(), [sent, tick(3, final=True)])
    assert [(value, quality) for _, _, value, quality in _rows(entry)] == [(None, 2), (None, 2), (None, 2), (5.0, 1)]
    assert json.loads(entry.body)["q"] == "uncertain"


def test_rows_of_a_trigger_group_are_no_samples():
    """A record that is read as a whole is not published as telemetry again."""
    rows = [("speed", 1.0, 1), ("speed", 2.0, 1), ("speed", 3.0, 1.5)]
    (entry,) = _entries(_fold(), [batch(2, *rows, snapshots=(Snapshot("unit/rec", 1, 2),)), tick(2, final=True)])
    assert [value for _, _, value, _ in _rows(entry)] == [1.0, 3.0]


def test_a_full_message_does_not_wait():
    """A thousand samples are sent at once, in messages of at most a thousand."""
    many = Batch(
        "plc", at(1), [5] * 2300, [float(i) for i in range(2300)], [0] * 2300, [at(1) + i * 1000 for i in range(2300)], [0] * 2300
    )
    entries = _entries(_fold(), [many])
    assert [entry.samples for entry in entries] == [1000, 1000, 300]
    assert [value for entry in entries for _, _, value, _ in _rows(entry)] == [float(i) for i in range(2300)]


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["speed", "count", "state"]), st.integers(-(2**63), 2**64), st.floats(0, 0.2)), max_size=5
        ),
        max_size=8,
    )
)
def test_no_sample_is_lost_or_doubled(batches: list[list[tuple[str, int, float]]]):
    """Whatever arrives in whatever batches, each configured sample is in exactly one message, in the order of arrival."""
    turns: list[list[Any]] = [[batch(i, *((name, value, i - age) for name, value, age in rows))] for i, rows in enumerate(batches)]
    entries = _entries(_fold(), *turns, [tick(len(batches), final=True)])
    sent = [int(value) for entry in entries for _, _, value, _ in _rows(entry)]
    assert sent == [value for rows in batches for name, value, _ in rows if name == "speed"]
    assert sum(entry.samples for entry in entries) == len(sent)


def test_without_telemetry_nothing_is_sent():
    """A unit that names no tags has no telemetry stream."""
    fold = Fold("unit", [], {"plc": PLC})
    _, turn = run(fold, [batch(1, ("speed", 1.0, 1))], [tick(9, final=True)])
    assert turn.telemetry == ()
