"""Shift boundaries are local wall-clock times, also when daylight saving begins or ends."""

from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from simulators.scenario import SECOND, parse_scenario
from simulators.shifts import shift_windows

RAW = YAML(typ="safe", pure=True).load((Path(__file__).parents[2] / "simulators" / "scenarios" / "line.yaml").read_text())


def windows(epoch, hours, shifts):
    """The shift windows of a long scenario, in hours since its epoch."""
    raw = deepcopy(RAW)
    raw.update(epoch=epoch, length=hours * 3600, shifts=shifts)
    scenario = parse_scenario(raw, "made")
    return [
        (name, begin / SECOND / 3600, min(end, scenario.length) / SECOND / 3600) for name, begin, end in shift_windows(scenario)
    ]


@pytest.mark.parametrize(
    ("day", "night_hours"),
    [((2026, 10, 24), 9.0), ((2026, 3, 28), 7.0), ((2026, 6, 1), 8.0)],
)
def test_the_night_shift_lasts_as_long_as_the_night_in_berlin(day, night_hours):
    """22:00 to 06:00 is nine hours in October's night, seven in March's."""
    epoch = datetime(*day, 12, tzinfo=UTC)
    found = windows(epoch, 24, {"N": {"start": "22:00", "end": "06:00"}})
    assert [end - begin for _, begin, end in found] == [night_hours]


@pytest.mark.parametrize(
    ("day", "begins"),
    [((2026, 10, 24), datetime(2026, 10, 25, 0, 15, tzinfo=UTC)), ((2026, 3, 28), datetime(2026, 3, 29, 1, 0, tzinfo=UTC))],
)
def test_a_boundary_at_02_15_is_the_first_of_two_or_the_end_of_the_hole(day, begins):
    """02:15 happens twice in October and never in March."""
    epoch = datetime(*day, 12, tzinfo=UTC)
    found = windows(epoch, 20, {"E": {"start": "02:15", "end": "05:00"}})
    assert [begin for _, begin, _ in found] == [(begins - epoch).total_seconds() / 3600]
