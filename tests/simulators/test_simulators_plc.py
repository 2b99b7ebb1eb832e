"""The OPC UA PLC as a process, against a plain asyncua client: every change once, exact times, power-off, hand-over, no writes."""

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asyncua import Client, ua
from simulators_process import SCENARIOS, simulator

from simulators.clock import write_clock
from simulators.ledger import read_ledger
from simulators.line import Line
from simulators.scenario import SECOND, load_scenario
from simulators.tags import NAMESPACE, NODES

ROOT = Path(__file__).parents[2]

SHORT_FILE = SCENARIOS / "short.yaml"
SHORT = load_scenario(SHORT_FILE)
SPEED = 40.0
TAG_OF = {node.identifier: tag for tag, node in NODES.items()}


@pytest.fixture(autouse=True)
def quiet_client():
    """Asyncua's client tells every lost connection as an error; here it is the thing to be seen."""
    logger = logging.getLogger("asyncua")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@dataclass
class Watcher:
    """Collects (tag, t in ns, value, status) and acknowledges every sample once it is whole."""

    seen: list = field(default_factory=list)
    acks: asyncio.Queue = field(default_factory=asyncio.Queue)

    def datachange_notification(self, node, _value, data):
        """Called by asyncua for every notification, in order."""
        value = data.monitored_item.Value
        tag = TAG_OF[node.nodeid.Identifier]
        t = round((value.SourceTimestamp - SHORT.epoch).total_seconds() * 1e6) * 1000
        content = None if value.Value is None else value.Value.Value
        self.seen.append((tag, t, content, value.StatusCode.value))
        if tag == "rec_seq_end" and content:
            self.acks.put_nowait(content)


async def node_of(client, tag):
    """The node of a tag, by the namespace's URI."""
    return client.get_node(ua.NodeId(NODES[tag].identifier, await client.get_namespace_index(NAMESPACE)))


async def watch(client, watcher, tags=tuple(NODES)):
    """Subscribe to tags with long queues."""
    subscription = await client.create_subscription(4, watcher)
    await subscription.subscribe_data_change([await node_of(client, tag) for tag in tags], queuesize=100)


async def acknowledge(client, watcher):
    """Write every number that comes to Rec.Ack."""
    node = await node_of(client, "rec_ack")
    while True:
        await node.write_value(ua.DataValue(ua.Variant(await watcher.acks.get(), ua.VariantType.UInt32)))


async def until_lost(client, watcher):
    """Acknowledge until the server resets the connection."""
    acknowledging = asyncio.create_task(acknowledge(client, watcher))
    with contextlib.suppress(ConnectionError, ua.UaError):
        while True:
            await client.check_connection()
            await asyncio.sleep(0.01)
    acknowledging.cancel()
    await asyncio.gather(acknowledging, return_exceptions=True)
    with contextlib.suppress(ConnectionError, ua.UaError, TimeoutError):
        await asyncio.wait_for(client.disconnect(), 5)


async def stall_once(process, watcher):
    """Stop the PLC's process for some plant seconds: what it missed is written afterwards, value by value."""
    while not any(tag == "total" and t > 93 * SECOND for tag, t, _, _ in watcher.seen):  # noqa: ASYNC110 - asyncua calls back, without an event
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.15)
    process.send_signal(signal.SIGCONT)


async def connected(url):
    """A connected client; tries until the server listens."""
    async with asyncio.timeout(20):
        while True:
            client = Client(url, timeout=2)
            try:
                await client.connect()
            except (OSError, ua.UaError, TimeoutError):
                await asyncio.sleep(0.01)
            else:
                return client


async def test_the_plc_plays_its_scenario(tmp_path):
    """Two connections, one before and one after the power-off, see every change of every tag once and at its exact time."""
    clock, ledger = tmp_path / "clock.json", tmp_path / "ledger.jsonl"
    write_clock(clock, SHORT, SPEED)
    before, after = Watcher(), Watcher()
    arguments = ("--scenario", SHORT_FILE, "--port", 0, "--clock", clock, "--faults", "--ledger", ledger)
    async with simulator("opcua_plc", *arguments) as (url, process):
        client = await connected(url)
        await watch(client, before)
        write_clock(clock, SHORT, SPEED, started=time.monotonic_ns())
        stall = asyncio.create_task(stall_once(process, before))
        await until_lost(client, before)
        await stall
        client = await connected(url)
        await watch(client, after)
        acknowledging = asyncio.create_task(acknowledge(client, after))
        async with asyncio.timeout(10):
            while ("total", 204_900_000_000) not in {(tag, t) for tag, t, _, _ in after.seen}:  # noqa: ASYNC110 - asyncua calls back, without an event
                await asyncio.sleep(0.01)
        acknowledging.cancel()
        await asyncio.gather(acknowledging, return_exceptions=True)
        await client.disconnect()
    line = Line(SHORT)
    last = max(
        t for _, t, _, _ in before.seen
    )  # what is newer was still in the queues when the power went, and is lost as with any PLC
    assert 150 * SECOND < last < 182 * SECOND
    assert_same_changes(line, before.seen, 0, last - 1)
    assert_same_changes(line, after.seen, 195 * SECOND, 204 * SECOND)
    assert_hand_over(before.seen, after.seen, read_ledger(ledger))


def assert_same_changes(line, seen, begin, end):
    """What was seen of the line's tags in (begin, end] is what the line did, tag by tag and in order."""
    for tag in line.tags:
        wanted = [(one.t, one.value, 0) for one in line.changes(begin, end) if one.tag == tag]
        if tag == "scrap" and begin < 130 * SECOND < end:
            bad = int(ua.StatusCodes.BadNoCommunication)
            hidden = line.value("scrap", 134 * SECOND)
            wanted = [one for one in wanted if not 130 * SECOND <= one[0] < 134 * SECOND]
            wanted = sorted([*wanted, (130 * SECOND, None, bad), (134 * SECOND, hidden, 0)], key=lambda one: one[0])
        assert [
            (t, pytest.approx(value) if isinstance(value, float) else value, status)
            for name, t, value, status in seen
            if name == tag and begin < t <= end
        ] == wanted, tag


