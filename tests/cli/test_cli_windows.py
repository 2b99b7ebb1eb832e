"""The tools run where an engineer's laptop is: without what only UNIX has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from live_agent import ROOT, Plc

CONFIG = str(ROOT / "config")
PLAYED = str(Path(__file__).with_name("as_windows.py"))


def as_windows(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command without fcntl, pwd, uvloop and the like; a traceback is a failure."""
    command = [sys.executable, PLAYED, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("command", "says"),
    [
        pytest.param("--help", "edge-agent", id="help"),
        pytest.param(f"check -c {CONFIG}", "no mistakes", id="check"),
        pytest.param(f"tags export heater -c {CONFIG}", "sensor_break", id="tags export"),
        pytest.param(f"test -c {CONFIG}", "14 passed", id="test"),
        pytest.param("tags import --help", "--from", id="tags import"),
    ],
)
def test_a_tool_that_asks_no_device_runs(command: str, says: str) -> None:
    """Help, check, test and tags need nothing that only UNIX has."""
    done = as_windows(*command.split())
    assert (done.returncode, says in done.stdout + done.stderr) == (0, True), done


def test_peek_reads_a_device() -> None:
    """The registers of a device on the network are shown."""
    plc = Plc()
    try:
        done = as_windows("peek", f"127.0.0.1:{plc.port}", 20, "--json")
    finally:
        plc.close()
    assert done.returncode == 0, done
    assert "20" in done.stdout


def test_browse_tells_a_server_that_is_not_there(tmp_path: Path) -> None:
    """The OPC UA client starts, and says in words that nobody answers."""
    done = as_windows("browse", "opc.tcp://127.0.0.1:1", "--allow-insecure", "-c", tmp_path)
    assert done.returncode == 1, done
    assert "no server listens there" in done.stderr


def test_a_pinned_certificate_is_written(tmp_path: Path) -> None:
    """What `trust` writes does not ask for permissions and folders that can be opened, which Windows has not."""
    script = (
        "import sys, pathlib; sys.path.insert(0, 'tests/cli'); import as_windows; as_windows.take_away()\n"
        "from edge_agent.drivers.opcua import pins\npins.write(pathlib.Path(sys.argv[1]), bytes(10), 0o600)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "pin")], cwd=ROOT, timeout=60, check=True)
    assert (tmp_path / "pin").read_bytes() == bytes(10)


def test_what_is_played_missing_is_missing() -> None:
    """The stage holds: a command that needs fcntl cannot run on it."""
    done = subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, 'tests/cli'); import as_windows; as_windows.take_away(); import fcntl"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert "No module named 'fcntl'" in done.stderr
