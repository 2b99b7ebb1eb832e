"""The product as a user runs it: processes, real sockets, a real broker, and the MOM side's verdict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from events_fit import judged_store

ROOT = Path(__file__).resolve().parents[2]
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = pytest.mark.e2e


def play(tmp_path: Path, *arguments: str, seconds: float) -> tuple[int, dict[str, Any], str]:
    """Run ``edge-agent demo --once`` and return its exit code, the JSON it wrote and what it printed; its events fit their schemas."""
    file = tmp_path / "verdict.json"
    command = [
        sys.executable,
        "-m",
        "edge_agent",
        "demo",
        "--once",
        "--json",
        str(file),
        "--keep",
        str(tmp_path / "stage"),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if done.returncode == 0:
        judged_store(tmp_path / "stage" / "buffer")
    return done.returncode, report, done.stdout + done.stderr


def differing(report: dict[str, Any]) -> list[str]:
    """Return the rows that differ."""
    return [f"{row['what']}: {row['truth']} / {row['received']}" for row in report.get("rows", []) if not row["ok"]]


def received(report: dict[str, Any]) -> dict[str, str]:
    """Return what was received, by row."""
    return {row["what"]: row["received"] for row in report["rows"]}


@pytest.mark.timeout(180)
def test_the_demo_line_ends_with_exactly_the_truth(tmp_path: Path) -> None:
    """At speed 30 every row of the MOM side equals the scenario's truth, and the numbers are those of the line."""
    code, report, printed = play(tmp_path, "--speed", "30", seconds=170)
    assert differing(report) == [], printed
    assert code == 0, printed
    rows = received(report)
    assert rows["order WO-1001 total/scrap/good"] == "1432/57/1375"
    assert rows["order WO-1002 total/scrap/good"] == "120/5/115"
    assert rows["no order, mode Maintenance, total/scrap/good"] == "5/0/5"
    assert rows["NOK samples at"] == "240, 540, 840"
    assert rows["energy in all (10 Wh)"] == "283"
    assert report["lost"] == 0


@pytest.mark.timeout(240)
def test_the_line_with_faults_ends_with_the_same_truth(tmp_path: Path) -> None:
    """A cut link, a killed agent, a stopped broker, bad samples and a lost acknowledgement change nothing in the books."""
    code, report, printed = play(tmp_path, "--speed", "10", "--faults", seconds=230)
    assert differing(report) == [], printed
    assert code == 0, printed
    reasons = {gap["reason"] for gap in report["gaps"]}
    assert {"comm_loss", "agent_down", "bad_quality"} <= reasons
    kept = [
        gap for gap in report["gaps"] if gap["reason"] == "agent_down"
    ]  # the PLC kept what it sampled, the Modbus devices did not
    assert kept
    assert not any(tag.startswith(("plc1", "*")) for gap in kept for tag in gap["tags"])


@pytest.mark.timeout(120)
def test_another_scenario_plays_to_its_own_truth(tmp_path: Path) -> None:
    """A scenario with other wraps, resets and lengths needs no change of any program."""
    code, report, printed = play(tmp_path, "--speed", "10", "--scenario", "tests/e2e/scenarios/pouches.yaml", seconds=110)
    assert differing(report) == [], printed
    assert code == 0, printed


@pytest.mark.timeout(120)
def test_a_line_that_workers_read_ends_with_the_same_truth(tmp_path: Path) -> None:
    """Devices in processes of their own live in the plant's time and lose nothing on the way."""
    code, report, printed = play(tmp_path, "--speed", "10", "--scenario", "short", "--workers", "2", seconds=110)
    assert differing(report) == [], printed
    assert code == 0, printed
    assert "workers: 2" in (tmp_path / "stage" / "config" / "agent.yaml").read_text(encoding="utf-8").splitlines()


@pytest.mark.timeout(120)
def test_a_hostile_scenario_plays_to_its_own_truth(tmp_path: Path) -> None:
    """Counts in the scan of a change, power lost while running, two flags at once, two orders in a fifth of a second: still exact."""
    code, report, printed = play(tmp_path, "--speed", "20", "--scenario", "tests/e2e/scenarios/hostile-a.yaml", seconds=110)
    assert differing(report) == [], printed
    assert code == 0, printed


