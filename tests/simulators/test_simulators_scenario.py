"""Scenario files: every mistake is named with its place, all of them at once."""

from copy import deepcopy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from simulators.scenario import SECOND, ScenarioError, load_scenario, parse_scenario

FILE = Path(__file__).parents[2] / "simulators" / "scenarios" / "line.yaml"
RAW = YAML(typ="safe", pure=True).load(FILE.read_text())


def broken(place, value):
    """The demo line with one value replaced (None removes it)."""
    raw = deepcopy(RAW)
    *path, last = place
    part = raw
    for key in path:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return raw


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["length"], None, "length: Field required"),
        (["heater", "mean"], 5000, "heater: 5000.8 CEL does not fit the register"),
        (["lenght"], 5, "lenght: Extra inputs are not permitted"),
        (["length"], 0, "length: must be longer than 0 s"),
        (["length"], "5 min", "length: a time must be a number of seconds"),
        (["epoch"], 12, "epoch: epoch must be a time like"),
        (["time_zone"], "Europe/Berlin2", "time_zone: unknown time zone"),
        (["shifts", "N", "start"], 22, 'shifts.N.start: 22 is no time of day; write it quoted, like "06:00"'),
        (["machine", "states", 2, 1], "Idel", "machine.states[2][1]: unknown state 'Idel'"),
        (["machine", "states", 2, 0], 29, "machine.states[2]: t=29 is not after the entry before it"),
        (["machine", "states", 26, 0], 1003, "machine.states[26]: t=1003: the PLC has no power then"),
        (["machine", "states", 0, 0], 1, "machine.states: needs an entry at t=0: the PLC boots there"),
        (["machine", "modes", 2, 0], 1021, "machine.modes: needs an entry at t=1020: the PLC boots there"),
        (["machine", "modes", 1, 1], "Service", "machine.modes[1][1]: unknown mode 'Service'"),
        (["machine", "starved"], [[5, 9], [8, 12]], "machine.starved: windows must be in order and must not overlap"),
        (["machine", "starved"], [[9, 5]], "machine.starved[0]: a window must end after it begins"),
        (["machine", "reboots", 0, "off"], 1020, "machine.reboots[0]: reboots must be in order"),
        (["context", 0, "at"], 1200, "context[0]: t=1200 is after the scenario's length"),
        (["context", 2, "order"], "WO-1001", "context: order WO-1001 is set 2 times; an order runs once"),
        (["counters", "total", "start"], 2147483648, "counters.total: start must be below modulus"),
        (["counters", "total", "modulus"], 2**32, "counters.total.modulus: 4294967296 does not fit its register"),
        (["counters", "zeroed_at"], [427.75], "counters.zeroed_at: t=427.75: a bottle is counted in the same scan"),
        (["bottles", "dry_cycles", 0, "start"], 999, "bottles: counted between 1000 and 1020, when the PLC has no power"),
        (["bottles", "dry_cycles", 0, "count"], 400, "bottles.dry_cycles[0]: runs past the scenario's length"),
        (["alarms", 0, "cleared"], 500, "alarms[0]: must be cleared after it is raised"),
        (["stop_reasons", 0, "cleared"], 524.5, "stop_reasons[0]: must latch"),
        (["meter", "start"], 100000000, "meter.start: must be below meter.modulus"),
        (["records", "serial"], "{n}", "records.serial: must be text with {k}"),
        (["faults", "bad_status", 0, "tag"], "speed", "faults.bad_status[0].tag: Input should be 'total' or 'scrap'"),
    ],
)
def test_a_mistake_is_named_with_its_place(place, value, message):
    """The message begins with the file and the place inside it."""
    with pytest.raises(ScenarioError) as error:
        parse_scenario(broken(place, value), "f.yaml")
    assert any(line.startswith(f"f.yaml: {message}") for line in str(error.value).splitlines()), str(error.value)


def test_all_mistakes_are_told_at_once():
    """Two mistakes make two lines."""
    raw = broken(["machine", "states", 2, 0], 29)
    raw["meter"]["start"] = 10**8
    with pytest.raises(ScenarioError) as error:
        parse_scenario(raw, "f.yaml")
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read"), ("a: [1", "while parsing"), ("a: 1\na: 2\n", "duplicate key"), ("- 1", "file: Input should be")],
)
def test_a_file_that_is_no_scenario_is_refused_with_its_name(tmp_path, text, message):
    """Missing files and broken YAML are scenario errors too."""
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ScenarioError, match=message) as error:
        load_scenario(path)
    assert str(error.value).startswith(str(path))


def test_times_are_exact_nanoseconds():
    """523.8 s is 523,800,000,000 ns, not a float's neighbour."""
    assert load_scenario(FILE).alarms[0].raised == 523_800_000_000
    assert load_scenario(FILE).epoch_ns == 1792903800 * SECOND
