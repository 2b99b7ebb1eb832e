"""How a broker is reached: what every output on a broker has in common. Imports no MQTT library.

Secure by default: plain TCP must be allowed by name, TLS verifies certificate and host name against a CA that the user chose,
and passwords live in files, never in the configuration or in the environment.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.model.quantity import Duration, duration_text
from edge_agent.publish.address import Broker, Proxy, broker_of, proxy_of

_SECOND = 1_000_000_000
_LARGEST_PACKET = 268_435_455  # MQTT 5, 1.5.5: what a Variable Byte Integer can say


class TlsConfig(BaseModel):
    """The certificates for ``mqtts://`` and ``wss://``. Files may be replaced while the agent runs: it connects anew with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Path | Literal["system"] | None = Field(None, description="PEM file of the CA that signed the broker, or: system")
    cert: Path | None = Field(None, description="PEM file of the agent's own certificate (mutual TLS)")
    key: Path | None = Field(None, description="PEM file of the key of cert")
    insecure: bool = Field(False, description="true: believe any certificate. For a test bench only")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both (mutual TLS) or none")
        if self.ca is None and not self.insecure:
            raise ValueError(
                "name the CA that signed the broker's certificate, for example ca: /etc/edge-agent/ca.pem (or ca: system)"
            )
        return self


class ProxyConfig(BaseModel):
    """An HTTP proxy that opens a tunnel to the broker (CONNECT)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="http://host:port")
    username: str | None = Field(None, min_length=1)
    password_file: Path | None = Field(None, description="file whose content is the proxy's password; readable by the agent alone")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.username is not None and ":" in self.username:
            raise ValueError("a proxy's username holds no colon (RFC 7617)")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username; add username")
        proxy_of(self.url)
        return self


class BrokerConfig(BaseModel):
    """One broker of a list, and the way to it where that differs from the others'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="mqtts://host[:8883], wss://host[:443][/mqtt], mqtt://host[:1883] or ws://host[:80][/mqtt]")
    source_address: str | None = Field(None, description="the agent's own IP address to connect from, which chooses the interface")
    proxy: str | ProxyConfig | None = Field(None, description="http://host:port, or with credentials; direct: none for this broker")


class ReachConfig(BaseModel):
    """The way to one broker or to the first of several that can be had, and the patience with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: str | BrokerConfig | tuple[str | BrokerConfig, ...] = Field(
        description="mqtts://host[:8883], wss://host[:443][/mqtt], mqtt://host[:1883] or ws://host[:80][/mqtt]; or a list of them, "
        "the preferred one first"
    )
    source_address: str | None = Field(None, description="the agent's own IP address to connect from, which chooses the interface")
    proxy: str | ProxyConfig | None = Field(None, description="http://host:port of an HTTP proxy, or with credentials")
    return_after: Duration | Literal["never"] = Field(
        300 * _SECOND, description="on a later broker of the list: how often to look whether an earlier one is back"
    )
    client_id: str | None = Field(None, min_length=1, max_length=256, description="default: the agent's id")
    username: str | None = Field(None, min_length=1)
    password_file: Path | None = Field(None, description="file whose content is the password; readable by the agent alone")
    tls: TlsConfig | None = None
    allow_insecure: bool = Field(False, description="true: plain mqtt:// without encryption is accepted")

    protocol: Literal["auto", "5", "3.1.1"] = Field("auto", description="auto: MQTT 5, and 3.1.1 where the broker knows no 5")
    max_packet: int = Field(_LARGEST_PACKET, ge=1024, le=_LARGEST_PACKET, description="bytes; the broker's own limit binds too")
    keepalive: Duration = Field(15 * _SECOND, description="a peer that is silent for this long is lost; pings go out in half of it")
    ack_timeout: Duration = Field(15 * _SECOND, description="a message must be acknowledged in this time")
    connect_timeout: Duration = Field(5 * _SECOND, description="for name, TCP, proxy, TLS and CONNACK together")

    @field_validator("protocol", mode="before")
    @classmethod
    def _version_as_text(cls, value: object) -> object:
        return "5" if value == 5 else value  # YAML reads 5 as a number and 3.1.1 as text

    @field_validator("broker")
    @classmethod
    def _brokers_are_addresses(
        cls, broker: str | BrokerConfig | tuple[str | BrokerConfig, ...]
    ) -> str | BrokerConfig | tuple[str | BrokerConfig, ...]:
        if not (entries := _entries(broker)):
            raise ValueError("the list is empty; name at least one broker")
        urls = [broker_of(entry.url).url for entry in entries]
        if len(set(urls)) < len(urls):
            raise ValueError("the same broker stands in the list twice")
        return broker

    @field_validator("keepalive", "ack_timeout", "connect_timeout")
    @classmethod
    def _a_time_that_works(cls, ns: int) -> int:
        if not _SECOND // 10 <= ns <= 600 * _SECOND:
            raise ValueError(f"{duration_text(ns)} is outside 100ms to 10min")
        return ns

    @model_validator(mode="after")
    def _is_secure(self) -> Self:
        encrypted = {broker.encrypted for broker in self.brokers}
        if True in encrypted and self.tls is None:
            raise ValueError("mqtts:// and wss:// need to know whom to believe; add tls: {ca: FILE} (or tls: {ca: system})")
        if True not in encrypted and self.tls is not None:
            raise ValueError("tls is set but the address says mqtt:// or ws://; write mqtts:// or wss://")
        if False in encrypted and not self.allow_insecure:
            raise ValueError(
                "plain mqtt:// and ws:// send everything readable and unprotected; use mqtts:// or wss:// with tls, or accept it by "
                "allow_insecure: true"
            )
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username; add username")
        return self

    @property
    def brokers(self) -> tuple[Broker, ...]:
        """The brokers in the order of the list, each with its own way."""
        return tuple(
            broker_of(
                entry.url,
                source=_source(entry.source_address or self.source_address),
                proxy=_proxy(self.proxy if entry.proxy is None else entry.proxy),
            )
            for entry in _entries(self.broker)
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read at every connect."""
        wanted: list[object] = [self.password_file]
        if self.tls is not None:
            wanted += [self.tls.ca, self.tls.cert, self.tls.key]
        return tuple(file for file in wanted if isinstance(file, Path))


def _entries(broker: str | BrokerConfig | tuple[str | BrokerConfig, ...]) -> list[BrokerConfig]:
    several = broker if isinstance(broker, tuple) else (broker,)
    return [BrokerConfig(url=entry) if isinstance(entry, str) else entry for entry in several]  # type: ignore[call-arg]  # defaults


def _source(text: str | None) -> str | None:
    """Return an IP address; raises ValueError with the remedy."""
    if text is None:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"source_address {text!r} is no IP address; write an address of this machine, like 10.0.0.5") from None


def _proxy(proxy: str | ProxyConfig | None) -> Proxy | None:
    if proxy is None or proxy == "direct":
        return None
    if isinstance(proxy, str):
        return proxy_of(proxy)
    return proxy_of(proxy.url, username=proxy.username, password_file=str(proxy.password_file) if proxy.password_file else None)
