"""The edge node against mosquitto, recorded and held against the specification's statements."""

from __future__ import annotations

import asyncio
import base64
import copy
from collections import deque

import pytest
from sparkplug_bench import NODE, Host, Machine, playing, recording, until, whole_session

from edge_agent.publish.sparkplug.descriptor import Payload
from edge_agent.publish.sparkplug.link import Heard
from edge_agent.publish.sparkplug.link import Link as SparkplugLink
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


@pytest.mark.parametrize("aliases", [False, True])
async def test_a_recording_judged_and_spoilt(mosquitto, tmp_path, aliases):
    """Births, rebirth, a cut cable and a host that flaps: 0 violations; five bugs put into the same recording are found under their statements' names."""
    file = tmp_path / "recording.jsonl"
    verbs = await whole_session(file, mosquitto().port, aliases=aliases)
    assert verbs.count("NBIRTH") == 5
    sound = read_recording(file)
    checker = _verdict(file, "scada")
    assert not checker.breaches, report(checker)
    assert len(checker.judged) >= (120 if aliases else 117)
    for statement, spoil in _BUGS.items():
        lines = copy.deepcopy(sound)
        spoil(lines)
        found = Checker("scada", fresh=True)
        found.check(lines)
        assert f"tck-id-{statement}" in {breach.statement for breach in found.breaches}, statement


def _said(lines, verb):
    """Return the lines in which the node says ``verb``."""
    return [line for line in lines if line["what"] == "publish" and line["from"] == "client" and f"/{verb}/" in line["topic"]]


def _repack(line, change):
    body = Payload.FromString(base64.b64decode(line["payload64"]))
    change(body)
    line["payload64"] = base64.b64encode(body.SerializeToString()).decode()


def _bdseq_stays(lines):
    first, second = [line["will"] for line in lines if line["what"] == "connect"][:2]
    second["payload64"] = first["payload64"]


_BUGS = {
    "payloads-sequence-num-incrementing": lambda lines: lines.remove(_said(lines, "DDATA")[2]),
    "topics-nbirth-bdseq-increment": _bdseq_stays,
    "topics-nbirth-rebirth-metric": lambda lines: _repack(_said(lines, "NBIRTH")[0], lambda body: body.metrics.pop()),
    "operational-behavior-edge-node-intentional-disconnect-ndeath": lambda lines: lines.remove(_said(lines, "NDEATH")[-1]),
    "operational-behavior-data-commands-rebirth-action-2": lambda lines: lines.remove(_said(lines, "DBIRTH")[3]),
}


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
            deaths = host.verbs().count("NDEATH")
            host.say(False, 1999)
            said = machine.said
            await until(lambda: machine.said > said + 10)
            assert host.verbs().count("NDEATH") == deaths
            host.say(False, 2001)
            await until(lambda: host.verbs().count("NDEATH") > deaths)
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
        async with playing(0, machine, ports=[first.port, second.port], primary_host="scada", connect_timeout="1s"):
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


async def test_a_try_that_reaches_nobody_uses_no_number(mosquitto):
    """BdSeq grows by one with every CONNECT: a broker that is not there for many tries leaves no hole."""
    broker, machine = mosquitto(), Machine()
    async with playing(broker.port, machine) as link:
        await until(lambda: machine.said > 0)
        broker.kill()
        await until(lambda: link.tries > 3)
        broker.start()
        await until(lambda: machine.births_told == 2)
        assert machine.bdseq == 1


@pytest.mark.parametrize("turns", range(6))
async def test_news_does_not_undo_a_cancellation(turns):
    """Who waits for news and is cancelled ends, however close the news come to it."""
    link = object.__new__(SparkplugLink)
    link._waiting, link._news, link.failure = deque(), asyncio.Event(), None
    task = asyncio.create_task(link.heard(60))
    await asyncio.sleep(0.01)
    link._waiting.append(Heard("spBv1.0/STATE/scada", b"", retained=False))
    link._news.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.cancel():
        await asyncio.wait((task,))
        assert task.cancelled()
    assert task.done()


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
