"""What packages are made of, as far as it can be judged without building one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / "packaging/debian").glob("p*"), ROOT / "packaging/offline/install.sh"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_plain_sh(script: Path) -> None:
    """Every script parses, stops at the first failure, and starts or enables no service."""
    shell = shutil.which("dash") or "sh"
    assert subprocess.run([shell, "-n", str(script)], capture_output=True, check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert re.search(r"^set -eu?$", text, re.MULTILINE)
    code = re.sub(r"^\s*#.*$|\"[^\"]*\"", "", text, flags=re.MULTILINE)
    assert not re.search(r"systemctl (start|enable)", code)


def test_the_container_runs_as_nobody_special() -> None:
    """The image's last stage: a user by number, a volume for the buffer, a health check that a warning does not fail, no shell as entry, no registry named."""
    text = (ROOT / "packaging/Containerfile").read_text(encoding="utf-8")
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert [re.match(r"\S+", stage)[0] for stage in stages] == ["python:3.11-slim-bookworm"] * 2  # type: ignore[index]
    last = stages[-1]
    assert re.search(r"^USER 950:950$", last, re.MULTILINE)
    assert re.search(r"^VOLUME /var/lib/edge-agent$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .* CMD edge-agent status --brief \|\| \[ \$\? -eq 1 \]$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["edge-agent"\]$', last, re.MULTILINE)
    assert last.index("USER") > last.index("RUN")
    assert "--read-only" in text
    assert "--require-hashes" in stages[0]
    assert not re.search(r"^(ADD|EXPOSE)|curl|wget|latest", text, re.MULTILINE)


def test_every_way_has_the_same_places() -> None:
    """The unit, the scripts and the container agree on program, configuration and buffer."""
    unit = (ROOT / "systemd/edge-agent.service").read_text(encoding="utf-8")
    assert "ExecStart=/opt/edge-agent/bin/edge-agent run --config /etc/edge-agent\n" in unit
    assert "User=edge-agent\n" in unit
    for file in (ROOT / "packaging/debian/postinst", ROOT / "packaging/offline/install.sh", ROOT / "packaging/Containerfile"):
        text = file.read_text(encoding="utf-8")
        assert "/var/lib/edge-agent/buffer" in text
        assert "/etc/edge-agent" in text
        assert "/opt/edge-agent" in text
