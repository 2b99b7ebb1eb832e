"""The way to a broker, step by step: name, TCP from the wanted address, tunnel through the proxy, TLS, WebSocket.

All of it blocks: it runs beside the event loop, and every step has an end.
"""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

from edge_agent.model.errors import DisconnectedError
from edge_agent.model.tls import tls_context
from edge_agent.publish import http, tls
from edge_agent.publish.address import Broker, Proxy, authority
from edge_agent.publish.config import TlsConfig
from edge_agent.publish.names import Address, Names
from edge_agent.publish.reasons import RefusedError
from edge_agent.publish.websocket import WebSocket, upgraded

Wire = socket.socket | WebSocket

_USER_TIMEOUT_MS = 10_000
_PROXY_AUTHENTICATION = 407
_BAD_CREDENTIALS = 0x86


def open_wire(broker: Broker, trust: TlsConfig | None, names: Names, seconds: float) -> Wire:
    """Return a connected socket to ``broker`` within ``seconds`` of machine time, ready for CONNECT; blocks.

    Raises OSError or ValueError for what the network says, DisconnectedError where the reason is in words already.
    """
    deadline = time.monotonic() + seconds
    context = tls_context(trust) if broker.encrypted and trust is not None else None
    if broker.proxy is not None:
        sock = _tunnel(broker, broker.proxy, names, deadline)
    else:
        sock = _dial(broker.host, broker.port, broker, names, deadline)
    try:
        if context is not None:
            sock.settimeout(http.left(deadline))
            sock = context.wrap_socket(sock, server_hostname=broker.host, do_handshake_on_connect=False)
            sock.do_handshake()
        return upgraded(sock, broker.where, broker.path, deadline) if broker.websocket else sock
    except BaseException:
        sock.close()  # the plain one or the encrypted one, which has taken its descriptor over
        raise


def _tunnel(broker: Broker, proxy: Proxy, names: Names, deadline: float) -> socket.socket:
    credentials = None
    if proxy.username is not None:
        credentials = (proxy.username, tls.password(Path(proxy.password_file)) if proxy.password_file else "")
    try:
        sock = _dial(proxy.host, proxy.port, broker, names, deadline)
    except OSError as error:
        raise DisconnectedError(f"the proxy {proxy.where} {tls.tcp_trouble(error)}") from error
    try:
        head = http.exchange(sock, http.connect_request(authority(broker.host, broker.port), credentials), deadline)
    except OSError as error:
        sock.close()
        trouble = str(error) if isinstance(error, http.HttpError) else tls.tcp_trouble(error)
        raise DisconnectedError(f"the proxy {proxy.where} {trouble}") from error
    if 200 <= head.status < 300:
        return sock
    sock.close()
    said = f"the proxy {proxy.where} does not open a tunnel to {broker.where}: {http.words(head)}"
    if head.status == _PROXY_AUTHENTICATION:
        raise RefusedError(f"{said}; check the proxy's username and password_file", code=_BAD_CREDENTIALS)
    raise DisconnectedError(said)


def _dial(host: str, port: int, broker: Broker, names: Names, deadline: float) -> socket.socket:
    """Return a TCP connection to the first address of ``host`` that answers; each gets its share of the time left."""
    addresses = _usable(names.resolve(host, port, 0.6 * http.left(deadline)), broker.source)
    if not addresses:
        raise OSError(f"no address of {host} can be reached from source_address {broker.source}: IPv4 against IPv6")
    for place, address in enumerate(addresses, 1):
        try:
            return _connected(address, broker.source, http.left(deadline) / (len(addresses) - place + 1))
        except OSError:
            if place == len(addresses):
                raise
    raise AssertionError  # the last address returned or raised


def _usable(addresses: tuple[Address, ...], source: str | None) -> list[Address]:
    if source is None:
        return list(addresses)
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return [address for address in addresses if address[0] == family]


def _connected(address: Address, source: str | None, seconds: float) -> socket.socket:
    family, target = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        tune(sock)
        if source is not None:
            _bind(sock, source)
        sock.settimeout(seconds)
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, source: str) -> None:
    try:
        sock.bind((source, 0))
    except OSError as error:
        raise DisconnectedError(
            f"source_address {source}: {error.strerror}; it must be an address of this machine, and its interface up"
        ) from error


def tune(sock: socket.socket) -> None:
    """Send at once, and notice a dead peer within 10 s instead of the kernel's quarter of an hour (TCP_USER_TIMEOUT, RFC 5482)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


def raw(wire: Wire) -> socket.socket | ssl.SSLSocket:
    """Return the socket of the kernel below ``wire``."""
    return wire.raw if isinstance(wire, WebSocket) else wire
