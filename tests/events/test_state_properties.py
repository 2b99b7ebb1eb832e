"""Properties of states and downtimes under any order of samples, outages, restarts and absences."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rulebench import Bench, at, plain, tags_of

from edge_agent.events import downtime, state
from edge_agent.events.downtime import DowntimeConfig
from edge_agent.events.state import StateConfig
from edge_agent.model.reading import Quality

TAGS = tags_of("plc.state", "plc.mode", "plc.starved", "plc.stop")

STEPS = st.lists(
    st.tuples(
        st.integers(1, 60_000),  # ms since the step before
        st.one_of(
            st.tuples(st.just("state"), st.sampled_from([0, 2, 4, 5, 6, 6, 6, 8, 9, 11, 13, 16, 17, 42])),
            st.tuples(st.just("bad"), st.just(0)),
            st.tuples(st.just("mode"), st.sampled_from([1, 1, 2])),
            st.tuples(st.just("starved"), st.booleans()),
            st.tuples(st.just("stop"), st.sampled_from([0, 7, 8])),
            st.tuples(st.just("down"), st.integers(0, 5_000)),
            st.tuples(st.just("up"), st.integers(1, 2)),
            st.tuples(st.just("agent"), st.integers(1, 5_000)),
            st.tuples(st.just("tick"), st.just(0)),
        ),
    ),
    max_size=40,
)


def play(steps: list[tuple[int, tuple[str, int]]], *, debounce: str, restarts: bool) -> Bench:
    """Fold any story. A device that is down says nothing, and what it says afterwards is read again."""
    config = StateConfig.model_validate(
        {"tag": "plc.state", "mode": "plc.mode", "starved": "plc.starved", "reason": {"tag": "plc.stop"}, "debounce": debounce}
    )
    rules = (*state.build(config, unit="filler", tags=TAGS), *downtime.build(DowntimeConfig(), config, unit="filler", tags=TAGS))
    line = Bench(rules)
    line.restarts = restarts
    ms, down, values = 0, False, {"plc.state": 6, "plc.mode": 1}
    line.up(0, boot=1)
    line.say(0, values)
    for wait, (what, value) in steps:
        ms += wait
        t = ms / 1000
        if what in {"state", "mode", "starved", "stop"}:
            values[f"plc.{what}"] = value
            if not down:
                line.say(t, {f"plc.{what}": value})
        elif what == "bad" and not down:
            line.say(t, {"plc.state": 0}, quality=Quality.BAD)
        elif what == "down" and not down:
            down = True
            line.down(t, max(t - value / 1000, 0))
        elif what == "up" and down:
            down = False
            line.up(t, boot=value)
            line.say(t, values)
        elif what == "agent":
            line.agent_down(max(t - value / 1000, 0), t)
            line.say(t, {} if down else values)
        else:
            line.tick(t)
    line.tick(ms / 1000 + 60)
    return line


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(["0s", "200ms"]))
def test_every_second_belongs_to_one_state(steps: Any, debounce: str) -> None:
    """Durations are never negative, each change starts where the one before ended, and they sum to the wall span."""
    line = play(steps, debounce=debounce, restarts=False)
    before, since = 6, at(0)
    for event in line.told("state.changed"):
        assert event.data["from"]["code"] == before
        assert event.time >= since
        assert event.data["prev_duration_s"] == (event.time - since) / 1e9
        assert event.interval is None or event.interval[0] <= event.interval[1]
        assert ("continuity" in event.data) == (before is None)
        before, since = event.data["to"]["code"], event.time
    assert line.picture.state is not None
    assert (line.picture.state.code, line.picture.state.since) == (before, since)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(["0s", "200ms"]))
def test_every_downtime_ends_once_or_is_open(steps: Any, debounce: str) -> None:
    """Ids are unique, one ends before the next starts, none starts outside production or ends before it began."""
    line = play(steps, debounce=debounce, restarts=False)
    running: str | None = None
    seen: set[str] = set()
    for event in line.told("downtime.started", "downtime.ended", "downtime.reason"):
        name = event.data["downtime_id"]
        if event.type == "downtime.started":
            assert running is None
            assert name not in seen
            running = name
            seen.add(name)
        elif event.type == "downtime.ended":
            assert name == running
            assert event.data["duration_s"] >= 0
            running = None
        else:
            assert name in seen
            assert event.data["reason"]["code"] in {7, 8}
    assert line.picture.downtime == running
    told = [event.data["downtime_id"] for event in line.told("downtime.reason")]
    assert len(told) == len(set(told))


@settings(max_examples=100, deadline=None)
@given(STEPS, st.sampled_from(["0s", "200ms"]))
def test_a_restart_after_any_moment_changes_nothing(steps: Any, debounce: str) -> None:
    """States through their stored form before every moment: the same events."""
    kept = play(steps, debounce=debounce, restarts=False)
    stored = play(steps, debounce=debounce, restarts=True)
    assert [plain(event) for event in stored.events] == [plain(event) for event in kept.events]
    assert stored.picture == kept.picture
