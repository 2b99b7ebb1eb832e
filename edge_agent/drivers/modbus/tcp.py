"""The wire over TCP or TLS, by pymodbus."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any

from pymodbus.client import AsyncModbusTcpClient

from edge_agent.drivers.modbus.framing import TCP, Framing
from edge_agent.drivers.modbus.library import FRAMER, LibraryWire
from edge_agent.drivers.modbus.tls import tls_trouble
from edge_agent.model.errors import DisconnectedError


class TcpWire(LibraryWire):
    """A connection over TCP, or TLS where there is a ``context``."""

    _gone = "closed the connection; many devices allow only a few connections, is another master connected?"

    def __init__(
        self, host: str, port: int, now: Callable[[], int], on_lost: Callable[[], None], *,
        framing: Framing = TCP, context: ssl.SSLContext | None = None, server_name: str | None = None, source: str | None = None,
    ) -> None:  # fmt: skip
        """Not yet connected; ``source`` is this machine's own address, ``server_name`` the name in the device's certificate (default: host)."""
        client = AsyncModbusTcpClient(host, port=port, framer=FRAMER[framing.name], reconnect_delay=0, retries=0)
        super().__init__(f"{host}:{port}", client, framing, now, on_lost)
        self._host, self._port = host, port
        self._source = None if source is None else (source, 0)
        if context is not None:  # with TLS 1.3 a device refuses the agent's certificate only after the handshake
            self._gone = "closed the connection; does it ask for a tls.cert, and know who signed it? is another master connected?"
        self._tls: dict[str, Any] = {} if context is None else {"ssl": context, "server_hostname": server_name or host}

    async def open(self, timeout: float) -> None:
        """Connect within ``timeout`` machine seconds; raises DisconnectedError that says why not."""
        context = self._client.ctx
        connect = self._loop.create_connection
        try:
            async with asyncio.timeout(timeout):
                context.transport, _ = await connect(lambda: context, self._host, self._port, local_addr=self._source, **self._tls)
        except (TimeoutError, OSError) as error:
            raise DisconnectedError(_why(self._where, error, timeout, self._source)) from error


def _why(where: str, error: OSError | TimeoutError, timeout: float, source: tuple[str, int] | None) -> str:
    """Return in words for people why no connection came up, and what to look at."""
    if isinstance(error, socket.gaierror):
        return f"{where}: the name is not known; write the IP address, or look at the gateway's DNS"
    if isinstance(error, ssl.SSLError):
        return tls_trouble(where, error)
    if source is not None and error.errno in {errno.EADDRNOTAVAIL, errno.EINVAL}:
        return f"{where}: source_address {source[0]} is none of this machine's addresses; ip address shows them"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer within {timeout:g} s; is the device on, the address right, a firewall between?"
    if f"[Errno {errno.ECONNREFUSED}]" in str(
        error
    ):  # also inside asyncio's "Multiple exceptions", for a name with several addresses
        return f"{where} refuses the connection; is Modbus TCP switched on there, is the port right, is another master connected?"
    if isinstance(error, ConnectionResetError):  # without a number or a text when it comes out of a TLS handshake
        return f"{where} closed the connection while it was opened; is this its port (502, with TLS 802), is TLS switched on at both ends?"
    return f"{where} cannot be reached ({error.strerror or error}); look at cable, address and route"
