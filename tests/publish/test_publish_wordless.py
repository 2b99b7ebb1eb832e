"""Brokers that close the connection without a word, over real connections: for one message, or for reasons of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random

import pytest
from publish_fake_broker import FakeBroker, Published, outcomes_of, puback
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.ports import Document
from edge_agent.publish import closings
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.memory import Memory

STATUS = Document(TOPICS.status, b'{"status":"online"}' + b" " * 400)
META = Document(f"{TOPICS.base}/meta", b'"description"')
BIG = b'{"big":"' + b"x" * 2_000 + b'"}'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closings, "_QUIET", 0.03)


@pytest.fixture
def memory() -> Memory:
    """Return what is learned over connections, with the default of reject_after."""
    return Memory(MqttConfig.model_validate({"broker": "mqtt://h", "allow_insecure": True}))


class ClosesFor:
    """A broker's answer: the end of the connection for whatever has ``text`` in it, by FIN or by RST."""

    def __init__(self, text: bytes, *, abort: bool = False) -> None:
        self.text = text
        self.abort = abort

    def __call__(self, broker: FakeBroker, seen: Published) -> Iterable[bytes | None]:
        if self.text not in seen.payload:
            yield puback(seen.mid, version=broker.connects[-1].version)
            return
        if self.abort and broker.writer is not None:
            broker.writer.transport.abort()
        yield None


class Delivery:
    """Records on their way over as many connections as it takes, as the agent sends them."""

    def __init__(self, open_sink: Callable, record: Callable, port: int, memory: Memory, **options: object) -> None:
        self.waiting = {n: record(n, body=BIG if n == 4 else b'{"delta":1}') for n in range(1, 13)}
        self.rejected: list[int] = []
        self.ends: list[DisconnectedError] = []
        self._open = lambda: open_sink(port, memory=memory, window=5, online=(STATUS,), **options)

    async def run(self, most: int) -> None:
        """Connect until nothing waits, at most ``most`` times."""
        while self.waiting and len(self.ends) < most:
            try:
                async with self._open() as sink:
                    await self._all(sink)
            except DisconnectedError as error:
                self.ends.append(error)

    async def _all(self, sink) -> None:
        outcomes = await outcomes_of(sink, list(self.waiting.values()))
        for number, outcome in zip(tuple(self.waiting), outcomes, strict=True):
            if outcome is None or isinstance(outcome, RejectedError):
                del self.waiting[number]
            if isinstance(outcome, RejectedError):
                self.rejected.append(number)
        for outcome in outcomes:
            if isinstance(outcome, DisconnectedError):
                raise outcome


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("abort", [False, True], ids=["fin", "rst"])
async def test_the_message_that_is_closed_for_is_set_aside_alone(open_sink, record, memory, protocol, abort):
    """Eleven ends at most: everything else arrives, in order, and the trials are said in words, tried soon, and taken for no takeover."""
    async with FakeBroker(answer=ClosesFor(b'"big":', abort=abort)) as broker:
        delivery = Delivery(open_sink, record, broker.port, memory, protocol=protocol)
        await delivery.run(11)
        seen = [seen.payload for seen in broker.published if b"delta" in seen.payload]
    assert delivery.rejected == [4]
    assert not delivery.waiting
    assert len(seen) >= 11
    trials = [end for end in delivery.ends if "right after a message" in str(end)]
    assert len(trials) == 6
    assert "(6 of 6)" in str(trials[-1])
    assert {end.retry_after for end in trials} == {1.0}
    assert memory.counters.takeovers == 0
    assert not memory.suspects.careful


async def test_mosquitto_311_closes_for_what_is_too_large(mosquitto, open_sink, record, memory):
    """A real broker with max_packet_size, which MQTT 3.1.1 cannot name: the one record is set aside, all others are delivered."""
    broker = mosquitto("allow_anonymous true\nmax_packet_size 2000")
    delivery = Delivery(open_sink, record, broker.port, memory, protocol="3.1.1")
    await delivery.run(11)
    assert (delivery.rejected, delivery.waiting) == ([4], {})


async def test_mosquitto_311_acknowledges_what_it_drops(mosquitto, open_sink, record, memory):
    """With message_size_limit the same broker acknowledges and drops; by MQTT 5 it says so: which is why the documentation asks for 5."""
    broker = mosquitto("allow_anonymous true\nmessage_size_limit 2000")
    for protocol, rejected in (("3.1.1", []), ("5", [4])):
        delivery = Delivery(open_sink, record, broker.port, memory, protocol=protocol)
        await delivery.run(4)
        assert (delivery.rejected, delivery.waiting) == (rejected, {})


