"""The ledger broker does what the standard says, and its ledger is on the disk before its acknowledgement."""

import asyncio
import os
import sys

import pytest
from broker_client import Client, broker_bench
from simulators_process import ROOT, port_of

from simulators import mqtt_wire as wire
from simulators.broker import retained_of
from simulators.broker_faults import matches
from simulators.broker_ledger import BrokerLedger, payload_of
from simulators.ledger import read_ledger
from simulators.mqtt_wire import V5, V311, Message

VERSIONS = pytest.mark.parametrize("version", [V5, V311])


def published(path):
    """The publish lines of a ledger."""
    return [entry for entry in read_ledger(path) if entry["what"] == "publish"]


@VERSIONS
async def test_a_message_is_in_the_ledger_before_it_is_acknowledged_and_reaches_its_subscriber(tmp_path, version):
    """Topic, bytes and user properties pass through unchanged; MQTT 3.1.1 has no properties."""
    user = [(wire.USER, ["id", "a/1"]), (wire.USER, ["id", "again"])] if version == V5 else []
    async with broker_bench(tmp_path) as bench:
        reader, writer = await bench.client("mom", version), await bench.client("gw1", version)
        assert await reader.subscribe("edge/+/x/#") == [1]
        writer.publish("edge/v1/x", b'{"n":1}', 9, properties=user)
        assert await writer.puback() == (9, 0)
        (entry,) = published(bench.path)
        assert (entry["topic"], payload_of(entry), entry["client"], entry["code"]) == ("edge/v1/x", b'{"n":1}', "gw1", 0)
        assert entry["user"] == [pair for _, pair in user]
        message, _, dup = await reader.message()
        assert (message.topic, message.payload, message.properties, dup) == ("edge/v1/x", b'{"n":1}', user, False)


async def test_no_acknowledgement_before_the_sync(tmp_path, monkeypatch):
    """While the disk is busy nothing is acknowledged and nothing is delivered; what came meanwhile is one sync."""
    import threading

    free, syncs, real = threading.Event(), [], os.fdatasync

    def slow(fd):
        assert free.wait(5)
        syncs.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    async with broker_bench(tmp_path) as bench:
        reader, writer = await bench.client("mom"), await bench.client("gw1")
        await reader.subscribe("#")
        for mid in range(1, 21):
            writer.publish("a/b", b"x", mid)
        assert await writer.silent()
        assert len(published(bench.path)) == 20
        free.set()
        assert [await writer.puback() for _ in range(20)] == [(mid, 0) for mid in range(1, 21)]
        assert len(syncs) <= 3
        assert (await reader.message())[0].payload == b"x"


async def play_until_killed(path):
    """Publish to a broker process, kill it after 100 acknowledgements; returns them."""
    acknowledged = []
    arguments = (sys.executable, "-m", "simulators.broker", "--port", "0", "--ledger", str(path))
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        client = Client(*await asyncio.open_connection("127.0.0.1", port_of(url)), V5)
        client.connect("gw1")
        await client.connack()
        client.publish("a/state", b"kept", 1, retain=True)
        for mid in range(2, 400):
            client.publish("a/b", b"%d" % mid, mid)
        while len(acknowledged) < 100:
            acknowledged.append(await client.puback())
    finally:
        process.kill()
        await process.communicate()
    client.writer.close()
    return acknowledged


async def test_a_killed_broker_has_everything_that_it_acknowledged(tmp_path):
    """SIGKILL while messages come: every acknowledged one is in the ledger, retained ones come back, a torn line is cut off."""
    path = tmp_path / "ledger.jsonl"
    acknowledged = await play_until_killed(path)
    with path.open("ab") as file:
        file.write(b'{"at":1,"what":"publ')
    kept = {entry["mid"] for entry in published(path)}
    assert {mid for mid, _ in acknowledged} <= kept
    assert retained_of(path)["a/state"].payload == b"kept"
    ledger = BrokerLedger(path)
    ledger.write("start")
    await ledger.close()
    assert read_ledger(path)[-1]["what"] == "start"


async def test_a_session_keeps_messages_while_its_client_is_away(tmp_path):
    """With an expiry the subscription and what came meanwhile wait; what was not acknowledged comes again with DUP, first."""
    async with broker_bench(tmp_path) as bench:
        stays = {"clean": False, "properties": [(wire.SESSION_EXPIRY, 60)]}
        reader, writer = await bench.client("mom", **stays), await bench.client("gw1")
        await reader.subscribe("a/#")
        writer.publish("a/1", b"1", 1)
        assert (await reader.message(acknowledge=False))[0].payload == b"1"
        reader.writer.close()
        await writer.puback()
        while await open_links(bench) > 1:  # noqa: ASYNC110 - the broker makes no events
            await asyncio.sleep(0.005)
        writer.publish("a/2", b"2", 2)
        await writer.puback()
        reader = await bench.dial()
        reader.connect("mom", **stays)
        assert (await reader.connack())[0] is True
        assert [((m := await reader.message())[0].payload, m[2]) for _ in range(2)] == [(b"1", True), (b"2", False)]
        reader.disconnect()
        assert await reader.gone()
        reader = await bench.dial()
        reader.connect("mom", properties=[(wire.SESSION_EXPIRY, 60)])
        assert (await reader.connack())[0] is False


