"""Commands against an agent that really runs: status, tail, watch, doctor, each as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_agent import PASSWORD, ROOT, Live, live_line

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One line for all tests of this file: they only look."""
    with live_line(tmp_path_factory.mktemp("line")) as line:
        yield line


def test_status_of_a_healthy_agent_is_zero(live):
    """Exit code 0, in words, in JSON, and in one line with figures."""
    words = live.run("status", "-c", live.config)
    assert (words.returncode, words.stderr) == (0, "")
    assert "agent    gw1" in words.stdout
    told = json.loads(live.run("status", "-c", live.config, "--json").stdout)
    assert (told["health"], told["faults"]) == ("ok", [])
    brief = live.run("status", "-c", live.config, "--brief")
    assert brief.returncode == 0
    assert brief.stdout.startswith("OK - gw1: 1/1 devices, ")
    assert "| devices_up=1;;;0;1 waiting=" in brief.stdout
    assert brief.stdout.count("\n") == 1


def test_status_without_an_agent_is_critical(live, tmp_path):
    """Exit code 2 in words and in one line; a configuration that cannot be read is unknown."""
    other = tmp_path / "agent.yaml"
    other.write_text(live.config.read_text().replace('"gw1"', '"gw2"').replace(str(live.store), str(tmp_path / "b")))
    assert live.run("status", "-c", other).returncode == 2
    brief = live.run("status", "-c", other, "--brief")
    assert (brief.returncode, brief.stdout) == (2, "CRITICAL - no agent gw2 is running\n")
    other.write_text("version: 1\n")
    brief = live.run("status", "-c", other, "--brief")
    assert (brief.returncode, brief.stdout.partition(" - ")[0]) == (3, "UNKNOWN")


def test_tail_shows_events_as_they_leave(live):
    """Lines for people, and whole CloudEvents with --json; the numbers are contiguous."""
    lines = live.run("tail", "-c", live.config, "--count", 3, "--type", "production.count")
    assert lines.returncode == 0
    rows = lines.stdout.splitlines()
    assert len(rows) == 3
    assert all(" filler #" in row and " production.count " in row and " delta=" in row and row.endswith(" ms]") for row in rows)
    events = [
        json.loads(row) for row in live.run("tail", "-c", live.config, "-n", 3, "--unit", "filler", "--json").stdout.splitlines()
    ]
    seqs = [event["data"]["seq"] for event in events]
    assert seqs == list(range(seqs[0], seqs[0] + 3))
    assert {event["specversion"] for event in events} == {"1.0"}


def test_tail_ends_by_ctrl_c_without_a_word(live):
    """A person ends it; that is no failure."""
    hears = ["env", "--default-signal=INT"]  # a shell starts its background jobs deaf to it
    command = [*hears, sys.executable, "-m", "edge_agent", "tail", "-c", str(live.config)]
    with subprocess.Popen(
        command, cwd=ROOT, env=live.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")


def test_tail_into_a_pipe_that_closes_ends_in_order(live):
    """`edge-agent tail | head -1` leaves no traceback."""
    done = subprocess.run(
        f"{sys.executable} -m edge_agent tail -c {live.config} | head -1",
        shell=True, cwd=ROOT, env=live.environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_tail_and_watch_need_an_agent(live, tmp_path):
    """One sentence with the remedy; watch waits, and says so."""
    other = tmp_path / "agent.yaml"
    other.write_text(live.config.read_text().replace('"gw1"', '"gw2"').replace(str(live.store), str(tmp_path / "b")))
    done = live.run("tail", "-c", other)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no agent gw2 is running; start it" in done.stderr
    done = live.run("watch", "-c", other, "--count", 1)
    assert (done.returncode, done.stdout) == (2, "no agent is running\n")


def test_watch_without_a_terminal_prints_a_line_each_time(live):
    """Two looks, two lines, exit code of the last."""
    done = live.run("watch", "-c", live.config, "--every", 0.2, "--count", 2)
    assert done.returncode == 0
    assert [" ok devices=1/1 sent=" in row for row in done.stdout.splitlines()] == [True, True]


def test_watch_on_a_terminal_draws_the_line(live):
    """On a terminal the picture shows device, unit, broker and events."""
    script = f"{sys.executable} -m edge_agent watch -c {live.config} --every 1 --count 3"
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"], cwd=ROOT, env={**live.environment, "TERM": "xterm"}, capture_output=True, text=True, timeout=110, check=False
    )  # fmt: skip
    assert done.returncode == 0, done
    for word in ("edge-agent watch", "plc1", "filler", "last good", "production.count"):
        assert word in done.stdout


def test_an_agent_that_stops_lets_its_listeners_go(tmp_path: Path):
    """A tail that listens does not hold up the stop, and is told that the agent has ended."""
    with live_line(tmp_path) as line:
        command = [sys.executable, "-m", "edge_agent", "tail", "-c", str(line.config)]
        child = subprocess.Popen(
            command, cwd=ROOT, env=line.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "the agent has ended" in err or "no agent gw1 is running" in err
    assert "status.failed" not in (tmp_path / "agent.log").read_text()


def test_the_support_bundle_has_everything_and_no_secret(live, tmp_path):
    """Every part is there, and the canary, which is the broker's password and stands in the environment, is in none of them."""
    file = tmp_path / "bundle.zip"
    done = live.run("doctor", "-c", live.config, "-o", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as bundle:
        parts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert {*parts} >= {
        "versions.json", "check.json", "status.json", "store.json", "clock.txt", "disks.json", "network.json", "journal.txt", "config/agent.yaml",
    }  # fmt: skip
    assert [name for name, text in parts.items() if PASSWORD in text or PASSWORD in name] == []
    assert PASSWORD not in done.stdout + done.stderr
    assert [name for name, text in parts.items() if "could not be had" in text] == []
    assert json.loads(parts["status.json"])["health"] == "ok"
    assert "asyncua" in json.loads(parts["versions.json"])["packages"]
    reached = {each["name"]: each for each in json.loads(parts["network.json"])}
    assert reached["plc1"]["how"] == "the agent is connected"
    assert reached["mqtt"]["reached"] is True
    again = live.run("doctor", "-c", live.config, "-o", file)
    assert (again.returncode, "name another file" in again.stderr) == (1, True)


def test_a_bundle_of_a_broken_configuration_masks_it_all_the_same(live, tmp_path):
    """What cannot be loaded is bundled as it stands, without the password in it; the problem's own line is masked, too."""
    (tmp_path / "agent.yaml").write_text(
        f"version: 1\nagent: gw\nmqtt: {{broker: 'mqtt://u:{PASSWORD}@b', password: {PASSWORD}}}\n"
    )
    file = tmp_path / "bundle.zip"
    done = live.run("doctor", "-c", tmp_path, "-o", file)
    assert done.returncode == 0
    with zipfile.ZipFile(file) as bundle:
        text = "".join(bundle.read(name).decode() for name in bundle.namelist())
    assert PASSWORD not in text + done.stdout + done.stderr
    assert "unknown key" in text
