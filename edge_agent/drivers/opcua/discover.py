"""What a server offers: the one question that is asked without protection (GetEndpoints, OPC 10000-4, 5.5.4). Its answer is believed in nothing."""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncua import ua
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic128Rsa15,
    SecurityPolicyBasic256,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyNone,
)
from asyncua.ua.uaerrors import UaError

from edge_agent.drivers.opcua.admission import Offer
from edge_agent.drivers.opcua.deadline import deadline
from edge_agent.drivers.opcua.guard import Guard
from edge_agent.drivers.opcua.security import GuardedClient
from edge_agent.drivers.opcua.unreached import why
from edge_agent.model.errors import DisconnectedError

POLICIES: Final[dict[str, type[SecurityPolicy]]] = {
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
    "Aes128Sha256RsaOaep": SecurityPolicyAes128Sha256RsaOaep,
    "Aes256Sha256RsaPss": SecurityPolicyAes256Sha256RsaPss,
    "Basic256": SecurityPolicyBasic256,
    "Basic128Rsa15": SecurityPolicyBasic128Rsa15,
}
"""The policies by the names that the configuration has for them (OPC 10000-7, 6.6)."""

MODES: Final = {"Sign": ua.MessageSecurityMode.Sign, "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt}

_STEPS: Final = 3
"""Requests, one after another: hello, channel, endpoints."""

_NAMES: Final = {policy.URI: name for name, policy in POLICIES.items()} | {SecurityPolicyNone.URI: "None"}
_MODE_NAMES: Final = {mode: name for name, mode in MODES.items()} | {ua.MessageSecurityMode.None_: "None"}
_TCP: Final = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"


async def discover(url: str, timeout: float) -> list[Offer]:
    """Return the endpoints of a server in its order. Raises DisconnectedError when it does not answer; each request may take the timeout (s)."""
    client = GuardedClient(url, timeout, Guard())
    try:
        async with deadline(_STEPS * timeout):
            endpoints = await client.connect_and_get_server_endpoints()
        return offers_of(endpoints)
    except TimeoutError:
        raise DisconnectedError(f"asking for its endpoints: no answer within {timeout:g} s") from None
    except (OSError, UaError) as error:
        raise DisconnectedError(f"asking for its endpoints: {why(error)}") from error
    except Exception as error:  # a hostile answer makes asyncua raise anything; the reader is told, and tries again
        raise DisconnectedError(f"asking for its endpoints: the answer cannot be understood ({type(error).__name__})") from error
    finally:
        client.disconnect_socket()


def offers_of(endpoints: Sequence[ua.EndpointDescription] | None) -> list[Offer]:
    """Return what can be used of the endpoints; those over other transports are left out."""
    out = []
    for endpoint in endpoints or ():
        if endpoint.TransportProfileUri not in {None, "", _TCP}:
            continue
        uri = str(endpoint.SecurityPolicyUri or "")
        policy = _NAMES.get(uri, uri.rpartition("#")[2] or uri or "nothing")
        mode = _MODE_NAMES.get(endpoint.SecurityMode, str(endpoint.SecurityMode))
        application = str(getattr(endpoint.Server, "ApplicationUri", None) or "")
        out.append(Offer(policy, mode, bytes(endpoint.ServerCertificate or b""), application))
    return out
