"""From a configuration to a client whose channel will be secured as it says, or to the words why not. There is no third way."""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.uaerrors import UaStatusCodeError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.drivers.opcua import keys as keys_of
from edge_agent.drivers.opcua.admission import Admitted, Offer, admit, chosen
from edge_agent.drivers.opcua.certificate import UntrustedError
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.discover import MODES, POLICIES, discover
from edge_agent.drivers.opcua.guard import Guard
from edge_agent.drivers.opcua.keys import Keys
from edge_agent.drivers.opcua.security import GuardedClient
from edge_agent.drivers.opcua.session import Session
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.ports import Identity

_USER: Final = frozenset({
    ua.StatusCodes.BadUserAccessDenied, ua.StatusCodes.BadIdentityTokenInvalid, ua.StatusCodes.BadIdentityTokenRejected,
    ua.StatusCodes.BadUserSignatureInvalid,
})  # fmt: skip
_US: Final = frozenset({
    ua.StatusCodes.BadSecurityChecksFailed, ua.StatusCodes.BadCertificateUntrusted, ua.StatusCodes.BadCertificateInvalid,
    ua.StatusCodes.BadCertificateUriInvalid, ua.StatusCodes.BadCertificateTimeInvalid, ua.StatusCodes.BadCertificateUseNotAllowed,
    ua.StatusCodes.BadCertificateRevoked, ua.StatusCodes.BadCertificateChainIncomplete, ua.StatusCodes.BadCertificateIssuerUseNotAllowed,
    ua.StatusCodes.BadCertificateRevocationUnknown, ua.StatusCodes.BadCertificateIssuerRevocationUnknown,
    ua.StatusCodes.BadCertificateHostNameInvalid, ua.StatusCodes.BadCertificatePolicyCheckFailed,
})  # fmt: skip

_told: set[str] = set()
_log = structlog.get_logger()


class Secured(NamedTuple):
    """An unconnected client, whom it will talk to, and as whom; the last two are None without security."""

    client: GuardedClient
    server: Admitted | None
    keys: Keys | None


async def secured(config: OpcUaConfig, guard: Guard, identity: Identity | None) -> Secured:
    """Return a client for the endpoint. Raises UntrustedError where only a person can help, DisconnectedError when the server is away.

    ConfigError when it has to be secured and nobody says who the agent is (``identity``).
    """
    timeout = config.timeout / 1e9
    client = GuardedClient(config.url, timeout, guard)
    if identity is not None:
        client.application_uri = keys_of.application_uri(identity.agent)
    if config.allow_insecure:
        return Secured(client, None, None)
    if identity is None:
        raise ConfigError(
            "a secure connection needs the agent's keys and pins; name its configuration with -c, or allow_insecure: true (--allow-insecure)"
        )
    keys = await asyncio.to_thread(keys_of.own, identity)
    user = await asyncio.to_thread(_user_keys, config)
    offers = await discover(config.url, timeout)
    server = await asyncio.to_thread(_admitted, offers, config, identity)
    client.certificate_validator = Validator(server)
    client.application_uri = keys.application
    _set_policy(client, config, server, keys)
    _set_user(client, config, user)
    return Secured(client, server, keys)


def _admitted(offers: list[Offer], config: OpcUaConfig, identity: Identity) -> Admitted:
    try:
        return admit(chosen(offers, config), config, identity, datetime.now(UTC))
    except UntrustedError:
        raise
    except Exception as error:  # whatever a server shows, the device waits for a person with the words, and the agent goes on
        raise UntrustedError(
            "cert_invalid", f"the server's certificate cannot be judged: {error or type(error).__name__}"
        ) from error


def _user_keys(config: OpcUaConfig) -> Keys | None:
    if config.user_certificate is None or config.user_key is None:
        return None
    return keys_of.user(config.user_certificate, config.user_key)


def _set_policy(client: GuardedClient, config: OpcUaConfig, server: Admitted, keys: Keys) -> None:
    policy = POLICIES[config.security.policy](
        server.certificate.parsed, keys.certificate.parsed, keys.key, MODES[config.security.mode],
        host_cert_chain=[each.parsed for each in keys.chain],
    )  # fmt: skip
    client.security_policy = policy
    client.uaclient.set_security(policy)


def _set_user(client: GuardedClient, config: OpcUaConfig, user: Keys | None) -> None:
    if config.username is not None and config.password is not None:
        client.set_user(config.username)
        client.set_password(config.password.get_secret_value())
    elif user is not None:
        client.user_certificate, client.user_private_key = user.certificate.parsed, user.key
        client.user_certificate_chain = [each.parsed for each in user.chain]
    elif config.url not in _told:
        _told.add(config.url)
        _log.warning(
            "opcua.anonymous",
            device=config.device,
            meaning="the server does not know who reads; give the agent a user with read rights only",
        )


class Validator:
    """What asyncua asks about the session's certificate, which came over the secured channel; ``asked`` says that it did (asyncua fails open)."""

    def __init__(self, server: Admitted) -> None:
        self._server = server
        self.asked = False
        self.refusal = ""

    async def __call__(self, certificate: x509.Certificate, application: ua.ApplicationDescription) -> None:
        """Raise ServiceError unless it is the admitted certificate, and of the application that it is made out to."""
        if certificate.public_bytes(Encoding.DER) != self._server.certificate.der:
            self.refusal = "the server opened the session with another certificate than the channel"
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)
        if application.ApplicationUri != self._server.application:
            said = application.ApplicationUri
            self.refusal = (
                f"the server's certificate is for the application {self._server.application!r}, and it calls itself {said!r}"
            )
            raise ServiceError(ua.StatusCodes.BadCertificateUriInvalid)
        self.asked = True


async def open_session(session: Session, link: Secured, identity: Identity | None) -> None:
    """Open a session over a secured client. Raises DisconnectedError, as UntrustedError where trying again would only hammer."""
    try:
        await session.open()
    except (DisconnectedError, PermissionError) as error:
        if isinstance(error, DisconnectedError):
            raise _explained(error, link, identity) from error
        raise
    except Exception as error:  # wrong signatures and bodies make asyncua raise anything; whoever opens is told, and tries again
        raise DisconnectedError(f"connect: the server's answer is wrong: {error or type(error).__name__}") from error
    validator = link.client.certificate_validator
    if link.server is not None and not (isinstance(validator, Validator) and validator.asked):
        raise UntrustedError(
            "cert_invalid", "the server opened a session without showing its certificate", "it cannot be used securely"
        )


def _explained(error: DisconnectedError, link: Secured, identity: Identity | None) -> DisconnectedError:
    """Return what a refusal means: an error that waits for a person where another try would only hammer, else ``error`` itself."""
    cause, keys = error.__cause__, link.keys
    validator = link.client.certificate_validator
    if isinstance(validator, Validator) and validator.refusal:
        return UntrustedError("cert_invalid", validator.refusal, "create another certificate on the server and trust it")
    if not isinstance(cause, UaStatusCodeError):
        return error
    if cause.code in _USER:
        return UntrustedError(
            "user_rejected", f"{error}", "check the user and its password or certificate, and its rights on the server"
        )
    if cause.code in _US and keys is not None and identity is not None:
        return UntrustedError(
            "agent_rejected", f"{error}: it may not know the agent's certificate (SHA-256 {keys.certificate.thumbprint})",
            f"let the server trust {identity.folder / 'own' / 'certificate.der'}",
        )  # fmt: skip
    return error