async def test_a_document_that_is_closed_for_is_left_out(open_sink, record, memory):
    """The description ends every connection: after its trials it is left out, and records flow."""
    ends = 0
    async with FakeBroker(answer=ClosesFor(b"description")) as broker:
        while ends < 12:
            try:
                async with open_sink(broker.port, memory=memory, online=(STATUS,)) as sink:
                    with pytest.raises(RejectedError, match="hangs up"):
                        await sink.announce(META)
                    await sink.publish(record(1))
                    break
            except DisconnectedError:
                ends += 1
    assert ends == 9


async def test_without_a_proof_that_the_broker_takes_messages_nobody_is_accused(open_sink, record, memory):
    """A broker that takes no document first, or keeps none: the connection proves nothing, however often it ends."""
    async with FakeBroker(answer=ClosesFor(b'"big":')) as broker:
        for _ in range(30):
            with pytest.raises(DisconnectedError):
                async with open_sink(broker.port, memory=memory) as sink:
                    await sink.publish(record(4, body=BIG))
    assert memory.suspects.careful


async def test_a_broker_that_takes_nothing_on_a_topic_costs_one_record(open_sink, record, memory):
    """Some brokers close for a topic that may not be written: the first record is set aside, no second one, and the queue waits."""
    rejected = 0
    async with FakeBroker(answer=ClosesFor(b'"delta":1')) as broker:
        for number in (1, 2):
            for _ in range(14):
                try:
                    async with open_sink(broker.port, memory=memory, online=(STATUS,)) as sink:
                        await sink.publish(record(number))
                except DisconnectedError:
                    continue
                except RejectedError:
                    rejected += 1
                    break
    assert rejected == 1


class Crashes:
    """A broker's answer: it closes at random, whatever was sent, before or after its acknowledgement."""

    def __init__(self, random: Random, often: float) -> None:
        self.random, self.often = random, often

    def __call__(self, broker: FakeBroker, seen: Published) -> Iterable[bytes | None]:
        if self.random.random() < self.often:
            yield None
            return
        yield puback(seen.mid, version=broker.connects[-1].version)
        if self.random.random() < self.often:
            yield None


@pytest.mark.parametrize("often", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("seed", range(3))
async def test_a_broker_that_crashes_again_and_again_accuses_nobody(open_sink, record, memory, often, seed, monkeypatch):
    """However often it closes: no record is set aside in eighty connections."""
    monkeypatch.setattr(closings, "_QUIET", 0.001)
    async with FakeBroker(answer=Crashes(Random(seed), often)) as broker:
        delivery = Delivery(open_sink, record, broker.port, memory, protocol="3.1.1")
        await delivery.run(80)
    assert delivery.rejected == []
    assert often > 0.4 or not delivery.waiting


async def test_a_takeover_in_step_accuses_nobody(mosquitto, open_sink, record, memory):
    """Another agent with our client id comes back the moment it is thrown out, and so ends ours at the first record each time."""
    broker = mosquitto()
    other = Memory(MqttConfig.model_validate({"broker": "mqtt://h", "allow_insecure": True}))

    async def rival() -> None:
        while True:
            with contextlib.suppress(DisconnectedError):
                async with open_sink(broker.port, memory=other, protocol="3.1.1") as sink:
                    await sink.request()

    running = asyncio.create_task(rival())
    delivery = Delivery(open_sink, record, broker.port, memory, protocol="3.1.1")
    await delivery.run(40)
    running.cancel()
    await asyncio.wait([running])
    assert delivery.ends
    assert other.counters.connections > 1
    assert delivery.rejected == []


@asynccontextmanager
async def cutting(port: int, random: Random, most: int) -> AsyncIterator[int]:
    """Stand before a broker and reset each connection after a random number of bytes from the client; give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(carry(far_reader, writer, 1 << 30))
        await carry(reader, far, random.randint(300, most))
        back.cancel()
        await asyncio.wait([back])
        writer.transport.abort()
        far.transport.abort()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int) -> None:
        with contextlib.suppress(OSError):
            while budget > 0 and (data := await reader.read(min(budget, 4_096))):
                budget -= len(data)
                writer.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("most", [1_500, 3_500, 8_000])
async def test_a_line_that_is_cut_after_some_bytes_accuses_nobody(open_sink, record, memory, most, monkeypatch):
    """Reset after a few hundred bytes or a few thousand, at random, with a record of two thousand at the head: it waits, and is not set aside."""
    monkeypatch.setattr(closings, "_QUIET", 0.001)
    async with FakeBroker() as broker, cutting(broker.port, Random(most), most) as port:
        delivery = Delivery(open_sink, record, port, memory, protocol="3.1.1")
        await delivery.run(100)
        assert delivery.rejected == []
        assert len(delivery.ends) > 1
    async with FakeBroker() as broker:
        delivery._open = lambda: open_sink(broker.port, memory=memory, online=(STATUS,))
        await delivery.run(len(delivery.ends) + 1)
    assert (delivery.rejected, delivery.waiting) == ([], {})
