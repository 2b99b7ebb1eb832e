"""A configuration of an older version becomes one of the newest: shown, proved, written with a backup, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from live_agent import ROOT

from edge_agent.config.load import load
from edge_agent.config.migrate import NEWEST, STEPS, migrated, version_of
from edge_agent.model.errors import ConfigError

AGENT = """\
# Our gateway. This comment stays.
agent: gw1
site: acme/plant1        # as before
mqtt: {host: broker.plant1, port: 1884, allow_insecure: true}
buffer: {path: ./b}
"""
DEVICE = """\
version: 0
device: capper
driver: modbus
host: 10.0.0.6           # the host of a device keeps its name
poll_ms: 500             # twice a second
tags:
  good: {register: holding, address: 1, type: uint16, poll_ms: 250}
"""
UNIT = "version: 1\nunit: capper\npath: [acme, plant1]\ncounters:\n  good: {tag: capper.good, role: good, wraps: uint16, max_rate: 3/s}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration in which two files are of version 0, and one is new."""
    for name, text in (("agent.yaml", AGENT), ("devices/capper.yaml", DEVICE), ("units/capper.yaml", UNIT)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `edge-agent migrate` as a process."""
    command = [sys.executable, "-m", "edge_agent", "migrate", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done
    return done


def files(folder: Path) -> dict[str, str]:
    """Return everything in a folder."""
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_there_is_a_step_for_every_version():
    """Nobody raises the version without a way to it."""
    assert STEPS.keys() == set(range(NEWEST))


def test_the_difference_is_shown_and_nothing_written(folder):
    """Exit code 1, a unified diff of what would change, and the files as they were."""
    before = files(folder)
    done = run("-c", folder)
    assert done.returncode == 1
    for line in (
        "+version: 1",
        "-poll_ms: 500             # twice a second",
        "+poll: 500ms             # twice a second",
        "2 files would change",
    ):
        assert line in done.stdout
    assert "units/capper.yaml" not in done.stdout
    assert files(folder) == before


def test_what_is_written_loads_and_keeps_its_comments(folder):
    """The new files are right, everything else in them is as it was, and the old ones stand beside them."""
    before = files(folder)
    done = run("-c", folder, "--write")
    assert (done.returncode, done.stderr) == (0, "")
    config = load(folder)
    assert config.agent.mqtt.brokers[0].url == "mqtt://broker.plant1:1884"
    assert config.agent.site == ["acme", "plant1"]
    assert config.devices[0].poll == 500_000_000
    after = files(folder)
    assert after["agent.yaml"] == (
        "# Our gateway. This comment stays.\nversion: 1\nagent: gw1\nsite: [acme, plant1]        # as before\n"
        'mqtt: {broker: "mqtt://broker.plant1:1884", allow_insecure: true}\nbuffer: {path: ./b}\n'
    )
    assert after["devices/capper.yaml"] == DEVICE.replace("version: 0", "version: 1").replace(
        "poll_ms: 500", "poll: 500ms"
    ).replace("poll_ms: 250", "poll: 250ms")
    assert after["agent.yaml.v0.bak"] == before["agent.yaml"]
    assert after["devices/capper.yaml.v0.bak"] == before["devices/capper.yaml"]
    assert after["units/capper.yaml"] == before["units/capper.yaml"]
    again = run("-c", folder, "--write")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)
    assert files(folder) == after


def test_what_would_be_wrong_is_not_written(folder):
    """A file that is a mistake in the newest version stays, with the problem at its place."""
    (folder / "devices" / "capper.yaml").write_text(DEVICE + "colour: red\n")
    before = files(folder)
    done = run("-c", folder, "--write")
    assert done.returncode == 78
    assert f"{folder}/devices/capper.yaml:8:1: unknown key 'colour'" in done.stderr
    assert files(folder) == before


def test_a_backup_is_never_overwritten(folder):
    """Somebody's older backup stays, and so does everything else."""
    (folder / "agent.yaml.v0.bak").write_text("mine")
    before = files(folder)
    done = run("-c", folder, "--write")
    assert (done.returncode, "is there already; move it away" in done.stderr) == (1, True)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "agent: a\nmqtt:\n  host: b\n  port: 1883\n  tls: {ca: system}\n",
            'version: 1\nagent: a\nmqtt:\n  broker: "mqtts://b:1883"\n  tls: {ca: system}\n',
        ),
        ("mqtt: {port: 99, host: b}\n", 'version: 1\nmqtt: {broker: "mqtt://b:99"}\n'),
        ("mqtt: {host: b, port: 99}\n", 'version: 1\nmqtt: {broker: "mqtt://b:99"}\n'),
        ("# c\n\nagent: a", "# c\n\nversion: 1\nagent: a"),
        ("version: 1\npoll_ms: 5\n", "version: 1\npoll_ms: 5\n"),
        ("devices:\n  - {device: d, poll_ms: 5}\n", "version: 1\ndevices:\n  - {device: d, poll: 5ms}\n"),
    ],
)
def test_the_step_from_version_0(old, new):
    """Block and braces, comments before the first key, lists; and a file of version 1 is not touched."""
    assert migrated(old) == new
    assert migrated(new) == new


@pytest.mark.parametrize(
    ("text", "words"),
    [("version: 2\n", "newer edge-agent"), ("- a\n", "no table"), ("a: [\n", "not YAML"), ("version: x\n", "whole number")],
)
def test_what_cannot_be_taken_further_is_told(text, words):
    """Cause and remedy."""
    with pytest.raises(ConfigError, match=words):
        migrated(text)
    assert version_of("agent: a\n") == 0
