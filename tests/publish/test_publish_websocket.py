"""MQTT in WebSocket frames: the codec against RFC 6455, and whole connections through a listener of it."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from publish_fake_broker import Counting, FakeBroker, outcomes_of, until
from publish_front import WebSocketFront
from publish_setting import TOPICS, free_port

from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Document
from edge_agent.publish.http import parse_head
from edge_agent.publish.websocket import HandshakeError, Unframer, WebSocketError, check_upgrade, frame, masked

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_frames_of_the_standard():
    """The masked example of RFC 6455, 5.7, byte for byte; longer ones have 2 and 8 bytes of length."""
    assert frame(1, b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert frame(2, b"x" * 126, b"\0\0\0\0")[:4] == bytes.fromhex("82fe007e")
    assert frame(2, b"x" * 65_536, b"\0\0\0\0")[:10] == bytes.fromhex("82ff0000000000010000")


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_a_mask_over_a_mask_is_nothing(payload, mask):
    """Masking is its own inverse, and does what the standard writes: byte i with mask byte i mod 4."""
    assert masked(payload, mask) == bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    assert masked(masked(payload, mask), mask) == payload


def _server_frame(payload: bytes, *, final: bool, first: bool) -> bytes:
    head = bytes([(0x80 if final else 0) | (2 if first else 0)])
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return head + size + payload


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=6), st.lists(st.integers(1, 50), min_size=1), st.booleans())
def test_borders_of_frames_and_of_segments_do_not_matter(parts, cuts, pings):
    """However a stream is framed, fragmented, mixed with pings and cut by TCP, the same bytes come out."""
    wire = b"".join(
        (b"\x89\x01p" if pings else b"") + _server_frame(part, final=place == len(parts) - 1, first=place == 0)
        for place, part in enumerate(parts)
    )
    unframer, out, at, turn = Unframer(), b"", 0, 0
    while at < len(wire):
        step = cuts[turn % len(cuts)]
        out += unframer.feed(wire[at : at + step])
        at, turn = at + step, turn + 1
    assert out == b"".join(parts)
    assert unframer.answers == ([(10, b"p")] if pings else [])


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"\xc2\x01x", "reserved bits"),
        (b"\x82\x81\0\0\0\0x", "mask"),
        (b"\x81\x01x", "opcode 1"),
        (b"\x09\x00", "opcode 9"),
        (b"\x89\x7e\x00\x80", "opcode 9"),
        (b"\x83\x00", "opcode 3"),
    ],
)
def test_what_a_server_may_not_send_is_an_error(wire, reason):
    """Reserved bits, masks, text, cut or long control frames."""
    with pytest.raises(WebSocketError, match=reason):
        Unframer().feed(wire)


def test_a_close_ends_the_stream_and_is_answered():
    """What comes after it counts no more (5.5.1)."""
    unframer = Unframer()
    assert unframer.feed(b"\x82\x01a\x88\x02\x03\xe8\x82\x01b") == b"a"
    assert (unframer.closed, unframer.answers) == (True, [(8, b"\x03\xe8")])


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("404 Not Found\r\nServer: x", "404 Not Found; check the path"),
        (f"101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT[:-2]}A=", "does not belong to our request"),
        (f"101 x\r\nSec-WebSocket-Accept: {ACCEPT}", "does not belong to our request"),
        (f"101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: soap", "not MQTT"),
    ],
)
def test_only_the_right_answer_changes_the_protocol(head, reason):
    """The accept key of RFC 6455, 1.3, is compared; a missing subprotocol is forgiven, another is not."""
    with pytest.raises(HandshakeError, match=reason):
        check_upgrade(parse_head(f"HTTP/1.1 {head}\r\n\r\n".encode()), KEY)
    check_upgrade(parse_head(f"HTTP/1.1 101 x\r\nupgrade: WebSocket\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n".encode()), KEY)


async def test_events_travel_in_frames(open_sink, record):
    """Order, acknowledgements and commands are the same; every frame has a mask of its own, and pings are answered."""
    async with FakeBroker(answer=Counting()) as broker, WebSocketFront(broker.port, pings=True, cut=3) as front:
        async with open_sink(front.port, broker=f"ws://127.0.0.1:{front.port}") as sink:
            assert await outcomes_of(sink, [record(n) for n in range(1, 101)]) == [None] * 100
            await sink.announce(Document(TOPICS.status, b"{}"))
        assert [int(seen.user["sequence"]) for seen in broker.published[:-1]] == list(range(1, 101))
        assert front.heads[0].startswith(b"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:")
        assert len(front.masks) > 10  # what is queued in one turn of the loop leaves in one frame
        assert set(front.pongs) == {b"hi"}


async def test_a_full_socket_loses_no_frame(open_sink, record):
    """A slow reader behind WebSocket gets every byte of big messages in order."""
    async with FakeBroker() as broker, WebSocketFront(broker.port) as front:
        async with open_sink(front.port, broker=f"ws://127.0.0.1:{front.port}/mqtt", window=30) as sink:
            broker.reading.clear()
            big = b'{"a":"' + b"x" * 400_000 + b'"}'
            tasks = [asyncio.create_task(sink.publish(record(n, body=big))) for n in range(1, 31)]
            await asyncio.sleep(0.1)
            broker.reading.set()
            await asyncio.gather(*tasks)
        assert [int(seen.user["sequence"]) for seen in broker.published] == list(range(1, 31))
        assert len({seen.payload[-400_000:] for seen in broker.published}) == 1


async def test_wss_is_websocket_in_tls(open_sink, record, tmp_path):
    """Both layers, with a certificate that is checked."""
    ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA).configure_cert(server)
    async with FakeBroker() as broker, WebSocketFront(broker.port, server) as front:
        url = f"wss://127.0.0.1:{front.port}/plant"
        async with open_sink(front.port, broker=url, tls={"ca": str(tmp_path / "ca.pem")}) as sink:
            assert await outcomes_of(sink, [record(n) for n in range(1, 51)]) == [None] * 50
        assert front.heads[0].startswith(b"GET /plant HTTP/1.1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accept": "x"}, "does not change to WebSocket: the answer does not belong"),
        ({"protocol": "soap"}, "speaks WebSocket there, but not MQTT"),
        ({"inject": b"\x81\x01x"}, r"broke the WebSocket protocol: a frame that MQTT does not use \(opcode 1\)"),
        ({"inject": b"\x88\x00"}, "closed the connection"),
    ],
)
async def test_what_goes_wrong_is_said_in_words(open_sink, changes, reason):
    """A wrong handshake and a wrong frame end in a DisconnectedError that names them."""
    async with FakeBroker() as broker, WebSocketFront(broker.port, **changes) as front:
        with pytest.raises(DisconnectedError, match=reason):
            async with open_sink(front.port, broker=f"ws://127.0.0.1:{front.port}"):
                pytest.fail("connected")


async def test_a_plain_mqtt_port_is_no_websocket(open_sink):
    """ws:// on a port that says something else, or hangs up, says what is wrong."""
    async with FakeBroker(greeting=b"\x20\x03\x00\x00\x00", silent=True) as broker:
        with pytest.raises(DisconnectedError, match="does not speak HTTP there"):
            async with open_sink(broker.port, broker=f"ws://127.0.0.1:{broker.port}"):
                pytest.fail("connected")


async def test_mosquitto_over_websocket(mosquitto, open_sink, record):
    """Three hundred events through a WebSocket listener that others wrote, big ones among them."""
    port = free_port()
    mosquitto(f"allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets")  # 2.0 wants a plain listener beside it

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await until(listening)
    async with open_sink(port, broker=f"ws://127.0.0.1:{port}/mqtt") as sink:
        big = b'{"a":"' + b"x" * 200_000 + b'"}'
        assert await outcomes_of(sink, [record(n) if n % 50 else record(n, body=big) for n in range(1, 301)]) == [None] * 300
        assert sink.protocol == "5"
