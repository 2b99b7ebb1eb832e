"""What a person meets on the first day: a file where a folder was meant, a forgotten brace, one mistake that looked like four."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from edge_agent.cli.check import check
from edge_agent.config.load import InvalidConfigError, load

ROOT = Path(__file__).resolve().parents[2]
ALONE = 'version: 1\nagent: gw1\nsite: [acme]\nmqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}\nbuffer: {path: ./buffer}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo line's configuration."""
    return shutil.copytree(ROOT / "config", tmp_path / "config")


def change(file: Path, old: str, new: str) -> None:
    """Replace ``old``, which must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def problems(path: Path) -> list[tuple[str, int, str, str]]:
    """Return file, line, message and remedy of every problem of a configuration that has some."""
    with pytest.raises(InvalidConfigError) as caught:
        load(path)
    return [(problem.file.name, problem.line, problem.message, problem.remedy) for problem in caught.value.problems]


def test_the_agents_file_stands_for_its_folder(folder: Path) -> None:
    """-c config/agent.yaml loads what -c config loads, when the file itself names no device."""
    assert load(folder / "agent.yaml").fingerprint == load(folder).fingerprint
    assert len(load(folder / "agent.yaml").devices) == 3


def test_a_file_with_its_own_devices_stands_alone(folder: Path) -> None:
    """Where the file names devices, the folders beside it are another configuration."""
    with (folder / "agent.yaml").open("a", encoding="utf-8") as file:
        file.write("devices: [{version: 1, device: d, driver: modbus, host: h, tags: {a: {register: holding, address: 0}}}]\n")
    config = load(folder / "agent.yaml")
    assert [device.device for device in config.devices] == ["d"]
    assert config.units == ()


def test_no_device_at_all_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An agent without a device is allowed, but check does not call it fine."""
    file = tmp_path / "agent.yaml"
    file.write_text(ALONE, encoding="utf-8")
    assert check(file, as_json=False) == 0
    printed = capsys.readouterr()
    assert "nothing is collected" in printed.err
    assert "fine" not in printed.out
    assert check(file, as_json=True) == 0
    assert "nothing is collected" in json.loads(capsys.readouterr().out)["warnings"][0]


@pytest.mark.parametrize("written", ["${HEATER_HOST", "${HEATER-HOST}", "${}", "a${HEATER_HOST:-b}${c"])
def test_a_substitution_that_is_none_is_told(folder: Path, written: str) -> None:
    """A missing brace or a name that cannot be one does not become a host name."""
    change(folder / "devices" / "heater.yaml", "${HEATER_HOST:-127.0.0.1}", written)
    ((file, line, message, remedy),) = problems(folder)
    assert (file, line) == ("heater.yaml", 6)
    assert "no substitution that is complete" in message
    assert "closing brace" in remedy


@pytest.mark.parametrize(("key", "line"), [("tag", 8), ("mode", 10)])
def test_a_measurement_is_no_state_and_no_mode(folder: Path, key: str, line: int) -> None:
    """A scaled or fractional tag as a code is refused where it is written."""
    was = "plc1.state" if key == "tag" else "plc1.mode"
    change(folder / "units" / "filler.yaml", f"{key}: {was}\n", f"{key}: heater.pv\n")
    found = problems(folder)
    assert [(file, at) for file, at, _, _ in found] == [("filler.yaml", line)]
    assert "'heater.pv' has scale 0.1 and offset 0, so it is a measurement and no code" in found[0][2]
    assert "whole number" in found[0][3]
    change(folder / "units" / "filler.yaml", f"{key}: heater.pv\n", f"{key}: plc1.speed\n")
    assert "is a float32" in problems(folder)[0][2]


@pytest.mark.parametrize(
    ("old", "new"),
    [("unit_id: 2", "unit_id: two"), ("device: heater", "device: heater\nbogus: 1"), ("poll: 500ms", "poll: [500ms")],
)
def test_a_mistake_in_a_device_makes_no_others(folder: Path, old: str, new: str) -> None:
    """Units that use the device are not told that it does not exist."""
    change(folder / "devices" / "heater.yaml", old, new)
    assert [file for file, _, _, _ in problems(folder)] == ["heater.yaml"]


