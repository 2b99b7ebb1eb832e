"""What a user says about the security of an OPC UA connection, and what may not go together. Imports no OPC UA library."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge_agent.model.entry import EntryError

if TYPE_CHECKING:
    from edge_agent.drivers.opcua.config import OpcUaConfig

Policy = Literal["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss", "Basic256", "Basic128Rsa15"]
Mode = Literal["SignAndEncrypt", "Sign"]

DEPRECATED: Final = frozenset({"Basic256", "Basic128Rsa15"})
"""Policies on SHA-1 that OPC 10000-7 has withdrawn."""

LONGEST_PASSWORD: Final = 128
"""Bytes: what one RSA block of a 2048-bit key takes with the server's nonce under every policy (OPC 10000-4, 7.41.2.2)."""

_HEX: Final = re.compile(r"[0-9a-f]+")


def pin(text: str) -> str:
    """Return a SHA-256 thumbprint as 64 small hexadecimal digits; colons, blanks and capitals make no difference."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not _HEX.fullmatch(digits) or len(digits) not in {40, 64}:
        raise ValueError(f"{text!r} is no SHA-256 thumbprint; edge-agent trust URL shows it, 64 hexadecimal digits")
    if len(digits) == 40:
        raise ValueError("this is a SHA-1 thumbprint; a pin is the SHA-256 of the certificate: edge-agent trust URL shows it")
    return digits


class SecurityConfig(BaseModel):
    """How the connection is secured and whom the agent takes for the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy = Field("Basic256Sha256", description="security policy; the server must offer exactly this one")
    mode: Mode = Field("SignAndEncrypt", description="Sign: nobody can change what is sent, everybody can read it")
    trust: Literal["pinned", "ca"] = Field(
        "pinned",
        description="pinned: the certificates named by pins, or stored by edge-agent trust; ca: any that an authority in the folder vouches for",
    )
    pins: list[Annotated[str, AfterValidator(pin)]] = Field(
        default_factory=list,
        max_length=2,
        description="SHA-256 thumbprints of the server's certificate: the current one and the next; where given, the trust folder is not asked",
    )
    server_uri: str | None = Field(
        None,
        min_length=1,
        description="with trust: ca, the application URI that the server must have; left out, its certificate must name the host",
    )
    allow_deprecated: bool = Field(False, description="accept the policies Basic256 and Basic128Rsa15")
    allow_expired: bool = Field(False, description="go on with a pinned certificate whose time is over, until somebody renews it")


def complaint(config: OpcUaConfig) -> EntryError | None:
    """Return what is unsafe or contradictory, with its remedy behind a semicolon; None when it may be used as it is."""
    security = config.security
    if config.allow_insecure:
        return _insecure(config)
    if security.policy in DEPRECATED and not security.allow_deprecated:
        text = f"policy {security.policy} is deprecated and can be broken; use Basic256Sha256, or add allow_deprecated: true under security"
        return EntryError(text, "security", "policy")
    if security.trust == "ca" and security.pins:
        return EntryError("pins are for trust: pinned; remove pins, or trust: ca", "security", "pins")
    if security.trust == "ca" and security.allow_expired:
        text = "allow_expired is for trust: pinned; remove it, or let the authority issue a new certificate"
        return EntryError(text, "security", "allow_expired")
    if security.trust == "pinned" and security.server_uri is not None:
        return EntryError("server_uri is for trust: ca, a pin says more; remove server_uri", "security", "server_uri")
    return _user(config)


def _insecure(config: OpcUaConfig) -> EntryError | None:
    if config.username is not None or config.password is not None:
        text = "a password over an unencrypted connection is readable by anyone; leave out username and password, or allow_insecure"
        return EntryError(text, "username" if config.password is None else "password")
    if config.user_certificate is not None or config.user_key is not None:
        text = "a user certificate proves nothing over an unprotected connection; leave it out, or allow_insecure"
        return EntryError(text, "user_key" if config.user_certificate is None else "user_certificate")
    if "security" in config.model_fields_set:
        return EntryError("allow_insecure: true means no security at all; remove it, or remove security", "allow_insecure")
    return None


def _user(config: OpcUaConfig) -> EntryError | None:
    if (config.username is None) != (config.password is None):
        key = "username" if config.password is None else "password"
        return EntryError("username and password belong together; add the other one", key)
    if (config.user_certificate is None) != (config.user_key is None):
        key = "user_key" if config.user_certificate is None else "user_certificate"
        return EntryError("user_certificate and user_key belong together; add the other one", key)
    if config.password is not None and config.user_certificate is not None:
        text = "one connection has one user; leave out username and password, or user_certificate and user_key"
        return EntryError(text, "user_certificate")
    if config.password is not None and config.security.mode != "SignAndEncrypt":
        text = "a password in a connection that is only signed is readable by anyone; use mode: SignAndEncrypt, or leave out username and password"
        return EntryError(text, "security", "mode")
    if config.password is not None and len(config.password.get_secret_value().encode()) > LONGEST_PASSWORD:
        text = f"the password has more than {LONGEST_PASSWORD} bytes, which OPC UA cannot encrypt in one block; use a shorter one"
        return EntryError(text, "password")
    return None


def cautions(config: OpcUaConfig) -> tuple[str, ...]:
    """Return what is allowed and risky about a device, each as one sentence with its remedy."""
    security, found = config.security, []
    if config.allow_insecure:
        found.append(
            "anyone on the network can read and change what it sends (allow_insecure: security policy None); "
            "remove allow_insecure once the server offers a secure endpoint"
        )
        return tuple(f"device {config.device}: {each}" for each in found)
    if security.policy in DEPRECATED:
        found.append(
            f"security policy {security.policy} can be broken (allow_deprecated); use Basic256Sha256 once the server offers it"
        )
    if security.mode == "Sign":
        found.append("anyone on the network can read what it sends (mode: Sign); use SignAndEncrypt once the server offers it")
    if security.allow_expired:
        found.append(
            "an expired certificate is accepted (allow_expired); renew the server's certificate, pin it, and remove allow_expired"
        )
    return tuple(f"device {config.device}: {each}" for each in found)
