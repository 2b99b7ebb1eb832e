"""PUBLISH and PUBACK without the library's general way: the same bytes, and the same answers however they are cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edge_agent.publish import packed
from edge_agent.publish.express import Express

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


class _Raw:
    """Properties as bytes, as the library takes them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def pack(self) -> bytes:
        return self._raw


class Pair:
    """A client on one end of a socket pair."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        client._sock = self.here
        client.on_socket_register_write = lambda *_: None  # as the event loop's pump does

    def close(self) -> None:
        self.here.close()
        self.there.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """An `Express` client of MQTT 5 on a socket pair."""
    pair = Pair(Express(CallbackAPIVersion.VERSION2, "a", protocol=V5))
    yield pair
    pair.client._sock = None
    pair.close()


def _written(client: Client) -> bytes:
    return b"".join(bytes(one["packet"]) for one in client._out_packet)


@settings(max_examples=60, deadline=None)
@given(
    topic=st.text(st.characters(exclude_characters="+#\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    payload=st.binary(max_size=300),
    version=st.sampled_from([V5, V311]),
    retain=st.booleans(),
    named=st.booleans(),
)
def test_a_posted_message_is_the_library_s_packet(
    topic: str, payload: bytes, version: MQTTProtocolVersion, retain: bool, named: bool
) -> None:
    """What leaves is byte for byte what the library would have sent."""
    properties = packed.publish(packed.head("text/plain")) if version is V5 and named else b""
    packets = []
    for make in (Express, Client):
        pair = Pair(make(CallbackAPIVersion.VERSION2, "a", protocol=version))
        if isinstance(pair.client, Express):
            assert pair.client.post(topic, payload, properties, retain=retain) == 1
        else:
            pair.client.publish(topic, payload, 1, retain, _Raw(properties) if properties else None)  # type: ignore[arg-type]
        packets.append(_written(pair.client))
        pair.client._sock = None
        pair.close()
    assert packets[0] == packets[1]


def _acknowledgement(mid: int, code: int | None, form: str) -> bytes:
    number = mid.to_bytes(2, "big")
    if code is None:
        return b"\x40\x02" + number
    rest = bytes([code]) + {"short": b"", "no properties": b"\0", "reason": b"\x06\x1f\0\x03why"}[form]
    return b"\x40" + packed.varint(2 + len(rest)) + number + rest


@settings(max_examples=80, deadline=None)
@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from([None, 0x00, 0x10, 0x80, 0x87, 0x95, 0x97]), st.sampled_from(["short", "no properties", "reason"])
        ),
        min_size=1,
        max_size=12,
    ),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    others=st.booleans(),
)
def test_acknowledgements_arrive_however_they_are_cut(answers: list[tuple[int | None, str]], cuts: list[int], others: bool) -> None:
    """Each message gets its own code once, with other packets in between and the bytes in any pieces."""
    pair = Pair(Express(CallbackAPIVersion.VERSION2, "a", protocol=V5))
    client = pair.client
    assert isinstance(client, Express)
    got: list[tuple[int, int]] = []
    client.acknowledged = lambda mid, code: got.append((mid, code))
    mids = [client.post("t", b"x", b"", retain=False) for _ in answers]
    raw = b"".join(
        _acknowledgement(mid or 0, code, form) + (b"\xd0\0" if others else b"")
        for mid, (code, form) in zip(mids, answers, strict=True)
    )
    raw += _acknowledgement(mids[0] or 0, 0, "short") + _acknowledgement(60_000, 0, "short")  # twice, and of nobody's
    at = 0
    while at < len(raw):
        size = cuts[at % len(cuts)]
        pair.there.sendall(raw[at : at + size])
        at += size
        assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert got == [(mid, code or 0) for mid, (code, _) in zip(mids, answers, strict=True)]
    client._sock = None
    pair.close()


def test_messages_of_one_turn_leave_together(pair: Pair) -> None:
    """Several posts are one write; a packet that has begun to leave is not added to."""
    client = pair.client
    assert isinstance(client, Express)
    for number in range(5):
        client.post("t", b"%d" % number, b"", retain=False)
    assert len(client._out_packet) == 1
    client._out_packet[0]["pos"] = 3
    client.post("t", b"5", b"", retain=False)
    assert len(client._out_packet) == 2


def test_an_id_in_flight_is_not_given_twice(pair: Pair) -> None:
    """Ids wrap after 65,535, and step over those that still wait for their answer."""
    client = pair.client
    assert isinstance(client, Express)
    client._last_mid = 65_534
    first = [client.post("t", b"", b"", retain=False) for _ in range(3)]
    client._last_mid = 65_534
    assert first == [65_535, 1, 2]
    assert client.post("t", b"", b"", retain=False) == 3


@pytest.mark.parametrize("raw", [b"\x40\x01\x00", b"\x40\x00"])
def test_a_malformed_acknowledgement_ends_the_connection(pair: Pair, raw: bytes) -> None:
    """A PUBACK without a whole message id is a protocol error, and answers nobody."""
    client = pair.client
    assert isinstance(client, Express)
    got: list[tuple[int, int]] = []
    client.acknowledged = lambda mid, code: got.append((mid, code))
    client.post("t", b"", b"", retain=False)
    pair.there.sendall(raw)
    assert client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS
    assert got == []


def test_the_end_of_the_socket_is_told(pair: Pair) -> None:
    """Acknowledgements that came before the end count, and then the connection is lost."""
    client = pair.client
    assert isinstance(client, Express)
    got: list[tuple[int, int]] = []
    client.acknowledged = lambda mid, code: got.append((mid, code))
    client.post("t", b"", b"", retain=False)
    pair.there.sendall(b"\x40\x02\x00\x01")
    pair.there.shutdown(socket.SHUT_WR)
    client.loop_read()
    assert got == [(1, 0)]
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST
