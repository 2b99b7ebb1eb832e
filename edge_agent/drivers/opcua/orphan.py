"""Sessions that a lost connection left behind at the server, closed by the next connection before it opens its own.

A server keeps a session that nobody closed until its timeout, and a PLC has few: a link that flaps would use them all up and lock
the agent out (BadTooManySessions). Who still knows the token may activate the session on a new channel, and then close it (OPC 10000-4, 5.7.3).
"""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

import structlog
from asyncua import Client, ua

_log = structlog.get_logger()


class Orphan(NamedTuple):
    """A session without a connection: its token, the server's last nonce, its token policies, and until when the server keeps it (monotonic s)."""

    token: ua.NodeId
    nonce: bytes | None
    policies: list[Any]
    until: float


_left: Final[dict[str, Orphan]] = {}


def leave(client: Client) -> None:
    """Note the session of a client whose connection is lost."""
    token = client.uaclient.session.authentication_token
    if not token.is_null():
        until = time.monotonic() + client.session_timeout / 1000
        _left[client.server_url.geturl()] = Orphan(token, client._server_nonce, client._policy_ids, until)  # noqa: SLF001


async def bury(client: Client, *, keeps: bool = False) -> None:
    """Close the session that the connection before left at this server, over a channel that is open; a server that forgot it is fine.

    Its subscriptions stay where this connection ``keeps`` them to take them over. Nothing is sent where a password would have to go with it: it is shown to a server's session only once that has proved itself.
    """
    orphan = _left.pop(client.server_url.geturl(), None)
    if orphan is None or orphan.until < time.monotonic() or client._password:  # noqa: SLF001
        return
    session = client.uaclient.session
    session.restore_authentication_token(orphan.token)
    nonce, policies = client._server_nonce, client._policy_ids  # noqa: SLF001
    client._server_nonce, client._policy_ids = orphan.nonce, orphan.policies  # type: ignore[assignment]  # noqa: SLF001 - asyncua says it is None
    try:
        await client._activate_with_credentials()  # noqa: SLF001
        await session._send_request(ua.CloseSessionRequest(DeleteSubscriptions=not keeps))  # noqa: SLF001
    except Exception as error:  # noqa: BLE001 - the log is told; whatever a server makes of it, what counts is the new session
        _log.debug("opcua.orphan", server=client.server_url.netloc, error=str(error) or type(error).__name__)
    finally:
        session.reset_authentication_token()
        client._server_nonce, client._policy_ids = nonce, policies  # noqa: SLF001
