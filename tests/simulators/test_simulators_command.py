"""Simulators as commands: what cannot be had is one line, and numbers that are none are refused in words."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE = ROOT / "simulators" / "scenarios" / "line.yaml"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a simulator that is to end by itself."""
    command = [sys.executable, "-m", f"simulators.{name}", "--scenario", str(LINE), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", ["opcua_plc", "modbus_meter", "modbus_heater"])
def test_a_port_in_use_is_one_line(name: str) -> None:
    """Exit code 1, the port, the remedy, and no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(name, "--port", port)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"python -m simulators.{name}: port {port} of 127.0.0.1 is in use; end the program that has it")


def test_an_address_and_a_ledger_that_cannot_be_had_are_one_line_each(tmp_path: Path) -> None:
    """The system's own words, without a traceback."""
    done = run("modbus_meter", "--port", 0, "--host", "192.0.2.1")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot listen on 192.0.2.1:0" in done.stderr
    done = run("modbus_meter", "--port", 0, "--ledger", tmp_path / "none" / "x.ledger")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "x.ledger: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--port", "70000"), "argument --port: '70000' is no TCP port; give a number from 1 to 65535"),
        (("--port", "x"), "argument --port: 'x' is no TCP port"),
        (("--port", "0", "--speed", "0"), "argument --speed: '0' is no speed; give a number greater than 0"),
        (("--port", "0", "--speed", "nan"), "argument --speed: 'nan' is no speed"),
        (("--port", "0", "--speed", "inf"), "argument --speed: 'inf' is no speed"),
    ],
)
def test_numbers_out_of_range_are_refused_in_words(arguments: tuple[str, ...], words: str) -> None:
    """The parser ends with 2 and says what would do."""
    done = run("modbus_meter", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
