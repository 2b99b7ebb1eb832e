"""What the ledger broker does wrong on request, and that it does it only as asked."""

import asyncio

import pytest
from broker_client import broker_bench
from simulators_process import port_of, simulator

from simulators import mqtt_wire as wire
from simulators.broker_faults import Faults, parse
from simulators.control import ask
from simulators.ledger import read_ledger
from simulators.mqtt_wire import V311


async def acknowledgements(bench, count, *faults, topic="a"):
    """Publish ``count`` messages and return the acknowledgements that come within 150 ms."""
    client = await bench.client("gw1")
    for text in faults:
        bench.broker.faults.begin(text)
    for mid in range(1, count + 1):
        client.publish(topic, b"%d" % mid, mid)
    seen = []
    try:
        async with asyncio.timeout(0.15):
            while True:
                seen.append(await client.puback())
    except TimeoutError:
        return seen


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("never_ack", []),
        ("drop_ack,every=2", [(1, 0), (3, 0)]),
        ("ack_twice,times=1", [(1, 0), (1, 0), (2, 0), (3, 0)]),
        ("ack_wrong_id,times=1", [(1 ^ 0x5555, 0), (2, 0), (3, 0)]),
        ("ack_reordered:3", [(3, 0), (2, 0), (1, 0)]),
        ("ack_reordered:9", [(3, 0), (2, 0), (1, 0)]),
        ("reason_code:0x97,every=2", [(1, 0), (2, 0x97), (3, 0)]),
        ("reason_code:0x87,topic=b/#", [(1, 0), (2, 0), (3, 0)]),
        ("reason_code:0x99,holding=2", [(1, 0), (2, 0x99), (3, 0)]),
        ("slow:20", [(1, 0), (2, 0), (3, 0)]),
        ("slow:500", []),
    ],
)
async def test_acknowledgements_go_wrong_as_asked(tmp_path, fault, expected):
    """The messages are in the ledger whatever became of their acknowledgement; a refused one says so there."""
    async with broker_bench(tmp_path) as bench:
        assert await acknowledgements(bench, 3, fault) == expected
        codes = {entry["mid"]: entry["code"] for entry in read_ledger(bench.path) if entry["what"] == "publish"}
        refused = {mid: code for mid, code in expected if code}
        assert codes == {1: 0, 2: 0, 3: 0} | refused


async def test_a_refused_message_reaches_nobody(tmp_path):
    """A reason code of 0x80 and above means that the broker has not taken the message."""
    async with broker_bench(tmp_path) as bench:
        reader = await bench.client("mom")
        await reader.subscribe("#")
        await acknowledgements(bench, 2, "reason_code:0x80,times=1")
        assert (await reader.message())[0].payload == b"2"


async def test_mqtt_3_has_no_codes_and_gets_its_connection_closed(tmp_path):
    """3.1.1, 3.3.5: a server that does not authorise a PUBLISH acknowledges it or closes the connection."""
    async with broker_bench(tmp_path, "reason_code:0x87") as bench:
        client = await bench.client("gw1", V311)
        client.publish("a", b"x")
        assert await client.gone()


async def test_connections_go_wrong_as_asked(tmp_path):
    """No CONNACK, a refusal with its code in both versions, a session that is taken over, garbage, and then a good one."""
    async with broker_bench(tmp_path, "no_connack,times=1") as bench:
        client = await bench.dial()
        client.connect("gw1")
        assert await client.silent()
        bench.broker.faults.begin("connack:0x87,times=2")
        for version, expected in ((wire.V5, 0x87), (V311, 5)):
            client = await bench.dial(version)
            client.connect("gw1")
            assert (await client.connack())[1] == expected
            assert await client.gone()
        bench.broker.faults.begin("take_over,times=1")
        client = await bench.client("gw1")
        assert await client.next() == (wire.DISCONNECT, b"\x8e\0")
        bench.broker.faults.begin("disconnect:0x95,holding=big")
        client = await bench.client("gw1")
        client.publish("a", b"small")
        assert await client.puback() == (1, 0)
        client.publish("a", b"big")
        assert await client.next() == (wire.DISCONNECT, b"\x95\0")
        bench.broker.faults.begin("garbage:7,times=1")
        client = await bench.client("gw1")
        client.publish("a", b"x")
        noise = await client.reader.readexactly(16)
        assert len(set(noise)) > 4
        await bench.client("gw1")
    codes = [entry["code"] for entry in read_ledger(bench.path) if entry["what"] == "connect"]
    assert codes == [None, 0x87, 0x87, 0, 0, 0, 0]


