"""Everything on the network that a configuration speaks to: for the address allow-list, and to see what can be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from edge_agent.config.schema import AgentConfig
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.publish.reach import ReachConfig


class Peer(NamedTuple):
    """One place: what it is to the agent, and where."""

    name: str
    host: str
    port: int


def peers(config: AgentConfig) -> list[Peer]:
    """Return all of them, each once, in the order of the configuration: brokers (or the proxies before them), then devices."""
    found = [*_brokers("mqtt", config.agent.mqtt)]
    for name, output in config.agent.outputs.items():
        found += _brokers(f"output {name}", output)
    for device in config.devices:
        found += _device(device)
    return list(dict.fromkeys(found))


def _brokers(name: str, config: ReachConfig) -> Iterator[Peer]:
    for broker in config.brokers:
        proxy = broker.proxy
        yield Peer(name, broker.host, broker.port) if proxy is None else Peer(f"{name} (proxy)", proxy.host, proxy.port)


def _device(device: ModbusConfig | OpcUaConfig) -> Iterator[Peer]:
    if isinstance(device, OpcUaConfig):
        parts = urlsplit(device.url)
        yield Peer(device.device, parts.hostname or "", parts.port or 4840)
    elif device.host is not None:
        yield Peer(device.device, device.host, device.tcp_port)
        yield from (Peer(f"{device.device} (backup)", each.host, each.port or device.tcp_port) for each in device.backups)


def addresses(host: str) -> Sequence[str]:
    """Return the IP addresses of a host, sorted; of an address itself. Raises OSError for a name that nobody knows."""
    return sorted({str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
