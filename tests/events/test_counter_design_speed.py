"""The fastest that parts can be counted, where the unit's file gives the speed that the machine was built for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from edge_agent.events.catalog import UnitConfig


def unit(speed: dict[str, Any] | None, **counter: Any) -> UnitConfig:
    """Return a unit with one counter without max_rate."""
    one = {"tag": "plc.count", "role": "total", "wraps": "uint16", **counter}
    more = {} if speed is None else {"speed": {"actual": "plc.speed", "deadband": 5, **speed}}
    return UnitConfig.model_validate({"version": 1, "unit": "u", "counters": {"x": one}, **more})


@pytest.mark.parametrize(("design", "uom", "rate"), [(120, "/min", 3.0), (2, "/s", 3.0), (0.5, "1/s", 0.75), (7200, "/h", 3.0)])
@pytest.mark.parametrize("role", ["total", "good", "scrap", "rework", "sample", "infeed", "outfeed"])
def test_parts_are_no_faster_than_one_and_a_half_of_the_design_speed(design: float, uom: str, rate: float, role: str) -> None:
    """Whatever a counter of parts counts, the machine makes or handles it one by one."""
    assert unit({"design": design, "uom": uom}, role=role).counters["x"].max_rate == pytest.approx(rate)


def test_a_rate_that_is_written_stays() -> None:
    """The file's own word goes before what is worked out."""
    assert unit({"design": 120, "uom": "/min"}, max_rate="9/s").counters["x"].max_rate == 9.0


@pytest.mark.parametrize(
    ("speed", "counter"),
    [
        (None, {}),
        ({"design": "plc.design", "uom": "/min"}, {}),
        ({"design": 120, "uom": "MTR"}, {}),
        ({"design": 120}, {}),
        ({"design": 0, "uom": "/min"}, {}),
        ({"design": 120, "uom": "/min"}, {"role": "consumed"}),
        ({"design": 120, "uom": "/min"}, {"uom": "KGM"}),
    ],
)
def test_what_gives_no_number_of_parts_is_asked_for(speed: dict[str, Any] | None, counter: dict[str, Any]) -> None:
    """Without a design speed in parts per time, and for what is no part, the rate is asked for; parts are told both ways."""
    with pytest.raises(ValidationError, match="max_rate is missing; say how fast") as caught:
        unit(speed, **counter)
    assert ("or give the unit its design speed" in str(caught.value)) is (counter.get("role") != "consumed")
