"""asyncua's client as this driver uses it: guarded, bounded, and dead at once when its channel cannot be renewed."""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"

from __future__ import annotations

from typing import Final

import structlog
from asyncua import Client
from asyncua.common.shortcuts import Shortcuts

from edge_agent.drivers.opcua.guard import MAX_CHUNK, MAX_MESSAGE, Guard, GuardedUaClient
from edge_agent.drivers.opcua.orphan import bury

_SHORTEST_WATCHDOG: Final = 10.0
_SESSION_TIMEOUT: Final = 60_000
"""Milliseconds after which the server forgets a session that nobody closed: an agent that is killed leaves none behind for long."""


class GuardedClient(Client):
    """asyncua's client on a guarded transport; made for one connection and never used again after it."""

    def __init__(self, url: str, timeout: float, guard: Guard) -> None:
        # A slow PLC is not a lost one: the library's probe must wait longer than a request of ours may take.
        super().__init__(url, timeout=timeout, watchdog_intervall=max(_SHORTEST_WATCHDOG, 2 * timeout), auto_reconnect=False)
        self.uaclient = self._guarded = GuardedUaClient(guard, timeout)
        self.uaclient.pre_request_hook = self._wait_until_ready
        self.nodes = Shortcuts(self.uaclient.session)
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_MESSAGE // MAX_CHUNK + 1
        self.session_timeout = _SESSION_TIMEOUT
        self.name = self.description = "edge-agent"
        self.application_uri = self.product_uri = "urn:edge-agent"

    def keep_subscriptions(self, keeps: bool) -> None:
        """Have the server keep this session's subscriptions, and those of the one before it, when the session ends."""
        self._guarded.keeps = keeps

    async def _try_resume_persisted_session(self) -> bool:
        """Close what the connection before left behind (the channel is open, no session yet); nothing is resumed."""
        await bury(self, keeps=self._guarded.keeps)
        return False

    async def _renew_channel_loop(self) -> None:
        """Renew the channel before its time is over; where that fails the connection ends, so that a new one is made (asyncua only logs it)."""
        try:
            await super()._renew_channel_loop()
        except Exception as error:  # noqa: BLE001 - the log gets it, and whoever waits for the server a lost connection
            structlog.get_logger().info(
                "opcua.channel_not_renewed", server=self.server_url.netloc, error=str(error) or type(error).__name__
            )
            protocol = self.uaclient.protocol
            if protocol is not None and protocol.transport is not None:
                protocol.transport.abort()
