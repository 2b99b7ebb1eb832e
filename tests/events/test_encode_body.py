"""The bytes of an event: the common members, and numbers that survive every reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from derive_feed import at
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.events.encode import encode, full_type, json_value
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.reading import Quality, Timestamps


def _body(event: ProductionEvent, **options: Any) -> dict[str, Any]:
    entry = encode(event, stream="filler", recorded=at(62), cfg="abc", **options)
    body: dict[str, Any] = json.loads(entry.body, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    return body


def test_an_event_carries_the_common_members():
    """Context, times, quality, derivation, lateness and the hash of the mapping stand beside the type's own members."""
    event = ProductionEvent(
        type="production.count", time=at(60.25), data={"delta": 3}, ctx=Context(order="A", shift="N"),
        at=Timestamps(at(60.25), None, at(60.3)), interval=(at(60), at(60.25)), quality=Quality.UNCERTAIN,
        derivation="recovered", late=True, uncertainty_ms=12.5, correlation="A", causation="filler/downtime/1",
    )  # fmt: skip
    entry = encode(event, stream="filler", recorded=at(62), cfg="abc", prefix="acme.line")
    assert (entry.stream, entry.kind, entry.type) == ("filler", "E", "acme.line.production.count.v1")
    assert (entry.time, entry.recorded, entry.correlation, entry.causation) == (at(60.25), at(62), "A", "filler/downtime/1")
    assert json.loads(entry.body) == {
        "delta": 3,
        "ctx": {"order": "A", "product": None, "lot": None, "mode": None, "shift": "N", "recipe": None, "operator": None},
        "ts": {
            "basis": "source",
            "source": "2026-10-25T04:51:00.250000Z",
            "server": None,
            "agent": "2026-10-25T04:51:00.300000Z",
            "uncertainty_ms": 12.5,
            "clock": "synced",
            "interval": ["2026-10-25T04:51:00.000000Z", "2026-10-25T04:51:00.250000Z"],
        },
        "q": "uncertain",
        "derivation": "recovered",
        "late": True,
        "cfg": "abc",
    }


def test_an_event_without_a_reading_is_the_agents():
    """What only the passing of time tells is timed by the agent."""
    body = _body(ProductionEvent(type="shift.changed", time=at(600), data={}), clock="unsynced")
    assert body["ts"]["basis"] == "agent"
    assert body["ts"]["agent"] == "2026-10-25T04:51:02.000000Z"
    assert body["ts"]["clock"] == "unsynced"
    assert (body["q"], body["late"], body["derivation"]) == ("good", False, "observed")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**53 - 1, 2**53 - 1), (2**53, str(2**53)), (-(2**53), str(-(2**53))), (2**64 - 1, "18446744073709551615"), (True, True),
        (1.5, 1.5), ([1, 2**60], [1, str(2**60)]), ({"a": (2**60,)}, {"a": [str(2**60)]}), ("text", "text"), (None, None),
    ],
)  # fmt: skip
def test_integers_beyond_a_double_travel_as_text(value: Any, written: Any):
    """No reader rounds a register."""
    assert _body(ProductionEvent(type="x", time=at(0), data={"value": value}))["value"] == written
    assert _body(ProductionEvent(type="x", time=at(0), data={"value": value}))["q"] == "good"


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")])
def test_what_is_no_number_is_never_null(value: float, text: str):
    """NaN and infinities are written as OPC UA's JSON does, and make the event uncertain, wherever they stand."""
    body = _body(ProductionEvent(type="x", time=at(0), data={"a": value, "b": {"c": [1, value]}}))
    assert body["a"] == text
    assert body["b"]["c"] == [1, text]
    assert body["q"] == "uncertain"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_becomes_json_that_reads_back_the_same(value: Any):
    """The body is valid JSON whatever a device sent, and reading it gives what was meant."""
    assert _body(ProductionEvent(type="x", time=at(0), data={"value": value}))["value"] == json_value(value)


def test_the_full_type_has_prefix_and_version():
    """One name for one type everywhere."""
    assert full_type("process.value", "edgeagent") == "edgeagent.process.value.v1"
