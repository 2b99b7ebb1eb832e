"""What a user writes about the broker. Imports no MQTT library: ``edge-agent check`` loads it for every agent.

Secure by default: plain TCP must be allowed by name, TLS verifies certificate and host name against a CA that the user chose,
and passwords live in files, never in the configuration or in the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.model.quantity import Duration, duration_text

Command = Literal["resend", "rebirth", "snapshot"]

_SECOND = 1_000_000_000
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LARGEST_PACKET = 268_435_455  # MQTT 5, 1.5.5: what a Variable Byte Integer can say


class TlsConfig(BaseModel):
    """The certificates of an ``mqtts://`` broker. Files are read at every connect, so that they can be replaced while running."""

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


class MqttConfig(BaseModel):
    """The broker that receives the events, and how the agent speaks to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: str = Field(description="mqtts://host[:8883] or mqtt://host[:1883]")
    client_id: str | None = Field(None, min_length=1, max_length=256, description="default: the agent's id")
    username: str | None = Field(None, min_length=1)
    password_file: Path | None = Field(None, description="file whose content is the password; readable by the agent alone")
    tls: TlsConfig | None = None
    allow_insecure: bool = Field(False, description="true: plain mqtt:// without encryption is accepted")

    protocol: Literal["auto", "5", "3.1.1"] = Field("auto", description="auto: MQTT 5, and 3.1.1 where the broker knows no 5")
    profile: Literal["cloudevents"] = "cloudevents"
    root: str = Field("edge", max_length=128, description="first level or levels of every topic")
    topics: Literal["per_stream", "per_type"] = Field(
        "per_stream", description="one topic for all events of a unit, or one per type"
    )
    dataschema: str = Field(
        "urn:edge-agent:schema:{name}:{version}", description="CloudEvents dataschema; {name} and {version} are filled in"
    )
    commands: tuple[Command, ...] = Field(
        ("resend", "rebirth", "snapshot"), description="what may be asked for over MQTT; [] for nothing"
    )

    window: int = Field(20, ge=1, le=1000, strict=True, description="messages sent and not yet acknowledged")
    max_packet: int = Field(_LARGEST_PACKET, ge=1024, le=_LARGEST_PACKET, description="bytes; the broker's own limit binds too")
    keepalive: Duration = 15 * _SECOND
    ack_timeout: Duration = 15 * _SECOND
    connect_timeout: Duration = 5 * _SECOND

    @field_validator("protocol", mode="before")
    @classmethod
    def _version_as_text(cls, value: object) -> object:
        return "5" if value == 5 else value  # YAML reads 5 as a number and 3.1.1 as text

    @field_validator("broker")
    @classmethod
    def _broker_is_an_address(cls, broker: str) -> str:
        url = _split(broker)
        if url.username is not None or url.password is not None:
            raise ValueError("the address holds no user or password; use username and password_file")
        if url.path not in {"", "/"} or url.query or url.fragment:
            raise ValueError(f"{broker!r} has more than host and port; write {url.scheme}://host:port")
        return broker

    @field_validator("root")
    @classmethod
    def _root_is_a_topic(cls, root: str) -> str:
        if not all(root.split("/")):
            raise ValueError(f"{root!r} has an empty level; write levels with one / between them, like edge or site/edge")
        if root.startswith("$") or not root.isprintable() or any(character in root for character in "+#"):
            raise ValueError(
                f"{root!r} is no topic: + and # are wildcards and a leading $ belongs to the broker; choose other names"
            )
        return root

    @field_validator("dataschema")
    @classmethod
    def _schema_can_be_filled(cls, template: str) -> str:
        try:
            filled = template.format(name="production.count", version="1.0")
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"{template!r}: only {{name}} and {{version}} can be filled in") from None
        if not urlsplit(filled).scheme or not filled.isprintable() or " " in filled:
            raise ValueError(f"{template!r} is no absolute URI; write urn:... or https://... with {{name}} and {{version}}")
        return template

    @field_validator("keepalive", "ack_timeout", "connect_timeout")
    @classmethod
    def _a_time_that_works(cls, ns: int) -> int:
        if not _SECOND // 10 <= ns <= 600 * _SECOND:
            raise ValueError(f"{duration_text(ns)} is outside 100ms to 10min")
        return ns

    @model_validator(mode="after")
    def _is_secure(self) -> Self:
        encrypted = _split(self.broker).scheme == "mqtts"
        if encrypted and self.tls is None:
            raise ValueError("mqtts:// needs to know whom to believe; add tls: {ca: FILE} (or tls: {ca: system})")
        if not encrypted and self.tls is not None:
            raise ValueError("tls is set but the address says mqtt://; write mqtts://")
        if not encrypted and not self.allow_insecure:
            raise ValueError(
                "plain mqtt:// sends everything readable and unprotected; use mqtts:// with tls, or accept it by allow_insecure: true"
            )
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username; add username")
        return self

    @property
    def host(self) -> str:
        """The broker's name or address."""
        return _split(self.broker).hostname or ""

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        url = _split(self.broker)
        return url.port or _PORTS[url.scheme]


def _split(broker: str) -> SplitResult:
    """Return the parts of a broker address; raises ValueError with the remedy."""
    url = urlsplit(broker)
    if url.scheme not in _PORTS:
        raise ValueError(f"{broker!r} is no broker address; write mqtts://host:8883 or mqtt://host:1883")
    try:
        port = url.port
    except ValueError:
        port = 0
    if not url.hostname or port == 0:
        raise ValueError(
            f"{broker!r} needs a host and a port from 1 to 65535, like {url.scheme}://broker.plant1:{_PORTS[url.scheme]}"
        )
    return url
