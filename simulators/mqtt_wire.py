"""MQTT 5.0 and 3.1.1 packets as bytes, by the text of the OASIS standards and by no library. Clause numbers are those of MQTT 5.0.

Properties keep their order and their repetitions: a list of (identifier, value), so that what a client wrote can be passed through.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field, replace
from typing import Any

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 1, 2, 3, 4, 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
V311, V5 = 4, 5

SESSION_EXPIRY, RECEIVE_MAXIMUM, MAXIMUM_PACKET, WILL_DELAY, MESSAGE_EXPIRY, TOPIC_ALIAS = 0x11, 0x21, 0x27, 0x18, 0x02, 0x23
ASSIGNED_ID, MAXIMUM_QOS, SUBSCRIPTION_ID, USER, SHARED_AVAILABLE = 0x12, 0x24, 0x0B, 0x26, 0x2A

KINDS = {
    0x01: "B", 0x02: "I", 0x03: "text", 0x08: "text", 0x09: "binary", 0x0B: "varint", 0x11: "I", 0x12: "text", 0x13: "H",
    0x15: "text", 0x16: "binary", 0x17: "B", 0x18: "I", 0x19: "B", 0x1A: "text", 0x1C: "text", 0x1F: "text", 0x21: "H",
    0x22: "H", 0x23: "H", 0x24: "B", 0x25: "B", 0x26: "pair", 0x27: "I", 0x28: "B", 0x29: "B", 0x2A: "B",
}  # fmt: skip
"""2.2.2.2: the type of each property; B, H, I are struct's letters."""

Properties = list[tuple[int, Any]]


class MalformedError(ValueError):
    """A packet breaks the standard; ``code`` is the reason code of the DISCONNECT that says so (0x81 malformed, 0x82 protocol error)."""

    def __init__(self, text: str, code: int = 0x81) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Message:
    """An application message, on its way in or out."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=list)

    def value(self, identifier: int) -> Any:
        """Return a property, None when it is absent."""
        return value(self.properties, identifier)

    def with_(self, **changes: Any) -> Message:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Connect:
    """What a CONNECT says (3.1)."""

    version: int
    clean: bool
    keepalive: int
    client: str
    properties: Properties
    will: Message | None = None
    username: str | None = None
    password: bytes | None = None


@dataclass(frozen=True)
class Subscription:
    """One filter of a SUBSCRIBE with its options (3.8.3.1)."""

    filter: str
    qos: int
    no_local: bool = False
    as_published: bool = False
    retain_handling: int = 0
    identifier: int | None = None


def value(properties: Properties, identifier: int) -> Any:
    """Return the first value of a property, None when it is absent."""
    return next((found for name, found in properties if name == identifier), None)


class Reader:
    """Takes the fields of a packet body one after another; raises MalformedError when it ends early."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, n: int) -> bytes:
        """Take n bytes."""
        if self._at + n > len(self._body):
            raise MalformedError("the packet is shorter than it says")
        self._at += n
        return self._body[self._at - n : self._at]

    def number(self, letter: str) -> int:
        """Take an integer: B, H or I."""
        return int(struct.unpack(f"!{letter}", self.take(struct.calcsize(letter)))[0])

    def binary(self) -> bytes:
        """Take Binary Data (1.5.6)."""
        return self.take(self.number("H"))

    def text(self) -> str:
        """Take a UTF-8 string without NUL (1.5.4)."""
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise MalformedError("not UTF-8") from error
        if "\0" in text:
            raise MalformedError("NUL in a string")
        return text

    def varint(self) -> int:
        """Take a Variable Byte Integer (1.5.5)."""
        total = 0
        for shift in (0, 7, 14, 21):
            byte = self.number("B")
            total |= (byte & 127) << shift
            if byte < 128:
                return total
        raise MalformedError("a length of five bytes")

    def properties(self) -> Properties:
        """Take a property field with its length (2.2.2)."""
        inner = Reader(self.take(self.varint()))
        found: Properties = []
        while inner.left():
            identifier = inner.varint()
            if (kind := KINDS.get(identifier)) is None:
                raise MalformedError(f"unknown property 0x{identifier:02X}")
            found.append((identifier, inner.field(kind)))
        return found

    def field(self, kind: str) -> Any:
        """Take one property value."""
        if kind == "pair":
            return [self.text(), self.text()]
        return getattr(self, kind)() if len(kind) > 1 else self.number(kind)

    def left(self) -> int:
        """Return how many bytes are left."""
        return len(self._body) - self._at

    def rest(self) -> bytes:
        """Take everything that is left."""
        return self.take(self.left())


