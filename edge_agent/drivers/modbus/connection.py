"""What a user writes about the way to a Modbus device: network, serial port or gateway. Imports no Modbus library."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from edge_agent.drivers.modbus.kinds import Period, Whole
from edge_agent.drivers.modbus.serialline import SerialLine
from edge_agent.drivers.modbus.trust import Backup
from edge_agent.model.hostname import host_name

FramingName = Literal["tcp", "rtu", "ascii"]
Quirk = Literal["tid_zero"]

TCP_PORT = 502
TLS_PORT = 802
"""Registered for Modbus/TCP Security (MB-TCP-Security v21, 5)."""


def _own_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text} is no IP address; write one of this machine's own addresses: ip address shows them") from None


def _device_file(text: str) -> str:
    if "://" in text:
        raise ValueError(f"{text} is no serial port; for a gateway on the network write host and framing: rtu")
    return text


def _one_is_a_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class TlsConfig(BaseModel):
    """The certificates of Modbus/TCP Security. The files may be replaced at any time: each connect reads them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Path | Literal["system"] | None = Field(None, description="PEM file of the CA that signed the device, or: system")
    cert: Path | None = Field(None, description="PEM file of the agent's own certificate, where the device asks for one")
    key: Path | None = Field(None, description="PEM file of the key of cert; readable by the agent alone")
    server_name: Text | None = Field(None, description="the name in the device's certificate, where it is not host")
    insecure: bool = Field(False, description="true: believe any certificate. For a test bench only")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or none")
        if self.ca is None and not self.insecure:
            raise ValueError("who signed the device's certificate is missing; add ca: /etc/edge-agent/plant-ca.pem (or ca: system)")
        if self.ca is not None and self.insecure:
            raise ValueError("insecure believes any certificate, and ca only some; leave out insecure")
        return self


