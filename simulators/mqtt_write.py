"""The packets that the broker sends, as bytes (MQTT 5.0 and 3.1.1). The other half of `mqtt_wire`."""

from __future__ import annotations

import struct
from typing import Any

from simulators.mqtt_wire import CONNACK, DISCONNECT, KINDS, PUBACK, PUBLISH, UNSUBACK, V5, Message, Properties


def varint(number: int) -> bytes:
    """Encode a Variable Byte Integer."""
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | 128 if number else low)
        if not number:
            return bytes(out)


def _binary(raw: bytes) -> bytes:
    return struct.pack("!H", len(raw)) + raw


def _field(kind: str, content: Any) -> bytes:
    match kind:
        case "pair":
            return _binary(content[0].encode()) + _binary(content[1].encode())
        case "text":
            return _binary(content.encode())
        case "binary":
            return _binary(content)
        case "varint":
            return varint(content)
    return struct.pack(f"!{kind}", content)


def properties(content: Properties) -> bytes:
    """Encode a property field with its length."""
    raw = b"".join(varint(identifier) + _field(KINDS[identifier], each) for identifier, each in content)
    return varint(len(raw)) + raw


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """Put the fixed header before a body (2.1)."""
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connack(version: int, code: int, content: Properties, *, present: bool = False) -> bytes:
    """Encode a CONNACK; MQTT 3.1.1 has five return codes of its own (3.1.1, table 3.1)."""
    if version != V5:
        old = {0: 0, 0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}
        return packet(CONNACK, bytes([present, old.get(code, 5)]))
    return packet(CONNACK, bytes([present, code]) + properties(content))


def publish(version: int, message: Message, mid: int, *, dup: bool = False) -> bytes:
    """Encode a PUBLISH."""
    head = _binary(message.topic.encode()) + (struct.pack("!H", mid) if message.qos else b"")
    about = properties(message.properties) if version == V5 else b""
    return packet(PUBLISH, head + about + message.payload, dup << 3 | message.qos << 1 | message.retain)


def puback(version: int, mid: int, code: int = 0) -> bytes:
    """Encode a PUBACK; MQTT 3.1.1 has no code."""
    return packet(PUBACK, struct.pack("!H", mid) + (bytes([code, 0]) if version == V5 and code else b""))


def codes(kind: int, version: int, mid: int, given: list[int]) -> bytes:
    """Encode a SUBACK or UNSUBACK; an UNSUBACK of MQTT 3.1.1 has no codes."""
    about = b"\0" if version == V5 else b""
    return packet(kind, struct.pack("!H", mid) + about + (b"" if kind == UNSUBACK and version != V5 else bytes(given)))


def disconnect(code: int) -> bytes:
    """Encode a DISCONNECT of the server (MQTT 5 only)."""
    return packet(DISCONNECT, bytes([code, 0]))