async def test_its_limits_are_announced_and_enforced(tmp_path):
    """Receive Maximum 2 and Maximum Packet Size 60: who exceeds them is told 0x93 and 0x95."""
    async with broker_bench(tmp_path, "receive_maximum:2", "maximum_packet:60", "never_ack") as bench:
        client = await bench.dial()
        client.connect("gw1")
        granted = (await client.connack())[2]
        assert (granted[wire.RECEIVE_MAXIMUM], granted[wire.MAXIMUM_PACKET]) == (2, 60)
        for mid in (1, 2, 3):
            client.publish("a", b"x", mid)
        assert await client.next() == (wire.DISCONNECT, b"\x93\0")
        client = await bench.client("gw1")
        client.publish("a", b"x" * 60)
        assert await client.next() == (wire.DISCONNECT, b"\x95\0")


async def test_a_connection_is_reset_in_the_middle_of_a_packet(tmp_path):
    """After 100 bytes the connection is gone, and what was not whole is not in the ledger."""
    async with broker_bench(tmp_path, "disconnect_after:100") as bench:
        client = await bench.client("gw1")
        client.publish("a", b"whole", 1)
        assert await client.puback() == (1, 0)
        client.publish("a", b"x" * 100, 2)
        assert await client.gone()
    assert [entry["mid"] for entry in read_ledger(bench.path) if entry["what"] == "publish"] == [1]


@pytest.mark.parametrize(
    "text", ["nonsense", "slow", "slow:soon", "never_ack:3", "connack:0", "reason_code:0x10", "never_ack,each=3"]
)
def test_a_fault_that_makes_no_sense_is_refused(text):
    """Unknown names, missing or wrong arguments, codes that are no refusals."""
    with pytest.raises(ValueError, match=r"no fault|argument|is no whole number|a code|no option"):
        parse(text)


def test_a_fault_is_written_as_it_is_given():
    """What the control socket lists can be given again."""
    for text in ("never_ack", "slow:30", "reason_code:151,every=3,times=2,topic=a/#,holding=x"):
        assert str(parse(text)) == text


def test_times_and_every_count_occasions():
    """Each second time, twice, and then it is over."""
    faults = Faults("never_ack,every=2,times=2")
    assert [bool(faults.strikes("never_ack")) for _ in range(6)] == [False, True, False, True, False, False]
    assert not faults.is_on("never_ack")


async def test_the_broker_as_a_process_obeys_its_control_socket(tmp_path):
    """Faults begin, are listed and end; refusing connections is one of them; a mistake is answered as an error."""
    socket = tmp_path / "control"
    arguments = ("--port", 0, "--ledger", tmp_path / "ledger.jsonl", "--control", socket, "--fault", "slow:1")
    async with simulator("broker", *arguments) as (url, _):
        assert await ask(socket, "faults") == "slow:1"
        await ask(socket, "fault refuse")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port_of(url))
        await ask(socket, "clear")
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        assert '"open": 1' in await ask(socket, "stats")
        await ask(socket, "drop")
        writer.close()
        for wrong in ("fault nothing", "dance"):
            with pytest.raises(ValueError, match=r"no fault|no request"):
                await ask(socket, wrong)
