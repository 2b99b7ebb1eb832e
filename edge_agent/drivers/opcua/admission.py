"""Whether the agent talks to a server: what it offers against what is configured, and its certificate against what is trusted.

Everything here fails closed: a channel can be opened only with an `Admitted`, and nothing but `admit` makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from edge_agent.drivers.opcua import authority, pins
from edge_agent.drivers.opcua.certificate import LEAST_BITS, LEAST_BITS_DEPRECATED, Certificate, UntrustedError, judge, read
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.policy import DEPRECATED
from edge_agent.ports import Identity

DEFAULT_CONFIG: Final = Path("/etc/edge-agent")


class Offer(NamedTuple):
    """One endpoint of a server: names as in the configuration (``None`` for no security), and the certificate as it was sent."""

    policy: str
    mode: str
    certificate: bytes
    application: str

    def __str__(self) -> str:
        """Return the endpoint as people write it."""
        return self.policy if self.mode == "None" else f"{self.policy}/{self.mode}"


class Admitted(NamedTuple):
    """A server that may be talked to: its certificate, why (``current``, ``next``, ``pin``, ``ca``), and what to tell about it."""

    certificate: Certificate
    application: str
    why: str
    remarks: tuple[str, ...] = ()


def chosen(offers: Sequence[Offer], config: OpcUaConfig) -> Offer:
    """Return the endpoint with exactly the configured policy and mode. Raises UntrustedError: never is a weaker one taken, nor a stronger."""
    security = config.security
    for offer in offers:
        if offer.policy == security.policy and offer.mode == security.mode:
            return offer
    offered = ", ".join(dict.fromkeys(str(offer) for offer in offers)) or "nothing"
    raise UntrustedError(
        "no_secure_endpoint",
        f"the server does not offer {security.policy}/{security.mode}, it offers {offered}",
        "enable it on the server, or set policy and mode under security to one that it offers",
    )


def admit(offer: Offer, config: OpcUaConfig, identity: Identity, now: datetime) -> Admitted:
    """Return who the server is, if it may be talked to. Raises UntrustedError with what a person has to do."""
    try:
        chain = read(offer.certificate)
    except ValueError as error:
        raise UntrustedError(
            "cert_invalid", f"the server's certificate cannot be read: {error}", "create another one on the server"
        ) from error
    own, security = chain[0], config.security
    if security.trust == "ca":
        application = _judged(own, offer, config, now)
        remarks = authority.verify(chain, identity.folder / "ca", now)
        _bind(own, application, config)
        return Admitted(own, application, "ca", tuple(remarks))
    why = _pinned(own, config, identity)
    return Admitted(own, _judged(own, offer, config, now), why)


def _judged(own: Certificate, offer: Offer, config: OpcUaConfig, now: datetime) -> str:
    security = config.security
    least = LEAST_BITS_DEPRECATED if security.policy in DEPRECATED else LEAST_BITS
    return judge(own, uri=offer.application, now=now, least_bits=least, allow_expired=security.allow_expired)


def _bind(own: Certificate, application: str, config: OpcUaConfig) -> None:
    """Raise UntrustedError unless the certificate is for this very server: an authority vouches for many."""
    wanted, host = config.security.server_uri, pins.host_of(config.url)
    if wanted is not None:
        if application != wanted:
            raise UntrustedError(
                "cert_invalid", f"the server is {application!r}, and server_uri says {wanted!r}", "mend the address or server_uri"
            )
    elif not own.names_host(host):
        named = ", ".join(own.hosts) or "no host"
        raise UntrustedError(
            "cert_invalid",
            f"the server's certificate is for {named}, not for {host}",
            "use a name that it has, or say server_uri under security",
        )


def _pinned(own: Certificate, config: OpcUaConfig, identity: Identity) -> str:
    """Return which pin the certificate is. Raises UntrustedError when it is none."""
    if config.security.pins:
        if own.thumbprint in config.security.pins:
            return "pin"
        raise _changed(own, config.security.pins, f"compare, then put the new one under security.pins of {config.device}")
    known = pins.load(pins.place(identity.folder, config.url))
    for slot, pin in (("current", known.current), ("next", known.next)):
        if pin is not None and pin.thumbprint == own.thumbprint:
            return slot
    if known.current is None and known.next is None:
        raise UntrustedError(
            "cert_untrusted",
            f"nobody has trusted the server's certificate yet (SHA-256 {own.thumbprint})",
            trust_command(config.url, identity),
        )
    wanted = [pin.thumbprint for pin in known if pin is not None]
    raise _changed(own, wanted, f"if that was on purpose: {trust_command(config.url, identity)}")


def _changed(own: Certificate, wanted: Sequence[str], remedy: str) -> UntrustedError:
    return UntrustedError(
        "cert_changed",
        f"the server shows another certificate (SHA-256 {own.thumbprint}) than the trusted one ({' or '.join(wanted)})",
        remedy,
    )


def trust_command(url: str, identity: Identity) -> str:
    """Return what a person types to trust a server."""
    place = f" -c {identity.config}" if identity.config != DEFAULT_CONFIG else ""
    return f"edge-agent trust {url}{place} --pki {identity.folder}"  # a shell may not have the service's environment
