"""`edge-agent check --connect`: every way in which a plant is not as its configuration says; nothing is written, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path += [str(Path(__file__).parents[1] / room) for room in ("opcua", "modbus", "opcua_faults")]

import opcua_secure as fit
from asyncua import ua
from modbus_plc import Asked, Send, frame, serving
from modbus_plc import Plc as Registers
from odd_faults import BAD_SERVICE_UNSUPPORTED, BAD_TOO_MANY_SESSIONS
from odd_server import URI as ODD_URI
from odd_server import OddServer
from opcua_alarms import SERVER
from opcua_plant import URI, Plc, Proxy, free_port

from edge_agent.cli.check import check
from edge_agent.drivers import catalog
from simulators.broker import Broker
from simulators.broker_faults import Faults
from simulators.broker_ledger import BrokerLedger

AGENT = {
    "version": 1, "agent": "gw1", "site": ["acme"], "mqtt": {"broker": "mqtt://127.0.0.1", "allow_insecure": True},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up logging for its process; here it would stay for the tests after it."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)


class Said(NamedTuple):
    """What the command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON that was printed; log lines, which a test process prints too, come before it."""
        return dict(json.loads(self.out[f"\n{self.out}".index("\n{") :]))

    def of(self, device: str = "plc") -> dict[str, Any]:
        """Return what was found of a device."""
        (one,) = [one for one in self.document["inspections"] if one["device"] == device]
        return dict(one)

    def found(self, device: str = "plc", grade: str | None = None) -> list[tuple[str, str | None]]:
        """Return code and tag of what was found, but for notes, or of one grade."""
        findings = self.of(device)["findings"]
        return [
            (one["code"], one["tag"]) for one in findings if one["grade"] == grade or (grade is None and one["grade"] != "note")
        ]

    def finding(self, code: str, device: str = "plc") -> dict[str, str]:
        """Return the one finding with this code."""
        (one,) = [one for one in self.of(device)["findings"] if one["code"] == code]
        return dict(one)


def opcua(port: int, tags: Mapping[str, Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """Return an OPC UA device called ``plc``."""
    fixed = {"version": 1, "device": "plc", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "allow_insecure": True}
    return fixed | {"namespace": URI, "timeout": "2s", "tags": tags} | more


def modbus(port: int, tags: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """Return a Modbus device called ``meter`` with three registers."""
    tags = tags or {f"r{place}": {"register": "holding", "address": place} for place in range(3)}
    fixed = {"version": 1, "device": "meter", "driver": "modbus", "host": "127.0.0.1", "port": port, "timeout": "100ms"}
    return fixed | {"tags": tags} | more


def written(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return [path.name for path in folder.iterdir()]


class Command:
    """Runs the command in a thread, on a configuration in a folder of its own: it has a loop of its own, the servers run in this one."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], broker: int) -> None:
        self.folder, self._capsys, self.broker = folder, capsys, broker

    async def __call__(self, *devices: Mapping[str, Any], as_json: bool = True) -> Said:
        """Check this configuration with ``--connect``."""
        file = self.folder / "agent.yaml"
        file.write_text(
            json.dumps(
                AGENT
                | {"mqtt": {"broker": f"mqtt://127.0.0.1:{self.broker}", "allow_insecure": True, "connect_timeout": "1s"}}
                | {"buffer": {"path": str(self.folder / "buffer")}, "pki": str(self.folder / "pki"), "devices": devices},
                indent=1,
            ),
            encoding="utf-8",
        )
        with ThreadPoolExecutor(1) as thread:
            command = partial(check, file, as_json=as_json, connect=True)
            code = await asyncio.get_running_loop().run_in_executor(thread, command)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)


@pytest.fixture
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """A broker that takes everybody."""
    ledger = BrokerLedger(tmp_path_factory.mktemp("broker") / "ledger.jsonl")
    one = Broker(ledger, Faults())
    await one.listen("127.0.0.1", 0)
    yield one
    await one.close()
    await ledger.close()


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], broker: Broker) -> Command:
    """The command."""
    return Command(tmp_path, capsys, broker.port)


