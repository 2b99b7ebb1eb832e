"""The way to a broker: names, source address, proxy."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time

import pytest
import trustme
from publish_fake_broker import FakeBroker, outcomes_of
from publish_front import HttpProxy, WebSocketFront
from structlog.testing import capture_logs

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.address import Broker, broker_of
from edge_agent.publish.http import HttpError, connect_request, exchange, parse_head
from edge_agent.publish.names import Names
from edge_agent.publish.reasons import RefusedError
from edge_agent.publish.route import open_wire


def test_connect_requests_of_the_standard():
    """RFC 9110, 9.3.6, and Basic credentials of RFC 7617, 2: its own example."""
    assert connect_request("broker.plant1:8883", None) == b"CONNECT broker.plant1:8883 HTTP/1.1\r\nHost: broker.plant1:8883\r\n\r\n"
    assert b"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n" in connect_request("h:1", ("Aladdin", "open sesame"))


@pytest.mark.parametrize(
    "raw", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 abc x\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"]
)
def test_what_is_no_http_is_an_error(raw):
    """Nothing but a status line and header fields is believed."""
    with pytest.raises(HttpError):
        parse_head(raw)


def test_a_head_that_never_ends_is_left():
    """Neither an endless head nor one that drips holds the thread longer than told."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 3000)
        with pytest.raises(HttpError, match="without end"):
            exchange(ours, b"hello", time.monotonic() + 5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200")
        with pytest.raises(TimeoutError):
            exchange(ours, b"hello", time.monotonic() + 0.05)


async def test_a_proxy_opens_the_way(open_sink, record, tmp_path):
    """CONNECT names the broker as the user does and carries the credentials from the file; the name is the proxy's to look up."""
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    async with FakeBroker() as broker, HttpProxy(broker.port, login="gw:open sesame") as proxy:
        way = {"url": f"http://127.0.0.1:{proxy.port}", "username": "gw", "password_file": str(secret)}
        async with open_sink(0, broker="mqtt://broker.invalid:1884", proxy=way) as sink:
            assert await outcomes_of(sink, [record(n) for n in range(1, 21)]) == [None] * 20
        assert proxy.heads[0].startswith(b"CONNECT broker.invalid:1884 HTTP/1.1\r\nHost: broker.invalid:1884\r\n")


async def test_tls_and_websocket_go_through_the_tunnel(open_sink, record, tmp_path):
    """The certificate is the broker's, not the proxy's."""
    ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("broker.invalid", key_type=trustme.KeyType.ECDSA).configure_cert(server)
    async with FakeBroker() as broker, WebSocketFront(broker.port, server) as front, HttpProxy(front.port) as proxy:
        settings = {"tls": {"ca": str(tmp_path / "ca.pem")}, "proxy": f"http://127.0.0.1:{proxy.port}"}
        async with open_sink(0, broker="wss://broker.invalid", **settings) as sink:
            await sink.publish(record(1))
        assert proxy.heads[0].startswith(b"CONNECT broker.invalid:443 ")


@pytest.mark.parametrize(
    ("changes", "reason", "slow"),
    [
        ({"login": "a:b"}, "407 Proxy Authentication Required; check the proxy's username and password_file", True),
        ({"answer": b"HTTP/1.1 502 Bad Gateway\r\n\r\n"}, "does not open a tunnel to broker.invalid:1883: 502 Bad Gateway", False),
        ({"answer": b"SSH-2.0-OpenSSH\r\n\r\n"}, "the proxy .* does not speak HTTP there", False),
    ],
)
async def test_what_a_proxy_refuses_is_said_in_words(open_sink, changes, reason, slow):
    """The proxy is named, so that nobody looks for the fault at the broker."""
    async with FakeBroker() as broker, HttpProxy(broker.port, **changes) as proxy:
        with pytest.raises(DisconnectedError, match=reason) as caught:
            async with open_sink(0, broker="mqtt://broker.invalid", proxy=f"http://127.0.0.1:{proxy.port}"):
                pytest.fail("connected")
        assert caught.value.slow is slow
        assert isinstance(caught.value, RefusedError) is slow


async def test_a_proxy_that_is_away_is_named(open_sink):
    """Nothing listens on the proxy's port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(DisconnectedError, match=f"the proxy 127.0.0.1:{port} refused the connection: nothing listens there"):
            async with open_sink(0, broker="mqtt://broker.invalid", proxy=f"http://127.0.0.1:{port}"):
                pytest.fail("connected")


async def test_the_source_address_is_used(open_sink):
    """The broker sees the address that was asked for; one that is not ours is said so."""
    async with FakeBroker() as broker:
        async with open_sink(broker.port, source_address="127.0.0.9"):
            assert broker.writer is not None
            assert broker.writer.get_extra_info("peername")[0] == "127.0.0.9"
        with pytest.raises(DisconnectedError, match=r"source_address 192\.0\.2\.1: .*an address of this machine"):
            async with open_sink(broker.port, source_address="192.0.2.1"):
                pytest.fail("connected")
        with pytest.raises(DisconnectedError, match="IPv4 against IPv6"):
            async with open_sink(broker.port, source_address="::1"):
                pytest.fail("connected")


class Resolver:
    """A name server of the test: answers, fails, or hangs."""

    def __init__(self) -> None:
        self.address: str | None = "127.0.0.1"
        self.hangs = threading.Event()
        self.hangs.set()
        self.asked = 0

    def getaddrinfo(self, _host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        self.asked += 1
        self.hangs.wait(5)
        if self.address is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.address.split()]


@pytest.fixture
def resolver(monkeypatch):
    """Answer all look-ups."""
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.hangs.set()
    for thread in threading.enumerate():
        if thread.name == "mqtt-name":
            thread.join(5)


def _opened(port: int, names: Names, seconds: float = 2.0) -> str:
    broker: Broker = broker_of(f"mqtt://broker.plant1:{port}")
    wire = open_wire(broker, None, names, seconds)
    with wire:  # type: ignore[union-attr]
        return str(wire.getpeername()[0])  # type: ignore[union-attr]


def test_the_last_good_name_serves_while_the_name_server_is_away(resolver):
    """After one good answer, errors and silence of the resolver do not stop a reconnect; a new answer counts at once."""
    names = Names()
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        assert _opened(port, names) == "127.0.0.1"
        resolver.address = None
        with capture_logs() as logs:
            assert _opened(port, names) == "127.0.0.1"
        assert [line["event"] for line in logs] == ["mqtt.name_remembered"]
        resolver.hangs.clear()
        started = time.monotonic()
        for _ in range(3):
            assert _opened(port, names, 0.2) == "127.0.0.1"
        assert time.monotonic() - started < 0.6
        assert (names.stale, resolver.asked) == (4, 3)  # three tries wait for one look-up that hangs
        resolver.address = "127.0.0.2"
        resolver.hangs.set()
        assert _opened(port, names) == "127.0.0.2"


def test_a_name_that_was_never_known_ends_in_time(resolver):
    """No answer is an error within the time, and it names the name server."""
    resolver.hangs.clear()
    with pytest.raises(TimeoutError, match=r"name server does not answer for broker\.plant1"):
        _opened(1, Names(), 0.1)


def test_a_dead_first_address_leaves_time_for_the_second(resolver):
    """All addresses of a name are tried in one go."""
    with socket.create_server(("127.0.0.3", 0)) as server:
        resolver.address = "127.0.0.2 127.0.0.3"
        assert _opened(server.getsockname()[1], Names()) == "127.0.0.3"


def test_credentials_never_show_in_an_error_about_a_url():
    """A password in an address of the wrong kind is not repeated either."""
    with pytest.raises(ValueError, match="no broker address") as caught:
        broker_of("http://user:canary@h")
    assert "canary" not in str(caught.value)
    assert base64.b64encode(b"canary").decode() not in str(caught.value)
