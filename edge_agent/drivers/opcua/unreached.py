"""Why a server was not reached, in words that say what to look at (pure)."""

from __future__ import annotations

import errno
import socket

NO_ENDPOINT = "No matching endpoints"
"""How asyncua begins to say that the server does not offer what is asked for; it has no class of its own for that."""

_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH}


def why(error: Exception) -> str:
    """Return the cause with what mends it where the system's own words are only a number and an address."""
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "connection refused: no server listens there; look at the address and the port, and whether the server runs"
    if isinstance(error, socket.gaierror):
        return "nobody knows the name of the host; look at the address, and at the gateway's DNS"
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return "there is no way to the host; look at the address, the network and the firewalls in between"
    if str(error).startswith(NO_ENDPOINT) and str(error).endswith("#None"):
        return (
            "the server offers no connection without security; edge-agent trust shows what it offers, then leave out allow_insecure"
        )
    return str(error) or type(error).__name__