async def test_the_broker_is_asked_as_well(command: Command) -> None:
    """A broker that takes the connection is ok; one that nobody serves is a problem, in words and in JSON."""
    fine = await command()
    assert (fine.code, fine.document["ok"], fine.document["broker"]) == (
        0, True, {"url": f"mqtt://127.0.0.1:{command.broker}", "problem": None, "ok": True},
    )  # fmt: skip
    assert f"broker mqtt://127.0.0.1:{command.broker}: ok" in (await command(as_json=False)).out
    command.broker = free_port()
    told = await command()
    assert (told.code, told.document["ok"], told.document["broker"]["ok"]) == (1, False, False)
    assert "refused" in told.document["broker"]["problem"]
    words = await command(as_json=False)
    assert words.code == 1
    assert f"broker mqtt://127.0.0.1:{command.broker}: " in words.out


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    """A server with two variables."""
    plc = Plc(free_port())
    await plc.start()
    await plc.add("Line.Speed", 721)
    await plc.add("Mode", 2, ua.VariantType.Int16)
    yield plc
    await plc.stop()


@asynccontextmanager
async def odd(**faults: Any) -> AsyncIterator[OddServer]:
    """A server with four variables that does wrong what is said."""
    server = OddServer()
    for place in range(4):
        server.value(f"Tag{place}", 8, place)
    for name, value in faults.items():
        setattr(server.faults, name, value)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


ODD = {f"t{place}": {"node": f"s=Tag{place}", "type": "int64"} for place in range(4)}


async def test_a_plant_as_configured(command: Command) -> None:
    """Nothing is wrong: 0, with the facts of each device, on the terminal one line for each."""
    async with odd() as server, serving(Registers()) as registers:
        devices = (opcua(server.port, ODD, namespace=ODD_URI), modbus(registers.port))
        said = await command(*devices)
        assert (said.code, said.found("plc"), said.found("meter")) == (0, [], [])
        facts = said.of("plc")["facts"]
        assert facts["tags"] == {"configured": 4, "found": 4}
        assert facts["publishing_ms"] == {"asked": 100.0, "given": 100.0}
        assert facts["sampling"] == [{"asked_ms": 100.0, "given_ms": 100.0, "asked_queue": 30, "given_queue": 30, "tags": 4}]
        assert abs(facts["clock_offset_s"]) < 0.9
        assert said.of("meter")["facts"]["blocks"] == {"planned": 1, "read": 1}
        said = await command(*devices, as_json=False)
        _, head, *lines = said.out.splitlines()
        assert head.split()[:2] == ["device", "address"]
        shown = {line.split()[0]: (line.split()[2], line.endswith("as configured")) for line in lines[:2]}
        assert shown == {"plc": ("4/4", True), "meter": ("3/3", True)}
        assert (len(server.sessions), len(server.subscriptions), server.writes) == (0, 0, 0)
    assert [one.function for one in registers.asked] == [3, 3]


async def test_the_command_as_people_start_it(tmp_path: Path) -> None:
    """A process of its own: the report alone on stdout, a remedy below each finding, the exit code, and nothing written beside the file."""
    async with serving(Registers(always=refusing(2, range(1, 2)))) as registers:
        file = tmp_path / "agent.yaml"
        places = {"buffer": {"path": str(tmp_path / "buffer")}, "pki": str(tmp_path / "pki")}
        file.write_text(json.dumps(AGENT | places | {"devices": [modbus(registers.port)]}), encoding="utf-8")
        outs = []
        for more in (["--json"], []):
            command = [sys.executable, "-m", "edge_agent", "check", "--connect", "-c", str(file), *more]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
            out, err = await process.communicate()
            assert (process.returncode, err) == (1, b"")
            outs.append(out.decode())
        assert json.loads(outs[0])["inspections"][0]["findings"][0]["tag"] == "r1"
        assert outs[1].splitlines()[-3].split()[:4] == ["ERROR", "meter.r1", "holding", "1-1:"]
        assert outs[1].splitlines()[-2].strip() == "-> compare with the device's register list"
        assert outs[1].splitlines()[-1].startswith("broker mqtt://127.0.0.1")
        assert written(tmp_path) == ["agent.yaml"]


