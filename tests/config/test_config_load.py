"""The loader: shipped configurations load, scalars are substituted after parsing, hostile files are refused in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_agent.config.load import InvalidConfigError, load
from edge_agent.config.scalar import resolve
from edge_agent.config.source import read

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_configuration_is_fine() -> None:
    """The demo line's files load without a problem and hold three devices and one unit."""
    config = load(ROOT / "config")
    assert [device.device for device in config.devices] == ["heater", "meter-main", "plc1"]
    assert [unit.unit for unit in config.units] == ["filler"]


def test_the_fingerprint_changes_with_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another address of a device is another fingerprint; the same files give the same one."""
    before = load(ROOT / "config").fingerprint
    assert load(ROOT / "config").fingerprint == before
    monkeypatch.setenv("METER_HOST", "10.0.0.99")
    assert load(ROOT / "config").fingerprint != before


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("010", "010"), ("1e3", 1000.0), ("0x1F", 31), ("true", True), ("~", None), ("1_000", "1_000"),
        ("-3", -3), (".5", 0.5), ("1.", 1.0), ("+7", 7), ("", None), ("2026-01-01", "2026-01-01"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    """YAML 1.2's core schema decides, so that a country code or a time of day stays text."""
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_a_substituted_number_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain ${PORT} becomes the type it looks like; a quoted one stays text."""
    monkeypatch.setenv("PORT", "502")
    file = tmp_path / "x.yaml"
    file.write_text('a: ${PORT}\nb: "${PORT}"\nc: ${NOT_SET:-7}\n', encoding="utf-8")
    assert read(file).data == {"a": 502, "b": "502", "c": 7}


def test_a_substituted_value_cannot_become_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an environment variable holds is a scalar, whatever YAML it spells."""
    monkeypatch.setenv("EVIL", "{x: 1}\nagent: other")
    file = tmp_path / "x.yaml"
    file.write_text("a: ${EVIL}\n", encoding="utf-8")
    assert read(file).data == {"a": "{x: 1}\nagent: other"}


def test_twenty_thousand_brackets_are_refused_quickly(tmp_path: Path) -> None:
    """Deep nesting is an error with a line, not a recursion."""
    file = tmp_path / "deep.yaml"
    file.write_text("a: " + "[" * 20_000, encoding="utf-8")
    began = time.monotonic()
    assert "nested" in read(file).problems[0].message
    assert time.monotonic() - began < 5


def test_a_file_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    """Four mebibytes are enough for any device."""
    file = tmp_path / "big.yaml"
    file.write_text("#" * (4 * 1024 * 1024 + 1), encoding="utf-8")
    assert "limit" in read(file).problems[0].message


def test_a_folder_without_agent_yaml_says_so(tmp_path: Path) -> None:
    """A wrong path is one problem that names the file."""
    with pytest.raises(InvalidConfigError, match=r"agent\.yaml"):
        load(tmp_path)
