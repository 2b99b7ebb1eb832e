"""The line as pure functions of t: values, changes, the heater, the address space."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from simulators.line import Line
from simulators.scenario import SECOND, load_scenario
from simulators.tags import HANDSHAKE, NODES

ROOT = Path(__file__).parents[2]
LINE = Line(load_scenario(ROOT / "simulators" / "scenarios" / "line.yaml"))


def at(tag, seconds):
    """One tag's value at a time in seconds."""
    return LINE.value(tag, round(seconds * SECOND))


@pytest.mark.parametrize(
    ("tag", "seconds", "value"),
    [
        ("state", 0, 2),
        ("state", 42.999999999, 3),
        ("state", 43, 6),
        ("total", 43.249999999, 2147483000),
        ("total", 43.25, 2147483001),
        ("total", 427.25, 2147483647),
        ("total", 427.75, 0),
        ("total", 964.9, 784),
        ("total", 965, 0),
        ("total", 999, 5),
        ("total", 1020, 0),
        ("scrap", 117.25, 65535),
        ("scrap", 117.75, 0),
        ("scrap", 964, 51),
        ("scrap", 965, 0),
        ("acc_time", 964.5, 87364),
        ("acc_time", 965, 0),
        ("acc_time", 970.5, 5),
        ("acc_time", 1020, 0),
        ("boot_count", 999, 7),
        ("boot_count", 1020, 8),
        ("heartbeat", 1021.5, 1),
        ("order", 34.9, ""),
        ("order", 35, "WO-1001"),
        ("order", 960, ""),
        ("lot", 961, "L-A"),
        ("lot", 1020, ""),
        ("starved", 860, False),
        ("starved", 860.5, True),
        ("alarm0_id", 523.8, 2101),
        ("alarm0_trigger", 523.79, False),
        ("alarm0_trigger", 640, False),
        ("stop_id", 524.79, 0),
        ("stop_id", 524.8, 2101),
        ("speed", 100, 120.0),
        ("speed", 400, 0.0),
        ("mode", 990, 2),
        ("state", 5000, 2),
    ],
)
def test_a_tag_has_the_value_of_its_time(tag, seconds, value):
    """Each row is a place where something happens."""
    assert at(tag, seconds) == value
    assert type(at(tag, seconds)) is type(value)


@given(st.integers(0, 1120), st.integers(0, 40 * 10**9))
def test_the_changes_of_a_window_lead_from_its_begin_to_its_end(start, width):
    """Playing the changes of any window over the values at its begin gives the values at its end, for every tag, in order."""
    begin, end = start * SECOND, start * SECOND + width
    if not LINE.is_on(begin) or not LINE.is_on(end):
        return
    shown = {tag: LINE.value(tag, begin) for tag in LINE.tags}
    changes = LINE.changes(begin, end)
    assert [change.t for change in changes] == sorted(change.t for change in changes)
    for change in changes:
        assert begin < change.t <= end
        shown[change.tag] = change.value
    assert shown == {tag: LINE.value(tag, end) for tag in LINE.tags}


def test_windows_side_by_side_have_the_changes_of_the_whole():
    """Cutting time into pieces loses and repeats nothing, at any cut."""
    whole = LINE.changes(0, LINE.length)
    for step in (7 * SECOND, 61 * SECOND, 250_000_000):
        begin = 420 * SECOND if step < SECOND else 0
        end = 430 * SECOND if step < SECOND else LINE.length
        pieces = [change for a in range(begin, end, step) for change in LINE.changes(a, min(a + step, end))]
        assert pieces == [change for change in whole if begin < change.t <= end]


def test_both_counters_step_in_the_same_scan():
    """Every step of the scrap counter is at the time of a step of the total."""
    changes = LINE.changes(0, LINE.length)
    totals = {change.t for change in changes if change.tag == "total"}
    assert {change.t for change in changes if change.tag == "scrap"} <= totals


def test_nothing_is_written_without_power():
    """No change lies in 1000..1020, and every tag is written at 1020."""
    changes = LINE.changes(0, LINE.length)
    assert not [change for change in changes if 1000 * SECOND <= change.t < 1020 * SECOND]
    assert {change.tag for change in changes if change.t == 1020 * SECOND} == set(LINE.tags)


@pytest.mark.parametrize(
    ("seconds", "registers"),
    [(0, (720, 720, 1)), (299.9, (725, 720, 1)), (300, (32767, 720, 1 | 1 << 15)), (310, (722, 720, 1)), (500, (719, 720, 3))],
)
def test_the_heater_shows_its_sine_its_break_and_its_bits(seconds, registers):
    """PV = 72 + 0.8 sin(t/20) in tenths, 32767 in a break; bit 0 runs, bit 1 high, bit 15 break."""
    assert LINE.heater_registers(round(seconds * SECOND)) == registers


@pytest.mark.parametrize(
    ("seconds", "power", "register"),
    [(0, 2000, 99_999_900), (335.8, 12000, 99_999_999), (335.9, 12000, 0), (343.5, 5000, 2), (1010, 0, 161), (1110, 2000, 183)],
)
def test_the_meter_follows_the_power(seconds, power, register):
    """The register is the start plus whole units of 10 Wh, modulo 10^8."""
    assert (LINE.power(round(seconds * SECOND)), LINE.meter_register(round(seconds * SECOND))) == (power, register)


def test_every_node_that_the_agents_configuration_names_is_served_with_its_type():
    """config/devices/plc1.yaml and the address space agree on ids and types; both know the same nodes."""
    config = YAML(typ="safe", pure=True).load((ROOT / "config" / "devices" / "plc1.yaml").read_text())
    types = {
        "int32": "Int32",
        "float32": "Float",
        "bool": "Boolean",
        "uint16": "UInt16",
        "uint32": "UInt32",
        "string": "String",
        "int16": "Int16",
    }
    assert {tag["node"].removeprefix("s="): types[tag["type"]] for tag in config["tags"].values()} == {
        node.identifier: node.type for node in NODES.values()
    }
    assert set(NODES) == {*LINE.tags, *HANDSHAKE}
