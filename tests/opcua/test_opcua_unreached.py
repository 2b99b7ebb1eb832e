"""The words for a server that is not reached."""

from __future__ import annotations

# asyncua re-exports without saying so.
# mypy: disable-error-code="attr-defined"
import errno
import socket

import pytest
from asyncua import ua
from opcua_plant import free_port

from edge_agent.drivers.opcua.discover import discover
from edge_agent.drivers.opcua.unreached import why
from edge_agent.model.errors import DisconnectedError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "no server listens there"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect call failed"),
            "no server listens",
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name of the host"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no way to the host"),
        (ua.UaError("No matching endpoints: 1, http://opcfoundation.org/UA/SecurityPolicy#None"), "no connection without security"),
        (OSError(errno.EPIPE, "Broken pipe"), "Broken pipe"),
        (ua.UaError(), "UaError"),
    ],
)
def test_a_cause_says_what_to_look_at(error: Exception, says: str) -> None:
    """The system's numbers become what mends it; what is clear already stays as it is."""
    assert says in why(error)


async def test_a_port_where_nobody_listens() -> None:
    """The words come out of a real connection."""
    with pytest.raises(DisconnectedError, match="connection refused: no server listens there"):
        await discover(f"opc.tcp://127.0.0.1:{free_port()}", 2.0)
