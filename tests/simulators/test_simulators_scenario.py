"""Scenario files: every mistake is named with its place, all of them at once."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from simulators.scenario import SECOND, ScenarioError, load_scenario, parse_scenario

FILE = Path(__file__).parents[2] / "simulators" / "scenarios" / "line.yaml"
RAW = YAML(typ="safe", pure=True).load(FILE.read_text())
ALARM = {"slot": 0, "id": 2101, "raised": 523.8, "cleared": 640}


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
        (["length"], float("inf"), "length: a time must be a number of seconds"),
        (["bottles", "period"], 0, "bottles.period: must be longer than 0 s"),
        (["shifts", "A", "start"], "13:00", "shifts.A: overlaps shift M; end one where the next begins"),
        (["shifts", "M", "start"], "05:59", "shifts.M: overlaps shift N"),
        (["shifts", "A", "end"], "22:01", "shifts.A: overlaps shift N"),
        (["shifts", "A", "end"], "14:00", "shifts.A: overlaps shift N"),
        (["faults", "link_cuts", 0, 1], 1111, "faults.link_cuts[0]: ends at t=1111, after the scenario's length"),
        (["faults", "agent_kills", 0, 1], 1110.5, "faults.agent_kills[0]: ends at t=1110.5, after the scenario's length"),
        (["faults", "broker_stops", 0, 1], 2000, "faults.broker_stops[0]: ends at t=2000, after the scenario's length"),
        (
            ["faults", "bad_status", 0, "window", 1],
            1200,
            "faults.bad_status[0].window: ends at t=1200, after the scenario's length",
        ),
        (["alarms"], [ALARM, ALARM | {"slot": 1, "raised": 639}], "alarms[1]: alarm 2101 stands in slot 0 at the same time"),
        (
            ["counters", "total"],
            {"start": 0, "modulus": 119},
            "counters.total.modulus: comes round within 59.5 s, a count each 0.5 s",
        ),
        (["counters", "scrap"], {"start": 0, "modulus": 4}, "counters.scrap.modulus: comes round within 50 s, a count each 12.5 s"),
        (["faults", "bad_status", 0, "tag"], "speed", "faults.bad_status[0].tag: Input should be 'total' or 'scrap'"),
    ],
)
def test_a_mistake_is_named_with_its_place(place, value, message):
    """The message begins with the file and the place inside it."""
    with pytest.raises(ScenarioError) as error:
        parse_scenario(broken(place, value), "f.yaml")
    assert any(line.startswith(f"f.yaml: {message}") for line in str(error.value).splitlines()), str(error.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["faults", "link_cuts", 0, 1], 1110),
        (["alarms"], [ALARM, ALARM | {"slot": 1, "raised": 640, "cleared": 700}]),
        (["alarms"], [ALARM | {"raised": 990, "cleared": None}, ALARM | {"slot": 1, "raised": 1021, "cleared": 1030}]),
        (["counters", "total"], {"start": 0, "modulus": 120}),
        (["counters", "scrap"], {"start": 0, "modulus": 5}),
        (["shifts", "A"], {"start": "14:00", "end": "21:00"}),
    ],
)
def test_what_only_just_fits_is_played(place, value):
    """A fault to the end, an alarm in another slot once it is gone, the smallest counters, a calendar with a hole."""
    parse_scenario(broken(place, value), "f.yaml")


def test_a_file_tells_the_line_of_each_mistake(tmp_path):
    """Both kinds of mistake stand at their line, YAML's own too."""
    path = tmp_path / "s.yaml"
    text = FILE.read_text()
    path.write_text(text.replace("[32, Idle]", "[29, Idle]"))
    line = next(number for number, one in enumerate(text.splitlines(), 1) if "[32, Idle]" in one)
    with pytest.raises(ScenarioError, match=rf"s\.yaml:{line}: machine\.states\[2\]: t=29 is not after"):
        load_scenario(path)
    path.write_text(text.replace("length: 1110", "length: 0\n  bad: x"))
    with pytest.raises(ScenarioError, match=r"s\.yaml:7: mapping values are not allowed"):
        load_scenario(path)


def command(*arguments):
    """Run the command and return it as it ended."""
    line = [sys.executable, "-m", "simulators.scenario", *map(str, arguments)]
    return subprocess.run(line, cwd=FILE.parents[2], capture_output=True, text=True, timeout=30, check=False)


def test_the_command_gives_the_scenario_as_everybody_is_to_read_it(tmp_path):
    """A time without a zone is UTC, for the simulators and for whoever reads the JSON."""
    path = tmp_path / "s.yaml"
    path.write_text(FILE.read_text().replace("epoch: 2026-10-25T04:50:00Z", "epoch: 2026-10-25 04:50:00"))
    done = command(path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["epoch"] == "2026-10-25T04:50:00Z"
    assert load_scenario(path).epoch == load_scenario(FILE).epoch


def test_the_command_prints_problems_and_ends_with_2(tmp_path):
    """Nothing but the problems, one a line."""
    path = tmp_path / "s.yaml"
    path.write_text(FILE.read_text().replace("period: 0.5\n", "period: 0\n", 1))
    done = command(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [f"{path}:75: bottles.period: must be longer than 0 s"]


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