def test_a_wrong_device_name_is_told_beside_a_wrong_device_file(folder: Path) -> None:
    """Only the device of the file with the mistake is passed over."""
    change(folder / "devices" / "heater.yaml", "unit_id: 2", "unit_id: two")
    change(folder / "units" / "filler.yaml", "tag: plc1.state", "tag: plc9.state")
    assert [(file, message) for file, _, message, _ in problems(folder)][1:] == [
        ("filler.yaml", "there is no device 'plc9' (in 'plc9.state')")
    ]


@pytest.mark.parametrize(
    ("old", "new", "message", "remedy"),
    [
        ("host: ${HEATER_HOST:-127.0.0.1}", "host: http://10.0.0.7", "host: 'http://10.0.0.7' is no host name or IP address", "no protocol"),
        ("host: ${HEATER_HOST:-127.0.0.1}", 'host: ""', "host: '' is too short", "at least 1"),
        ("port: ${HEATER_PORT:-5022}", "port: 70000", "port: 70000 is more than 65535", "65535 or less"),
        ("device: heater", "device: glue heater", "device: 'glue heater' cannot be a name", "letters, digits"),
        ("  sp:  ", "  set point:  ", "set point: 'set point' cannot be a name", "letters, digits"),
    ],
)  # fmt: skip
def test_patterns_and_limits_are_told_in_words(folder: Path, old: str, new: str, message: str, remedy: str) -> None:
    """Nobody has to read a regular expression to mend a file."""
    file = folder / "devices" / "heater.yaml"
    text = file.read_text(encoding="utf-8")
    change(file, old, new)
    found = problems(folder)
    assert len(found) == 1, found
    assert found[0][0] == "heater.yaml"
    assert message in found[0][2]
    assert remedy in found[0][3]
    assert text.splitlines()[found[0][1] - 1].startswith(old.partition(" $")[0])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (r'"Glue \ud83d hot"', "half of a character stands alone"),
        ('"Glue ${GLUE} hot"', "half of a character stands alone"),
        ('"Glue ${file:secret} hot"', "is not UTF-8"),
    ],
    ids=["an_escape", "the_environment", "a_file"],
)
def test_what_is_no_text_is_told_at_its_line(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    """It could be written into no event; it is found by check, not by the first alarm."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(os.environb, b"GLUE", b"\xe9")
    Path("secret").write_bytes(b"\xe9\n")
    unit = folder / "units" / "filler.yaml"
    change(unit, "text: Glue heater too hot", f"text: {value}")
    line = next(number for number, text in enumerate(unit.read_text(encoding="utf-8").splitlines(), 1) if "too cold" in text) - 1
    ((name, at, found, remedy),) = problems(folder)
    assert (name, at, message in found, bool(remedy)) == ("filler.yaml", line, True, True)


def test_half_a_character_in_a_key_is_told(folder: Path) -> None:
    """The names of alarms are text as well."""
    unit = folder / "units" / "filler.yaml"
    change(unit, "heater_high:", r'"heater\udc80":')
    assert "half of a character stands alone" in problems(folder)[0][2]


def test_a_character_written_as_json_writes_it_is_one(folder: Path) -> None:
    """Both halves of its escape together, as in JSON, of which YAML is a superset."""
    unit = folder / "units" / "filler.yaml"
    change(unit, "text: Glue heater too hot", r'text: "Glue \ud83d\udd25 hot"')
    assert "Glue \U0001f525 hot" in load(folder).units[0].model_dump_json()


def test_a_secret_that_cannot_be_used_is_a_warning(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent would start and wait; check says why, with the file, and is content when it is there for the agent alone."""
    secret = tmp_path / "secret"
    change(folder / "agent.yaml", "  root: edge\n", f"  username: gw\n  password_file: {secret}\n")
    assert check(folder, as_json=False) == 0
    assert f"warning: mqtt: password_file {secret}: No such file or directory" in capsys.readouterr().err
    secret.write_text("x", encoding="utf-8")
    secret.chmod(0o644)
    assert check(folder, as_json=False) == 0
    assert f"can be read by everybody; chmod 600 {secret}" in capsys.readouterr().err
    secret.chmod(0o600)
    assert check(folder, as_json=False) == 0
    told = capsys.readouterr().err
    assert (told.count("warning:"), "allow_insecure" in told) == (1, True), "only what the demo line allows remains"
