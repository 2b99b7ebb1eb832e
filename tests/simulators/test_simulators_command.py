"""Simulators as commands: what cannot be had is one line, and numbers that are none are refused in words."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE = ROOT / "simulators" / "scenarios" / "line.yaml"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a simulator that plays the line and is to end by itself."""
    return run_alone(name, "--scenario", LINE, *arguments)


def run_alone(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run any simulator that is to end by itself."""
    command = [sys.executable, "-m", f"simulators.{name}", *map(str, arguments)]
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


LINK = ("--listen", "0", "--target", "127.0.0.1:9")
BROKER = ("--port", "0", "--ledger", "/nowhere/l")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("faults", ("--listen", "99999", "--target", "h:1"), "argument --listen: '99999' is no TCP port"),
        ("faults", ("--listen", "-1", "--target", "h:1"), "argument --listen: '-1' is no TCP port"),
        ("faults", ("--listen", "0", "--target", "127.0.0.1"), "argument --target: '127.0.0.1' is no address; give HOST:PORT"),
        ("faults", ("--listen", "0", "--target", "h:99999"), "argument --target: 'h:99999' is no address; give HOST:PORT"),
        ("faults", (*LINK, "--speed", "0"), "argument --speed: '0' is no speed"),
        ("faults", (*LINK, "--cut", "5"), "argument --cut: '5' is no time; give FROM-TO"),
        ("faults", (*LINK, "--cut", "0-inf"), "argument --cut: '0-inf' is no time"),
        ("faults", (*LINK, "--bad", "0-1"), "no lane ''; there are up, down and both"),
        ("faults", (*LINK, "--bad", "0-1:side:delay=2"), "no lane 'side'; there are up, down and both"),
        ("faults", (*LINK, "--bad", "0-1:up:dela=2"), "no property 'dela'; there are delay"),
        ("faults", (*LINK, "--bad", "0-1:up:delay=-2"), "delay=-2 will not do; give a number from 0"),
        ("faults", (*LINK, "--bad", "0-1:up:flip=2"), "flip=2 will not do; give a number from 0 to 1"),
        ("generator", ("--port", "99999"), "argument --port: '99999' is no TCP port"),
        ("generator", ("--port", "0", "--counters", "0"), "argument --counters: '0' will not do; give a whole number from 1 to 62"),
        ("generator", ("--port", "0", "--rate", "-1"), "argument --rate: '-1' is no rate; give changes a second, 0 or more"),
        ("generator", ("--port", "0", "--rate", "x"), "argument --rate: 'x' is no rate; give changes a second, 0 or more"),
        ("broker", ("--port", "-1", "--ledger", "l"), "argument --port: '-1' is no TCP port"),
        ("broker", (*BROKER, "--fault", "slow:x"), "argument --fault: 'x' is no whole number, 0 or more"),
        ("broker", (*BROKER, "--fault", "drop_ack,every=x"), "'x' is no whole number, 0 or more"),
        ("mom", ("--scenario", LINE, "--broker", "host"), "argument --broker: 'host' is no address; give HOST:PORT"),
        ("mom", ("--scenario", LINE, "--broker", "host:0"), "argument --broker: 'host:0' is no address; give HOST:PORT"),
        ("mom", ("--scenario", LINE, "--speed", "-1"), "argument --speed: '-1' is no speed"),
    ],
)
def test_tools_refuse_what_they_cannot_use_before_they_start(name: str, arguments: tuple[object, ...], words: str) -> None:
    """Exit code 2, which option, what would do, and no traceback."""
    done = run_alone(name, *arguments)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("broker", BROKER, "/nowhere/l: No such file or directory"),
        ("generator", BROKER, "/nowhere/l: No such file or directory"),
        ("faults", (*LINK, "--ledger", "/nowhere/l"), "/nowhere/l: No such file or directory"),
        ("faults", (*LINK, "--control", "/nowhere/s"), "/nowhere/s: No such file or directory"),
    ],
)
def test_tools_name_the_file_that_cannot_be_had(name: str, arguments: tuple[str, ...], words: str) -> None:
    """Exit code 1 and one line that names the file."""
    done = run_alone(name, *arguments)
    assert (done.returncode, done.stderr) == (1, f"python -m simulators.{name}: {words}\n")


@pytest.mark.parametrize(
    ("name", "port", "others"),
    [("generator", "--port", ()), ("faults", "--listen", ("--target", "h:1")), ("broker", "--port", ("--ledger", "ledger"))],
)
def test_tools_name_the_port_that_is_in_use(name: str, port: str, others: tuple[str, ...], tmp_path: Path) -> None:
    """Exit code 1, the port and the remedy in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        done = run_alone(name, port, number, *(tmp_path / each if each == "ledger" else each for each in others))
    assert done.returncode == 1
    assert done.stderr == (
        f"python -m simulators.{name}: port {number} of 127.0.0.1 is in use; end the program that has it, or give 0 for a free one\n"
    )


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("truth", ["nofile"], "nofile: cannot be read"),
        ("check", ["--broker", "nofile"], "nofile: cannot be read"),
        ("check", ["--broker", os.devnull, "--store", "nofolder"], "buffer.db: cannot be read"),
        ("check", ["--broker", __file__], "is not what it should be"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(module: str, arguments: list[str], said: str) -> None:
    """The tools around a run name the file they cannot read and end with 2, without a traceback."""
    done = run_alone(module, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