def read_connect(body: bytes) -> Connect:
    """Decode a CONNECT; MalformedError 0x84 for a version that is neither 5 nor 3.1.1."""
    take = Reader(body)
    if take.text() != "MQTT":
        raise MalformedError("not MQTT")
    version, flags, keepalive = take.number("B"), take.number("B"), take.number("H")
    if version not in {V311, V5}:
        raise MalformedError(f"protocol version {version}", 0x84)
    if flags & 1:
        raise MalformedError("the reserved flag of CONNECT is set")
    properties = take.properties() if version == V5 else []
    client = take.text()
    will = None
    if flags & 4:
        about = take.properties() if version == V5 else []
        will = Message(take.text(), take.binary(), flags >> 3 & 3, bool(flags & 0x20), about)
    username = take.text() if flags & 0x80 else None
    password = take.binary() if flags & 0x40 else None
    return Connect(version, bool(flags & 2), keepalive, client, properties, will, username, password)


def read_publish(first: int, body: bytes, version: int) -> tuple[Message, int, bool]:
    """Decode a PUBLISH into (message, packet id or 0, dup)."""
    take = Reader(body)
    qos = first >> 1 & 3
    topic = take.text()
    if qos == 3 or "+" in topic or "#" in topic:
        raise MalformedError("QoS 3" if qos == 3 else "a wildcard in a topic name", 0x81 if qos == 3 else 0x90)
    mid = take.number("H") if qos else 0
    properties = take.properties() if version == V5 else []
    if not topic:
        raise MalformedError("no topic, and no alias was allowed", 0x82)
    if qos and not mid:
        raise MalformedError("packet identifier 0", 0x82)
    return Message(topic, take.rest(), qos, bool(first & 1), properties), mid, bool(first & 8)


def read_ack(body: bytes) -> tuple[int, int]:
    """Decode a PUBACK into (packet id, reason code): absent means 0 (3.4.2.1)."""
    take = Reader(body)
    return take.number("H"), take.number("B") if take.left() else 0


def read_subscribe(body: bytes, version: int) -> tuple[int, list[Subscription]]:
    """Decode a SUBSCRIBE into (packet id, subscriptions)."""
    take = Reader(body)
    mid = take.number("H")
    identifier = value(take.properties(), SUBSCRIPTION_ID) if version == V5 else None
    wanted = []
    while take.left():
        name, options = take.text(), take.number("B")
        wanted.append(Subscription(name, options & 3, bool(options & 4), bool(options & 8), options >> 4 & 3, identifier))
    if not wanted:
        raise MalformedError("a SUBSCRIBE for nothing", 0x82)
    return mid, wanted


def read_unsubscribe(body: bytes, version: int) -> tuple[int, list[str]]:
    """Decode an UNSUBSCRIBE into (packet id, filters)."""
    take = Reader(body)
    mid = take.number("H")
    if version == V5:
        take.properties()
    names = []
    while take.left():
        names.append(take.text())
    return mid, names


def read_disconnect(body: bytes) -> tuple[int, Properties]:
    """Decode a DISCONNECT into (reason code, properties)."""
    take = Reader(body)
    code = take.number("B") if take.left() else 0
    return code, take.properties() if take.left() else []


async def read_length(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Read a Remaining Length; returns (it, bytes it took)."""
    total = 0
    for count, shift in enumerate((0, 7, 14, 21), 1):
        byte = (await reader.readexactly(1))[0]
        total |= (byte & 127) << shift
        if byte < 128:
            return total, count
    raise MalformedError("a length of five bytes")
