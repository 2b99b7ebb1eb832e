"""The unit files: systemd understands them, and they leave the services little to do harm with."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "systemd"
MOST = 1.5
"""Exposure by `systemd-analyze security`, from 0 (none) to 10."""

pytestmark = [
    pytest.mark.ux,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine (Debian: systemd)"),
]
SERVICES = {
    "edge-agent": ("edge-agent.service",),
    "edge-agent, serial": ("edge-agent.service", "edge-agent-serial.conf"),
    "edge-agent-consumer": ("edge-agent-consumer.service",),
}


def asked(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze."""
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def merged(folder: Path, files: tuple[str, ...]) -> Path:
    """Write a unit with its drop-ins as one file: `--offline` reads no drop-ins. systemd takes repeated sections."""
    unit = folder / files[0]
    unit.write_text("\n".join((UNITS / file).read_text(encoding="utf-8") for file in files), encoding="utf-8")
    return unit


@pytest.mark.parametrize("name", SERVICES)
def test_the_service_is_hardened(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exposure is at most 1.5 of 10, and is printed."""
    done = asked("security", "--offline=true", "--no-pager", merged(tmp_path, SERVICES[name]))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done
    with capsys.disabled():
        print(f"\nhardening score of {name}: {found[1]} (at most {MOST})")
    assert float(found[1]) <= MOST


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_has_nothing_to_say_about_the_file(name: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` is silent, but for the program, which is not installed here."""
    unit = merged(tmp_path, SERVICES[name])
    unit.write_text(unit.read_text(encoding="utf-8").replace("/opt/edge-agent/bin/edge-agent", "/bin/true"), encoding="utf-8")
    done = asked("verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_mistake_in_the_file_would_be_seen(tmp_path: Path) -> None:
    """The check is one: an option that does not exist is told."""
    unit = merged(tmp_path, SERVICES["edge-agent"])
    text = unit.read_text(encoding="utf-8").replace("/opt/edge-agent/bin/edge-agent", "/bin/true").replace("UMask=", "Umask=")
    unit.write_text(text, encoding="utf-8")
    assert "Umask" in asked("verify", "--man=no", unit).stderr