class ConnectionConfig(BaseModel):
    """The part of a Modbus device's file that says how it is reached: ``host`` (network) or ``serial`` (a port of this machine)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[Text, StringConstraints(pattern=r"^[^\s/]+$"), AfterValidator(host_name)] | None = Field(
        None, description="name or IP address"
    )
    port: Annotated[Whole, Field(ge=1, le=65_535)] | None = Field(None, description="TCP port; default 502, with tls 802")
    serial: Annotated[Text, AfterValidator(_device_file)] | None = Field(
        None, description="serial port instead of host: /dev/ttyUSB0, better /dev/serial/by-id/..."
    )
    framing: FramingName | None = Field(
        None,
        description="tcp, rtu or ascii; default: tcp with host, rtu with serial. rtu with host: a gateway that passes bytes on",
    )
    baud: Annotated[Whole, Field(ge=50, le=4_000_000)] = Field(
        19_200, description="bits per second of the serial port, or of the line behind a gateway"
    )
    data_bits: Literal[7, 8] | None = Field(None, description="default: 8, for ascii 7")
    parity: Literal["even", "odd", "none"] = "even"
    stop_bits: Literal[1, 2] | None = Field(None, description="default: 1, without parity 2, as the standard has it")
    tls: TlsConfig | None = Field(None, description="Modbus/TCP Security")
    source_address: Annotated[str, AfterValidator(_own_address)] | None = Field(
        None, description="this machine's own IP address to connect from, which chooses the interface"
    )
    connection: Literal["shared", "own"] = Field(
        "shared", description="shared: one for all units at the same host and port; own: one for this device alone"
    )
    quirks: Annotated[tuple[Quirk, ...], BeforeValidator(_one_is_a_list)] = Field(
        (), description="tid_zero: a gateway that answers every request with transaction number 0"
    )
    backup: Backup | tuple[Backup, ...] = Field((), description="other addresses, taken in order while those before are away")
    return_after: Period | None = Field(
        None, description="how long a backup is used before the primary is tried; default: until it fails"
    )

    @property
    def backups(self) -> tuple[Backup, ...]:
        """The backup addresses in their order."""
        return (self.backup,) if isinstance(self.backup, Backup) else self.backup

    @property
    def backup_places(self) -> tuple[tuple[str, int | None], ...]:
        """Where the backups are, whatever unit is asked there."""
        return tuple((backup.host.lower(), backup.port) for backup in self.backups)

    @property
    def spoken(self) -> FramingName:
        """The framing with its default filled in."""
        return self.framing or ("tcp" if self.serial is None else "rtu")

    @property
    def tcp_port(self) -> int:
        """The TCP port with its default filled in."""
        return self.port or (TCP_PORT if self.tls is None else TLS_PORT)

    @property
    def line(self) -> SerialLine:
        """The serial line, of this machine or behind a gateway, with its defaults (V1.02, 2.5.1 and 2.5.2) filled in."""
        bits = self.data_bits or (7 if self.spoken == "ascii" else 8)
        return SerialLine(self.baud, bits, self.parity, self.stop_bits or (2 if self.parity == "none" else 1))

    @property
    def where(self) -> str:
        """The way to the device in words, for messages: ``10.0.0.5:502`` or ``/dev/ttyUSB0``."""
        return self.serial or f"{self.host}:{self.tcp_port}"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.host is None) == (self.serial is None):
            told = "both host and serial are given; leave out one" if self.host else "where the device is, is missing"
            raise ValueError(f"{told}; write host: 192.168.0.10 (network), or serial: /dev/ttyUSB0 (a port of this machine)")
        if self.serial is not None:
            self._fits_a_port()
        elif self.tls is not None and self.spoken != "tcp":
            raise ValueError(f"tls is for framing: tcp; leave out framing: {self.framing}, or tls")
        if self.quirks and self.spoken != "tcp":
            raise ValueError(f"tid_zero is about transaction numbers, and {self.spoken} has none; leave out quirks")
        if self.spoken == "rtu" and self.line.data_bits == 7:
            raise ValueError("RTU needs all 8 bits of a character; leave out data_bits, or write framing: ascii")
        return self

    def _fits_a_port(self) -> None:
        for name in ("port", "tls", "source_address"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is for a device on the network; leave it out, or write host instead of serial")
        if self.backups:
            raise ValueError("backup is for a device on the network; leave it out, or write host instead of serial")
        if self.connection == "own":
            raise ValueError("a serial port is one line for all units on it; leave out connection: own")
        if self.spoken == "tcp":
            raise ValueError("framing: tcp is for the network; a serial port speaks rtu or ascii")


def endpoint(config: ConnectionConfig) -> str:
    """Return the device at the other end of the connection, for logs and messages."""
    if config.serial is not None:
        return f"modbus-{config.spoken}:{config.serial}"
    scheme = "modbus-tls" if config.tls is not None else f"modbus-{config.spoken}{'' if config.spoken == 'tcp' else '-tcp'}"
    return f"{scheme}://{str(config.host).lower()}:{config.tcp_port}"


def link(config: ConnectionConfig, device: str) -> Hashable:
    """Return what devices must have in common to share one connection and one queue."""
    own = device if config.connection == "own" else None
    return (
        endpoint(config),
        config.source_address,
        config.tls,
        config.quirks,
        config.serial and config.line,
        own,
        config.backup_places,
    )


def clashes(configs: Sequence[tuple[int, str, ConnectionConfig]]) -> list[tuple[int, str]]:
    """Return the number (first member) of each device that disagrees with an earlier one about the way they share, and what is wrong."""
    first: dict[str, tuple[str, ConnectionConfig]] = {}
    found = []
    for number, device, config in configs:
        other, known = first.setdefault(config.where if config.serial else config.where.lower(), (device, config))
        for what, mine, theirs in (
            ("framing", config.spoken, known.spoken),
            ("tls", config.tls, known.tls),
            ("quirks", config.quirks, known.quirks),
            ("backup", config.backup_places, known.backup_places),
            ("baud, data_bits, parity and stop_bits", config.serial and config.line, known.serial and known.line),
        ):
            if mine != theirs:
                found.append((number, f"{config.where} is also the way to {other}, with other {what}; give both the same {what}"))
                break
    return found


def cautions(config: ConnectionConfig, device: str) -> tuple[str, ...]:
    """Return what is allowed and risky, each as one sentence with its remedy behind a semicolon."""
    if config.tls is None or not config.tls.insecure:
        return ()
    return (
        f"device {device}: anybody may pose as it (tls.insecure: any certificate is believed); write tls: {{ca: FILE}} instead",
    )
