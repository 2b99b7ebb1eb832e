"""A raw MQTT client for tests of the broker: paho would hide what is looked at here."""

import asyncio
import contextlib

from simulators import mqtt_wire as wire
from simulators import mqtt_write
from simulators.broker import Broker
from simulators.broker_faults import Faults
from simulators.broker_ledger import BrokerLedger
from simulators.mqtt_wire import V5, Message


class Client:
    """One connection; packets are sent and expected one by one."""

    def __init__(self, reader, writer, version):
        self.reader, self.writer, self.version = reader, writer, version

    def connect(self, client, *, clean=True, keepalive=0, properties=(), will=None):
        """Send CONNECT; ``will`` is a Message."""
        flags = clean << 1 | (4 | will.qos << 3 | will.retain << 5 if will else 0)
        body = b"\0\4MQTT" + bytes([self.version, flags]) + keepalive.to_bytes(2, "big")
        v5 = self.version == V5
        body += (mqtt_write.properties(list(properties)) if v5 else b"") + text(client)
        if will:
            body += (mqtt_write.properties(will.properties) if v5 else b"") + text(will.topic) + text(will.payload.decode())
        self.writer.write(mqtt_write.packet(wire.CONNECT, body))

    async def connack(self):
        """(session present, code, properties)."""
        kind, body = await self.next()
        assert kind == wire.CONNACK
        take = wire.Reader(body)
        return bool(take.number("B")), take.number("B"), dict(take.properties() if self.version == V5 else [])

    def publish(self, topic, payload, mid=1, *, retain=False, properties=(), dup=False, qos=1):
        """Send a PUBLISH."""
        self.writer.write(mqtt_write.publish(self.version, Message(topic, payload, qos, retain, list(properties)), mid, dup=dup))

    async def puback(self):
        """(mid, code)."""
        kind, body = await self.next()
        assert kind == wire.PUBACK, (kind, body)
        return wire.read_ack(body)

    async def subscribe(self, *filters, qos=1, options=0):
        """Subscribe and return the codes."""
        body = b"\0\7" + (b"\0" if self.version == V5 else b"")
        body += b"".join(text(name) + bytes([qos | options]) for name in filters)
        self.writer.write(mqtt_write.packet(wire.SUBSCRIBE, body, 2))
        kind, body = await self.next()
        assert kind == wire.SUBACK
        return list(body[3 if self.version == V5 else 2 :])

    async def message(self, *, acknowledge=True):
        """The next message sent to us: (Message, mid, dup)."""
        first, body = await self.raw()
        assert first >> 4 == wire.PUBLISH, (first, body)
        message, mid, dup = wire.read_publish(first, body, self.version)
        if message.qos and acknowledge:
            self.writer.write(mqtt_write.puback(self.version, mid))
        return message, mid, dup

    async def next(self):
        """(packet type, body)."""
        first, body = await self.raw()
        return first >> 4, body

    async def raw(self):
        """(first byte, body)."""
        async with asyncio.timeout(5):
            first = (await self.reader.readexactly(1))[0]
            length, _ = await wire.read_length(self.reader)
            return first, await self.reader.readexactly(length)

    async def silent(self, seconds=0.1):
        """Whether nothing comes."""
        try:
            await asyncio.wait_for(self.reader.readexactly(1), seconds)
        except TimeoutError:
            return True
        return False

    async def gone(self):
        """Whether the broker ends the connection without another byte."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        return True

    def disconnect(self, code=0):
        """Send DISCONNECT."""
        self.writer.write(mqtt_write.disconnect(code) if self.version == V5 else mqtt_write.packet(wire.DISCONNECT, b""))


def text(content):
    """A UTF-8 string with its length."""
    raw = content.encode()
    return len(raw).to_bytes(2, "big") + raw


class Bench:
    """A broker in this process, its ledger, and clients."""

    def __init__(self, broker, path):
        self.broker, self.path, self.clients = broker, path, []

    async def dial(self, version=V5):
        """Open a connection that has said nothing."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.broker.port), version)
        self.clients.append(client)
        return client

    async def client(self, name, version=V5, **options):
        """Open a connection and insist on a CONNACK 0."""
        client = await self.dial(version)
        client.connect(name, **options)
        assert (await client.connack())[1] == 0
        return client


@contextlib.asynccontextmanager
async def broker_bench(tmp_path, *faults):
    """Run a broker."""
    path = tmp_path / "ledger.jsonl"
    ledger = BrokerLedger(path)
    bench = Bench(Broker(ledger, Faults(*faults)), path)
    await bench.broker.listen("127.0.0.1", 0)
    try:
        yield bench
    finally:
        for client in bench.clients:
            client.writer.close()
        await bench.broker.close()
        await ledger.close()
