"""Certificates: read from what a server sends or a file holds, and judged by OPC 10000-4, 6.1.3 and OPC 10000-6, 6.2.2."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_agent.model.errors import DisconnectedError

LEAST_BITS: Final = 2048
LEAST_BITS_DEPRECATED: Final = 1024
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


class UntrustedError(DisconnectedError):
    """The server is not who it should be, or not known yet: only a person can change that, so tries are slow (``fault``, ``remedy``)."""

    slow = True

    def __init__(self, fault: str, text: str, remedy: str = "") -> None:
        """Name the state, say what is wrong, and what mends it."""
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.fault, self.text, self.remedy = fault, text, remedy


@dataclass(frozen=True)
class Certificate:
    """One certificate, as its DER bytes."""

    der: bytes

    @cached_property
    def parsed(self) -> x509.Certificate:
        """The parsed certificate."""
        return x509.load_der_x509_certificate(self.der)

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the DER bytes, 64 hexadecimal digits: what a pin is."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def uris(self) -> list[str]:
        """The application URIs in the subject alternative name (there should be exactly one)."""
        names = self._names()
        return [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)

    @property
    def hosts(self) -> list[str]:
        """The host names and addresses in the subject alternative name."""
        names = self._names()
        if names is None:
            return []
        addresses = names.get_values_for_type(x509.IPAddress)
        return [*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses)]

    @property
    def subject(self) -> str:
        """The subject as people write it: ``CN=plc1,O=Acme``."""
        return self.parsed.subject.rfc4514_string()

    @property
    def begins(self) -> datetime:
        """From when it is valid (UTC)."""
        return self.parsed.not_valid_before_utc

    @property
    def ends(self) -> datetime:
        """Until when it is valid (UTC)."""
        return self.parsed.not_valid_after_utc

    def _names(self) -> x509.SubjectAlternativeName | None:
        try:
            return self.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None

    def names_host(self, host: str) -> bool:
        """Tell whether the certificate is for this host name or address."""
        try:
            wanted = str(ipaddress.ip_address(host))
        except ValueError:
            wanted = host.lower().rstrip(".")
        return wanted in {name.lower().rstrip(".") for name in self.hosts}


def read(data: bytes) -> list[Certificate]:
    """Return the certificates in DER (a chain stands one behind the other) or PEM, the owner's first. Raises ValueError for anything else."""
    try:
        return _parsed(data)
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # cryptography has errors of other kinds for odd versions, names and keys; who reads is told one kind
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _parsed(data: bytes) -> list[Certificate]:
    if _PEM in data:
        found = [Certificate(one.public_bytes(Encoding.DER)) for one in x509.load_pem_x509_certificates(data)]
    else:
        found = [Certificate(der) for der in _split(data)]
    if not found:
        raise ValueError("there is no certificate")
    for one in found:  # every part that is looked at later is parsed here, where a caller expects a ValueError
        _ = one.parsed.public_key(), one.subject, one.parsed.issuer.rfc4514_string(), one.uris, one.hosts, one.begins, one.ends
    return found


def _split(data: bytes) -> list[bytes]:
    """Cut a row of DER sequences into its members (X.690, 8.1.3)."""
    out, at = [], 0
    while at < len(data):
        if data[at] != 0x30 or at + 2 > len(data):
            raise ValueError("this is no certificate")
        first = data[at + 1]
        extra = first & 0x7F if first >= 0x80 else 0
        size = int.from_bytes(data[at + 2 : at + 2 + extra], "big") if extra else first
        end = at + 2 + extra + size
        if extra > 4 or end > len(data):
            raise ValueError("the certificate is cut off")
        out.append(data[at:end])
        at = end
    return out


def judge(
    certificate: Certificate, *, uri: str | None, now: datetime, least_bits: int = LEAST_BITS, allow_expired: bool = False
) -> str:
    """Raise UntrustedError unless the certificate can be a server's that calls itself ``uri`` (None: it was not asked).

    Returns its application URI. This says nothing of whether anybody vouches for it: that is `admission.admit`'s part.
    """
    _judge_key(certificate, least_bits)
    _judge_usage(certificate)
    _judge_time(certificate, now, allow_expired=allow_expired)
    uris = certificate.uris
    if len(uris) != 1:
        raise _invalid(
            f"holds {len(uris) or 'no'} application URI{'s' * (len(uris) != 1)} in its subject alternative name instead of one"
        )
    if uri is not None and uri != uris[0]:
        raise _invalid(f"is for the application {uris[0]!r}, and the server calls itself {uri!r}")
    return uris[0]


def _judge_key(certificate: Certificate, least_bits: int) -> None:
    key = certificate.parsed.public_key()
    if not isinstance(key, RSAPublicKey):
        raise _invalid("has no RSA key, which the security policies of OPC UA ask for")
    if key.key_size < least_bits:
        raise _invalid(f"has a key of {key.key_size} bits; {least_bits} is the least")


def _judge_usage(certificate: Certificate) -> None:
    """Check what the key may be used for, where the certificate says so at all (RFC 5280, 4.2.1.3 and 4.2.1.12)."""
    extensions: Sequence[x509.Extension[x509.ExtensionType]] = list(certificate.parsed.extensions)
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not (
            value.digital_signature and (value.key_encipherment or value.data_encipherment)
        ):
            raise _invalid("may not be used to sign and to encipher (its key usage says so)")
        if isinstance(value, x509.ExtendedKeyUsage) and not {
            ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
        } & set(value):  # fmt: skip
            raise _invalid("may not be used by a server (its extended key usage says so)")


def _judge_time(certificate: Certificate, now: datetime, *, allow_expired: bool) -> None:
    if now < certificate.begins:
        raise UntrustedError(
            "cert_not_yet_valid",
            f"the server's certificate is valid from {certificate.begins:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M} here",
            "check the clock of the gateway",
        )
    if now > certificate.ends and not allow_expired:
        raise UntrustedError(
            "cert_expired",
            f"the server's certificate has expired on {certificate.ends:%Y-%m-%d}",
            "renew it on the server and trust the new one, or write allow_expired: true under security until then",
        )


def _invalid(why: str) -> UntrustedError:
    return UntrustedError(
        "cert_invalid", f"the server's certificate {why}", "create another certificate on the server and trust it"
    )
