"""A small MQTT broker of our own that misbehaves on request, and remembers every byte it was sent.

Not a broker library: it decodes packets by the text of the standard (and properties by paho's decoder, the other half of what is
tested), so that it can acknowledge never, twice, wrongly or late.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators.listening import stop_listening


@dataclass
class Published:
    """One PUBLISH as it arrived; ``size`` counts the whole packet."""

    topic: str
    payload: bytes
    mid: int
    retain: bool
    dup: bool
    qos: int
    size: int
    properties: Any = None

    @property
    def user(self) -> dict[str, str]:
        return dict(getattr(self.properties, "UserProperty", []))


@dataclass
class Connect:
    version: int
    flags: int
    keepalive: int
    client_id: str
    properties: Any = None
    will_properties: Any = None
    will_topic: str = ""
    will_payload: bytes = b""
    username: str | None = None
    password: bytes | None = None


def puback(mid: int, code: int = 0, version: int = 5) -> bytes:
    """Return a PUBACK; MQTT 3.1.1 has no code."""
    return struct.pack("!BBHBB", 0x40, 4, mid, code, 0) if version == 5 else struct.pack("!BBH", 0x40, 2, mid)


def connack(code: int = 0, properties: bytes = b"", version: int = 5) -> bytes:
    """Return a CONNACK with the property bytes given."""
    if version != 5:
        return bytes([0x20, 2, 0, code])
    return bytes([0x20, 3 + len(properties), 0, code, len(properties)]) + properties


def message(topic: str, payload: bytes, *, properties: bytes = b"", retain: bool = False) -> bytes:
    """Return a QoS 0 PUBLISH for the client (MQTT 5); at most 127 bytes."""
    body = struct.pack("!H", len(topic)) + topic.encode() + bytes([len(properties)]) + properties + payload
    assert len(body) < 128
    return bytes([0x30 | retain, len(body)]) + body


def acknowledge(_broker: FakeBroker, published: Published) -> Iterable[bytes]:
    """Answer as a good broker does."""
    yield puback(published.mid, version=_broker.connects[-1].version)


@dataclass
class FakeBroker:
    """``answer`` gives the packets sent for each PUBLISH; ``None`` in it closes the connection."""

    answer: Callable[[FakeBroker, Published], Iterable[bytes | None]] = acknowledge
    connack: bytes | None = None
    silent: bool = False
    greeting: bytes = b""
    versions: tuple[int, ...] = (4, 5)
    wrong_version: bytes | None = b""
    suback: int = 1
    on_subscribe: bytes = b""
    answers_pings: bool = True
    tls: ssl.SSLContext | None = None
    connects: list[Connect] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    disconnects: list[bytes] = field(default_factory=list)
    subscriptions: list[str] = field(default_factory=list)
    aborted: int = 0
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None
    port: int = 0

    async def __aenter__(self) -> Self:
        self.reading.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_listening(self._server)
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()
        await until(lambda: not self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._writers.add(writer)
        ended = False
        try:
            if self.greeting:
                writer.write(self.greeting)
            while not self.silent and not ended:
                await self.reading.wait()
                ended = await self._packet(reader, writer)
            while await reader.read(65_536):
                pass
        except (OSError, asyncio.IncompleteReadError):
            self.aborted += not ended
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _packet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handle one packet; True when the connection is over."""
        first = (await reader.readexactly(1))[0]
        length = shift = 0
        head = 1
        while True:
            byte = (await reader.readexactly(1))[0]
            head += 1
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        body = await reader.readexactly(length)
        kind = first >> 4
        if kind == 1:
            return self._connect(body, writer)
        if kind == 3:
            return self._publish(first, body, head + length, writer)
        if kind == 8:
            self._subscribe(body, writer)
        elif kind == 12 and self.answers_pings:
            writer.write(b"\xd0\x00")
        elif kind == 14:
            self.disconnects.append(body)
            return True
        return False

    def _connect(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        take = _Reader(body)
        assert take.text() == "MQTT"
        version, flags = take.byte(), take.byte()
        seen = Connect(version, flags, take.short(), "")
        if version == 5:
            seen.properties = take.properties(PacketTypes.CONNECT)
        seen.client_id = take.text()
        if flags & 4:
            if version == 5:
                seen.will_properties = take.properties(PacketTypes.WILLMESSAGE)
            seen.will_topic, seen.will_payload = take.text(), take.binary()
        seen.username = take.text() if flags & 0x80 else None
        seen.password = take.binary() if flags & 0x40 else None
        self.connects.append(seen)
        if version not in self.versions:
            writer.write(self.wrong_version or b"")
            writer.close()
            return True
        writer.write(connack(version=version) if self.connack is None else self.connack)
        return False

    def _publish(self, first: int, body: bytes, size: int, writer: asyncio.StreamWriter) -> bool:
        take = _Reader(body)
        topic, mid = take.text(), take.short()
        properties = take.properties(PacketTypes.PUBLISH) if self.connects[-1].version == 5 else None
        seen = Published(topic, take.rest(), mid, bool(first & 1), bool(first & 8), (first >> 1) & 3, size, properties)
        self.published.append(seen)
        for packet in self.answer(self, seen):
            if packet is None:
                writer.close()
                return True
            writer.write(packet)
        return False

    def _subscribe(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        take = _Reader(body)
        mid = take.short()
        version = self.connects[-1].version
        if version == 5:
            take.properties(PacketTypes.SUBSCRIBE)
        topics = []
        while take.left():
            topics.append(take.text())
            take.byte()
        self.subscriptions += topics
        codes = bytes([self.suback] * len(topics))
        head = struct.pack("!H", mid) + (b"\0" if version == 5 else b"")
        writer.write(bytes([0x90, len(head) + len(codes)]) + head + codes + self.on_subscribe)


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def _take(self, n: int) -> bytes:
        assert self._at + n <= len(self._body), "packet shorter than it says"
        self._at += n
        return self._body[self._at - n : self._at]

    def byte(self) -> int:
        return self._take(1)[0]

    def short(self) -> int:
        return int(struct.unpack("!H", self._take(2))[0])

    def binary(self) -> bytes:
        return self._take(self.short())

    def text(self) -> str:
        return self.binary().decode()

    def properties(self, packet: int) -> Properties:
        properties = Properties(packet)
        _, used = properties.unpack(self._body[self._at :])
        self._take(used)
        return properties

    def rest(self) -> bytes:
        return self._take(self.left())

    def left(self) -> int:
        return len(self._body) - self._at


class Counting:
    """Acknowledges 5 ms later and counts how many messages are unanswered at once."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.most = 0

    def __call__(self, broker: FakeBroker, seen: Published) -> Iterable[bytes]:
        self.open.append(seen.mid)
        self.most = max(self.most, len(self.open))
        asyncio.get_running_loop().call_later(0.005, self._answer, broker, seen.mid)
        return ()

    def _answer(self, broker: FakeBroker, mid: int) -> None:
        self.open.remove(mid)
        broker.writer.write(puback(mid))


def limits(receive_maximum: int | None = None, packet: int | None = None) -> bytes:
    """Return a CONNACK with Receive Maximum and Maximum Packet Size."""
    properties = b""
    if receive_maximum is not None:
        properties += b"\x21" + struct.pack("!H", receive_maximum)
    if packet is not None:
        properties += b"\x27" + struct.pack("!I", packet)
    return connack(properties=properties)


async def outcomes_of(sink: Any, records: Iterable[Any]) -> list[Any]:
    """Hand the records over one after another and return what became of each: None or its exception."""
    return await asyncio.gather(*(sink.publish(record) for record in records), return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    """Return as soon as the condition holds; fails after 5 s."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition belongs to other people's objects
            await asyncio.sleep(0.002)