async def test_every_drift_of_a_tag_is_named(plc: Plc, command: Command) -> None:
    """A node that is gone, moved or in no namespace, another type, lost access, no value: each with its tag and what to write instead."""
    other = await plc.server.register_namespace("urn:other")
    await plc.server.nodes.objects.add_variable(ua.NodeId("Moved", other), f"{other}:Moved", 1)
    await plc.add("Secret", 1)
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        await plc.nodes["Secret"].write_attribute(attribute, ua.DataValue(ua.Variant(0, ua.VariantType.Byte)))
    await plc.add("Null", None, ua.VariantType.Null)
    await plc.add("Broken", 1)
    await plc.write("Broken", 1, status=ua.StatusCodes.BadSensorFailure)
    await plc.add("Ack", 1, ua.VariantType.UInt32)
    await plc.nodes["Ack"].write_attribute(ua.AttributeIds.UserAccessLevel, ua.DataValue(ua.Variant(1, ua.VariantType.Byte)))
    tags = {
        "speed": {"node": "s=Line.Spead"}, "moved": {"node": "s=Moved"}, "nowhere": {"node": "nsu=urn:nowhere;s=Elsewhere"},
        "path": {"path": f"{plc.index}:Modee"}, "mode": {"node": "s=Mode", "type": "int32"}, "secret": {"node": "s=Secret"},
        "null": {"node": "s=Null"}, "broken": {"node": "s=Broken"}, "ack": {"node": "s=Ack", "type": "uint32", "acknowledge": True},
    }  # fmt: skip
    said = await command(opcua(plc.port, tags))
    assert said.code == 1
    assert set(said.found(grade="error")) == {
        ("node_gone", "speed"), ("namespace_moved", "moved"), ("namespace_gone", "nowhere"), ("node_gone", "path"),
        ("type_changed", "mode"), ("access_lost", "secret"), ("access_lost", "ack"),
    }  # fmt: skip
    assert set(said.found(grade="warning")) == {("no_value", "null"), ("no_value", "broken")}
    findings = {one["tag"]: one for one in said.of()["findings"] if one["tag"]}
    assert findings["speed"]["remedy"] == f"did you mean node: 'nsu={URI};s=Line.Speed'?"
    assert findings["path"]["remedy"] == f"did you mean node: 'nsu={URI};s=Mode'?"
    assert findings["moved"]["remedy"] == "write node: 'nsu=urn:other;s=Moved'"
    assert f"the server has urn:freeopcua:python:server, {URI}, urn:other" in findings["nowhere"]["remedy"]
    assert findings["mode"]["text"] == "int32 is configured, and the server has int16"
    assert "write type: int16" in findings["mode"]["remedy"]
    assert findings["broken"]["text"] == "it has no value now: BadSensorFailure"
    assert "may not write" in findings["ack"]["text"]
    assert (await plc.nodes["Ack"].read_value()) == 1


async def test_what_has_no_such_part_and_what_is_no_variable(plc: Plc, command: Command) -> None:
    """An element outside its array is told as that, not as a type of nothing; a folder is told as no variable, once."""
    await plc.add("Array", [1, 2, 3], ua.VariantType.Int16)
    await plc.server.nodes.objects.add_folder(ua.NodeId("Folder", plc.index), f"{plc.index}:Folder")
    tags = {
        "typed": {"node": "s=Array", "index": 7, "type": "int16"}, "plain": {"node": "s=Array", "index": 7},
        "folder": {"node": "s=Folder", "type": "int16"},
    }  # fmt: skip
    said = await command(opcua(plc.port, tags))
    assert sorted(said.found()) == [("not_monitored", "folder"), ("type_changed", "plain"), ("type_changed", "typed")]
    findings = {one["tag"]: one for one in said.of()["findings"] if one["tag"]}
    for name in ("typed", "plain"):
        assert findings[name]["text"] == "element 7 is outside: the array has 3 elements"
        assert findings[name]["remedy"] == "compare index, range and field with edge-agent browse"
    assert findings["folder"]["text"] == "it is no variable and has no value: BadAttributeIdInvalid"
    assert "edge-agent browse" in findings["folder"]["remedy"]


