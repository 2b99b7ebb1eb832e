"""Plants of other kinds than the demo line, as a user plays them: each ends with exactly its own truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from events_fit import judged_store

ROOT = Path(__file__).resolve().parents[2]
PLANTS = ("packaging", "press", "bottling", "batch")
pytestmark = pytest.mark.e2e


def play(tmp_path: Path, scenario: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run ``edge-agent demo --once`` on a scenario, see that its events fit their schemas, and return exit code, the JSON it wrote and what it printed."""
    file = tmp_path / "verdict.json"
    command = [sys.executable, "-m", "edge_agent", "demo", "--once", "--json", str(file), "--keep", str(tmp_path / "stage")]
    command += ["--scenario", str(scenario), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if done.returncode == 0:
        judged_store(tmp_path / "stage" / "buffer")
    return done.returncode, report, done.stdout + done.stderr


def shipped(name: str) -> Path:
    """Return the file of a scenario that is shipped."""
    return ROOT / "simulators" / "scenarios" / f"{name}.yaml"


def received(report: dict[str, Any]) -> dict[str, str]:
    """Return what was received, by row."""
    return {row["what"]: row["received"] for row in report["rows"]}


SPEEDS = {"bottling": "20"}
"""Modbus is polled: at a higher speed a busy machine would look too seldom to see each state."""

SAMPLES = {
    "packaging": {"total by order: PO-504": "1", "total by shift: late": "140", "shifts": "80.0 late to night at 02:58 +0200"},
    "press": {"cycles by order: PR-79": "12", "units by serial": "224, sum 224", "units by cavity: C4 nok": "6"},
    "bottling": {"total by lot: T20": "180", "total by order: BO-311": "245", "total by product: STOUT-05": "180"},
    "batch": {"genealogy: flour F-102 BA-42 D-0615-2": "115", "genealogy: yeast Y-10 BA-43 D-0615-3": "4480", "recipe": "3.0 recipe - to WHEAT-V3"},
}  # fmt: skip
"""Rows that were worked out by hand from the scenarios, so that truth and books cannot be wrong together."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_plays_to_its_own_truth(tmp_path: Path, name: str) -> None:
    """Every row equals the truth, and sums that were worked out by hand are there."""
    code, report, printed = play(tmp_path, shipped(name), "--speed", SPEEDS.get(name, "30"))
    assert code == 0, printed
    rows = received(report)
    assert {what: rows[what][: len(text)] for what, text in SAMPLES[name].items()} == SAMPLES[name]


@pytest.mark.scenarios
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_with_faults_plays_to_the_same_truth(tmp_path: Path, name: str) -> None:
    """A cut link, an agent killed with SIGKILL and a broker that is away change no sum, no link of the genealogy and no order of events."""
    code, report, printed = play(tmp_path, shipped(name), "--speed", "6", "--faults")
    assert code == 0, printed
    assert {"comm_loss", "agent_down"} <= {gap["reason"] for gap in report["gaps"]}


@pytest.mark.scenarios
@pytest.mark.timeout(300)
@pytest.mark.parametrize("faults", [(), ("--faults",)], ids=["plain", "faults"])
def test_the_whole_hour_that_comes_twice(tmp_path: Path, faults: tuple[str, ...]) -> None:
    """The shift changes at the first 02:58 and not at the second one, through which the broker is away."""
    scenario = ROOT / "tests" / "e2e" / "plants" / "packaging-night.yaml"
    code, report, printed = play(tmp_path, scenario, "--speed", "40", *faults)
    assert code == 0, printed
    assert received(report)["shifts"] == "180.0 late to night at 02:58 +0200"


@pytest.mark.scenarios
@pytest.mark.timeout(120)
def test_a_boundary_that_comes_twice_may_be_the_second_one(tmp_path: Path) -> None:
    """With ``dst: second`` the same hour has no change of shift: everything is made in the late shift."""
    scenario = tmp_path / "second.yaml"
    scenario.write_text(shipped("packaging").read_text(encoding="utf-8").replace("dst: first", "dst: second"), encoding="utf-8")
    code, report, printed = play(tmp_path, scenario, "--speed", "20")
    assert code == 0, printed
    assert received(report)["total by shift: late"] == "442"


AT_THE_END = {
    "kill, then broker": ([257, 262], [264, 284]),
    "broker, then kill": ([268, 273], [262, 286]),
    "both at once": ([262, 270], [262, 286]),
}
"""The agent's kill and the broker's stop, in plant seconds: what a broker took along is told and asked for in the last seconds of the play."""


@pytest.mark.scenarios
@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", AT_THE_END)
def test_a_kill_and_a_dead_broker_near_the_end_lose_nothing(tmp_path: Path, order: str) -> None:
    """The MOM side misses events, asks, and has its answer before the agent is ended: nothing is missing, and every gap has its cause."""
    kill, stop = AT_THE_END[order]
    text, _, _ = shipped("batch").read_text(encoding="utf-8").partition("faults:")
    scenario = tmp_path / "batch.yaml"
    scenario.write_text(f"{text}faults:\n  agent_kills: [{kill}]\n  broker_stops: [{stop}]\n", encoding="utf-8")
    code, report, printed = play(tmp_path, scenario, "--speed", "10", "--faults")
    assert code == 0, printed
    rows = received(report)
    assert (rows["events missing and undeclared"], rows["declared gaps that no fault explains"]) == ("0", "0")