def assert_hand_over(before, after, ledger):
    """Each sample once with its own time; the second is raised again after its acknowledgement was overlooked."""
    numbers = [(t / SECOND, value) for tag, t, value, _ in before if tag == "rec_seq"]
    shown = [one for one in numbers if one[1] != 2 and one[1] != 0]
    assert shown == [(15.0 * k, k) for k in range(1, 13) if k != 2][: len(shown)]
    assert len(shown) >= 9
    dropped = next(entry["t"] for entry in ledger if entry["what"] == "sample.ack_dropped")
    again = [(t, value) for t, value in numbers if 16 < t < 44]
    assert again == [(30.0, 2), (pytest.approx(dropped + 1.5, abs=1e-5), 0), (pytest.approx(dropped + 1.6, abs=1e-5), 2)]
    assert [(t / SECOND, value) for tag, t, value, _ in after if tag == "rec_seq"][-1] == (195.0, 1)
    kinds = [entry["what"] for entry in ledger]
    written = [entry["value"]["value"] for entry in ledger if entry["what"] == "write"]
    lost = [entry["value"]["k"] for entry in ledger if entry["what"] == "sample.lost"]
    assert lost == [k for k in range(1, 13) if k not in written]  # the power took exactly what nobody had acknowledged
    assert kinds.count("sample.acknowledged") == 13 - len(lost)
    assert (kinds.count("off"), kinds.count("on"), kinds.count("violation")) == (1, 2, 0)


async def test_a_plc_that_stands_shows_the_epoch_and_takes_nothing_but_the_acknowledgement(tmp_path):
    """Before the start: times are the epoch, revised values are honest, and every attempt to change the PLC is refused and recorded."""
    clock, ledger = tmp_path / "clock.json", tmp_path / "ledger.jsonl"
    write_clock(clock, SHORT, 1.0)
    async with simulator("opcua_plc", "--scenario", SHORT_FILE, "--port", 0, "--clock", clock, "--ledger", ledger) as (url, _):
        await assert_epoch_and_revised_values(url)
        client = await connected(url)
        total, ack = await node_of(client, "total"), await node_of(client, "rec_ack")
        with pytest.raises(ua.uaerrors.BadNotWritable):
            await total.write_value(ua.DataValue(ua.Variant(5, ua.VariantType.Int32)))
        with pytest.raises(ua.uaerrors.BadNotWritable):
            await ack.write_attribute(ua.AttributeIds.DisplayName, ua.DataValue(ua.LocalizedText("x")))
        with pytest.raises(ua.uaerrors.BadTypeMismatch):
            await ack.write_value(ua.DataValue(ua.Variant(5, ua.VariantType.Int32)))
        with pytest.raises(ua.UaError):
            await client.nodes.server.call_method("0:GetMonitoredItems", ua.Variant(1, ua.VariantType.UInt32))
        with pytest.raises(ua.UaError):
            await client.nodes.objects.add_object(ua.NodeId("x", 2), "2:x")
        await ack.write_value(ua.DataValue(ua.Variant(1, ua.VariantType.UInt32)))
        assert await total.read_value() == 2147483580
        for tag, node in NODES.items():
            level = await (await node_of(client, tag)).get_access_level()
            assert (ua.AccessLevel.CurrentWrite in level) == (tag == "rec_ack"), node
        await client.disconnect()
    kinds = [entry["what"] for entry in read_ledger(ledger)]
    assert (kinds.count("violation"), kinds.count("write")) == (4, 1)


async def assert_epoch_and_revised_values(url):
    """Source times and CurrentTime are the epoch, other namespaces come first, queue sizes are revised to what is kept."""
    client = await connected(url)
    assert await client.get_namespace_index(NAMESPACE) > 2
    values = [await (await node_of(client, tag)).read_data_value() for tag in ("state", "total", "rec_seq")]
    assert [(one.Value.Value, one.SourceTimestamp) for one in values] == [
        (2, SHORT.epoch),
        (2147483580, SHORT.epoch),
        (0, SHORT.epoch),
    ]
    now = await client.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)).read_value()
    assert now == SHORT.epoch
    subscription = await client.create_subscription(0.5, Watcher())
    node = await node_of(client, "state")
    asked = [
        ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node.nodeid, AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(ClientHandle=size, QueueSize=size, DiscardOldest=True),
        )
        for size in (0, 1, 20, 5000)
    ]
    params = ua.CreateMonitoredItemsParameters(SubscriptionId=subscription.subscription_id, ItemsToCreate=asked)
    results = await subscription.server.create_monitored_items(params)
    assert [one.RevisedQueueSize for one in results] == [1, 1, 20, 1000]
    await client.disconnect()


def test_a_status_that_opc_ua_does_not_know_is_refused(tmp_path):
    """A slip in a fault's status is told at the start, by name, and is no traceback in the middle of a run."""
    text = (ROOT / "tests" / "e2e" / "scenarios" / "pouches.yaml").read_text(encoding="utf-8")
    file = tmp_path / "slip.yaml"
    file.write_text(text.replace("BadNoCommunication", "BadNonsense"), encoding="utf-8")
    command = [sys.executable, "-m", "simulators.opcua_plc", "--scenario", str(file), "--port", "0", "--faults"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("faults.bad_status: BadNonsense is no StatusCode of OPC 10000-4")
