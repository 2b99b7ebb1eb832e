"""``edge-agent init``: what it writes is right, and nothing that exists is touched."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from live_agent import ROOT

from edge_agent.cli import allowlist
from edge_agent.cli.allowlist import drop_in, name_servers
from edge_agent.cli.init import Wish, init
from edge_agent.cli.peers import Peer, peers
from edge_agent.config.load import load
from edge_agent.model.errors import EdgeAgentError


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a process whose input is no terminal."""
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def test_the_files_are_a_configuration_with_schema_lines(tmp_path):
    """Options alone make a configuration without mistakes, and an editor finds the schema of each file beside it."""
    done = run("init", tmp_path / "c", "--agent", "gw7", "--site", "acme/plant1", "--unit", "packaging/line3/filler", "--broker", "mqtt://b",
               "--device", "plc1=opcua:10.0.0.5", "--device", "capper=modbus:10.0.0.6:1502")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "edge-agent check -c" in done.stdout
    config = load(tmp_path / "c")
    assert (config.agent.agent, [device.device for device in config.devices]) == ("gw7", ["capper", "plc1"])
    assert config.units[0].path == ("acme", "plant1", "packaging", "line3") or list(config.units[0].path or ()) == [
        "acme",
        "plant1",
        "packaging",
        "line3",
    ]
    for file in (tmp_path / "c").rglob("*.yaml"):
        schema = file.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert json.loads((file.parent / schema).read_text())["$schema"].startswith("https://json-schema.org/")


def test_nothing_that_exists_is_changed(tmp_path):
    """A second time nothing is written; nor where only one of the files is there."""
    init(Wish(tmp_path, yes=True))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    done = run("init", tmp_path, "--yes", "--agent", "other")
    assert done.returncode == 1
    assert "holds a configuration already, and nothing was changed" in done.stderr
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    other = tmp_path / "other"
    (other / "devices").mkdir(parents=True)
    (other / "devices" / "plc1.yaml").write_text("mine")
    with pytest.raises(EdgeAgentError, match=r"devices/plc1\.yaml in .* is there already"):
        init(Wish(other, devices=("opcua:h",), yes=True))
    assert [file.name for file in other.rglob("*") if file.is_file()] == ["plc1.yaml"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"devices": ("profinet:10.0.0.6",)}, "is no device; write modbus:10.0.0.6"),
        ({"devices": ("modbus:a", "modbus:b")}, "two devices are called device1"),
        ({"broker": "http://b"}, "nothing was written, for an answer cannot be right"),
        ({"agent": "a b"}, "cannot be a name"),
    ],
)
def test_an_answer_that_cannot_be_right_writes_nothing(tmp_path, wish, words):
    """The mistake is told, and the folder stays as it was."""
    with pytest.raises(EdgeAgentError, match=words):
        init(Wish(tmp_path / "c", **{"yes": True, **wish}))
    assert not (tmp_path / "c").exists()


def test_a_terminal_is_asked(tmp_path):
    """Six questions, each with a default; an empty answer takes it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "init", str(tmp_path / "c")],
        cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        os.write(ours, b"gw9\n\n\nmqtts://broker\n\n\nmodbus:10.0.0.6\n")
        out, err = child.communicate(timeout=110)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == 0, err
    assert err.count(": ") >= 7
    assert "units/filler.yaml" in out
    assert load(tmp_path / "c").agent.agent == "gw9"


def test_the_allow_list_names_every_peer_and_nobody_else():
    """Addresses of brokers and devices; name servers only where somebody has a name."""
    known = {"10.0.0.5": ["10.0.0.5"], "broker": ["192.0.2.7", "2001:db8::7"]}
    text = drop_in([Peer("mqtt", "broker", 8883), Peer("plc1", "10.0.0.5", 4840)], known.__getitem__, ["10.0.0.53"])
    rules = [line for line in text.splitlines() if not line.startswith("#")]
    assert rules == [
        "[Service]", "IPAddressDeny=any", "IPAddressAllow=localhost", "IPAddressAllow=192.0.2.7", "IPAddressAllow=2001:db8::7",
        "IPAddressAllow=10.0.0.5", "IPAddressAllow=10.0.0.53",
    ]  # fmt: skip
    assert "10.0.0.53" not in drop_in([Peer("plc1", "10.0.0.5", 4840)], known.__getitem__, ["10.0.0.53"])


def test_the_drop_in_is_written_once(tmp_path):
    """`init --systemd` beside an existing configuration writes the drop-in alone; one that somebody has changed stays."""
    init(Wish(tmp_path / "c", broker="mqtt://127.0.0.1", devices=("modbus:10.0.0.6",), yes=True))
    before = (tmp_path / "c" / "agent.yaml").read_bytes()
    done = run("init", tmp_path / "c", "--systemd", "--drop-in", tmp_path / "d")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "d" / allowlist.NAME
    assert "IPAddressAllow=10.0.0.6" in file.read_text()
    assert (tmp_path / "c" / "agent.yaml").read_bytes() == before
    assert run("init", tmp_path / "c", "--systemd", "--drop-in", tmp_path / "d").returncode == 0
    file.write_text("mine")
    done = run("init", tmp_path / "c", "--systemd", "--drop-in", tmp_path / "d")
    assert done.returncode == 1
    assert "says something else, so it was not changed" in done.stderr
    assert file.read_text() == "mine"


def test_the_demo_line_has_these_peers():
    """Brokers first, then each device once, with the port that it listens on."""
    assert [(peer.name, peer.port) for peer in peers(load(ROOT / "config"))] == [
        ("mqtt", 1883),
        ("heater", 5022),
        ("meter-main", 5021),
        ("plc1", 4840),
    ]


def test_name_servers_are_those_of_the_network(tmp_path: Path):
    """The machine's own stub needs no rule beside localhost."""
    file = tmp_path / "resolv.conf"
    file.write_text("# x\nnameserver 127.0.0.53\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nsearch plant\n")
    assert name_servers(file) == ["10.0.0.53", "fe80::1"]
    assert name_servers(tmp_path / "absent") == []
