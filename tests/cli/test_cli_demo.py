"""The demo around its processes: the configuration that fits a scenario, what it refuses, what it says of a run that differs."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from edge_agent.cli.demo import _named, demo
from edge_agent.cli.demo.cast import configured
from edge_agent.cli.demo.fitting import fitted, wraps
from edge_agent.cli.demo.verdict import too_fast
from edge_agent.cli.demo.view import COMMAND_BEGAN, first_event
from edge_agent.config.load import load
from edge_agent.model.errors import ConfigError

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted([*(ROOT / "simulators" / "scenarios").glob("*.yaml"), *(ROOT / "tests" / "e2e" / "scenarios").glob("*.yaml")])


def read(path: Path):
    """Return a YAML file as plain data."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_the_configuration_that_fits_a_scenario_is_one_that_the_agent_takes(tmp_path, scenario, monkeypatch):
    """Every scenario gets a configuration without an error, with its own registers, calendar, thresholds and units."""
    for name in ("PLC1_PORT", "METER_PORT", "HEATER_PORT"):
        monkeypatch.delenv(name, raising=False)
    script = read(scenario)
    config = load(configured(ROOT, tmp_path / "config", script))
    if script["version"] == 2:
        assert set(config.agent.shifts) == set(script["shifts"])
        assert {device.device for device in config.devices} == set(script["devices"])
        return
    (unit,) = config.units
    assert config.agent.time_zone == script["time_zone"]
    assert set(config.agent.shifts) == set(script["shifts"])
    assert unit.counters["total"].wraps == wraps(script["counters"]["total"]["modulus"])
    assert unit.state is not None
    assert len(unit.state.production_modes) == len(script["machine"]["production_modes"])
    assert {device.device: getattr(device, "unit_id", None) for device in config.devices}["meter-main"] == script["meter"][
        "unit_id"
    ]


@pytest.mark.parametrize(
    ("modulus", "word"),
    [
        (2**31, "packml"),
        (2**16, "uint16"),
        (2**32, "uint32"),
        (10**8, "digits:8"),
        (2**30, "modulus:1073741824"),
        (60000, "modulus:60000"),
    ],
)
def test_every_modulus_has_a_word(modulus, word):
    """A register may wrap anywhere; the usual ones have names of their own."""
    assert wraps(modulus) == word


def test_the_comments_of_the_configuration_stay(tmp_path):
    """What is fitted is still the file that a person would read."""
    folder = fitted(ROOT / "config", tmp_path / "config", read(ROOT / "simulators" / "scenarios" / "line.yaml"))
    assert "# The filler" in (folder / "units" / "filler.yaml").read_text(encoding="utf-8")


def test_a_folder_with_an_earlier_run_is_refused(tmp_path):
    """A buffer and ledgers of another run would be taken for this one's."""
    (tmp_path / "plc.ledger").write_text("{}\n")
    with pytest.raises(ConfigError, match="name a new folder after --keep"):
        demo(once=True, speed=10, faults=False, scenario=None, broker=None, json_file=None, keep=tmp_path)


def report(*, ok: bool, seconds: int):
    """Return a report whose agent was away for so many plant seconds."""
    interval = ["2026-10-14T04:00:00.000000Z", f"2026-10-14T04:00:{seconds:02}.000000Z"]
    return {
        "ok": ok,
        "speed": 10.0,
        "gaps": [{"reason": "agent_down", "interval": interval}, {"reason": "comm_loss", "interval": interval}],
    }


def test_a_run_that_differs_because_it_was_too_fast_says_so():
    """An agent starts in machine time: the verdict names how long it was away, and the remedy."""
    hint = too_fast(report(ok=False, seconds=42))
    assert hint is not None
    assert "42 s of the plant's time (4.2 s here)" in hint
    assert "--speed" in hint


def test_a_run_that_differs_because_the_machine_was_busy_says_so():
    """Polls that come too late at a high speed are the machine's, and no loss: the verdict says so, and the remedy."""
    late = {"what": "polls too late for the machine (s)", "truth": "<= 56", "received": "70.6 in 16", "ok": False}
    hint = too_fast({**report(ok=False, seconds=12), "rows": [late]})
    assert hint is not None
    assert "too busy for speed 10" in hint
    assert "--speed" in hint


@pytest.mark.parametrize(("ok", "seconds"), [(True, 42), (False, 12)])
def test_nothing_is_said_where_speed_is_not_the_cause(ok, seconds):
    """No hint for a run that is right, and none where the agent was back soon."""
    assert too_fast(report(ok=ok, seconds=seconds)) is None


@pytest.mark.parametrize(
    ("handed", "told"),
    [
        ("76.0", "first event after 7.4 s (31.4 s with the set-up)"),
        (None, "first event after 7.4 s"),
        ("", "first event after 7.4 s"),
        ("soon", "first event after 7.4 s"),
        ("200.0", "first event after 7.4 s"),
    ],
)
def test_the_first_event_is_timed_from_the_command_on(handed, told):
    """The set-up counts where dev.py hands its instant over; nonsense, or an instant behind the demo's own, is not believed."""
    assert first_event(107.4, 100.0, handed) == told


def test_dev_py_hands_over_when_it_was_called(monkeypatch):
    """The instant is taken before the set-up, on the clock that the demo reads."""
    specification = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    dev = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(dev)
    monkeypatch.setenv(COMMAND_BEGAN, "")
    seen = []
    monkeypatch.setattr(dev, "setup", lambda which: seen.append((which, time.monotonic())))
    monkeypatch.setattr(dev, "run", lambda *arguments: seen.append((arguments, float(os.environ[COMMAND_BEGAN]))) or 0)
    before = time.monotonic()
    assert dev.main(["demo", "--once"]) == 0
    (_, set_up), (arguments, began) = seen
    assert arguments == ("-m", "edge_agent", "demo", "--once")
    assert before <= began <= set_up


def test_a_folder_in_the_way_hides_no_shipped_scenario(tmp_path, monkeypatch):
    """`--scenario packaging` is the scenario also in the source folder, which has a folder of that name; a file of one's own goes before."""
    monkeypatch.chdir(tmp_path)
    Path("packaging").mkdir()
    Path("press").touch()
    shipped = Path(__file__).resolve().parents[2] / "simulators" / "scenarios" / "packaging.yaml"
    assert _named(Path("packaging")) == shipped
    assert _named(Path("press")) == Path("press")