async def open_links(bench):
    """How many connections are open."""
    import json

    return json.loads(await bench.broker.answer("stats"))["open"]


async def test_a_second_client_takes_the_session_over(tmp_path):
    """The first one is told 0x8E and closed; its will goes out because its session ends."""
    async with broker_bench(tmp_path) as bench:
        reader = await bench.client("mom")
        await reader.subscribe("status")
        first = await bench.client("gw1", will=Message("status", b"offline", 1, True, [(wire.WILL_DELAY, 0)]))
        await bench.client("gw1")
        assert await first.next() == (wire.DISCONNECT, b"\x8e\0")
        assert await first.gone()
        assert (await reader.message())[0].payload == b"offline"


@pytest.mark.parametrize(("how", "expected"), [("normal", None), ("with will", b"offline"), ("lost", b"offline")])
async def test_the_will_is_published_unless_the_client_says_goodbye(tmp_path, how, expected):
    """DISCONNECT 0x00 cancels it, DISCONNECT 0x04 and a lost connection do not."""
    async with broker_bench(tmp_path) as bench:
        reader = await bench.client("mom")
        await reader.subscribe("status")
        client = await bench.client("gw1", will=Message("status", b"offline", 1))
        if how == "lost":
            client.writer.transport.abort()
        else:
            client.disconnect(0x04 if how == "with will" else 0)
        if expected is None:
            assert await reader.silent()
        else:
            assert (await reader.message())[0].payload == expected


async def test_a_delayed_will_is_dropped_when_the_client_returns(tmp_path):
    """With delay and expiry of 1 s, a client that is back in time leaves no will; one that is not leaves it after the delay."""
    async with broker_bench(tmp_path) as bench:
        reader = await bench.client("mom")
        await reader.subscribe("status")
        keep = {"properties": [(wire.SESSION_EXPIRY, 1)], "will": Message("status", b"offline", 1, False, [(wire.WILL_DELAY, 1)])}
        (await bench.client("gw1", **keep)).writer.transport.abort()
        await asyncio.sleep(0.1)
        again = await bench.client("gw1", clean=False, **keep)
        assert await reader.silent(1.2)
        again.writer.transport.abort()
        assert (await reader.message())[0].payload == b"offline"


async def test_retained_messages_meet_new_subscribers_and_an_empty_one_removes_them(tmp_path):
    """The retain flag is set for a new subscription only; retain handling 2 asks for none."""
    async with broker_bench(tmp_path) as bench:
        writer = await bench.client("gw1")
        writer.publish("a/state", b"1", 1, retain=True)
        await writer.puback()
        reader = await bench.client("mom")
        await reader.subscribe("a/+")
        assert (await reader.message())[0].retain is True
        await reader.subscribe("a/+", options=0x20)
        writer.publish("a/state", b"", 2, retain=True)
        await writer.puback()
        assert (await reader.message())[0].retain is False
        late = await bench.client("late")
        await late.subscribe("#")
        assert await late.silent()


async def test_the_keep_alive_is_minded_and_pings_are_answered(tmp_path):
    """A client that is silent for one and a half times its keep-alive is disconnected with 0x8D."""
    async with broker_bench(tmp_path) as bench:
        client = await bench.client("gw1", keepalive=1)
        client.writer.write(b"\xc0\0")
        assert await client.next() == (wire.PINGRESP, b"")
        assert await client.next() == (wire.DISCONNECT, b"\x8d\0")


async def test_it_honours_the_receive_maximum_of_a_subscriber(tmp_path):
    """A client that takes two at once gets the third only after an acknowledgement."""
    async with broker_bench(tmp_path) as bench:
        reader = await bench.client("mom", properties=[(wire.RECEIVE_MAXIMUM, 2)])
        writer = await bench.client("gw1")
        await reader.subscribe("#")
        for mid in (1, 2, 3):
            writer.publish("a", b"%d" % mid, mid)
        assert [(await reader.message(acknowledge=False))[0].payload for _ in range(2)] == [b"1", b"2"]
        assert await reader.silent()
        reader.writer.write(b"\x40\x02\0\x01")
        assert (await reader.message())[0].payload == b"3"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x34\x05\0\1a\0\1", 0x81),
        (b"\x32\x06\0\1+\0\1\0", 0x90),
        (b"\x32\x06\0\1a\0\0\0", 0x82),
        (b"\x10\0", 0x82),
        (b"\x32\xff\xff\xff\xff\x01", 0x81),
    ],
)
async def test_what_breaks_the_standard_is_told_and_ends_the_connection(tmp_path, raw, code):
    """QoS 2 without properties, a wildcard in a topic name, packet id 0, a second CONNECT, a length of five bytes."""
    async with broker_bench(tmp_path) as bench:
        client = await bench.client("gw1")
        client.writer.write(raw)
        assert await client.next() == (wire.DISCONNECT, bytes([code, 0]))
        assert await client.gone()


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/b", "a/b", True), ("a/+", "a/b", True), ("a/+", "a/b/c", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
        ("+", "a", True), ("+/+", "/a", True), ("#", "$SYS/x", False), ("$SYS/#", "$SYS/x", True), ("a/b", "a", False), ("a", "a/b", False),
    ],
)  # fmt: skip
def test_wildcards(pattern, topic, expected):
    """The examples of clause 4.7."""
    assert matches(pattern, topic) is expected