async def test_a_namespace_that_is_a_number_is_a_note(command: Command) -> None:
    """What works today and moves with the next restart is said, with the URI to write."""
    async with odd() as server:
        said = await command(opcua(server.port, {"t": {"node": f"ns={server.index};s=Tag1"}}))
    assert (said.code, said.found()) == (0, [])
    assert said.finding("namespace_number")["remedy"] == f"numbers move; write nsu={ODD_URI}"


async def test_a_number_that_has_moved_is_told_once(plc: Plc, command: Command) -> None:
    """A namespace that has moved from its number is an error with the right URI; no note names the one that has the number now."""
    other = await plc.server.register_namespace("urn:other")
    said = await command(opcua(plc.port, {"mode": {"node": f"ns={other};s=Mode"}}))
    assert said.found() == [("namespace_moved", "mode")]
    assert "namespace_number" not in {one["code"] for one in said.of()["findings"]}


async def test_alarm_sources_and_undeclared_variables(plc: Plc, command: Command) -> None:
    """An alarm source that is not there, or has no events, is an error; what tags_from names and nobody declared is a warning."""
    await plc.server.get_node(SERVER).set_event_notifier([ua.EventNotifier.SubscribeToEvents])
    alarms = [{"name": "all"}, {"name": "gone", "source": "s=Nowhere"}, {"name": "mute", "source": "ns=0;i=85"}]
    rules = [{"browse": f"{name}"} for name in ("Mode", "Line.Speed")]
    said = await command(opcua(plc.port, {"mode": {"node": "s=Mode"}}, alarms=alarms, tags_from=rules))
    assert (said.code, said.found()) == (1, [("alarm_source", "gone"), ("alarm_source", "mute"), ("tags_undeclared", None)])
    assert "Line.Speed" in said.finding("tags_undeclared")["text"]


async def test_what_the_server_grants(command: Command) -> None:
    """Fewer items, shorter queues and a clock that is ahead are warnings with both numbers; nothing stays at the server, nothing is written."""
    async with odd(most_items=3, most_queue=5, skew=3_600_000_000_000, state=1) as server:
        said = await command(opcua(server.port, ODD, namespace=ODD_URI))
        assert said.code == 0
        assert set(said.found()) == {("server_state", None), ("clock_offset", None), ("polled", None), ("queue_revised", None)}
        assert "3,600" in said.finding("clock_offset")["text"]
        assert "5 instead of 30" in said.finding("queue_revised")["text"]
        assert "1 tag will be polled (BadTooManyMonitoredItems)" in said.finding("polled")["text"]
        assert (len(server.sessions), len(server.subscriptions), server.writes) == (0, 0, 0)


@pytest.mark.parametrize(("step", "keep", "found"), [(7, "30s", ["not_resumable"]), (1, "30s", []), (7, "0s", [])])
async def test_items_that_cannot_be_remembered(command: Command, step: int, keep: str, found: list[str]) -> None:
    """A thousand items that the server numbers without order are warned of: an absence will be a gap; not where nothing is to be kept."""
    async with odd() as server:
        tags = {f"t{place}": {"node": f"s=Many{place}", "type": "int64"} for place in range(1000)}
        for place in range(1000):
            server.value(f"Many{place}", 8, place)
        server.numbers = iter(range(100_000, 1 << 31, step))
        said = await command(opcua(server.port, tags, namespace=ODD_URI, keep=keep))
        assert [code for code, _ in said.found()] == found
        if found:
            assert "1000 in 1000 rows" in said.finding("not_resumable")["text"]


async def test_a_server_without_subscriptions(command: Command) -> None:
    """Every tag will be polled, and that is no error."""
    async with odd(refuse={"CreateSubscription": BAD_SERVICE_UNSUPPORTED}) as server:
        said = await command(opcua(server.port, ODD, namespace=ODD_URI))
        assert (said.code, said.found()) == (0, [("polled", None)])
        shown = await command(opcua(server.port, ODD, namespace=ODD_URI), as_json=False)
        assert " polled " in shown.out.splitlines()[2]
        assert not server.sessions


