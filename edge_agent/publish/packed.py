"""MQTT 5 PUBLISH properties and packet sizes as bytes, pure. OASIS MQTT 5.0, 2.2.2 and 3.3.2.3.

Built by hand because it happens for every message: the library's general way costs several times the encoding of the event.
"""

from __future__ import annotations

from collections.abc import Iterable


def varint(value: int) -> bytes:
    """Return a Variable Byte Integer (1.5.5); raises ValueError above 268,435,455."""
    if not 0 <= value <= 268_435_455:
        raise ValueError(f"{value} does not fit a Variable Byte Integer")
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | 128 if value else low)
        if not value:
            return bytes(out)


def text(value: str) -> bytes:
    """Return a UTF-8 Encoded String (1.5.4): two length bytes before it; raises OverflowError above 65,535 bytes."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def binary(value: bytes) -> bytes:
    """Return Binary Data (1.5.6); raises OverflowError above 65,535 bytes."""
    return len(value).to_bytes(2, "big") + value


def head(content_type: str) -> bytes:
    """Return Payload Format Indicator 1 (UTF-8 text) and the Content Type: what all messages of a kind share."""
    return b"\x01\x01\x03" + text(content_type)


def user(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return User Properties in the order given (3.3.2.3.7)."""
    return b"".join([b"\x26" + text(name) + text(value) for name, value in pairs])


def publish(*parts: bytes, expiry: int | None = None, correlation: bytes | None = None) -> bytes:
    """Return the whole property field with its length: ``parts``, Message Expiry Interval in s, Correlation Data."""
    body = b"".join(parts)
    if expiry is not None:
        body += b"\x02" + expiry.to_bytes(4, "big")
    if correlation is not None:
        body += b"\x09" + binary(correlation)
    return varint(len(body)) + body


def packet_size(topic: str, payload: bytes, properties: bytes) -> int:
    """Return the bytes of a QoS 1 PUBLISH packet as Maximum Packet Size counts them (3.1.2.11.4): everything."""
    remaining = 2 + len(topic.encode()) + 2 + len(properties) + len(payload)
    return 1 + len(varint(remaining)) + remaining
