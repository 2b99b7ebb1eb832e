"""Folders that are included, and variables: what many gateways share stands in one place, and a mistake is told where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config.load import InvalidConfigError, identity_of, load

COMMON = {
    "agent.yaml": """\
version: 1
site: [acme, plant1]
time_zone: Europe/Berlin
mqtt: {broker: "mqtts://broker.acme:8883", tls: {ca: system}, window: 50, username: "gw-${line}"}
buffer: {path: /var/lib/edge-agent/buffer}
""",
    "devices/plc1.yaml": """\
version: 1
device: plc1
driver: modbus
host: ${plc}
unit_id: ${unit_id:-1}
poll: 500ms
tags:
  count: {register: holding, address: 10, type: uint32}
  code:  {register: holding, address: 12}
""",
    "units/capper.yaml": """\
version: 1
unit: capper
path: [acme, plant1, packaging, "${line}"]
state: {tag: plc1.code, model: {table: states.csv}}
counters:
  good: {tag: plc1.count, role: good, wraps: uint32, max_rate: 3/s}
""",
    "states.csv": "code,text,category\n1,Run,running\n2,Stop,stopped\n",
}
OWN = """\
version: 1
agent: gw-l3
include: ../common
variables: {line: line3, plc: 10.0.3.5, unit_id: 7}
mqtt: {window: 20}
"""


def written(root: Path, own: str = OWN, **changed: str) -> Path:
    """Write the common folder and one gateway's; return the gateway's."""
    for name, text in (
        COMMON | {name.replace("__", "/").replace("_yaml", ".yaml"): text for name, text in changed.items()}
    ).items():
        file = root / "common" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "l3").mkdir()
    (root / "l3" / "agent.yaml").write_text(own)
    return root / "l3"


def test_a_gateway_of_many_is_five_lines(tmp_path: Path) -> None:
    """Devices, units and the rest of agent.yaml come from the folder; what differs is filled in; the gateway's own word goes before."""
    config = load(written(tmp_path))
    assert (config.agent.agent, config.agent.time_zone, config.agent.mqtt.window) == ("gw-l3", "Europe/Berlin", 20)
    assert (config.devices[0].host, config.devices[0].unit_id) == ("10.0.3.5", 7)
    assert config.units[0].path == ["acme", "plant1", "packaging", "line3"] or config.units[0].path == (
        "acme",
        "plant1",
        "packaging",
        "line3",
    )
    assert config.agent.mqtt.username == "gw-line3"
    assert config.included == ((tmp_path / "common").resolve(),)
    assert identity_of(tmp_path / "l3").agent == "gw-l3"


def test_its_own_files_count_beside_the_included_ones(tmp_path: Path) -> None:
    """A gateway may have a device that the others do not have, with variables in it."""
    own = written(tmp_path)
    (own / "devices").mkdir()
    (own / "devices" / "meter.yaml").write_text(COMMON["devices/plc1.yaml"].replace("plc1", "meter").replace("${plc}", "${plc}0"))
    assert [(one.device, one.host) for one in load(own).devices] == [("plc1", "10.0.3.5"), ("meter", "10.0.3.50")]


def test_a_variable_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file says does not depend on the shell that starts the agent; what it leaves open does."""
    monkeypatch.setenv("plc", "10.9.9.9")
    monkeypatch.setenv("unit_id", "9")
    config = load(written(tmp_path, OWN.replace(", unit_id: 7", "")))
    assert (config.devices[0].host, config.devices[0].unit_id) == ("10.0.3.5", 9)


@pytest.mark.parametrize(
    ("own", "changed", "file", "line", "words"),
    [
        (OWN.replace("../common", "../comon"), {}, "l3/agent.yaml", 3, "the folder ../comon does not exist"),
        (OWN.replace("../common", "../common/states.csv"), {}, "l3/agent.yaml", 3, "is a file"),
        (OWN.replace("line: line3", "li-ne: line3"), {}, "l3/agent.yaml", 4, "'li-ne' is no name of a variable"),
        (OWN.replace("plc: 10.0.3.5", "plc: [1]"), {}, "l3/agent.yaml", 4, "the variable plc has no plain value"),
        (OWN.replace(", plc: 10.0.3.5", ""), {}, "common/devices/plc1.yaml", 4, "the environment variable plc is not set"),
        (OWN, {"agent_yaml": COMMON["agent.yaml"] + "agent: gw\n"}, "common/agent.yaml", 6, "an included file has no 'agent'"),
        (
            OWN,
            {"agent_yaml": COMMON["agent.yaml"].replace("window: 50", "windw: 50")},
            "common/agent.yaml",
            4,
            "unknown key 'windw'",
        ),
        (OWN.replace("window: 20", "windw: 20"), {}, "l3/agent.yaml", 5, "unknown key 'windw'"),
        (
            OWN,
            {"agent_yaml": COMMON["agent.yaml"].replace("buffer: {", "buffer: [")},
            "common/agent.yaml",
            5,
            "YAML cannot be understood",
        ),
        (OWN, {"agent_yaml": "- a\n"}, "common/agent.yaml", 1, "must be a table"),
        (
            OWN,
            {"devices__plc1_yaml": COMMON["devices/plc1.yaml"].replace("holding", "holdin")},
            "common/devices/plc1.yaml",
            8,
            "holdin",
        ),
    ],
    ids=["no folder", "a file", "a name", "a list", "a variable", "identity", "theirs", "ours", "yaml", "no table", "a device"],
)
def test_a_mistake_is_told_where_it_stands(
    tmp_path: Path, own: str, changed: dict[str, str], file: str, line: int, words: str
) -> None:
    """The problem names the included file and its line when it is there, and the including one when it is here."""
    with pytest.raises(InvalidConfigError) as told:
        load(written(tmp_path, own, **changed))
    found = [(problem.file, problem.line) for problem in told.value.problems if words in problem.message]
    assert [(path.resolve(), at) for path, at in found][:1] == [((tmp_path / file).resolve(), line)], told.value


def test_a_device_of_both_is_told_once(tmp_path: Path) -> None:
    """One name stands for one device."""
    own = written(tmp_path)
    (own / "devices").mkdir()
    (own / "devices" / "plc1.yaml").write_text(COMMON["devices/plc1.yaml"])
    with pytest.raises(InvalidConfigError, match="plc1"):
        load(own)
