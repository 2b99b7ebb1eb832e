"""Other programs beside the agent: what is written for them, how they are understood, and what counts as lost, doubled or invented."""

from __future__ import annotations

import json
import socket
import struct
import tomllib
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from benchmarks.peers import edge, nodered, telegraf, thingsboard
from benchmarks.peers.job import Job, chunks
from benchmarks.peers.page import BEGIN, END, into_readme
from benchmarks.peers.peers import PEERS
from benchmarks.peers.run import summary
from benchmarks.peers.seen import Seen
from benchmarks.peers.stand import Way
from benchmarks.source_ua_browse import browse_name, upwards
from benchmarks.source_ua_wire import DOUBLE, FLOOR, INT64, Block, counted, ticks, u32
from benchmarks.workload import Load, modbus, opcua
from edge_agent.config.load import load
from edge_agent.drivers.opcua.wire import data_change

I3 = struct.unpack("<q", counted(INT64, 3, 7))[0]
F4 = struct.unpack("<d", counted(DOUBLE, 4, 7))[0]
NOW = 1_795_460_586_149_412


def _job(load_: Load, folder: Path) -> Job:
    return Job(load_, 4840, 1883, folder)


def _edge_payload() -> bytes:
    columns = {"tag": [0, 1], "dt_us": [0, 100], "value": [I3, F4], "q": [0, 0]}
    data = {"tags": [{"tag": "opcua0.i3"}, {"tag": "opcua0.f4"}], "t0": "2026-11-23T19:03:06.149412Z", "columns": columns}
    return json.dumps({"data": data}).encode()


