"""Where a broker stands and how to get there: addresses as users write them, taken apart. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import msgspec

from edge_agent.model.hostname import host_name

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_EXAMPLES = {"mqtt": "mqtt://broker.plant1:1883", "mqtts": "mqtts://broker.plant1:8883"}


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy that opens tunnels (CONNECT); ``password_file`` belongs to ``username``."""

    host: str
    port: int
    username: str | None = None
    password_file: str | None = None

    @property
    def where(self) -> str:
        """Return ``host:port``."""
        return authority(self.host, self.port)


class Broker(msgspec.Struct, frozen=True):
    """One broker: ``url`` as the user wrote it, its parts, and the way to it."""

    url: str
    scheme: str
    host: str
    port: int
    path: str = ""
    source: str | None = None
    proxy: Proxy | None = None

    @property
    def where(self) -> str:
        """Return ``host:port`` for the log."""
        return authority(self.host, self.port)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in {"mqtts", "wss"}

    @property
    def websocket(self) -> bool:
        """Whether MQTT travels in WebSocket frames."""
        return self.scheme in {"ws", "wss"}


def authority(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def broker_of(url: str, *, source: str | None = None, proxy: Proxy | None = None) -> Broker:
    """Return the broker at ``url``; raises ValueError with the remedy."""
    parts = _split(url, tuple(_PORTS), "write mqtts://host:8883, wss://host/mqtt or mqtt://host:1883")
    if parts.path not in {"", "/"} and parts.scheme in _EXAMPLES:
        raise ValueError(f"{url!r} has more than host and port; write {parts.scheme}://host:port")
    path = (parts.path if parts.path not in {"", "/"} else "/mqtt") if parts.scheme in {"ws", "wss"} else ""
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError(f"{url!r}: the path holds characters that no URL may have; write them as %XX")
    port = parts.port or _PORTS[parts.scheme]
    return Broker(url, parts.scheme, parts.hostname or "", port, path, source, proxy)


def proxy_of(url: str, *, username: str | None = None, password_file: str | None = None) -> Proxy:
    """Return the proxy at ``url``; raises ValueError with the remedy."""
    parts = _split(url, ("http",), "write http://host:port")
    if parts.path not in {"", "/"} or parts.port is None:
        raise ValueError(f"{url!r} is no proxy address; write http://host:port")
    return Proxy(parts.hostname or "", parts.port, username, password_file)


def _split(url: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise ValueError(f"{_public(url)!r} is no {'broker' if 'mqtt' in schemes else 'proxy'} address; {example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address holds no user or password; use username and password_file")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or port == 0:
        known = _PORTS.get(parts.scheme, 3128)
        raise ValueError(f"{url!r} needs a host and a port from 1 to 65535, like {parts.scheme}://broker.plant1:{known}")
    host_name(parts.hostname)
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than host and port; write {parts.scheme}://host:port")
    return parts


def _public(url: str) -> str:
    """Return ``url`` without what may be a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//...{at}{tail}" if at else url
