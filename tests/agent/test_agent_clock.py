"""The plant clocks: the demo's file clock stands, starts and runs; a wrong file is told; the wall clock may be set."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from agent_bench import until

from edge_agent.agent import clock as clock_module
from edge_agent.agent.clock import FileClock, WallClock, plant_clock
from edge_agent.model.errors import ConfigError
from edge_agent.model.instant import NS, parse

EPOCH = "2026-10-25T04:50:00Z"


def clock_file(path: Path, *, speed: float = 30.0, started: int | None = None) -> Path:
    """Write a clock file the way the demo does: whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"epoch": EPOCH, "speed": speed, "started": started}))
    return fresh.replace(path)


async def test_plant_time_stands_at_the_epoch_until_the_start(tmp_path):
    """Before the start the clock says the epoch again and again, and a sleep into the future does not end."""
    clock = FileClock(clock_file(tmp_path / "clock.json"))
    sleeping = asyncio.create_task(clock.sleep_until(parse(EPOCH) + 1))
    done, _ = await asyncio.wait({sleeping}, timeout=0.05)
    assert not done
    assert (clock.now(), clock.now(), clock.speed) == (parse(EPOCH), parse(EPOCH), 30.0)
    sleeping.cancel()


async def test_a_sleeper_meets_the_start_and_plant_time_runs_from_then(tmp_path):
    """Once the file says that the plant has started, sleepers wake at their plant time: 3 plant seconds are 30 ms at speed 100."""
    clock = FileClock(clock_file(tmp_path / "clock.json", speed=100))
    sleeping = asyncio.create_task(clock.sleep_until(parse(EPOCH) + 3 * NS))
    began = time.monotonic_ns()
    clock_file(tmp_path / "clock.json", speed=100, started=began)
    await asyncio.wait_for(sleeping, 5)
    assert time.monotonic_ns() - began >= 0.03 * NS
    assert clock.now() >= parse(EPOCH) + 3 * NS


def test_a_restarted_process_goes_on_in_the_same_plant_time(tmp_path):
    """A clock opened later on the same file is not behind: both count from the one start."""
    path = clock_file(tmp_path / "clock.json", speed=30, started=time.monotonic_ns() - 7 * NS)
    first = FileClock(path)
    low, second, high = first.now(), FileClock(path).now(), first.now()
    assert low <= second <= high
    assert low >= parse(EPOCH) + 210 * NS


def test_a_start_that_was_announced_ahead_does_not_turn_time_back(tmp_path):
    """Between the announcement and the start the plant still stands at the epoch: time never runs backwards."""
    clock = FileClock(clock_file(tmp_path / "clock.json", started=time.monotonic_ns() + 3600 * NS))
    assert clock.now() == parse(EPOCH)


async def test_a_sleep_until_the_past_lets_others_run(tmp_path):
    """A deadline that is over returns at once, but never starves the loop; it does not even wait for the start."""
    clock = FileClock(clock_file(tmp_path / "clock.json"))
    ran: list[str] = []
    other = asyncio.create_task(_note(ran))
    await clock.sleep_until(parse(EPOCH))
    assert ran == ["other"]
    await other


async def _note(ran: list[str]) -> None:
    ran.append("other")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("{", id="half written"),
        pytest.param("[]", id="a list"),
        pytest.param('{"speed": 1, "started": null}', id="no epoch"),
        pytest.param('{"epoch": "2026-10-25T04:50:00", "speed": 1, "started": null}', id="no time zone"),
        pytest.param('{"epoch": "2026-10-25T04:50:00Z", "speed": "fast", "started": null}', id="speed is no number"),
        pytest.param('{"epoch": "2026-10-25T04:50:00Z", "speed": 0, "started": null}', id="a plant that never moves"),
        pytest.param('{"epoch": "2026-10-25T04:50:00Z", "speed": -1, "started": null}', id="a plant that runs backwards"),
        pytest.param('{"epoch": "2026-10-25T04:50:00Z", "speed": NaN, "started": null}', id="speed is NaN"),
        pytest.param('{"epoch": "2026-10-25T04:50:00Z", "speed": 1, "started": "soon"}', id="the start is no number"),
        pytest.param('{"epoch": "2026-10-25T04:50:00Z", "speed": 1}', id="no start"),
    ],
)
def test_a_wrong_clock_file_is_told_with_its_name_and_the_way_out(tmp_path, text):
    """Whatever is wrong with the file, the error names the variable and the path, and says how to do without."""
    path = tmp_path / "clock.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"EDGE_AGENT_CLOCK=.*clock\.json is no clock file .*unset EDGE_AGENT_CLOCK"):
        FileClock(path)


async def test_a_wall_clock_that_is_set_moves_deadlines(monkeypatch):
    """A sleeper looks at the clock again now and then: when somebody sets it forward by an hour, the deadline is over."""
    step = [0]
    monkeypatch.setattr(clock_module, "_LOOK_AGAIN", 0.005)
    monkeypatch.setattr(WallClock, "now", lambda _: time.monotonic_ns() + step[0])
    clock = WallClock()
    sleeping = asyncio.create_task(clock.sleep_until(clock.now() + 3600 * NS))
    await asyncio.sleep(0.02)
    assert not sleeping.done()
    step[0] = 3600 * NS
    await until(sleeping.done)


async def test_the_wall_clock_is_the_systems(monkeypatch):
    """Without a clock file plant time is UTC, one second a second."""
    monkeypatch.delenv("EDGE_AGENT_CLOCK", raising=False)
    clock = plant_clock()
    before, now, after = time.time_ns(), clock.now(), time.time_ns()
    assert isinstance(clock, WallClock)
    assert before <= now <= after
    await clock.sleep_until(now + 10_000_000)
    assert clock.now() >= now + 10_000_000


def test_the_environment_names_the_demo_clock(tmp_path, monkeypatch):
    """With EDGE_AGENT_CLOCK the plant's time is the file's."""
    monkeypatch.setenv("EDGE_AGENT_CLOCK", str(clock_file(tmp_path / "clock.json")))
    assert plant_clock().now() == parse(EPOCH)