async def test_limits_of_the_server(plc: Plc, command: Command) -> None:
    """Sessions and items that are used up are warned of where the server says how many it has."""
    tags = {"speed": {"node": "s=Line.Speed"}, "mode": {"node": "s=Mode"}}
    for number, value in ((24095, 1), (2277, 1), (24104, 1)):
        node = plc.server.get_node(ua.NodeId(number))
        await plc.server.iserver.aspace.write_attribute_value(
            node.nodeid, ua.AttributeIds.Value, ua.DataValue(ua.Variant(value, ua.VariantType.UInt32))
        )
    said = await command(opcua(plc.port, tags))
    facts = said.of()["facts"]
    assert (facts["sessions"], facts["items"]) == ({"now": 1, "most": 1}, {"needed": 2, "most": 1})
    assert (said.code, set(said.found())) == (0, {("sessions_used_up", None), ("items_limited", None)})


@pytest.mark.parametrize(
    ("refuse", "words"),
    [({"CreateSession": BAD_TOO_MANY_SESSIONS}, "BadTooManySessions"), ({"Read": 0x80020000}, "BadInternalError")],
)
async def test_a_server_that_refuses(command: Command, refuse: dict[str, int], words: str) -> None:
    """A server without a session left, or that cannot be read, is an error in its own words."""
    async with odd(refuse=refuse) as server:
        said = await command(opcua(server.port, ODD, namespace=ODD_URI))
        assert said.code == 1
        assert words in said.finding("unreachable")["text"]
        assert not server.sessions


async def test_nobody_there_and_a_black_hole_take_no_time(command: Command) -> None:
    """A refused connection and a server that stopped answering are errors, at once or after the timeout; the other devices are looked at."""
    async with odd() as server, Proxy(server.port).running() as proxy, serving(Registers()) as registers:
        proxy.dead = True
        began = time.monotonic()
        hole = opcua(proxy.port, ODD, timeout="300ms")
        nobody = opcua(free_port(), ODD) | {"device": "nobody"}
        said = await command(hole, nobody, modbus(registers.port), modbus(free_port()) | {"device": "absent"})
        assert time.monotonic() - began < 20
    assert said.code == 1
    assert [said.found(name) for name in ("plc", "nobody", "absent")] == [[("unreachable", None)]] * 3
    assert said.found("meter") == []