_LINE = 'o,id=ns\\=1;s\\={0} {1},Quality="The operation succeeded. StatusGood (0x0)" {2}\n'
SAID = {
    "edge-agent": ("edge/v1/a/b/_telemetry", _edge_payload()),
    "telegraf": ("telegraf", (_LINE.format("i3", f"i3={I3}i", NOW * 1000) + _LINE.format("f4", f"f4={F4:.0f}", NOW * 1000 + 100_000)).encode()),
    "node-red": ("nodered", json.dumps([["i3", I3, NOW // 1000], ["f4", F4, NOW // 1000]]).encode()),
    "thingsboard": ("v1/gateway/telemetry", json.dumps({"line": [{"ts": NOW / 1000, "values": {"i3": I3, "f4": F4}}]}).encode()),
}  # fmt: skip


@pytest.mark.parametrize("key", SAID)
def test_peers_what_each_says_is_taken_apart(key: str) -> None:
    """A message of each program gives the same two samples: tag, value to the last digit, and time."""
    samples = PEERS[key].parse(*SAID[key])
    assert [(tag, value) for tag, value, _ in samples] == [("i3", I3), ("f4", F4)]
    assert all(abs(time - NOW) <= 1000 for _, _, time in samples)


def test_peers_registers_are_taken_apart() -> None:
    """Modbus values come as one line of all fields, as the registers of a read, or as one pack."""
    line = f"m,slave_id=1,type=holding r0=7i,r1=65535i {NOW}000\n".encode()
    assert telegraf.parse("telegraf", line) == [("r0", 7, NOW), ("r1", 65535, NOW)]
    read = json.dumps({"first": 125, "time": NOW // 1000, "values": [132, 133]}).encode()
    assert [(tag, value) for tag, value, _ in nodered.parse("nodered", read)] == [("r125", 132), ("r126", 133)]


@pytest.mark.parametrize(
    ("key", "topic", "payload"),
    [
        ("edge-agent", "edge/v1/a/status", b'{"status":"online"}'),
        ("thingsboard", "v1/gateway/connect", b'{"device":"line"}'),
        ("telegraf", "telegraf", b"nothing of the kind"),
    ],
)
def test_peers_other_messages_are_no_samples(key: str, topic: str, payload: bytes) -> None:
    """What is no telemetry gives no sample."""
    assert PEERS[key].parse(topic, payload) == []


def test_peers_a_bad_value_of_ours_is_no_sample() -> None:
    """A row of edge-agent that says bad, or has no value, was not delivered."""
    event = json.loads(_edge_payload())
    event["data"]["columns"] |= {"value": [None, F4], "q": [0, 2]}
    assert edge.parse("x/_telemetry", json.dumps(event).encode()) == []


def _take(seen: Seen, *numbers: int, tag: str = "i3") -> None:
    number = int(tag[1:])
    kind = INT64 if tag[0] == "i" else DOUBLE
    for one in numbers:
        (value,) = struct.unpack("<q" if kind == INT64 else "<d", counted(kind, number, one))
        seen.take([(tag, value, NOW)], NOW + 5000)


def test_peers_lost_and_doubled_are_counted_in_any_order() -> None:
    """Late samples are not lost; what never came in the span is, for every tag; what came twice is doubled."""
    seen = Seen()
    _take(seen, 0, 1, 2, 5, 4, 4)
    _take(seen, 0, 1, 2, 3, 4, 5, tag="f4")
    assert seen.missing(["i3", "f4"], 1, 5) == [(3, 1)]
    assert seen.missing(["i3", "f4", "i9"], 4, 6) == [(4, 1), (5, 1), (6, 3)]
    figures = seen.figures()
    assert (figures["received"], figures["doubled"], figures["invented"], figures["top"], figures["tags"]) == (12, 1, 0, 5, 2)
    assert (figures["p50"], figures["p99"]) == (5.0, 5.0)
    assert seen.figures()["p50"] is None


@pytest.mark.parametrize(
    "sample", [("i3", I3 + (1 << 32)), ("f4", F4 + (1 << 40)), ("Quality", 1), ("i3", "7"), ("i3", None), ("f4", float(I3))]
)
def test_peers_values_of_nothing_are_invented(sample: tuple[str, object]) -> None:
    """A value of another tag, a name that no tag has, or text is counted as invented, and as nothing else."""
    seen = Seen()
    seen.take([(*sample, NOW)], NOW)
    figures = seen.figures()
    assert (figures["invented"], figures["received"], figures["tags"]) == (1, 0, 0)


@pytest.mark.parametrize("disk", [False, True])
def test_peers_telegraf_gets_every_tag(tmp_path: Path, disk: bool) -> None:
    """Its configuration is TOML that names every tag, the ports, QoS 1 and the kind of buffer."""
    telegraf.write(_job(opcua(40, 10), tmp_path), tmp_path, disk=disk)
    written = tomllib.loads((tmp_path / "telegraf.conf").read_text())
    (listener,) = written["inputs"]["opcua_listener"]
    assert [node["identifier"] for node in listener["nodes"]] == opcua(40, 10).names
    assert listener["endpoint"].endswith(":4840")
    assert written["outputs"]["mqtt"][0]["servers"] == ["tcp://127.0.0.1:1883"]
    assert written["outputs"]["mqtt"][0]["qos"] == 1
    assert written["agent"].get("buffer_strategy") == ("disk" if disk else None)
    telegraf.write(_job(modbus(300, 1), tmp_path), tmp_path, disk=disk)
    (request,) = tomllib.loads((tmp_path / "telegraf.conf").read_text())["inputs"]["modbus"][0]["request"]
    assert [(one["name"], one["address"]) for one in request["fields"]] == [(f"r{number}", number) for number in range(300)]


@pytest.mark.parametrize("what", [opcua(40, 10), modbus(300, 1)])
def test_peers_nodered_flows_are_whole(tmp_path: Path, what: Load) -> None:
    """Every wire of its flows ends at a node, every node of theirs stands in the tab, and every tag is asked for."""
    (tmp_path / "nodered").mkdir()
    nodered.write(_job(what, tmp_path), tmp_path)
    flows = {one["id"]: one for one in json.loads((tmp_path / "flows.json").read_text())}
    wired = {to for one in flows.values() for outputs in one.get("wires", ()) for to in outputs}
    assert wired <= set(flows)
    assert "out" in wired
    assert all("x" in one or "wires" not in one or one["id"] == "client" for one in flows.values())
    if what.kind == "opcua":
        items = json.loads(flows["start"]["props"][0]["v"])
        assert [item["nodeId"].rpartition("=")[2] for item in items] == what.names
    else:
        reads = [(int(one["adr"]), int(one["quantity"])) for one in flows.values() if one["type"] == "modbus-read"]
        assert reads == chunks(0, 300, 125) == [(0, 125), (125, 125), (250, 50)]


def test_peers_thingsboard_gets_every_tag(tmp_path: Path) -> None:
    """Its gateway has SQLite, QoS 1 and no limit to its rate; its connector every tag, or all registers as one range."""
    thingsboard.write(_job(opcua(40, 10), tmp_path), tmp_path)
    gateway = json.loads((tmp_path / "config" / "tb_gateway.json").read_text())
    assert (gateway["storage"]["type"], gateway["thingsboard"]["qos"], gateway["thingsboard"]["port"]) == ("sqlite", 1, 1883)
    assert {gateway["thingsboard"][name] for name in gateway["thingsboard"] if name.endswith("Limits")} == {"0:0,"}
    connector = json.loads((tmp_path / "config" / "opcua.json").read_text())
    assert [one["key"] for one in connector["mapping"][0]["timeseries"]] == opcua(40, 10).names
    thingsboard.write(_job(modbus(300, 1), tmp_path), tmp_path)
    slave = json.loads((tmp_path / "config" / "modbus.json").read_text())["master"]["slaves"][0]
    assert (slave["timeseries"][0]["address"], slave["port"], slave["pollPeriod"]) == ("0-299", 4840, 1000)


def test_peers_edge_agent_takes_its_own_configuration(tmp_path: Path) -> None:
    """What is written for edge-agent is a configuration that it accepts, with every tag."""
    edge.write(_job(opcua(40, 10), tmp_path), tmp_path)
    config = load(tmp_path / "config")
    assert sorted(config.devices[0].tags) == sorted(opcua(40, 10).names)


def test_peers_thingsboard_is_told_that_it_has_no_limits() -> None:
    """The gateway sends nothing before its server has answered what the limits of its session are; nothing else is answered."""
    topic, payload = PEERS["thingsboard"].answer("v1/devices/me/rpc/request/4", b"{}") or ("", b"")
    assert topic == "v1/devices/me/rpc/response/4"
    assert json.loads(payload)["rateLimits"] == {}
    assert PEERS["thingsboard"].answer("v1/gateway/telemetry", b"{}") is None
    assert PEERS["telegraf"].answer("v1/devices/me/rpc/request/4", b"{}") is None


def test_peers_what_a_log_says_of_losses_is_found() -> None:
    """A line about dropped metrics declares a loss; a log without one does not."""
    log = "I! started\nW! [outputs.mqtt] Metric buffer overflow; 12 metrics have been dropped\n"
    assert telegraf.declared(log) == "log: W! [outputs.mqtt] Metric buffer overflow; 12 metrics have been dropped"
    assert telegraf.declared("I! started\n") is None
    assert thingsboard.declared('ERROR Data from the device "line" cannot be saved, connector name is opcua.') is not None


def test_peers_a_way_that_is_cut_can_be_opened_again() -> None:
    """Bytes pass; a cut ends the connection and refuses new ones; opened again at the same port they pass again."""
    with socket.create_server(("127.0.0.1", 0)) as broker, Way(broker.getsockname()[1]) as way:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", way.port), 5) as peer:
                there, _ = broker.accept()
                with there:
                    peer.sendall(b"hello")
                    assert there.recv(5) == b"hello"
                    way.cut()
                    with pytest.raises(ConnectionResetError):
                        _read(peer)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", way.port), 5)
            way.open()


def _read(peer: socket.socket) -> None:
    peer.settimeout(5)
    if not peer.recv(1):
        raise ConnectionResetError


def _run(us: float, lost: int) -> dict[str, object]:
    figures = {
        "us": us,
        "core": 0.1,
        "starved": 0.0,
        "rate": 990.0,
        "expected": 1000.0,
        "produced": 1000.0,
        "rss": 90.0,
        "p50": 5.0,
        "p99": 9.0,
    }
    return {
        **figures,
        "samples": 1000,
        "lost": lost,
        "doubled": 0,
        "invented": 0,
        "backlog": 0,
        "examples": [],
        "calibration": 0.04,
    }


def test_peers_results_stand_in_the_page(tmp_path: Path) -> None:
    """Medians with the ratio to edge-agent, losses with their part, and who was not run stand between the marks; all else stays."""
    lines = [
        summary("a0", PEERS["edge-agent"], [_run(10, 0), _run(12, 0), _run(11, 0)]),
        summary("a0", PEERS["node-red"], [_run(55, 30)]),
    ]
    outages = [
        {"what": "kill", "seconds": 30.0, "peer": "node-red", "name": "Node-RED", "storage": "none", "expected": 1000, "lost": 250, "doubled": 0,
         "declared": None, "again_after": 1.0, "blind": None},
    ]  # fmt: skip
    where = {"cpu": "c", "cores": 2, "kernel": "k", "date": "d", "python": "p", "reference": 0.036}
    result = {
        "machine": where,
        "tools": {"Go": "1"},
        "versions": {"edge-agent": "0.1.0"},
        "missing": {"telegraf": "no go"},
        "lines": lines,
        "outages": outages,
    }
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    into_readme(page, result)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| edge-agent | 11.0 (10.0 to 12.0) | 1.0 | 990 | 99 % |" in text
    assert "| Node-RED | 55.0 | 5.0 | 990 | 99 % | 10.0 % | 90 | 5 / 9 | 30 (3.0 %) | 0 |" in text
    assert "| Node-RED | none | 1,000 | 250 (25.0 %) | 0 | nothing | 1.0 | - |" in text
    assert "Not run: telegraf: no go" in text
    assert "Measured in" not in text
    lines[0]["date"], lines[1]["date"] = "d1", "d2"
    into_readme(page, result)
    assert "Measured in d1: OPC UA subscription, 1,000 tags x 1/s; d2: OPC UA subscription, 1,000 tags x 1/s." in page.read_text()


def test_peers_the_source_answers_what_other_clients_ask_first() -> None:
    """Objects has Root above it, Root nothing; other ways are not known; a BrowseName is a node's name in its namespace."""

    def asked(node: int, direction: ua.BrowseDirection) -> bytes:
        one = ua.BrowseDescription(NodeId=ua.NodeId(node), BrowseDirection=direction)
        return struct_to_binary(ua.BrowseParameters(NodesToBrowse=[one]))

    answer = upwards(asked(85, ua.BrowseDirection.Inverse))
    assert answer is not None
    assert answer[:4] == u32(1)
    found = struct_from_binary(ua.BrowseResult, Buffer(answer[4:]))
    assert [(one.NodeId.Identifier, one.IsForward, one.BrowseName.Name) for one in found.References] == [(84, False, "Root")]
    top = upwards(asked(84, ua.BrowseDirection.Inverse))
    assert top is not None
    assert not struct_from_binary(ua.BrowseResult, Buffer(top[4:])).References
    assert upwards(asked(85, ua.BrowseDirection.Forward)) is None
    assert upwards(asked(2253, ua.BrowseDirection.Inverse)) is None
    assert browse_name((1, "i12")) == b"\x01\x14\x01\x00\x03\x00\x00\x00i12"
    assert browse_name((0, 85)).endswith(b"Objects")


def test_peers_a_block_can_begin_at_any_count() -> None:
    """Whoever subscribes again begins with the running number of now, and not with the first one."""
    block = Block(["i3", "f4"], [0, 1], ticks(NOW * 1000), 7)
    rows = data_change(u32(block.rows) + bytes(block.data) + u32(0xFFFFFFFF))
    assert list(rows.values) == [I3, F4]
    assert F4 > FLOOR
