"""The plant clock shared through a file, and the ledger."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from simulators.clock import ClockError, read_clock, start_clock, write_clock
from simulators.ledger import Ledger, read_ledger
from simulators.scenario import SECOND, load_scenario

SCENARIOS = Path(__file__).parents[2] / "simulators" / "scenarios"
SHORT = load_scenario(SCENARIOS / "short.yaml")


async def test_the_plant_stands_until_the_file_says_started(tmp_path):
    """T is 0 before the start; afterwards it runs from the start's monotonic time, at the file's speed."""
    path = tmp_path / "clock.json"
    write_clock(path, SHORT, 50.0)
    clock = read_clock(path, SHORT)
    waiting = asyncio.create_task(clock.wait_started())
    await asyncio.sleep(0.03)
    assert (clock.t(), clock.started, waiting.done()) == (0, False, False)
    began = time.monotonic_ns() - SECOND
    write_clock(path, SHORT, 50.0, started=began)
    await asyncio.wait_for(waiting, 2)
    assert clock.t_of(began + SECOND) == 50 * SECOND
    assert clock.t() >= 50 * SECOND
    assert not list(tmp_path.glob("*.new"))


async def test_two_readers_of_one_file_have_the_same_time(tmp_path):
    """The time does not depend on when a process has read the file."""
    path = tmp_path / "clock.json"
    write_clock(path, SHORT, 7.5, started=time.monotonic_ns() - 5 * SECOND)
    one, other = read_clock(path, SHORT), read_clock(path)
    instant = time.monotonic_ns()
    assert one.t_of(instant) == other.t_of(instant)


async def test_the_plant_stands_after_the_scenarios_length():
    """T ends at the length, and a sleep until later never returns."""
    clock = start_clock(SHORT, 100_000.0)
    await clock.sleep_until(SHORT.length)
    assert clock.t() == SHORT.length
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(clock.sleep_until(SHORT.length + 1), 0.05)


def test_t_becomes_utc_by_the_epoch():
    """t=43.25 s of the short scenario is 43.25 s after its epoch."""
    assert start_clock(SHORT, 1.0).utc(43_250_000_000).isoformat() == "2027-06-15T11:59:03.250000+00:00"


@pytest.mark.parametrize("content", ["", "{}", '{"epoch": "x", "speed": 1, "started": null}', "[]"])
def test_a_file_that_is_no_clock_is_refused(tmp_path, content):
    """The error names the file."""
    path = tmp_path / "clock.json"
    path.write_text(content)
    with pytest.raises(ClockError, match=r"clock\.json"):
        read_clock(path, SHORT)


def test_the_clock_of_another_scenario_is_refused(tmp_path):
    """A clock file with another epoch is a mix-up."""
    path = tmp_path / "clock.json"
    write_clock(path, load_scenario(SCENARIOS / "line.yaml"), 1.0)
    with pytest.raises(ClockError, match="epoch"):
        read_clock(path, SHORT)


def test_a_ledger_is_complete_while_its_writer_lives_and_a_torn_line_is_left_out(tmp_path):
    """Each entry is in the file when write returns; a reader skips a line that is not finished."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.write(1_500_000_000, "change", {"tag": "total", "value": 1})
        assert read_ledger(path) == [{"t": 1.5, "what": "change", "value": {"tag": "total", "value": 1}}]
        ledger.write(2_000_000_000, "off")
    with path.open("a") as file:
        file.write('{"t": 3, "wha')
    assert [entry["what"] for entry in read_ledger(path)] == ["change", "off"]
    assert json.loads(path.read_text().splitlines()[1]) == {"t": 2.0, "what": "off", "value": None}
