"""The edge node against mosquitto, recorded and held against the specification's statements."""

from __future__ import annotations

import asyncio

import pytest
from sparkplug_bench import NODE, Host, Machine, playing, recording, until

from edge_agent.publish.sparkplug.descriptor import Payload
from simulators.sparkplug_check import Checker, read_recording, report

pytestmark = pytest.mark.mosquitto


def _verdict(file, host=None):
    checker = Checker(host, fresh=True)
    checker.check(read_recording(file))
    return checker


async def _session(tmp_path, broker, *, aliases, protocol):
    """Play births, data, a rebirth, a device that goes and comes, a cut cable and a goodbye."""
    machine, file = Machine(), tmp_path / "recording.jsonl"
    host = Host(broker.port)
    try:
        async with recording(file, broker.port) as recorder, playing(recorder.port, machine, aliases=aliases, protocol=protocol):
            await until(lambda: machine.said > 3)
            host.rebirth()
            await until(lambda: machine.births_told == 2)
            machine.gone.add("capper")
            await until(lambda: "DDEATH:capper" in host.verbs())
            machine.gone.clear()
            machine.history = 3
            await until(lambda: host.verbs().count("DBIRTH:capper") == 3)
            recorder.cut()
            await until(lambda: machine.births_told == 3)
            said = machine.said
            await until(lambda: machine.said > said + 3)
            await until(lambda: machine.proven > 0)
        await until(lambda: host.verbs()[-1] == "NDEATH")
    finally:
        host.close()
    return file, host


@pytest.mark.parametrize(("aliases", "protocol"), [(False, "auto"), (True, "5"), (False, "3.1.1")])
async def test_a_session_breaks_no_statement(mosquitto, tmp_path, aliases, protocol):
    """Births, rebirth, device deaths, a reconnect and the farewell, in both versions, with and without aliases: 0 violations."""
    file, host = await _session(tmp_path, mosquitto(), aliases=aliases, protocol=protocol)
    checker = _verdict(file)
    assert not checker.breaches, report(checker)
    assert checker.judged["tck-id-operational-behavior-data-commands-rebirth-action-2"] == 1
    assert checker.judged["tck-id-topics-nbirth-bdseq-increment"] == 2
    assert checker.judged["tck-id-topics-ddeath-seq-num"] == 1
    assert checker.judged["tck-id-payloads-alias-uniqueness"] > 0 if aliases else True
    assert host.verbs().count("NBIRTH") == 3


async def test_the_primary_host_flaps(mosquitto, tmp_path):
    """Nothing is said before the host is online; an old offline is ignored; a valid one brings NDEATH and an end, and online brings births."""
    broker, machine, file = mosquitto(), Machine(), tmp_path / "recording.jsonl"
    host = Host(broker.port)
    other = Host(broker.port, "other")
    try:
        host.say(False, 1000)
        async with recording(file, broker.port) as recorder, playing(recorder.port, machine, primary_host="scada"):
            await until(lambda: '"subscribe"' in file.read_text())
            other.say(True, 5000)
            await asyncio.sleep(0.3)  # nothing may come, which has no sign
            assert machine.births_told == 0
            host.say(True, 2000)
            await until(lambda: machine.said > 2)
            host.say(False, 1999)
            said = machine.said
            await until(lambda: machine.said > said + 10)
            assert "NDEATH" not in host.verbs()
            host.say(False, 2001)
            await until(lambda: "NDEATH" in host.verbs())
            await until(lambda: file.read_text().count('"subscribe"') == 2)
            assert machine.births_told == 1
            host.say(True, 2002)
            await until(lambda: machine.births_told == 2)
        await until(lambda: host.verbs()[-1] == "NDEATH")
    finally:
        host.close()
        other.close()
    checker = _verdict(file, "scada")
    assert not checker.breaches, report(checker)
    for name in (
        "message-flow-edge-node-birth-publish-phid-offline",
        "operational-behavior-edge-node-termination-host-offline-timestamp",
    ):
        assert checker.judged[f"tck-id-{name}"] > 0


async def test_the_next_broker_has_the_host(mosquitto, tmp_path):
    """Of two brokers the node goes to the one where the primary host is online, and moves on when it leaves that one."""
    first, second, machine = mosquitto(), mosquitto(), Machine()
    hosts = [Host(first.port), Host(second.port)]
    try:
        hosts[0].say(False, 1000)
        hosts[1].say(True, 1000)
        async with playing(0, machine, ports=[first.port, second.port], primary_host="scada"):
            await until(lambda: "NBIRTH" in hosts[1].verbs())
            assert "NBIRTH" not in hosts[0].verbs()
            hosts[0].say(True, 1001)
            hosts[1].say(False, 1001)
            await until(lambda: "NDEATH" in hosts[1].verbs())
            await until(lambda: "NBIRTH" in hosts[0].verbs())
    finally:
        for host in hosts:
            host.close()


async def test_strange_commands_are_ignored(mosquitto):
    """Noise, a rebirth of false and a retained command change nothing; nothing is ever written to a device."""
    broker, machine = mosquitto(), Machine()
    host = Host(broker.port)
    try:
        async with playing(broker.port, machine):
            await until(lambda: machine.said > 2)
            host.rebirth(value=False)
            host._client.publish(NODE.topic("NCMD"), b"\xff\xff no payload")
            said = machine.said
            await until(lambda: machine.said > said + 10)
            assert machine.births_told == 1
    finally:
        host.close()


async def test_a_killed_node_leaves_its_will(mosquitto, tmp_path):
    """When the connection breaks without a word the broker says NDEATH, with the bdSeq of the birth."""
    broker, machine = mosquitto(), Machine()
    host = Host(broker.port)
    try:
        async with recording(tmp_path / "r.jsonl", broker.port) as recorder, playing(recorder.port, machine):
            await until(lambda: machine.said > 2)
            recorder.cut()
            await until(lambda: "NDEATH" in host.verbs())
        bodies = {topic.split("/")[2]: Payload.FromString(body) for topic, body in reversed(host.seen) if "gw-l3" in topic}
        born = next(metric for metric in bodies["NBIRTH"].metrics if metric.name == "bdSeq")
        assert (bodies["NDEATH"].metrics[0].long_value, born.long_value) == (0, 0)
        assert not bodies["NDEATH"].HasField("seq")
    finally:
        host.close()
