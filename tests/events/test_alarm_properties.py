"""Properties of alarms: whatever the slots do, events and the machine's set agree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rulebench import Bench, tags_of

from edge_agent.events.alarm import AlarmConfig, build

SLOTS = [{part: f"plc.a{i}_{part}" for part in ("id", "trigger", "value")} for i in range(3)]
CONFIG = AlarmConfig.model_validate({"slots": SLOTS, "chatter": "1000/min"})
TAGS = tags_of(*(ref for slot in SLOTS for ref in slot.values()))

SETS = st.lists(st.tuples(st.sampled_from([2101, 2205, 2300]), st.sampled_from([1, 2])), max_size=3, unique=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SETS, st.sampled_from(["say", "say", "say", "cut", "kill"])), min_size=1, max_size=25), st.booleans())
def test_events_add_up_to_what_the_machine_shows(story: list[tuple[list[tuple[int, int]], str]], restarts: bool) -> None:
    """Each instance rises once and falls once, in this order; what is open is exactly what stands in the slots, in any order."""
    line = Bench(build(CONFIG, unit="filler", name="machine", tags=TAGS))
    line.restarts = restarts
    for t, (alarms, what) in enumerate(story):
        if what == "cut":
            line.down(t, t - 0.5)
            line.up(t)
        elif what == "kill":
            line.agent_down(t - 0.5, t)
        values: dict[str, Any] = {}
        for i, slot in enumerate(SLOTS):
            number, value = alarms[i] if i < len(alarms) else (0, 0)
            values |= {slot["id"]: number, slot["value"]: value, slot["trigger"]: i < len(alarms)}
        line.say(t, values)
        shown = {(alarm["alarm_id"], alarm["value"]) for alarm in line.picture.alarms.values()}
        assert shown == {(str(number), value) for number, value in alarms}
    baseline = {(str(number), value) for number, value in story[0][0]}
    is_open = dict.fromkeys(baseline, "")
    for event in line.events:
        key = (event.data["alarm_id"], event.data["value"])
        if event.type == "alarm.raised":
            assert key not in is_open
            is_open[key] = event.data["instance_id"]
        else:
            assert is_open.pop(key) in {"", event.data["instance_id"]}
