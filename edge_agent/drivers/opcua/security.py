"""How a connection is secured. For now there is one way, none, which a user must ask for by name (``allow_insecure``)."""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"

from __future__ import annotations

from typing import Final

from asyncua import Client
from asyncua.common.shortcuts import Shortcuts

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.guard import MAX_CHUNK, MAX_MESSAGE, Guard, GuardedUaClient
from edge_agent.model.errors import ConfigError

_SHORTEST_WATCHDOG: Final = 10.0
_SESSION_TIMEOUT: Final = 60_000
"""Milliseconds after which the server forgets a session that nobody closed: an agent that is killed leaves none behind for long."""


class GuardedClient(Client):
    """asyncua's client on a guarded transport; made for one connection and never used again after it."""

    def __init__(self, url: str, timeout: float, guard: Guard) -> None:
        # A slow PLC is not a lost one: the library's probe must wait longer than a request of ours may take.
        super().__init__(url, timeout=timeout, watchdog_intervall=max(_SHORTEST_WATCHDOG, 2 * timeout), auto_reconnect=False)
        self.uaclient = GuardedUaClient(guard, timeout)
        self.uaclient.pre_request_hook = self._wait_until_ready
        self.nodes = Shortcuts(self.uaclient.session)
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_MESSAGE // MAX_CHUNK + 1
        self.session_timeout = _SESSION_TIMEOUT
        self.name = self.description = "edge-agent"
        self.application_uri = self.product_uri = "urn:edge-agent"


def client_for(config: OpcUaConfig, guard: Guard) -> GuardedClient:
    """Return an unconnected client for the endpoint. Raises ConfigError where it would not be secured and nobody allowed that."""
    if not config.allow_insecure:
        raise ConfigError(f"{config.device}: security policy None needs allow_insecure: true")
    return GuardedClient(config.url, config.timeout / 1e9, guard)
