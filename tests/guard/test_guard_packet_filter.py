"""The third wall: `systemd/edge-agent.nft` in a network of its own, against every function code; each of its rules is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "systemd" / "edge-agent.nft"
STAGE = Path(__file__).with_name("packet_filter_stage.py")
READING = {"1", "2", "3", "4"}
CANNOT = 77


@cache
def played(rules: Path, *codes: int) -> dict[str, Any]:
    """Play the stage with a file of rules, all function codes or a few; says why when this machine cannot."""
    missing = [program for program in ("nft", "unshare", "ip") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"the packet filter needs root{', and ' + ', '.join(missing) if missing else ''}")
    if subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the packet filter needs a network namespace of its own")
    command = ["unshare", "-n", "-m", sys.executable, str(STAGE), str(rules), *map(str, codes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == CANNOT:
        pytest.skip(f"the packet filter cannot be tried: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def modbus_frames(received: str) -> list[bytes]:
    """Return the Modbus TCP frames in what a device received."""
    data, found = bytes.fromhex(received), []
    while data:
        size = 6 + int.from_bytes(data[4:6])
        found.append(data[:size])
        data = data[size:]
    return found


def test_reads_pass_and_nothing_else_reaches_a_device() -> None:
    """In all three framings the four reads are answered; of eleven others, in one piece, in several, or behind a read, no byte arrives."""
    result = played(RULES)
    for kind in ("tcp", "rtu", "ascii"):
        assert {code for code, answered in result[kind].items() if answered} == READING
    assert result["behind a read"] is False
    assert result["in pieces"] == [False] * 5
    assert result["after a read"] is False
    arrived = modbus_frames(result["received"]["tcp"])
    assert {frame[7] for frame in arrived} == {1, 2, 3, 4}
    assert all(len(frame) == 12 for frame in arrived)
    assert [frame[7:].hex() for frame in arrived if frame[10:] == b"\0\x4d"] == ["030000004d"], (
        "the driver's own read, and not its write"
    )
    assert len(bytes.fromhex(result["received"]["rtu"])) == 4 * 8
    assert len(bytes.fromhex(result["received"]["ascii"])) == 4 * 17


def test_other_ports_and_other_programs_are_left_alone() -> None:
    """A port that is not in the sets takes everything, and a program outside of the service may write: the engineer's tool on the same machine."""
    result = played(RULES)
    assert all(result["other"].values())
    assert result["another program"] is True


@pytest.mark.parametrize(
    ("chain", "rule"), [("modbus", "more than one request"), ("modbus", "writes, and whatever"), ("rtu", "writes, and whatever")]
)
def test_without_one_of_its_rules_something_gets_through(chain: str, rule: str, tmp_path: Path) -> None:
    """The test sees what each rule is there for."""
    before, head, after = RULES.read_text(encoding="utf-8").partition(f"chain {chain} {{")
    lines = after.splitlines(keepends=True)
    gone = next(number for number, line in enumerate(lines) if rule in line)
    (tmp_path / "rules.nft").write_text(before + head + "".join(lines[:gone] + lines[gone + 1 :]), encoding="utf-8")
    result = played(tmp_path / "rules.nft", 3, 6)
    if rule == "more than one request":
        assert result["behind a read"] is True
    else:
        assert set(result[{"modbus": "tcp"}.get(chain, chain)].values()) == {True}


def test_a_user_of_its_own_instead_of_the_cgroup(tmp_path: Path) -> None:
    """The second line of the file is a rule too: with the user instead of the service it loads, and its packets are looked at."""
    text = RULES.read_text(encoding="utf-8")
    other = re.sub(r"( +)(socket cgroupv2.*)\n +# meta skuid \"edge-agent\"", r"\1# \2\n\1meta skuid 0", text)
    assert other != text
    (tmp_path / "rules.nft").write_text(other, encoding="utf-8")
    result = played(tmp_path / "rules.nft", 3, 6)
    assert result["tcp"] == {"3": True, "6": False}
    assert result["another program"] is False, "it has the same user"


def test_the_identification_passes_where_it_is_switched_on(tmp_path: Path) -> None:
    """With its two lines function 43/14 gets out, in its one form, and nothing that writes with it."""
    other, lines = re.subn(r"# (@ih,88,8 0-255 counter drop|@ih,16,32 0x00000005)", r"\1", RULES.read_text(encoding="utf-8"))
    assert lines == 2
    (tmp_path / "rules.nft").write_text(other, encoding="utf-8")
    result = played(tmp_path / "rules.nft", 3, 6, 16, 43, 0x2B0D, 90)
    assert {code for code, answered in result["tcp"].items() if answered} == {"3", "43"}
    assert "2b0e0100" in result["received"]["tcp"]
    assert [frame[7] for frame in modbus_frames(result["received"]["tcp"])] == [3, 43]