@pytest.mark.scenarios
@pytest.mark.timeout(200)
@pytest.mark.parametrize("faults", [(), ("--faults",)], ids=["plain", "faults"])
@pytest.mark.parametrize("scenario", sorted((ROOT / "tests" / "e2e" / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_plays_to_its_own_truth(tmp_path: Path, scenario: Path, faults: tuple[str, ...]) -> None:
    """Whatever the vocabulary can say ends with its own truth, with its faults and without."""
    code, report, printed = play(tmp_path, "--speed", "8", "--scenario", str(scenario), *faults, seconds=190)
    assert differing(report) == [], printed
    assert code == 0, printed


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[str]:
    """A mosquitto of our own on a free port."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n", encoding="utf-8"
    )
    broker = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        broker.terminate()
        broker.wait(10)


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
def test_the_line_plays_over_mosquitto(tmp_path: Path, mosquitto: str) -> None:
    """The same agent and MOM side agree over a broker of another make."""
    code, report, printed = play(
        tmp_path, "--speed", "10", "--scenario", "tests/e2e/scenarios/pouches.yaml", "--broker", mosquitto, seconds=110
    )
    assert differing(report) == [], printed
    assert code == 0, printed


class Running:
    """An agent as a process, with its log in a file."""

    def __init__(self, folder: Path, text: str) -> None:
        """Start ``edge-agent run`` on one configuration file."""
        file = folder / "agent.yaml"
        file.write_text(text, encoding="utf-8")
        self.log = folder / "agent.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "edge_agent", "run", "-c", str(file), "--log-format", "json", "--log-level", "debug"]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=subprocess.DEVNULL)

    def lines(self) -> list[dict[str, Any]]:
        """Return the complete log lines."""
        return [
            json.loads(line)
            for line in self.log.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.startswith("{") and line.endswith("\n")
        ]

    def until(self, event: str, seconds: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Wait for a log line."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.lines():
                if line["event"] == event and all(line.get(name) == value for name, value in fields.items()):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"no {event} {fields} in:\n{self.log.read_text()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


def alone(folder: Path) -> str:
    """Return the configuration of an agent whose PLC and broker are not there."""
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        plc, broker = probe.getsockname()[1], other.getsockname()[1]
    return f"""\
version: 1
agent: gw1
site: [acme, plant1]
mqtt: {{broker: "mqtt://127.0.0.1:{broker}", allow_insecure: true}}
buffer: {{path: {folder / "buffer"}}}
devices:
  - version: 1
    device: capper
    driver: modbus
    host: 127.0.0.1
    port: {plc}
    unit_id: 1
    tags: {{good: {{register: holding, address: 0, type: uint32}}}}
units:
  - version: 1
    unit: capper
    path: [acme, plant1, packaging, line3]
    counters: {{good: {{tag: capper.good, role: good, wraps: uint32, max_rate: 3/s}}}}
"""


def test_an_absent_plc_and_broker_are_states_and_sigterm_is_an_orderly_end(tmp_path: Path) -> None:
    """The agent starts without its neighbours, says so once each, and ends with exit code 0."""
    agent = Running(tmp_path, alone(tmp_path))
    try:
        agent.until("link.down", kind="device")
        agent.until("link.down", kind="mqtt")
        agent.until("link.still_down", kind="device")
        assert agent.process.poll() is None
        assert agent.end() == 0
    finally:
        agent.process.kill()
        agent.process.wait()
    assert [line["link"] for line in agent.lines() if line["event"] == "link.down"].count("capper") == 1
    assert agent.lines()[-1]["event"] == "agent.stopped"


def test_a_second_agent_on_the_same_buffer_ends_with_78(tmp_path: Path) -> None:
    """Two agents cannot number the same streams: the second says who holds the folder and goes."""
    text = alone(tmp_path)
    first = Running(tmp_path, text)
    try:
        first.until("agent.started")
        second = subprocess.run(
            [sys.executable, "-m", "edge_agent", "run", "-c", str(tmp_path / "agent.yaml")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 78
        assert "another" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        assert first.end() == 0


@pytest.mark.parametrize(("old", "new"), [("agent: gw1", "agent: gw2"), ("[acme, plant1]\n", "[acme, plant2]\n")])
def test_the_store_of_a_gateway_with_another_name_ends_with_78(tmp_path: Path, old: str, new: str) -> None:
    """What waits in a store, and its numbers, belong to the name they were made under: a renamed gateway is told so and takes nothing."""
    text = alone(tmp_path)
    first = Running(tmp_path, text)
    try:
        first.until("agent.started")
    finally:
        assert first.end() == 0
    file = tmp_path / "agent.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    command = [sys.executable, "-m", "edge_agent", "run", "-c", str(file)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 78
    assert "the store is that of gateway acme/plant1/gw1" in second.stderr
    assert "Traceback" not in second.stderr
    again = Running(tmp_path, text)
    try:
        again.until("agent.started")
    finally:
        assert again.end() == 0


def test_a_wrong_configuration_ends_with_78_and_all_its_problems(tmp_path: Path) -> None:
    """Both mistakes are told at once, with their lines, and no traceback."""
    file = tmp_path / "agent.yaml"
    file.write_text(alone(tmp_path).replace("host:", "hots:").replace("max_rate: 3/s", "max_rate: 3"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "-c", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 78
    assert "did you mean 'host'?" in done.stderr
    assert "not a rate" in done.stderr
    assert "Traceback" not in done.stderr