async def test_a_look_without_an_end_is_broken_off(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that does not come to its end is left in time, with what was found, and without a session at the server."""

    async def endless(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("edge_agent.cli.connect._PATIENCE", 4.0)
    monkeypatch.setattr("edge_agent.drivers.opcua.drift.look_at_grants", endless)
    async with odd() as server:
        said = await command(opcua(server.port, ODD, namespace=ODD_URI))
        assert (said.code, said.found()) == (1, [("broken_off", None)])
        assert said.of()["facts"]["tags"] == {"configured": 4, "found": 4}
        assert not server.sessions


async def test_a_fault_of_ours_is_a_finding(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails inside, the person sees a line and no traceback."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(catalog, "inspect", broken)
    said = await command(opcua(free_port(), ODD))
    assert (said.code, said.found()) == (1, [("not_understood", None)])
    assert "ZeroDivisionError" in said.finding("not_understood")["text"]


async def test_a_wrong_configuration_asks_nobody(command: Command) -> None:
    """A mistake in the file is 78, with the problems, and no device is asked."""
    said = await command(opcua(free_port(), {"speed": {"nodee": "s=Line.Speed"}}))
    assert said.code == 78
    assert (said.document["ok"], "inspections" in said.document) == (False, False)
    said = await command(opcua(free_port(), {"speed": {"nodee": "s=Line.Speed"}}), as_json=False)
    assert (said.code, said.out) == (78, "")
    assert "unknown key 'nodee'" in said.err


# -- trust ---------------------------------------------------------------------------------------------------------------


async def test_an_untrusted_server_says_what_to_type(tmp_path: Path, command: Command) -> None:
    """Nobody has trusted it: the state's name and the one command; a certificate that ends soon is a warning of a device that works."""
    server = fit.SecurePlc()
    await server.build()
    made = fit.certificate(days=(-1, 20))
    tags = {"count": {"node": "s=CanaryTag"}}
    device = opcua(server.port, tags, allow_insecure=False)
    async with server.serving(made=made):
        said = await command(device)
        assert (said.code, said.found()) == (1, [("cert_untrusted", None)])
        assert said.finding("cert_untrusted")["remedy"].startswith(f"edge-agent trust {server.url}")
        fit.pinned(tmp_path, server.url, made)
        said = await command(device)
        assert (said.code, said.found()) == (0, [("cert_expires", None)])
        security = said.of()["facts"]["security"]
        assert (security["trusted"], security["server_sha256"]) == ("current", fit.ours(made).thumbprint)


# -- Modbus --------------------------------------------------------------------------------------------------------------


def refusing(code: int, wrong: range, most: int = 125) -> Any:
    """Return a trick: requests that touch ``wrong``, or ask for more than ``most``, get this exception."""

    async def trick(asked: Asked, answer: bytes, send: Send) -> None:
        touches = asked.address < wrong.stop and asked.address + asked.count > wrong.start
        refused = touches or asked.count > most
        await send(frame(asked.tid, asked.unit, bytes([asked.function | 0x80, code])) if refused else answer)

    return trick


async def test_a_refused_block_names_its_tag(command: Command) -> None:
    """The one tag whose address does not exist is named; the others of its block are there."""
    async with serving(Registers(always=refusing(2, range(1, 2)))) as registers:
        said = await command(modbus(registers.port))
        assert (said.code, said.found("meter")) == (1, [("refused", "r1")])
        assert "exception 2, illegal data address" in said.finding("refused", "meter")["text"]
        assert said.of("meter")["facts"]["tags"] == {"configured": 3, "found": 2}
        assert (registers.connections, {one.function for one in registers.asked}) == (1, {3})


async def test_a_block_that_is_too_long_names_no_tag(command: Command) -> None:
    """Each tag by itself can be read: the limits are wrong, not the addresses."""
    async with serving(Registers(always=refusing(3, range(-1, -1), most=2))) as registers:
        said = await command(modbus(registers.port))
        assert said.found("meter") == [("block_refused", None)]
        assert "lower max_gap, max_registers" in said.finding("block_refused", "meter")["remedy"]


async def test_a_unit_that_does_not_answer_and_its_neighbour(command: Command) -> None:
    """A silent unit is told as one, after one timeout; the unit behind it on the same line is looked at."""
    async with serving(Registers(silent={9})) as registers:
        apart = {f"r{place}": {"register": "holding", "address": place} for place in (0, 500, 1000)}
        said = await command(modbus(registers.port, apart, unit_id=9), modbus(registers.port) | {"device": "other"})
        assert (said.found("meter"), said.found("other")) == ([("unit_silent", None)], [])
        assert "unit_id" in said.finding("unit_silent", "meter")["remedy"]
        assert said.of("meter")["answered"] is False
        assert len([one for one in registers.asked if one.unit == 9]) == 1
        assert registers.connections == 2, "a late answer must not meet the next request"


@pytest.mark.parametrize(("code", "expected"), [(11, "unit_silent"), (6, "refused")])
async def test_a_gateway_that_knows_no_unit_and_a_busy_one(command: Command, code: int, expected: str) -> None:
    """What a gateway says of its target is of the unit; a device that stays busy is refused after a second try."""
    async with serving(Registers(always=refusing(code, range(3)))) as registers:
        said = await command(modbus(registers.port, {"r": {"register": "holding", "address": 0}}))
        assert [found for found, _ in said.found("meter")] == [expected]
        assert len(registers.asked) == (2 if code == 6 else 1)


async def test_answers_of_somebody_else(command: Command) -> None:
    """What is no answer to the request is told, and the connection is not used again."""

    async def foreign(asked: Asked, answer: bytes, send: Send) -> None:
        await send(frame(asked.tid + 1, asked.unit, answer[7:]))

    async with serving(Registers(always=foreign)) as registers:
        said = await command(modbus(registers.port))
        assert said.found("meter") == [("invalid_reply", None)]
        assert len(registers.asked) == 1


async def test_a_poll_period_that_cannot_be_kept(command: Command) -> None:
    """Reading once takes longer than the period: a warning with both."""

    async def slow(asked: Asked, answer: bytes, send: Send) -> None:
        await asyncio.sleep(0.03)
        await send(answer)

    async with serving(Registers(always=slow)) as registers:
        said = await command(modbus(registers.port, poll="10ms"))
        assert (said.code, said.found("meter")) == (0, [("too_slow", None)])
