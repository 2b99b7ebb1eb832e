"""Prometheus' own tool on what a running agent says and on the alert rules, and the plugin that asks a broker for all agents."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "tests" / "cli"))
from live_agent import Live, live_line, process

from edge_agent.status.families import FAMILIES

pytestmark = [pytest.mark.ux, pytest.mark.timeout(240)]
RULES = ROOT / "monitoring" / "prometheus"
CHECK = ROOT / "monitoring" / "check_edge_agents"
TOPIC = "edge/v1/acme/plant1/_agent"


def promtool(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False, **more)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A line that runs."""
    with live_line(tmp_path_factory.mktemp("line")) as line:
        yield line


def test_the_metrics_of_a_running_agent_are_clean(live):
    """`promtool check metrics` has nothing to say, and every family is there but those of which this line has none."""
    page = live.run("metrics", "-c", live.config)
    done = promtool("check", "metrics", input=page.stdout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    told = {line.split()[2] for line in page.stdout.splitlines() if line.startswith("# TYPE ")}
    absent = {
        "edge_agent_certificate_expiry_timestamp_seconds",
        "edge_agent_device_clock_offset_seconds",
        "edge_agent_device_gaps_total",
    }
    absent |= {"edge_agent_device_fault", "edge_agent_faults"}
    assert set(FAMILIES) - told <= absent  # a machine that is held up makes gaps


def test_a_name_against_the_rules_is_found():
    """The look itself works."""
    done = promtool(
        "check", "metrics", input="# HELP edge_agent_lag_ms late\n# TYPE edge_agent_lag_ms counter\nedge_agent_lag_ms 1\n"
    )
    assert done.returncode != 0


def test_the_alert_rules_are_valid_and_their_unit_tests_pass():
    """Each alert fires when it should, not a moment sooner, with its texts; an agent in order alerts nobody."""
    done = promtool("check", "rules", RULES / "edge-agent.rules.yml")
    assert done.returncode == 0, done.stderr
    done = promtool("test", "rules", RULES / "edge-agent.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_limit_is_found_by_the_unit_tests(tmp_path):
    """The tests of the rules are no formality: a limit that is changed by one fails them."""
    text = (RULES / "edge-agent.rules.yml").read_text()
    assert "> 600" in text
    (tmp_path / "edge-agent.rules.yml").write_text(text.replace("> 600", "> 599"))
    (tmp_path / "edge-agent.test.yml").write_text((RULES / "edge-agent.test.yml").read_text())
    assert promtool("test", "rules", tmp_path / "edge-agent.test.yml").returncode == 1


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """An empty broker's port."""
    with process(
        "simulators.broker",
        "--port",
        0,
        "--ledger",
        tmp_path / "l.jsonl",
        log=tmp_path / "b.log",
        environment={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as made:
        assert made.stdout is not None
        yield int(made.stdout.readline().strip().rpartition(":")[2])


def said(port: int, name: str, **more: Any) -> None:
    """Retain a status."""
    status = {"agent": name, "status": "online", "time": now(), "health": "ok", "faults": []} | more
    command = ["mosquitto_pub", "-p", str(port), "-r", "-q", "1", "-t", f"{TOPIC}/{name}/status", "-m", json.dumps(status)]
    subprocess.run(command, check=True, timeout=30)


def now(ago: float = 0) -> str:
    """Return the time as agents write it."""
    return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def look(port: int) -> tuple[int, str]:
    """Run the plugin."""
    done = subprocess.run([str(CHECK), "--", "-p", str(port)], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.strip()


def test_the_plugin_grades_every_agent_of_a_broker(broker):
    """Nobody there is unknown; then all well, a warning, and what is worst counts: data lost, silent, offline."""
    assert look(broker) == (3, "UNKNOWN - no agent has a retained status there")
    said(broker, "gw1")
    assert look(broker) == (0, "OK - 1 agents | agents=1 ok=1 warning=0 critical=0")
    slow = {"code": "slow", "about": "device plc1", "level": "warning"}
    said(broker, "gw2", faults=[slow])
    assert look(broker) == (1, "WARNING - 2 agents: gw2 slow | agents=2 ok=1 warning=1 critical=0")
    said(broker, "gw3", faults=[{"code": "buffer_full", "about": "buffer", "level": "critical"}, slow])
    said(broker, "gw4", time=(since := now(ago=90)))
    said(broker, "gw5", status="offline")
    code, line = look(broker)
    assert code == 2
    assert line.endswith("| agents=5 ok=1 warning=1 critical=3")
    assert f"gw3 buffer_full,slow; gw4 silent since {since}; gw5 offline" in line


def test_the_plugin_takes_the_status_of_a_real_agent(live):
    """What an agent says and what the plugin reads are the same thing."""
    port = json.loads(live.config.read_text())["mqtt"]["broker"].rpartition(":")[2]
    end = time.monotonic() + 30
    while (found := look(int(port)))[0] != 0 and time.monotonic() < end:
        time.sleep(0.5)
    assert found == (0, "OK - 1 agents | agents=1 ok=1 warning=0 critical=0")


def test_a_broker_that_is_away_is_unknown():
    """No broker is a matter of the monitor, not of the agents."""
    code, line = look(1)
    assert code == 3
    assert line.startswith("UNKNOWN - the broker cannot be asked: ")
