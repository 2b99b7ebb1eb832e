"""The mode rule: names, production, and changes that nobody watched."""

from __future__ import annotations

from typing import Any

import pytest
from rulebench import Bench, at, seconds, tags_of

from edge_agent.events.state import StateConfig, build
from edge_agent.model.reading import Quality


def bench(**more: Any) -> Bench:
    """Return a bench with the mode rule alone."""
    config = StateConfig.model_validate({"tag": "plc.state", "mode": "plc.mode", **more})
    return Bench(build(config, unit="filler", tags=tags_of("plc.state", "plc.mode"))[:1])


def test_the_first_mode_is_a_baseline() -> None:
    """No event, but the picture and the context know the mode."""
    line = bench()
    assert line.say(0, {"plc.mode": 1}) == []
    assert (line.picture.mode_code, line.picture.production, line.picture.context.mode) == (1, True, "Production")


@pytest.mark.parametrize(
    ("code", "name", "production"), [(2, "Maintenance", False), (3, "Manual", False), (4, "Cleaning", False), (5, "code 5", True)]
)
def test_a_mode_has_a_name_and_is_production_or_not(code: int, name: str, production: bool) -> None:
    """PackML 1 to 3 by their names, the user's own by his, and production only what he lists."""
    line = bench(modes={4: "Cleaning"}, production_modes=[1, 5])
    line.say(0, {"plc.mode": 1})
    (event,) = line.say(980, {"plc.mode": code})
    assert event.data == {"from": {"code": 1, "name": "Production"}, "to": {"code": code, "name": name}}
    assert (seconds(event.time), event.interval) == (980.0, None)
    assert (line.picture.production, line.picture.context.mode) == (production, name)
    assert event.ctx.mode == name


def test_a_mode_that_changed_behind_an_outage_carries_the_interval() -> None:
    """The demo line's reboot: Maintenance to Production somewhere between the last good sample and the return."""
    line = bench()
    line.say(980, {"plc.mode": 2})
    line.down(1003, 1000)
    line.up(1021)
    (event,) = line.say(1020, {"plc.mode": 1}, agent=1021)
    assert (seconds(event.time), event.interval) == (1020.0, (at(1000), at(1021)))


def test_the_same_mode_after_an_absence_is_no_event_and_closes_the_interval() -> None:
    """What changes later was watched again."""
    line = bench()
    line.say(0, {"plc.mode": 1})
    line.agent_down(700, 720)
    assert line.say(0, {"plc.mode": 1}, agent=720) == []
    (event,) = line.say(980, {"plc.mode": 2})
    assert event.interval is None


def test_bad_or_strange_samples_say_nothing() -> None:
    """Bad quality, and values that are no whole number, leave the mode as it is."""
    line = bench()
    line.say(0, {"plc.mode": 1})
    line.say(1, {"plc.mode": 0}, quality=Quality.BAD)
    line.say(2, {"plc.mode": "x"})
    line.say(3, {"plc.mode": 1.5})
    assert line.events == []
    assert line.picture.mode_code == 1
